"""The spool: what it has promised is applied once, in order, whatever a kill left in its file."""

from pathlib import Path
from typing import Any

import pytest

from proxy.core.outcomes import Ended
from proxy.ledger.errors import RedisUnavailable
from proxy.pipeline.spool import Spool


class FakeLedger:
    """Takes settlements while `up`, and no more than `most`."""

    def __init__(self) -> None:
        self.up = True
        self.most = 10**9
        self.settled: list[tuple[str, int]] = []

    async def settle(self, _account: str, call_id: str, charge: int, _tokens: int, _record: bytes) -> Ended:
        if not self.up or len(self.settled) >= self.most:
            raise RedisUnavailable
        self.settled.append((call_id, charge))
        return Ended("settled", False, charge, 0, 0)


async def put(spool: Spool, *numbers: int) -> None:
    for number in numbers:
        await spool.put("acct_1", f"call-{number}", number, 0, b"{}")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool" / "worker-0.jsonl"


def content(path: Path) -> bytes:
    return path.read_bytes()


def spool_on(path: Path, ledger: Any) -> Spool:
    return Spool(path, ledger)


async def test_successor_replays_in_order_and_only_what_was_not_taken(path: Path) -> None:
    ledger = FakeLedger()
    ledger.most = 2
    await put(spool_on(path, ledger), 1, 2, 3, 4)
    successor = spool_on(path, ledger)
    assert successor.depth == 4
    await successor.replay()
    assert (ledger.settled, successor.depth) == ([("call-1", 1), ("call-2", 2)], 2)
    ledger.most = 10
    third = spool_on(path, ledger)
    assert third.depth == 2
    await third.replay()
    assert ledger.settled[2:] == [("call-3", 3), ("call-4", 4)]
    assert (third.depth, content(path)) == (0, b"")


async def test_nothing_leaves_while_redis_is_away(path: Path) -> None:
    ledger = FakeLedger()
    ledger.up = False
    spool = spool_on(path, ledger)
    await put(spool, 1)
    before = content(path)
    await spool.replay()
    assert (spool.depth, content(path)) == (1, before)


@pytest.mark.parametrize("whole", [0, 2])
async def test_torn_line_is_left_out_and_swallows_nothing(path: Path, whole: int) -> None:
    ledger = FakeLedger()
    await put(spool_on(path, ledger), *range(whole))
    with path.open("ab") as file:
        file.write(b'{"account_id":"acct_to')
    successor = spool_on(path, ledger)
    await put(successor, 9)
    last = spool_on(path, ledger)
    await last.replay()
    assert ledger.settled == [(f"call-{number}", number) for number in range(whole)] + [("call-9", 9)]

"""Open holds for people: which there are, and ending one by hand.

A hold that is ended by hand is ended as an expired one is, at its last checkpoint, whole, or free: should its call still come to an
end by itself, the charge is corrected to what it cost. Amounts are microcredits, instants Unix milliseconds of Redis' clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from proxy.core.errors import NotFound
from proxy.core.outcomes import EXPIRED, Ended
from proxy.ledger.credit_scripts import OPEN, CreditScripts
from proxy.ledger.encoding import check_amount
from proxy.ledger.keys import MAX_ID_LENGTH, Partition, check_id
from proxy.ledger.ledger import Ledger
from proxy.ledger.scripts import ScriptRunner, load

_LOOKED_AT = 1000  # deadlines in one script
_MOST_SCRIPTS = 50  # for one page: an account's few holds may hide among many

Place = tuple[int, str]  # deadline and call id of the last one that was looked at
BEGINNING: Place = (0, "")


@dataclass(frozen=True, slots=True)
class OpenHold:
    """What a call has set aside. `draft` is its usage record so far, as it is stored (see records/row.py)."""

    call_id: str
    account_id: str
    amount_microcredits: int
    checkpoint_microcredits: int
    deadline: int
    draft: bytes


@dataclass(frozen=True, slots=True)
class HoldPage:
    """Some of a partition's holds, the soonest deadline first; `next_place` None: there are no more."""

    holds: tuple[OpenHold, ...]
    next_place: Place | None


class OpenHolds:
    """Raises what the ledger's methods raise when Redis is away."""

    def __init__(self, runner: ScriptRunner, ledger: Ledger) -> None:
        self._runner = runner
        self._ledger = ledger
        self._scripts = CreditScripts(ledger, runner)

    async def page(
        self, partition: Partition, *, limit: int, place: Place = BEGINNING, account_id: str = ""
    ) -> HoldPage:
        """At most `limit` holds after `place`. One whose lease is renewed meanwhile may come twice, or not at all."""
        found: list[OpenHold] = []
        for _ in range(_MOST_SCRIPTS):
            reply = await self._look(partition, place, limit - len(found), account_id)
            place = (int(reply[1]), reply[2].decode())
            found += _holds(reply)
            if not reply[0]:
                return HoldPage(tuple(found), None)
            if len(found) >= limit:
                break
        return HoldPage(tuple(found), place)

    async def check(self, account_id: str, call_id: str) -> None:
        """Raises NotFound where the account has no open hold of this call."""
        try:
            check_id(call_id, "call_id")
        except ValueError as error:
            raise _no_hold(call_id) from error
        found = (await self._scripts.standing(account_id, [call_id]))[0]
        if found is None or found.state != OPEN:
            raise _no_hold(call_id)

    async def release(self, account_id: str, call_id: str, policy: str) -> Ended:
        """Ends one hold now, charged by `policy` (checkpoint, hold, free). Raises NotFound as `check` does."""
        if await self._make_due(account_id, call_id):
            ended = await self._ledger.expire(account_id, call_id, policy)
            if isinstance(ended, Ended) and ended.state == EXPIRED:
                return ended
        raise _no_hold(call_id)

    async def _look(self, partition: Partition, place: Place, wanted: int, account_id: str) -> Sequence[Any]:
        deadline, call_id = place
        most = check_amount(wanted, "limit", lowest=1)
        args = (self._ledger.epoch.encode(), partition.prefix, deadline, call_id, _LOOKED_AT, most, account_id)
        reply: Sequence[Any] = await self._runner.run(load("open_holds"), (partition.epoch, partition.deadlines), args)
        return reply

    async def _make_due(self, account_id: str, call_id: str) -> bool:
        partition = self._ledger.partition_of(account_id)
        hold = partition.hold(check_id(call_id, "call_id"))
        keys = (partition.epoch, partition.account(check_id(account_id, "account_id")), hold, partition.deadlines)
        reply = await self._runner.run(load("due_now"), keys, (self._ledger.epoch.encode(), call_id, account_id))
        return bool(reply[0] == b"due")


def _no_hold(call_id: str) -> NotFound:
    return NotFound(f"There is no open hold {call_id[:MAX_ID_LENGTH]!r}.", code="hold_not_found")


def _holds(reply: Sequence[Any]) -> list[OpenHold]:
    found = []
    for at in range(3, len(reply), 6):
        call_id, account_id, amount, checkpoint, deadline, draft = reply[at : at + 6]
        found.append(OpenHold(call_id.decode(), account_id.decode(), amount, checkpoint, deadline, draft))
    return found

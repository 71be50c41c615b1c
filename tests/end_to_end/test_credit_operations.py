"""Credit operations in a whole installation: grants end by themselves, and what a crash left pending is finished."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from proxy.accounts.desk import Desk
from proxy.accounts.grants import GrantOrder
from proxy.accounts.keys import KeyHasher
from proxy.accounts.model_prices import ModelPrices
from proxy.accounts.recorded_usage import UsageReport
from proxy.accounts.refunds import Refund
from proxy.accounts.reservations import ReservationOrder
from proxy.core.clock import SystemClock
from proxy.ledger.scripts import RedisScripts
from proxy.roles import load
from tests.support.books import stores_of
from tests.support.hammer import wait_until
from tests.support.installation import MODEL, PEPPER, Installation
from tests.support.mock_provider import MockProvider


@pytest.fixture(scope="module")
def farebox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    directory: Path = tmp_path_factory.mktemp("credits")
    with MockProvider() as provider, Installation(directory, provider, credits="sweep_s = 0.5") as running:
        yield running


def desk_of(farebox: Installation, stores) -> Desk:
    """The credit operations as the operator role has them."""
    return Desk(
        stores.database,
        stores.ledger,
        RedisScripts(stores.redis),
        SystemClock(),
        hasher=KeyHasher(PEPPER),
        prices=ModelPrices.of(load(farebox.config)),
    )


async def test_a_day_of_every_operation_adds_up(farebox: Installation) -> None:
    key = farebox.account("everything", "10")
    with openai.OpenAI(base_url=f"{farebox.url}/v1", api_key=key, max_retries=0) as client:
        answer = client.chat.completions.with_raw_response.create(
            model=MODEL, messages=[{"role": "user", "content": "hello"}], max_tokens=20
        )
    call_id = answer.headers["x-farebox-call-id"]
    async with stores_of(farebox) as stores:
        desk = desk_of(farebox, stores)
        account_id = farebox.command("account", "show", "everything")["id"]
        refund = await desk.refunds.refund(account_id, Refund(call_id, "refund"))
        entry, grant = await desk.grants.give(
            account_id, GrantOrder(1_000_000, "grant", SystemClock().now_ms() + 1_500)
        )
        reported = await desk.recorded.record(account_id, UsageReport(MODEL, "chat", 100, 10, transaction_id="t"))
        reserved = await desk.reservations.create(account_id, ReservationOrder(500_000))
        await desk.reservations.confirm(reserved.id, 200_000)
        assert (reported.charge_microcredits, reported.provider) == (120_000, "local")

        async def is_over() -> bool:
            return (await desk.grants.grant(grant.id)).status == "expired"

        await wait_until(is_over, 15)
        ended = await desk.grants.grant(grant.id)
    assert ended.expired_microcredits == 1_000_000 - 120_000 - 200_000
    assert entry.after_microcredits == 11_000_000 == refund.after_microcredits + 1_000_000
    assert farebox.balance("everything")["microcredits"] == 10_000_000
    farebox.usage("everything", 3)
    farebox.audit()


async def test_what_a_crash_left_pending_is_finished_when_the_reaper_starts(farebox: Installation) -> None:
    farebox.account("crashed", "1")
    async with stores_of(farebox) as stores:
        account_id = farebox.command("account", "show", "crashed")["id"]
        await stores.database.execute(
            "insert_operation",
            account_id=account_id,
            idempotency_key="k",
            digest="d" * 64,
            operation_id="op_left",
            kind="topup",
            amount_microcredits=5,
            actor="",
            reason="",
            created_at=1,
            call_id=None,
            grant_id=None,
        )
        for pid in farebox.pids("reaper"):
            os.kill(pid, signal.SIGKILL)

        async def is_applied() -> bool:
            row = await stores.database.fetch_one("operation_by_key", account_id=account_id, idempotency_key="k")
            return row is not None and row["status"] == "applied"

        await wait_until(is_applied, 30)
    assert farebox.balance("crashed")["microcredits"] == 1_000_005
    farebox.audit()

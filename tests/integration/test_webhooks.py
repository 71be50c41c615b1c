"""A low balance is told once, signed, until it was received: whatever the receiver, the hosts and the order of entries do."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from proxy.accounts.low_balance import GAP_PATIENCE_MS, LowBalances
from proxy.accounts.outbox import DELIVERED, FAILED, PENDING, Delivery, DeliveryFilter, Outbox
from proxy.admin.webhook_sender import PublicResolver, Sender, receivers_of
from proxy.core.errors import NotFound
from proxy.sql.sqlite import SqliteDatabase
from proxy.webhook_config import Webhooks
from tests.support.webhook_receiver import SECRET, Receiver

START = 1_800_000_000_000


@dataclass
class Clock:
    now: int = START

    def now_ms(self) -> int:
        return self.now

    def monotonic(self) -> float:
        return self.now / 1000


@dataclass
class Host:
    """One host: its look at the balances, and its senders."""

    watch: LowBalances
    sender: Sender
    webhooks: Webhooks

    async def look(self) -> int:
        return await self.watch.sweep() + await self.watch.sweep()  # the first one may only begin to watch

    async def send(self) -> None:
        for receiver, url in receivers_of(self.webhooks).values():
            await self.sender.deliver(receiver, url)


@dataclass
class House:
    """A database with one account, and hosts that work on it."""

    database: SqliteDatabase
    stack: AsyncExitStack
    clock: Clock = field(default_factory=Clock)
    seq: int = 0

    @property
    def outbox(self) -> Outbox:
        return Outbox(self.database, self.clock)

    async def host(self, *urls: str, private: bool = True, **settings: Any) -> Host:
        webhooks = Webhooks(urls=list(urls), secret=SECRET, private_addresses=private, **settings)
        session = await self.stack.enter_async_context(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(resolver=None if private else PublicResolver()),
                timeout=aiohttp.ClientTimeout(total=webhooks.timeout_s),
            )
        )
        watch = LowBalances(self.database, self.clock, [one for one, _ in receivers_of(webhooks).values()])
        return Host(watch, Sender(webhooks, self.outbox, session, self.clock), webhooks)

    async def threshold(self, microcredits: int | None) -> None:
        await self.database.execute(
            "update_account", id="acct_1", name="acme", limits="{}", markup_ppm=None, metadata="{}",
            low_balance_microcredits=microcredits,
        )  # fmt: skip

    async def entry(self, after: int, seq: int | None = None) -> None:
        self.seq = self.seq + 1 if seq is None else seq
        await self.database.execute(
            "insert_ledger_entry", account_id="acct_1", seq=self.seq, kind="charge", amount_microcredits=-1,
            before_microcredits=after + 1, after_microcredits=after, at=self.clock.now, call_id=None,
            operation_id=f"op-{self.seq}", actor="", reason="", idempotency_key=None,
        )  # fmt: skip

    async def deliveries(self) -> list[Delivery]:
        return list(await self.outbox.page(DeliveryFilter(), limit=100))


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        database = SqliteDatabase(path)
        stack.push_async_callback(database.close)
        await database.migrate()
        house = House(database, stack)
        await database.execute(
            "insert_account", id="acct_1", name="acme", limits="{}", markup_ppm=None, metadata="{}", created_at=START
        )
        await house.threshold(10)
        yield house


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with opened(tmp_path / "farebox.db") as house:
        yield house


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


async def fallen(house: House, host: Host, after: int = 7) -> None:
    """The balance falls below the threshold, from above."""
    await house.entry(100)
    await host.look()
    await house.entry(after)
    assert await host.look() == 1


async def test_a_fall_is_told_once_and_again_after_a_rise(house: House, receiver: Receiver) -> None:
    host = await house.host(f"{receiver.url}/hook")
    await fallen(house, host)
    for after in (6, 3, 10):
        await house.entry(after)
    assert await host.look() == 0
    await host.send()
    assert len(receiver.told) == 1
    assert receiver.told[0].timestamp == START // 1000
    assert receiver.told[0].value == {
        "type": "account.balance_low",
        "timestamp": "2027-01-15T08:00:00.000+00:00",
        "data": {
            "account_id": "acct_1",
            "account_name": "acme",
            "balance_microcredits": 7,
            "balance_credits": "0.000007",
            "low_balance_microcredits": 10,
            "low_balance_credits": "0.00001",
            "ledger_seq": 2,
            "at": START,
        },
    }
    for after in (11, 10):
        await house.entry(after)
    assert await host.look() == 1
    await host.send()
    assert len(set(receiver.ids)) == 2
    assert {one.status for one in await house.deliveries()} == {DELIVERED}


async def test_falls_between_two_looks_are_all_found(house: House, receiver: Receiver) -> None:
    host = await house.host(f"{receiver.url}/hook")
    await house.entry(100)
    await host.look()
    for after in (5, 50, 4, 60):
        await house.entry(after)
    assert await host.look() == 2


async def test_a_balance_that_is_low_when_the_threshold_is_set_is_told(house: House, receiver: Receiver) -> None:
    host = await house.host(f"{receiver.url}/hook")
    for after in (500, 400):
        await house.entry(after)
    assert await host.look() == 0
    await house.threshold(450)
    assert await host.look() == 1
    await house.threshold(None)
    await house.entry(1)
    assert await host.look() == 0
    await house.threshold(450)
    assert await host.look() == 1


async def test_an_account_that_was_closed_is_not_told(house: House, receiver: Receiver) -> None:
    host = await house.host(f"{receiver.url}/hook")
    await house.entry(100)
    await host.look()
    await house.database.execute("close_account", id="acct_1", closed_at=START)
    await house.entry(0)
    assert await host.look() == 0


async def test_entries_that_come_out_of_order_are_waited_for_but_not_for_ever(house: House, receiver: Receiver) -> None:
    host = await house.host(f"{receiver.url}/hook")
    await house.entry(100)
    await host.look()
    await house.entry(50, seq=3)
    assert await host.look() == 0
    await house.entry(5, seq=2)
    assert await host.look() == 1  # the low balance between the two is not missed
    await house.entry(1, seq=5)
    assert await host.look() == 0
    house.clock.now += GAP_PATIENCE_MS + 1
    assert await host.look() == 1


async def test_a_receiver_that_fails_is_told_again_under_the_same_id_with_growing_pauses(
    house: House, receiver: Receiver
) -> None:
    host = await house.host(f"{receiver.url}/hook", first_pause_s=5.0)
    await fallen(house, host)
    receiver.answers = [500, 503, 404]
    for tries, pause_s in ((1, 5), (2, 10), (3, 20)):
        await host.send()
        assert len(receiver.told) == tries
        (one,) = await house.deliveries()
        assert (one.status, one.attempts, one.due_at - house.clock.now) == (PENDING, tries, pause_s * 1000)
        assert one.problem == f"answered {one.answered}"
        house.clock.now = one.due_at - 1
        await host.send()
        assert len(receiver.told) == tries  # not before its time
        house.clock.now = one.due_at
    await host.send()
    assert (await house.deliveries())[0].status == DELIVERED
    assert len(receiver.told) == 4
    assert len(set(receiver.ids)) == 1
    assert len({told.body for told in receiver.told}) == 1
    assert [told.timestamp for told in receiver.told] == [START // 1000 + s for s in (0, 5, 15, 35)]


async def test_retry_after_is_obeyed(house: House, receiver: Receiver) -> None:
    host = await house.host(f"{receiver.url}/hook")
    await fallen(house, host)
    receiver.answers, receiver.headers = [429], {"retry-after": "120"}
    await host.send()
    assert (await house.deliveries())[0].due_at == house.clock.now + 120_000


@pytest.mark.parametrize("answers", [[410], [500, 500]])
async def test_after_the_last_attempt_it_waits_for_somebody_to_have_it_sent(
    house: House, receiver: Receiver, answers: list[int]
) -> None:
    host = await house.host(f"{receiver.url}/hook", attempts=2)
    await fallen(house, host)
    receiver.answers = list(answers)
    for _ in range(4):
        await host.send()
        house.clock.now += 60_000
    assert len(receiver.told) == len(answers)
    (one,) = await house.deliveries()
    assert one.status == FAILED
    again = await house.outbox.resend(one.id, "admin:ada")
    assert (again.status, again.attempts, again.event_id) == (PENDING, 0, one.event_id)
    await host.send()
    assert (await house.outbox.delivery(one.id)).status == DELIVERED
    assert len(set(receiver.ids)) == 1
    with pytest.raises(NotFound):
        await house.outbox.resend("dlv_none", "admin:ada")


async def test_a_slow_receiver_is_tried_again_and_holds_up_no_other(house: House, receiver: Receiver) -> None:
    with Receiver() as quick:
        host = await house.host(f"{receiver.url}/hook", f"{quick.url}/hook", timeout_s=0.3)
        (slow_one, slow_url), (quick_one, quick_url) = receivers_of(host.webhooks).values()
        await fallen(house, host)
        receiver.answers = [0]
        waiting = asyncio.gather(host.sender.deliver(slow_one, slow_url), return_exceptions=True)
        await host.sender.deliver(quick_one, quick_url)
        assert (len(quick.told), waiting.done()) == (1, False)
        await waiting
        assert {one.receiver: (one.status, one.problem) for one in await house.deliveries()} == {
            slow_one.id: (PENDING, "no answer within 0.3 s"),
            quick_one.id: (DELIVERED, None),
        }
        receiver.gate.set()
        house.clock.now += 5_000
        await host.send()
        assert receiver.ids == [quick.ids[0]] * 2
        assert len(quick.told) == 1


async def test_a_redirect_is_not_followed(house: House, receiver: Receiver) -> None:
    host = await house.host(f"{receiver.url}/hook")
    await fallen(house, host)
    receiver.answers, receiver.headers = [307], {"location": f"{receiver.url}/elsewhere"}
    await host.send()
    assert receiver.astray == []
    assert (await house.deliveries())[0].answered == 307


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "[::1]"])
async def test_private_addresses_are_not_connected_to(house: House, receiver: Receiver, name: str) -> None:
    port = receiver.url.rpartition(":")[2]
    host = await house.host(f"http://{name}:{port}/hook", private=False)
    await fallen(house, host)
    await host.send()
    assert receiver.told == []
    assert (await house.deliveries())[0].problem == "a private address"


async def test_a_receiver_that_is_away_gets_it_when_it_is_back(house: House) -> None:
    away = Receiver()
    with away:
        url = away.url
    host = await house.host(f"{url}/hook", timeout_s=2.0)
    await fallen(house, host)
    await host.send()
    (one,) = await house.deliveries()
    assert (one.status, one.answered, one.problem) == (PENDING, None, "no connection")


async def test_two_hosts_at_once_tell_each_fall_once(house: House, receiver: Receiver) -> None:
    hosts = [await house.host(f"{receiver.url}/hook") for _ in range(2)]
    await house.entry(100)
    await hosts[0].look()
    for after in (5, 50) * 10:
        await house.entry(after)
        await asyncio.gather(*(host.watch.sweep() for host in hosts))
    await asyncio.gather(*(host.send() for host in hosts))
    assert len(receiver.told) == len(set(receiver.ids)) == 10


async def test_a_host_that_dies_while_it_sends_loses_nothing(house: House, receiver: Receiver) -> None:
    host = await house.host(f"{receiver.url}/hook")
    await fallen(house, host)
    receiver.answers = [0]
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(host.send(), 0.3)
    other = await house.host(f"{receiver.url}/hook")
    await other.send()
    assert len(receiver.told) == 1  # the lease of the dead one still holds
    house.clock.now += 41_000
    await other.send()
    assert receiver.ids == [receiver.ids[0]] * 2
    assert (await house.deliveries())[0].status == DELIVERED


async def test_only_configured_receivers_are_sent_to(house: House, receiver: Receiver) -> None:
    host = await house.host(f"{receiver.url}/hook")
    await fallen(house, host)
    with Receiver() as other:
        await (await house.host(f"{other.url}/hook")).send()
        assert (receiver.told, other.told) == ([], [])


async def test_restarts_lose_nothing(tmp_path: Path, receiver: Receiver) -> None:
    async with opened(tmp_path / "farebox.db") as house:
        await house.entry(100)
        await (await house.host(f"{receiver.url}/hook")).look()
        await house.entry(5)  # nobody looks any more
        seq = house.seq
    async with AsyncExitStack() as stack:
        database = SqliteDatabase(tmp_path / "farebox.db")
        stack.push_async_callback(database.close)
        again = House(database, stack, seq=seq)
        host = await again.host(f"{receiver.url}/hook")
        assert await host.watch.sweep() == 1
        await host.send()
    assert len(receiver.told) == 1

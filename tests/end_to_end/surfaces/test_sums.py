"""A random day of calls, top-ups, adjustments, refunds, expiring grants, recorded usage and reservations; then every surface is
asked, and all of them must say what `farebox audit` says, to the last microcredit and token."""

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from proxy.accounts.desk import Desk
from proxy.accounts.grants import GrantOrder
from proxy.accounts.keys import KeyHasher
from proxy.accounts.model_prices import ModelPrices
from proxy.accounts.redemption import CodeOrder
from proxy.accounts.refunds import Refund
from proxy.accounts.topups import Credit
from proxy.core.clock import SystemClock
from proxy.ledger.scripts import RedisScripts
from proxy.roles import load
from tests.support.books import Books, stores_of
from tests.support.installation import ADMIN_TOKEN, MODEL, PEPPER, Installation
from tests.support.mock_provider import MockProvider
from tests.support.processes import until
from tests.support.surfaces import MICRO, OTHER, Holder, another_key, ask, call, decimal, holder, settled

USD = 1000 * MICRO  # microcredits
OPERATIONS = 40  # of each account
ACCOUNTS = 3
SOON_MS = 700
DAY_MS = 86_400_000


@dataclass
class Day:
    """One account on that day: its keys, and the calls that it made so far."""

    owner: Holder
    manager: str
    second_key: str
    chance: random.Random
    calls: list[str] = field(default_factory=list)


class Doing:
    """The operations of a day, each over the way that its users take."""

    def __init__(self, farebox: Installation) -> None:
        self.farebox = farebox

    def one(self, day: Day, number: int) -> None:
        """Does something, mostly calls."""
        doings: list[tuple[Callable[[Day, int], None], int]] = [
            *((self.call, 9), (self.unpaid_call, 1), (self.top_up, 2), (self.adjust, 2), (self.refund, 3)),
            *((self.grant, 2), (self.revoke, 1), (self.redeem, 2)),
            *((self.record, 4), (self.reserve, 3)),
        ]
        [doing] = day.chance.choices([doing for doing, _ in doings], [weight for _, weight in doings])
        doing(day, number)

    def call(self, day: Day, _: int) -> None:
        key = day.chance.choice([day.owner.key, day.second_key])
        day.calls.append(call(self.farebox, key, day.chance.randint(1, 60)))

    def unpaid_call(self, day: Day, _: int) -> None:
        """The provider refuses: a record without a charge."""
        body = {"model": MODEL, "max_tokens": 9, "messages": [], "mock": {"status": 500}}
        answer = ask(self.farebox, "POST", "/v1/chat/completions", bearer=day.owner.key, body=body)
        assert answer.status >= 500

    def top_up(self, day: Day, number: int) -> None:
        self._credit(day, Credit(day.chance.randint(1, 5 * MICRO), f"t{number}"))

    def adjust(self, day: Day, number: int) -> None:
        amount = day.chance.choice([-1, 1]) * day.chance.randint(1, MICRO)
        self._credit(day, Credit(amount, f"a{number}", kind="adjustment"))

    def refund(self, day: Day, number: int) -> None:
        if day.calls:
            call_id = day.calls.pop(day.chance.randrange(len(day.calls)))
            part = day.chance.choice([None, day.chance.randint(1, 9000)])
            self._desk(lambda desk: desk.refunds.refund(day.owner.id, Refund(call_id, f"r{number}", part)))

    def grant(self, day: Day, number: int) -> None:
        lasts_ms, amount = day.chance.choice([SOON_MS, DAY_MS]), day.chance.randint(1, 3 * MICRO)

        def order() -> GrantOrder:
            # Made when the desk is open, which takes longer than the shortest grant lasts on a busy machine.
            return GrantOrder(amount, f"g{number}", expires_at=time.time_ns() // 1_000_000 + lasts_ms)

        self._desk(lambda desk: desk.grants.give(day.owner.id, order()))

    def revoke(self, day: Day, number: int) -> None:
        order = GrantOrder(day.chance.randint(1, MICRO), f"g{number}")

        async def work(desk: Desk) -> None:
            _, grant = await desk.grants.give(day.owner.id, order)
            await desk.grants.revoke(grant.id)

        self._desk(work)

    def redeem(self, day: Day, number: int) -> None:
        order = CodeOrder(1, day.chance.randint(1, MICRO), as_grant=number % 2 == 0)

        async def work(desk: Desk) -> None:
            [made] = await desk.codes.create(order)
            await desk.codes.redeem(day.owner.id, made.code)

        self._desk(work)

    def record(self, day: Day, number: int) -> None:
        body = {
            "accountId": day.owner.id,
            "transactionId": f"x{number % 5}",
            "modelId": "cached-model",
            "usageType": "text",
            "inputTokens": day.chance.randint(100, 900),
            "outputTokens": 7,
            "cachedTokens": 50,
        }
        key = day.chance.choice([day.owner.key, ADMIN_TOKEN])
        assert ask(self.farebox, "POST", "/v1/usage/record", x_api_key=key, body=body).status == 200
        system = {**body, "context": "system", "transactionId": f"s{day.owner.id}{number}"}
        del system["accountId"]
        assert ask(self.farebox, "POST", "/v1/usage/record", x_api_key=ADMIN_TOKEN, body=system).status == 200

    def reserve(self, day: Day, _: int) -> None:
        post = partial(ask, self.farebox, "POST", x_api_key=day.owner.key)
        made = post("/v1/reservations/create", body={"accountId": day.owner.id, "amount": 0.75}).data()["reservation"]
        if day.chance.random() < 0.3:
            assert post("/v1/reservations/cancel", body={"reservationId": made["id"]}).status == 200
        else:
            actual = day.chance.choice([0, 0.000001, 0.5, 0.75])
            body = {"reservationId": made["id"], "actualAmount": actual}
            assert post("/v1/reservations/confirm", body=body).status == 200

    def _credit(self, day: Day, credit: Credit) -> None:
        self._desk(lambda desk: desk.topups.top_up(day.owner.id, credit))

    def _desk(self, work: Callable[[Desk], Any]) -> None:
        async def run() -> None:
            config = load(self.farebox.config)
            async with stores_of(self.farebox) as stores:
                desk = Desk(
                    stores.database,
                    stores.ledger,
                    RedisScripts(stores.redis),
                    SystemClock(),
                    hasher=KeyHasher(PEPPER),
                    prices=ModelPrices.of(config),
                )
                await work(desk)

        asyncio.run(run())


@dataclass(frozen=True)
class Truth:
    """What the ledger and the records say of an account, once nothing moves: microcredits and tokens."""

    posted: int
    credited: int
    spent: int
    refunded: int
    granted: int
    input_tokens: int
    output_tokens: int
    embedded: int = 0


@pytest.fixture(scope="module")
def farebox(tmp_path_factory: pytest.TempPathFactory, provider: MockProvider) -> Iterator[Installation]:
    """One of its own: sums over all accounts are compared too."""
    with Installation(tmp_path_factory.mktemp("day"), provider, extra=OTHER) as running:
        yield running


@pytest.fixture(scope="module")
def days(farebox: Installation) -> list[Day]:
    """The days that were lived, in threads beside each other."""
    found = []
    for number in range(ACCOUNTS):
        owner = holder(farebox, 200 * MICRO)
        manager = another_key(farebox, owner, kind="manager")[1]
        found.append(Day(owner, manager, another_key(farebox, owner)[1], random.Random(number)))
    doing = Doing(farebox)

    def live(day: Day) -> None:
        for number in range(OPERATIONS):
            doing.one(day, number)

    with ThreadPoolExecutor(ACCOUNTS) as threads:
        list(threads.map(live, found))
    time.sleep(SOON_MS / 1000)
    until(lambda: not due_grants(farebox), 15)
    settled(farebox)
    return found


def due_grants(farebox: Installation) -> bool:
    """Whether a grant that is over still stands in the balance."""

    async def look() -> bool:
        async with stores_of(farebox) as stores:
            now = time.time_ns() // 1_000_000
            due = await stores.database.fetch("due_grants", now_ms=now, after_ends_at=-1, after_id="", row_limit=1)
            return bool(due)

    return asyncio.run(look())


def truth_of(farebox: Installation, day: Day) -> Truth:
    """From the audit, the entries and the records; these three agree first."""
    report = farebox.command("audit", "--account", day.owner.id)
    books = Books.read(farebox)
    entries = [entry for entry in books.entries if entry["account_id"] == day.owner.id]
    records = [record for record in books.records if record["account_id"] == day.owner.id]

    def total(*kinds: str) -> int:
        return sum(entry["amount_microcredits"] for entry in entries if entry["kind"] in kinds)

    posted = farebox.balance(day.owner.name)["microcredits"]
    spent = -total("charge", "correction")
    assert report["credited_microcredits"] - report["spent_microcredits"] == posted
    assert sum(entry["amount_microcredits"] for entry in entries) == posted
    assert report["spent_microcredits"] == spent == sum(record["charge_microcredits"] for record in records)
    tokens = [sum(record[name] for record in records) for name in ("input_tokens", "output_tokens")]
    granted = grants_left(farebox, day)
    return Truth(posted, posted + spent, spent, total("refund"), granted, *tokens)


def grants_left(farebox: Installation, day: Day) -> int:
    """What is left of live grants, as Redis has it now."""
    found: list[int] = []

    async def look(desk: Desk) -> None:
        found.append(sum(one.remaining_microcredits for one in await desk.grants.list(day.owner.id)))

    Doing(farebox)._desk(look)
    return found[0]


@pytest.fixture(scope="module")
def truths(farebox: Installation, days: list[Day]) -> list[Truth]:
    farebox.audit()
    return [truth_of(farebox, day) for day in days]


@pytest.fixture(params=range(ACCOUNTS))
def lived(request: pytest.FixtureRequest, days: list[Day], truths: list[Truth]) -> tuple[Day, Truth]:
    return days[request.param], truths[request.param]


def test_the_day_had_everything(farebox: Installation, days: list[Day]) -> None:
    kinds = {entry["kind"] for entry in Books.read(farebox).entries}
    assert kinds >= {"topup", "adjustment", "charge", "refund", "grant", "expiry"}
    assert len(days) == ACCOUNTS


def test_whole_credits(farebox: Installation, lived: tuple[Day, Truth]) -> None:
    day, truth = lived
    whole = truth.posted // MICRO
    assert ask(farebox, "GET", "/api/v1/chat/credit", bearer=day.owner.key).data()["data"] == whole
    assert ask(farebox, "GET", "/api-user/credits", x_api_key=day.owner.key).data() == {"credits": whole}


def test_mountseas_searches(farebox: Installation, lived: tuple[Day, Truth]) -> None:
    day, truth = lived
    usage, points = (items(farebox, day, f"/api-user/{name}/search") for name in ("usage", "points"))
    assert sum(item["consumedCredits"] for item in usage) == decimal(truth.spent)
    assert sum(item["finalAmount"] for item in usage) == decimal(truth.spent - truth.refunded)
    assert sum(item["finalAmount"] for item in points) == decimal(truth.spent - truth.refunded)
    assert sum(item["beforeCredits"] - item["afterCredits"] for item in points) == decimal(truth.spent - truth.refunded)
    tokens = [sum(item["metadata"][name] for item in usage) for name in ("inputTokens", "outputTokens")]
    assert tokens == [truth.input_tokens, truth.output_tokens]


def items(farebox: Installation, day: Day, path: str) -> list[dict[str, Any]]:
    now = time.time_ns() // 1_000_000
    found: list[dict[str, Any]] = []
    for page in range(1, 100):
        body = {"dateRange": {"start": now - DAY_MS, "end": now + DAY_MS}, "page": page, "limit": 7}
        answer = ask(farebox, "POST", path, x_api_key=day.owner.key, body=body).data()
        found += answer["items"]
        if page >= answer["meta"]["totalPages"]:
            assert len(found) == answer["meta"]["totalItems"]
            return found
    raise AssertionError("pages without an end")


def test_credits_dev(farebox: Installation, lived: tuple[Day, Truth]) -> None:
    day, truth = lived
    get = partial(ask, farebox, "GET", x_api_key=day.owner.key)
    balance = get("/v1/accounts/balance").data()
    assert (balance["balance"], balance["reserved"]) == (decimal(truth.posted), 0)
    summary = get("/v1/usage", query={"summary": "true"}).data()["summary"]
    assert (summary["totalInputTokens"], summary["totalOutputTokens"]) == (truth.input_tokens, truth.output_tokens)
    assert sum(one["costUsd"] for one in summary["byModel"].values()) == summary["totalCostUsd"]
    assert summary["byContext"] == {"customer": summary["totalCostUsd"], "system": 0}
    metered = sum(
        record["cost_nano_usd"] for record in Books.read(farebox).records if record["account_id"] == day.owner.id
    )
    assert summary["totalCostUsd"] == Decimal(metered) / 10**9
    transactions = []
    while page := get("/v1/transactions", query={"limit": 9, "offset": len(transactions)}).data()["items"]:
        transactions += page
    sides = {side: sum(one["amount"] for one in transactions if one["type"] == side) for side in ("credit", "debit")}
    assert sides["credit"] - sides["debit"] == decimal(truth.posted)
    assert transactions[0]["balanceAfter"] == decimal(truth.posted)


def test_r9s(farebox: Installation, lived: tuple[Day, Truth]) -> None:
    day, truth = lived
    now = int(time.time())
    root = "/api/v1/portal/management"
    for more in ({}, {"granularity": "day"}, {"pagesize": 3}):
        query = {"start_time": now - 86_400, "end_time": now, **more}
        data = ask(farebox, "GET", f"{root}/usage", bearer=day.manager, query=query).data()["data"]
        assert data["total_tokens"] == truth.input_tokens + truth.output_tokens
        if "pagesize" not in more:
            assert sum(record["tokens"] for record in data["records"]) == data["total_tokens"]
    balance = ask(farebox, "GET", f"{root}/balance", bearer=day.manager).data()["data"]
    assert balance["balance"] == Decimal(balance["balance_str"]) == decimal(truth.posted, USD)
    assert balance["coupon_balance"] == decimal(truth.granted, USD)


def test_gateways(farebox: Installation, lived: tuple[Day, Truth]) -> None:
    day, truth = lived
    get = partial(ask, farebox, "GET", bearer=day.owner.key)
    posted, spent, credited = (decimal(amount, USD) for amount in (truth.posted, truth.spent, truth.credited))
    limit = get("/dashboard/billing/subscription").data()["hard_limit_usd"]
    used = get("/v1/dashboard/billing/usage").data()["total_usage"]
    assert (limit, used / 100, limit - used / 100) == (credited, spent, posted)
    grants = get("/dashboard/billing/credit_grants").data()
    assert (grants["total_granted"], grants["total_used"], grants["total_available"]) == (credited, spent, posted)
    assert get("/api/v1/credits").data()["data"] == {"total_credits": credited, "total_usage": spent}
    assert get("/v1/usage").data()["remaining"] == posted
    [info] = get("/user/balance").data()["balance_infos"]
    total, granted, bought = (Decimal(info[f"{name}_balance"]) for name in ("total", "granted", "topped_up"))
    assert (total, granted, granted + bought) == (posted, decimal(truth.granted, USD), posted)
    quota = get("/api/usage/token").data()["data"]
    assert (quota["total_available"], quota["total_used"]) == (truth.posted // 2000, truth.spent // 2000)
    keys = [day.owner.key, day.second_key]
    by_operators = sum(
        record["charge_microcredits"]
        for record in Books.read(farebox).records
        if record["account_id"] == day.owner.id and not record["key_id"]
    )
    for path, name in (("/api/v1/key", "data"), ("/key/info", "info")):
        member = "usage" if name == "data" else "spend"
        answers = [ask(farebox, "GET", path, bearer=key).data()[name] for key in keys]
        assert sum(answer[member] for answer in answers) == decimal(truth.spent - by_operators, USD)


def test_the_organization(farebox: Installation, days: list[Day], truths: list[Truth]) -> None:
    start = int(time.time()) - 86_400

    def total(path: str, key: str, count: Callable[[Any], Any], **query: Any) -> Any:
        asked = {"start_time": start, "limit": 31, **query}
        page = ask(farebox, "GET", f"/v1/organization/{path}", bearer=key, query=asked).data()
        assert page["has_more"] is False
        return sum(count(result) for bucket in page["data"] for result in bucket["results"])

    def tokens(result: Any) -> int:
        return int(result["input_tokens"] + result.get("output_tokens", 0))

    def value(result: Any) -> Any:
        return result["amount"]["value"]

    for day, truth in zip(days, truths, strict=True):
        for who, more in ((day.manager, {}), (ADMIN_TOKEN, {"project_ids": day.owner.id})):
            for grouped in ({}, {"group_by": "model"}, {"group_by": "api_key_id"}):
                whole = truth.input_tokens + truth.output_tokens
                assert total("usage/completions", who, tokens, **more, **grouped) == whole
            assert total("usage/embeddings", who, tokens, **more) == 0
            for grouped in ({}, {"group_by": "line_item"}, {"group_by": "project_id"}):
                assert total("costs", who, value, **more, **grouped) == decimal(truth.spent, USD)
    everything = decimal(sum(truth.spent for truth in truths), USD)
    assert total("costs", ADMIN_TOKEN, value, group_by="project_id") == everything

"""The searches and summaries that `bench.queries` measures: the handlers of the surfaces and of the admin API, asked as requests do.

What they ask of Redis, of prices and of who may is not there: a handler gets the caller and the database, nothing else.
"""

import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from bench.query_data import ACCOUNTS, DAY_MS, END_MS, account_id, key_ids
from proxy.accounts.administrators import ROOT, Administrator
from proxy.accounts.caller import Caller
from proxy.accounts.directory import Directory
from proxy.accounts.keys import MANAGER, USER
from proxy.admin import accounts as admin_accounts
from proxy.admin import ledger_entries, summaries, usage
from proxy.config import Config
from proxy.core.cursors import Cursors
from proxy.records.queries import usage_of_call
from proxy.sql.database import Database
from proxy.surfaces.credits_dev.access import Access
from proxy.surfaces.credits_dev.transactions import Transactions
from proxy.surfaces.credits_dev.usage import UsageRecords
from proxy.surfaces.key_facts import spending
from proxy.surfaces.mountsea import mountsea
from proxy.surfaces.numbers import instant
from proxy.surfaces.openai_organization import openai_organization
from proxy.surfaces.openrouter import openrouter
from proxy.surfaces.r9s import r9s
from proxy.surfaces.services import ID_OF
from proxy.surfaces.vendor import Query

SIZES = {"small": ACCOUNTS - 1, "medium": 100, "largest": 0}
ALL = "all accounts"
Ask = Callable[[random.Random], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Case:
    """One query: `ask` sends it once, with other bounds each time."""

    surface: str
    what: str
    who: str
    ask: Ask


class Desk:
    """Everything that can be asked, of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._house: Any = SimpleNamespace(database=database, config=Config())
        self._vendors = {
            (vendor.name, endpoint.path): endpoint.handler
            for vendor in (
                mountsea(self._house),
                openai_organization(self._house),
                openrouter(self._house),
                r9s(self._house),
            )
            for endpoint in vendor.endpoints
        }
        access: Any = Access(database)
        nobody: Any = None  # only what reads is asked
        self._usage = UsageRecords(self._house, access, nobody)
        self._transactions = Transactions(self._house, access, nobody, nobody)

    def cases(self) -> Iterator[Case]:
        """Every query, of accounts of three sizes and of all."""
        for who, rank in SIZES.items():
            for surface, what, ask in (
                *self._of_surfaces(rank),
                *self._of_credits_dev(rank),
                *self._of_admin(account_id(rank)),
            ):
                yield Case(surface, what, who, ask)
        for surface, what, ask in (*self._of_organization(None), *self._of_credits_dev(None), *self._of_admin(None)):
            yield Case(surface, what, ALL, ask)

    def _of_surfaces(self, rank: int) -> Iterator[tuple[str, str, Ask]]:
        account, key = account_id(rank), key_ids(rank)[0]
        caller, manager = _caller(account, key, USER), _caller(account, key, MANAGER)

        def search(path: str, days: int, **body: object) -> Ask:
            def ask(chance: random.Random) -> Awaitable[object]:
                start, end = _range(chance, days)
                asked = {"dateRange": {"start": start, "end": end}, "limit": 100, **body}
                return self._surface("mountsea", path, caller, body=asked)

            return ask

        chat = ID_OF["chat"]
        trace = f"{random.Random(rank).getrandbits(128):032x}"
        usage_path, points_path = "/api-user/usage/search", "/api-user/points/search"
        yield "mountsea", "usage, 30 days, first page", search(usage_path, 30)
        yield "mountsea", "usage, 60 days, chat", search(usage_path, 60, serviceId=chat)
        yield "mountsea", "usage, 60 days, failed", search(usage_path, 60, status="failed")
        yield "mountsea", "usage, 30 days, page 100", search(usage_path, 30, page=100)
        yield "mountsea", "usage, 60 days, one trace", search(usage_path, 60, traceId=trace)
        yield "mountsea", "points, 30 days, first page", search(points_path, 30)
        yield "mountsea", "points, 60 days, chat", search(points_path, 60, serviceId=chat)

        def portal(days: int, **more: str) -> Ask:
            def ask(chance: random.Random) -> Awaitable[object]:
                start, end = (str(at // 1000) for at in _range(chance, days))
                return self._surface(
                    "r9s", "/api/v1/portal/management/usage", manager, start_time=start, end_time=end, **more
                )

            return ask

        yield "r9s", "30 days, 1000 calls, total", portal(30, pagesize="1000")
        yield "r9s", "60 days, by day", portal(60, granularity="day")
        yield "OpenRouter and LiteLLM", "what a key has spent", lambda _: spending(self._house, caller, END_MS)
        yield from self._of_organization(manager)

    def _of_organization(self, manager: Caller | None) -> Iterator[tuple[str, str, Ask]]:
        who = manager or _ROOT

        def ask_for(path: str, days: int, **more: str) -> Ask:
            def ask(chance: random.Random) -> Awaitable[object]:
                start, end = (str(at // 1000) for at in _range(chance, days))
                params = {"start_time": start, "end_time": end, **more}
                return self._surface("openai-organization", f"/v1/organization/{path}", who, **params)

            return ask

        name = "OpenAI organization"
        yield name, "completions, 30 days by model", ask_for("usage/completions", 30, limit="31", group_by="model")
        yield name, "costs, 60 days", ask_for("costs", 60, limit="180")
        yield name, "costs, 30 days by account", ask_for("costs", 30, limit="31", group_by="project_id")
        yield name, "completions, 7 days by hour", ask_for("usage/completions", 7, limit="168", bucket_width="1h")
        yield name, "completions, a day by minute", ask_for("usage/completions", 1, limit="1440", bucket_width="1m")
        yield name, "completions, 7 days by key", ask_for("usage/completions", 7, limit="7", group_by="api_key_id")

    def _of_credits_dev(self, rank: int | None) -> Iterator[tuple[str, str, Ask]]:
        who = _ROOT if rank is None else _caller(account_id(rank), key_ids(rank)[0], USER)
        handlers = {"usage": self._usage.list, "transactions": self._transactions.list}

        def ask_for(which: str, days: int, **more: str) -> Ask:
            def ask(chance: random.Random) -> Awaitable[object]:
                start, end = (instant(at) for at in _range(chance, days))
                return handlers[which](_query(who, {"startDate": start, "endDate": end, "limit": "100", **more}))

            return ask

        yield "credits.dev", "usage, 30 days", ask_for("usage", 30)
        yield "credits.dev", "usage, 30 days, a rare model", ask_for("usage", 30, modelId="gpt-image-1")
        yield "credits.dev", "usage, 30 days, offset 10,000", ask_for("usage", 30, offset="10000")
        yield "credits.dev", "usage summary, 60 days", ask_for("usage", 60, summary="true")
        yield "credits.dev", "transactions, 30 days", ask_for("transactions", 30)

    def _of_admin(self, account: str | None) -> Iterator[tuple[str, str, Ask]]:
        def summary(days: int, group_by: str) -> Ask:
            return self._admin(summaries.summarize, summaries.SummaryQuery, days, account, group_by=group_by)

        def search(**more: object) -> Ask:
            return self._admin(usage.search_usage, usage.UsageQuery, 60, account, **more)

        def entries(**more: object) -> Ask:
            return self._admin(ledger_entries.search_ledger_entries, ledger_entries.EntryQuery, 60, account, **more)

        name = "admin"
        yield name, "summary, 30 days by day", summary(30, "day")
        yield name, "summary, 60 days by model, provider", summary(60, "model,provider")
        yield name, "summary, 30 days by account", summary(30, "account")
        yield name, "summary, 30 days by key", summary(30, "key")
        yield name, "summary, 30 days by account, model", summary(30, "account,model")
        yield name, "summary, 30 days by status", summary(30, "status")
        yield name, "summary, a day by hour, service", summary(1, "hour,service")
        yield name, "summary, a day by a tag", summary(1, "tag:team")
        yield name, "summary, 30 days by a tag", summary(30, "tag:team")
        yield name, "usage, newest", search()
        yield name, "usage, a rare model", search(model="gpt-image-1")
        yield name, "usage, a trace that is not there", search(trace_id="0" * 32)
        yield name, "entries, newest", entries()
        yield name, "entries of a kind that is not there", entries(kind="refund")
        if account is None:
            yield name, "accounts, by name", lambda _: self._accounts()

            async def one(chance: random.Random) -> object:
                row = await self._database.fetch_one("newest_calls", row_limit=1 + chance.randrange(20))
                return await usage_of_call(self._database, str((row or {})["call_id"]))

            yield name, "one call by its id", one

    def _admin(
        self, handler: Callable[[Any], Awaitable[object]], shape: Any, days: int, account: str | None, **more: object
    ) -> Ask:
        def ask(chance: random.Random) -> Awaitable[object]:
            start, end = _range(chance, days)
            return handler(self._call(shape(account=account, from_at=start, to_at=end, **more)))

        return ask

    def _accounts(self) -> Awaitable[object]:
        return admin_accounts.list_accounts(self._call(admin_accounts.AccountQuery(q="account 29")))

    def _call(self, query: object) -> Any:
        nobody: Any = None  # only what reads is asked
        directory = Directory(self._database, nobody, nobody, nobody)
        office = SimpleNamespace(database=self._database, cursors=Cursors("bench"), directory=directory, clock=None)
        transport = object()  # somebody waits for the answer
        return SimpleNamespace(
            office=office, query=query, list_name="bench", directory=directory, after=lambda: None,
            request=SimpleNamespace(transport=transport), page=lambda rows, _: (rows, None),
        )  # fmt: skip

    def _surface(
        self, vendor: str, path: str, who: Caller | Administrator, body: dict[str, Any] | None = None, **params: str
    ) -> Awaitable[object]:
        return self._vendors[vendor, path](_query(who, params, body, path))


_ROOT = Administrator("root", "root", (ROOT,))


def _caller(account: str, key: str, kind: str) -> Caller:
    return Caller(account, account, key, kind, 1, (), {}, None, (), None, None, "")


def _query(
    who: Caller | Administrator, params: dict[str, Any], body: dict[str, Any] | None = None, path: str = ""
) -> Query:
    lists = {name: [str(value)] for name, value in params.items()}
    exchange: Any = SimpleNamespace(path=path)
    return Query(exchange=exchange, call_id="", at_ms=END_MS, who=who, params=lists, body=body or {})


def _range(chance: random.Random, days: int) -> tuple[int, int]:
    """So many days that end now or up to three days before: torn at both ends."""
    end = END_MS - chance.choice((0, chance.randrange(3 * DAY_MS)))
    return max(end - days * DAY_MS, END_MS - 60 * DAY_MS), end

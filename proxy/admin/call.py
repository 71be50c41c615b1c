"""One request of an administrator as its handler sees it, and what handlers work on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
from aiohttp import web

from proxy.core.cursors import MAX_CURSOR

if TYPE_CHECKING:
    from proxy.accounts.administrators import Administrator, Administrators
    from proxy.accounts.desk import Desk
    from proxy.accounts.directory import Directory
    from proxy.admin.auditing import Auditor
    from proxy.admin.reloading import Settings
    from proxy.core.clock import Clock
    from proxy.core.cursors import Cursors, SortKey
    from proxy.ledger.connection import RedisConnection
    from proxy.ledger.ledger import Ledger
    from proxy.ledger.open_holds import OpenHolds
    from proxy.sql.database import Database

T = TypeVar("T")
MAX_LIMIT = 1000

Limit = Annotated[int, msgspec.Meta(ge=1, le=MAX_LIMIT, description="How many items a page has at most.")]
Cursor = Annotated[
    str,
    msgspec.Meta(
        min_length=1, max_length=MAX_CURSOR, description="`next_cursor` of the page before, with the same filters."
    ),
]


class PageQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The query of every list; filters are added by inheriting."""

    limit: Limit = 100
    cursor: Cursor | None = None


@dataclass(frozen=True, slots=True)
class Office:
    """Everything that handlers work on. `settings` is the configuration as it was last reloaded, `desk` every credit operation."""

    settings: Settings
    database: Database
    redis: RedisConnection
    ledger: Ledger
    directory: Directory
    desk: Desk
    administrators: Administrators
    cursors: Cursors
    open_holds: OpenHolds
    auditor: Auditor
    clock: Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request that was authenticated, allowed and read. `parts` are the path's, decoded; `query` and `body` have the endpoint's
    shapes; `resource_id` is what an endpoint with `makes` gives the thing that it makes; `list_name` names the list for its cursors.
    """

    request: web.Request
    request_id: str
    administrator: Administrator
    office: Office
    parts: Mapping[str, str]
    query: Any
    body: Any
    idempotency_key: str | None
    resource_id: str
    list_name: str

    @property
    def actor(self) -> str:
        """Who asks, for logs and ledger entries."""
        return self.administrator.actor

    @property
    def directory(self) -> Directory:
        """Accounts and API keys, changed in the name of who asks."""
        return self.office.directory.acting_as(self.actor)

    def after(self) -> list[int | str] | None:
        """The sort key in the query's cursor; None on the first page. Raises InvalidRequest."""
        cursor = self.query.cursor
        return None if cursor is None else self.office.cursors.load(self.list_name, cursor)

    def page(self, found: Sequence[T], key: Callable[[T], SortKey]) -> tuple[Sequence[T], str | None]:
        """A page and the cursor of the next one, of `limit + 1` rows (or less: then there is no next one)."""
        limit: int = self.query.limit
        if len(found) <= limit:
            return found, None
        return found[:limit], self.office.cursors.dump(self.list_name, key(found[limit - 1]))


Handler = Callable[[Call], Awaitable["msgspec.Struct | web.StreamResponse"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One row of the API. From these rows follow routing, checking, and what openapi.yaml says.

    `path` is below /admin/v1; `right` is what the administrator must have (read, operate, finance, root); `answer` the shape of the
    answer, or a media type where the handler makes the response itself (a stream); `makes` the prefix of the id of the thing that
    it makes, which lets a request carry an Idempotency-Key; `shown_once` members of the answer that a repeat does not get;
    `refusals` the codes beyond those that every endpoint may answer with, as status and code.
    """

    method: str
    path: str
    right: str
    handler: Handler
    summary: str
    tag: str
    answer: type[msgspec.Struct] | str
    query: type[msgspec.Struct] | None = None
    body: type[msgspec.Struct] | None = None
    status: int = 200
    makes: str | None = None
    takes_idempotency_key: bool = False
    shown_once: tuple[str, ...] = ()
    refusals: tuple[tuple[int, str], ...] = ()

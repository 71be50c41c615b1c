"""The administrators' search: usage records and ledger entries of one account or of all, by filters, newest first or in slices.

Whatever the filters leave out, one request looks at no more than `SCANNED` rows: a page may therefore be short, even empty, with more
behind it. Rows are read by (account, instant) or by instant, from an index; a call, or an operation, that is named is looked up
by its own. Instants are Unix milliseconds, amounts microcredits; every text is compared as a whole, and none is a pattern.
"""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import msgspec

from proxy.core.money import MAX_AMOUNT
from proxy.sql.database import Database, Params, Row, Value, text

SCANNED = 5_000
SLICE = 1_000
FOREVER_MS = 2**53 - 1
_OF_ONE_CALL = 1_000  # a call has a charge, perhaps a correction, and its refunds

Place = tuple[int | str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFilter:
    """What is wanted of a call. `tag` is a name, or a name and a value; `status` the answer's."""

    key_id: str | None = None
    provider: str | None = None
    model: str | None = None
    outcome: str | None = None
    status: int | None = None
    settlement_basis: str | None = None
    trace_id: str | None = None
    tag: tuple[str, str | None] | None = None

    @property
    def asks(self) -> bool:
        """Whether anything is wanted at all."""
        return self != CallFilter()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which rows: from `from_at` (included) to `to_at` (not), of calls like `call`; amounts (a record's charge, an entry's signed
    amount) from `min_microcredits` to `max_microcredits`. `kind`, `actor` and what follows are of ledger entries alone.
    """

    account_id: str | None = None
    from_at: int = 0
    to_at: int = FOREVER_MS
    min_microcredits: int = -MAX_AMOUNT
    max_microcredits: int = MAX_AMOUNT
    call_id: str | None = None
    call: CallFilter = field(default_factory=CallFilter)
    kind: str | None = None
    actor: str | None = None
    idempotency_key: str | None = None
    operation_id: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """Rows, newest first, and where the next page begins; None where nothing is behind them."""

    rows: list[Row]
    place: Place | None


@dataclass(frozen=True, slots=True)
class Shelf:
    """How one of the two tables is read: its queries' prefix, its amount, and the sort key with what is below all of an instant."""

    name: str
    amount: str
    key: tuple[str, ...]
    lowest: Place

    def place_of(self, row: Row) -> Place:
        """The row's sort key."""
        return tuple(_part(row[column]) for column in self.key)

    def at(self, instant: int) -> Place:
        """Below every row of this instant."""
        return (instant, *self.lowest)


USAGE = Shelf("usage", "charge_microcredits", ("at", "call_id"), ("",))
ENTRIES = Shelf("entries", "amount_microcredits", ("at", "account_id", "seq"), ("", 0))


async def newest(
    database: Database, shelf: Shelf, wanted: Wanted, *, limit: int, before: Place | None = None, scanned: int = SCANNED
) -> Found:
    """A page of at most `limit` rows, newest first; `before` is the place that the page before ended with.

    Raises DatabaseUnavailable.
    """
    if wanted.call_id is not None or wanted.operation_id is not None:
        rows = await _named(database, shelf, wanted)
        rows = rows if before is None else [row for row in rows if shelf.place_of(row) < before]
        return Found(rows[:limit], shelf.place_of(rows[limit - 1]) if len(rows) > limit else None)
    low, high = shelf.at(wanted.from_at), before or shelf.at(wanted.to_at)
    edge = await edge_of(database, shelf, wanted, (low, high), way="down", skipped=scanned - 1)
    low = low if edge is None else edge
    page = await _slice(database, shelf, wanted, (low, high), limit + 1)
    place = edge
    if len(page) > limit:
        page, place = page[:limit], shelf.place_of(page[limit - 1])
    return Found(await _tagged(database, shelf, wanted, page), place)


async def slices(database: Database, shelf: Shelf, wanted: Wanted, *, size: int = SLICE) -> AsyncIterator[list[Row]]:
    """Everything that is wanted, oldest first, in lists that may be empty: each is what is left of `size` rows.

    Memory is that of one slice; no query stays open between two of them. Raises DatabaseUnavailable.
    """
    if wanted.call_id is not None or wanted.operation_id is not None:
        yield (await _named(database, shelf, wanted))[::-1]
        return
    low, end = shelf.at(wanted.from_at), shelf.at(wanted.to_at)
    while True:
        edge = await edge_of(database, shelf, wanted, (low, end), way="up", skipped=size)
        page = await _slice(database, shelf, wanted, (low, edge or end), size)
        yield (await _tagged(database, shelf, wanted, page))[::-1]
        if edge is None:
            return
        low = edge


async def edge_of(
    database: Database, shelf: Shelf, wanted: Wanted, between: tuple[Place, Place], *, way: str, skipped: int
) -> Place | None:
    """The place of the row behind so many others, None where there are not as many."""
    of = "all" if wanted.account_id is None else "account"
    params = {**bounds_of(shelf, wanted, between), "skipped": skipped}
    row = await database.fetch_one(f"admin_{shelf.name}_edge_{way}_of_{of}", **params)
    return None if row is None else shelf.place_of(row)


async def _slice(
    database: Database, shelf: Shelf, wanted: Wanted, between: tuple[Place, Place], limit: int
) -> list[Row]:
    of = "all" if wanted.account_id is None else "account"
    params = {**bounds_of(shelf, wanted, between), **_filters(shelf, wanted), "row_limit": limit}
    return await database.fetch(f"admin_{shelf.name}_of_{of}", **params)


def bounds_of(shelf: Shelf, wanted: Wanted, between: tuple[Place, Place]) -> dict[str, Value]:
    """The parameters of a slice: whose rows, from the first place (included) to the second (not)."""
    found: dict[str, Value] = {} if wanted.account_id is None else {"account_id": wanted.account_id}
    for side, place in zip(("low", "high"), between, strict=True):
        found |= {f"{side}_{column}": part for column, part in zip(shelf.key, place, strict=True)}
    return found


def _filters(shelf: Shelf, wanted: Wanted) -> dict[str, Value]:
    found: dict[str, Value] = {
        **_equalities(wanted.call),
        "tag": _fragment(wanted.call.tag),
        "min_microcredits": wanted.min_microcredits,
        "max_microcredits": wanted.max_microcredits,
    }
    if shelf is ENTRIES:
        found |= _of_entry(wanted) | {"by_call": int(wanted.call.asks)}
    return found


def _equalities(call: CallFilter) -> dict[str, Value]:
    return {
        "key_id": call.key_id,
        "provider": call.provider,
        "model": call.model,
        "outcome": call.outcome,
        "status": call.status,
        "settlement_basis": call.settlement_basis,
        "trace_id": call.trace_id,
    }


def _of_entry(wanted: Wanted) -> dict[str, Value]:
    return {"kind": wanted.kind, "actor": wanted.actor, "idempotency_key": wanted.idempotency_key}


def _fragment(tag: tuple[str, str | None] | None) -> str:
    """The tag as it stands in the JSON text, which the recorder writes without spaces."""
    if tag is None:
        return ""
    name, value = tag
    return msgspec.json.encode(name).decode() + ":" + ("" if value is None else msgspec.json.encode(value).decode())


async def _tagged(database: Database, shelf: Shelf, wanted: Wanted, rows: list[Row]) -> list[Row]:
    """Without the rows whose tags only look like the wanted one: a name that ends like another one, behind a quotation mark."""
    if wanted.call.tag is None or not rows:
        return rows
    if shelf is USAGE:
        return [row for row in rows if has_tag(row, wanted.call.tag)]
    calls = {call_id: await _record(database, call_id) for call_id in {text(row, "call_id") for row in rows}}
    return [row for row in rows if has_tag(calls[text(row, "call_id")] or {"tags": "{}"}, wanted.call.tag)]


async def _named(database: Database, shelf: Shelf, wanted: Wanted) -> list[Row]:
    """The rows of a call or an operation that is named, newest first, with every other filter applied to them."""
    if shelf is USAGE:
        record = None if wanted.call_id is None else await _record(database, wanted.call_id)
        rows = [] if record is None else [record]
    elif wanted.operation_id is not None:
        rows = await database.fetch("ledger_entry_by_operation", operation_id=wanted.operation_id)
    else:
        rows = await database.fetch("admin_entries_of_call", call_id=wanted.call_id, row_limit=_OF_ONE_CALL)
    found = []
    for row in rows:
        record = row if shelf is USAGE else await _record(database, row["call_id"])
        if _is_wanted(shelf, wanted, row) and (not wanted.call.asks or _is_like(record, wanted.call)):
            found.append(row)
    return found


def _is_wanted(shelf: Shelf, wanted: Wanted, row: Row) -> bool:
    """What SQL says of the rows of a slice, of a row that was looked up."""
    asked: dict[str, Value] = {"account_id": wanted.account_id, "call_id": wanted.call_id}
    if shelf is ENTRIES:
        asked |= _of_entry(wanted)
    amount, at = row[shelf.amount], row["at"]
    assert isinstance(amount, int)
    assert isinstance(at, int)
    within = wanted.from_at <= at < wanted.to_at and wanted.min_microcredits <= amount <= wanted.max_microcredits
    return within and _equal(row, asked)


def _is_like(record: Row | None, call: CallFilter) -> bool:
    if record is None:
        return False
    return _equal(record, _equalities(call)) and (call.tag is None or has_tag(record, call.tag))


def _equal(row: Row, asked: Params) -> bool:
    return all(value is None or row[name] == value for name, value in asked.items())


def has_tag(record: Row, tag: tuple[str, str | None]) -> bool:
    """Whether a usage record's row carries the tag, with this value where one is wanted."""
    tags = json.loads(text(record, "tags"))
    name, value = tag
    return name in tags and (value is None or tags[name] == value)


async def _record(database: Database, call_id: Value) -> Row | None:
    return None if call_id is None else await database.fetch_one("usage_record", call_id=call_id)


def _part(value: Value) -> int | str:
    assert value is not None, "a sort key is never null"
    return value

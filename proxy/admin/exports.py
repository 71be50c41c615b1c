"""/admin/v1/exports: usage records and ledger entries as files of CSV or JSON lines, streamed, oldest first.

Memory is that of one slice of rows, however long the file. Nothing is read ahead of the client: one that reads slowly holds no
query open, and one that hangs up ends the export at the next slice. Without `to_at` it ends at the moment when it was asked for.
A file that could not be read to its end ends in a broken connection, never as if it were whole.
"""

import logging
from dataclasses import replace

from aiohttp import web

from proxy.accounts.administrators import READ
from proxy.admin.call import Call, Endpoint
from proxy.admin.search_shapes import EntryFilters, UsageFilters, wanted_of
from proxy.core.errors import FareboxError
from proxy.records.exports import CSV, JSONL, lines
from proxy.records.search import ENTRIES, FOREVER_MS, USAGE, Shelf

log = logging.getLogger("farebox.admin")

TAG = "Exports"
_TYPES = {CSV: "text/csv", JSONL: "application/jsonl"}


class UsageExport(UsageFilters, kw_only=True, forbid_unknown_fields=True):
    """Which usage records are exported."""


class EntryExport(EntryFilters, kw_only=True, forbid_unknown_fields=True):
    """Which ledger entries are exported."""


async def export_usage_csv(call: Call) -> web.StreamResponse:
    """Usage records as CSV."""
    return await _export(call, USAGE, CSV, "usage")


async def export_usage_jsonl(call: Call) -> web.StreamResponse:
    """Usage records as JSON lines."""
    return await _export(call, USAGE, JSONL, "usage")


async def export_ledger_entries_csv(call: Call) -> web.StreamResponse:
    """Ledger entries as CSV."""
    return await _export(call, ENTRIES, CSV, "ledger-entries")


async def export_ledger_entries_jsonl(call: Call) -> web.StreamResponse:
    """Ledger entries as JSON lines."""
    return await _export(call, ENTRIES, JSONL, "ledger-entries")


async def _export(call: Call, shelf: Shelf, form: str, name: str) -> web.StreamResponse:
    wanted = await wanted_of(call, call.query)
    if wanted.to_at == FOREVER_MS:
        wanted = replace(wanted, to_at=call.office.clock.now_ms() + 1)
    response = web.StreamResponse(
        headers={
            "content-type": f"{_TYPES[form]}; charset=utf-8",
            "content-disposition": f'attachment; filename="farebox-{name}.{form}"',
            "cache-control": "no-store",
            "x-content-type-options": "nosniff",
            "x-request-id": call.request_id,
        }
    )
    pieces = lines(call.office.database, shelf, wanted, form)
    first = await anext(pieces, b"")  # what cannot be read at all is refused before the answer begins
    await response.prepare(call.request)
    try:
        await response.write(first)
        async for piece in pieces:
            if call.request.transport is None:
                break
            if piece:
                await response.write(piece)
        await response.write_eof()
    except ConnectionError:
        log.info("request %s: the client left its export", call.request_id)
    except FareboxError as error:
        log.warning("request %s: an export was cut short: %s", call.request_id, error.code)
        if call.request.transport is not None:
            call.request.transport.abort()
    return response


_REFUSALS = ((404, "account_not_found"), (404, "key_not_found"))

ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/exports/usage.csv",
        right=READ,
        handler=export_usage_csv,
        summary="Usage records as CSV, oldest first.",
        tag=TAG,
        query=UsageExport,
        answer="text/csv",
        refusals=_REFUSALS,
    ),
    Endpoint(
        method="GET",
        path="/exports/usage.jsonl",
        right=READ,
        handler=export_usage_jsonl,
        summary="Usage records as JSON lines, oldest first.",
        tag=TAG,
        query=UsageExport,
        answer="application/jsonl",
        refusals=_REFUSALS,
    ),
    Endpoint(
        method="GET",
        path="/exports/ledger-entries.csv",
        right=READ,
        handler=export_ledger_entries_csv,
        summary="Ledger entries as CSV, oldest first.",
        tag=TAG,
        query=EntryExport,
        answer="text/csv",
        refusals=_REFUSALS,
    ),
    Endpoint(
        method="GET",
        path="/exports/ledger-entries.jsonl",
        right=READ,
        handler=export_ledger_entries_jsonl,
        summary="Ledger entries as JSON lines, oldest first.",
        tag=TAG,
        query=EntryExport,
        answer="application/jsonl",
        refusals=_REFUSALS,
    ),
)

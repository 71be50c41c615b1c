"""The overview page: accounts with their balances and the last calls, drawn on the server, without a script."""

from __future__ import annotations

import html
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from proxy.core.errors import Unavailable
from proxy.core.money import MAX_AMOUNT, format_credits

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from proxy.ledger.ledger import Ledger
    from proxy.sql.database import Database, Row

_ACCOUNTS = 50
_CALLS = 50


async def overview_page(database: Database, ledger: Ledger) -> str:
    """The page as HTML; everything that came from outside is escaped."""
    accounts = await database.fetch("list_accounts", before_created_at=MAX_AMOUNT, before_id="", row_limit=_ACCOUNTS)
    calls = await database.fetch("newest_calls", row_limit=_CALLS)
    names = {str(row["id"]): str(row["name"]) for row in accounts}
    body = [
        "<h1>Farebox</h1><h2>Accounts</h2>",
        _table(
            ("Account", "Id", "Status", "Credits", "Held"), [await _account(row, ledger) for row in accounts], numbers=2
        ),
        "<h2>Last calls</h2>",
        _table(
            ("At (UTC)", "Account", "Provider", "Model", "Outcome", "Basis", "Input", "Output", "Credits"),
            [_call(row, names) for row in calls],
            numbers=3,
        ),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Farebox</title>'
        f'<link rel="stylesheet" href="/style.css"></head><body>{"".join(body)}</body></html>'
    )


async def _account(row: Row, ledger: Ledger) -> tuple[object, ...]:
    try:
        balance = await ledger.balance(str(row["id"]))
    except Unavailable:
        balance = None
    money = (
        ("", "")
        if balance is None
        else (format_credits(balance.posted_microcredits), format_credits(balance.held_microcredits))
    )
    return (row["name"], row["id"], row["status"], *money)


def _call(row: Row, names: dict[str, str]) -> tuple[object, ...]:
    at = datetime.fromtimestamp(int(str(row["at"])) // 1000, tz=UTC).strftime("%Y-%m-%d %H:%M:%S")
    account = names.get(str(row["account_id"]), row["account_id"])
    charge = format_credits(int(str(row["charge_microcredits"])))
    plain = (
        row["provider"],
        row["model"],
        row["outcome"],
        row["settlement_basis"],
        row["input_tokens"],
        row["output_tokens"],
    )
    return (at, account, *plain, charge)


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: int) -> str:
    """`numbers`: how many columns at the end are aligned right."""
    first_number = len(columns) - numbers

    def cells(tag: str, row: Sequence[object]) -> str:
        return "".join(
            f"<{tag}{' class=number' if index >= first_number else ''}>{html.escape(str(cell))}</{tag}>"
            for index, cell in enumerate(row)
        )

    head = f"<tr>{cells('th', columns)}</tr>"
    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f"<table>{head}{body}</table>"

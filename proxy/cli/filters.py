"""Options by which usage records and ledger entries are searched: `--since`, `--until`, and what is wanted of their calls."""

from collections.abc import Callable, Mapping
from typing import Any

import click

from proxy.cli.context import past_from
from proxy.core import records
from proxy.records.search import FOREVER_MS, CallFilter, Wanted

OUTCOMES = (
    records.COMPLETED,
    records.CLIENT_LEFT,
    records.UPSTREAM_FAILED,
    records.TIMED_OUT,
    records.REFUSED,
    records.CUT,
    records.ABANDONED,
)
_INSTANT = "2026-11-01, 2026-11-01T18:00 (UTC), or 30d, 12h, 90m ago."
_OPTIONS = (
    click.option("--since", metavar="WHEN", help=f"From then on: {_INSTANT}"),
    click.option("--until", metavar="WHEN", help="Before then."),
    click.option("--model", metavar="NAME", help="Of calls of this model."),
    click.option("--provider", metavar="NAME", help="Of calls to this provider."),
    click.option("--key", "key_id", metavar="KEY_ID", help="Of calls with this API key."),
    click.option("--outcome", type=click.Choice(OUTCOMES), help="Of calls that ended so."),
)
Named = Mapping[str, str | None]


def between_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds `--since` and `--until`, which the command hands to `between`."""
    for option in reversed(_OPTIONS[:2]):
        command = option(command)
    return command


def filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds all of them, which the command takes as keywords and hands to `wanted_from`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def between(since: str | None, until: str | None) -> tuple[int, int]:
    """From (included) and to (not) in Unix milliseconds. Raises click's UsageError."""
    from_at = 0 if since is None else past_from(since)
    to_at = FOREVER_MS if until is None else past_from(until)
    if from_at >= to_at:
        raise click.UsageError("--until must be later than --since")
    return from_at, to_at


def wanted_from(account_id: str | None, named: Named, *, kind: str | None = None) -> Wanted:
    """Which rows: `named` are the values of the options. Raises click's UsageError."""
    from_at, to_at = between(named["since"], named["until"])
    call = CallFilter(
        key_id=named["key_id"], provider=named["provider"], model=named["model"], outcome=named["outcome"]
    )
    return Wanted(account_id=account_id, from_at=from_at, to_at=to_at, call=call, kind=kind)

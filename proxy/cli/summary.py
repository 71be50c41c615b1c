"""`farebox usage-summary`: sums of usage records. Redis need not be there."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

import click

from proxy.cli.context import json_option, print_json, print_table, progress, run_async, with_config
from proxy.cli.filters import between as between_instants
from proxy.cli.filters import between_options
from proxy.cli.stores import using_database
from proxy.config import Config
from proxy.core.money import format_credits
from proxy.records.queries import find_account_id
from proxy.records.search import CallFilter, Wanted
from proxy.records.sums import DAY_MS, HOUR_MS, NO_STATUS, Asked, usage_sums
from proxy.records.tag_sums import TagSums
from proxy.sql.database import Database, Row, integer, text

DAY, HOUR, TAG = "day", "hour", "tag:"
DIMENSIONS = ("account", "key", "provider", "model", "service", "status")
_WIDTHS = {DAY: DAY_MS, HOUR: HOUR_MS}
_SUMS = ("calls", "input_tokens", "output_tokens", "cached_tokens", "cost_nano_usd", "charge_microcredits")
_COLUMN = {**{name: name for name in DIMENSIONS}, "account": "account_id", "key": "key_id"}
_MOST = 100_000


def _dimensions(ctx: click.Context, parameter: click.Parameter, values: Sequence[str]) -> tuple[str, ...]:
    del ctx, parameter
    for value in values:
        if value not in {*_WIDTHS, *DIMENSIONS} and not (value.startswith(TAG) and len(value) > len(TAG)):
            raise click.BadParameter(f"{value!r} is none of {', '.join((*_WIDTHS, *DIMENSIONS))}, {TAG}NAME")
    if len(values) > 1 and any(value.startswith(TAG) for value in values):
        raise click.BadParameter(f"{TAG}NAME stands alone")
    if set(_WIDTHS) <= set(values):
        raise click.BadParameter("by day or by hour, not both")
    return tuple(dict.fromkeys(values)) or (DAY,)


@click.command()
@click.option("--account", "reference", metavar="ACCOUNT", help="Only this account's; else everybody's.")
@click.option(
    "--by",
    multiple=True,
    callback=_dimensions,
    metavar="WHAT",
    help=f"{DAY} (the default) or {HOUR}, {', '.join(DIMENSIONS)} (repeatable), or {TAG}NAME (reads every record).",
)
@between_options
@click.option("--model", metavar="NAME", help="Only this model.")
@click.option("--provider", metavar="NAME", help="Only this provider.")
@click.option("--key", "key_id", metavar="KEY_ID", help="Only this API key.")
@json_option
@with_config
def usage_summary(
    config: Config,
    *,
    reference: str | None,
    by: tuple[str, ...],
    since: str | None,
    until: str | None,
    as_json: bool,
    **named: str | None,
) -> None:
    """Calls, tokens, cost and charge by UTC day or hour, model, provider, account, key, service, status or tag; with --json one object a line."""
    from_at, to_at = between_instants(since, until)
    call = CallFilter(**{name: value for name, value in named.items() if value is not None})  # type: ignore[arg-type]  # texts

    async def work() -> list[dict[str, object]]:
        async with using_database(config) as database:
            account_id = None if reference is None else await find_account_id(database, reference)
            wanted = Wanted(account_id=account_id, from_at=from_at, to_at=to_at, call=call)
            if by[0].startswith(TAG):
                return await _by_tag(database, wanted, by[0].removeprefix(TAG))
            return [_shown(row, by) for row in await usage_sums(database, _asked(wanted, by))]

    found = run_async(work())
    if as_json:
        for one in found:
            print_json(one)
        return
    names = [name for name in found[0] if name not in _SUMS] if found else []
    columns = (*(name.upper() for name in names), "CALLS#", "IN#", "CACHED#", "OUT#", "COST USD#", "CREDITS#")
    print_table(columns, (_cells(one, names) for one in found), empty="No calls like that.")


def _asked(wanted: Wanted, by: Iterable[str]) -> Asked:
    call = wanted.call
    return Asked(
        from_at=wanted.from_at,
        to_at=wanted.to_at,
        account_id=wanted.account_id or "",
        key_ids=() if call.key_id is None else (call.key_id,),
        providers=() if call.provider is None else (call.provider,),
        models=() if call.model is None else (call.model,),
        width_ms=_width(by),
        by=frozenset(by) - set(_WIDTHS),
        row_limit=_MOST,
    )


def _shown(row: Row, by: Iterable[str]) -> dict[str, object]:
    named: dict[str, object] = {}
    for one in by:
        if one in _WIDTHS:
            begins = datetime.fromtimestamp(integer(row, "bucket") * _width(by) // 1000, UTC)
            named[one] = begins.strftime("%Y-%m-%d" if one == DAY else "%Y-%m-%dT%H:%M")
        elif one == "status":
            named[one] = None if integer(row, one) == NO_STATUS else integer(row, one)
        else:
            named[_COLUMN[one]] = text(row, _COLUMN[one])
    return named | {name: integer(row, name) for name in _SUMS}


def _width(by: Iterable[str]) -> int:
    """The width of a day or an hour in milliseconds; 0: one sum of all."""
    return next((_WIDTHS[one] for one in by if one in _WIDTHS), 0)


async def _by_tag(database: Database, wanted: Wanted, name: str) -> list[dict[str, object]]:
    """Sums by the value of one tag, None for calls without it; every record that fits is read."""
    sums = TagSums(name, wanted)
    with progress("values") as shown:
        async for count in sums.read(database):
            shown(count)
    by_value = sorted(sums.found.items(), key=lambda one: (one[0][-1] is None, str(one[0][-1])))
    return [{"tag": group[-1], **{column: of[column] for column in _SUMS}} for group, of in by_value]


def _cells(one: Mapping[str, object], names: Iterable[str]) -> tuple[object, ...]:
    cost, charge = one["cost_nano_usd"], one["charge_microcredits"]
    assert isinstance(cost, int)
    assert isinstance(charge, int)
    usd = f"{cost // 10**9}.{cost % 10**9:09d}"
    return (
        *(one[name] for name in names),
        one["calls"],
        one["input_tokens"],
        one["cached_tokens"],
        one["output_tokens"],
        usd,
        format_credits(charge),
    )

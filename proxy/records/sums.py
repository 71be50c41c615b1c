"""Sums of usage records by hour and day, so that a summary of millions of calls reads thousands of rows. Pure but for SQL.

The recorder writes sums in the commit that writes the records: what its calls had in SQL before is taken off and what they have
after is added, so sums equal `SELECT ... GROUP BY` of the records whatever was repeated, overridden or refused. A summary takes
whole days and hours from the sums, its torn ends from the records, in one statement, so it is exact to the millisecond.
Instants in Unix milliseconds, days and hours of UTC.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from proxy.sql.database import Database, Params, Row, Step, Value, integer, optional_integer

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
MARK = "\x1f"  # around each text of a list
_BETWEEN = "\x1e"  # two marks in a row would be the empty text, among them
NO_STATUS = -1


def _grain(name: str, width_ms: int, *by: str) -> Params:
    return {
        "grain": name,
        "width_ms": width_ms,
        **{f"by_{one}": int(one in by) for one in ("account", "key", "model", "status")},
    }


# Model stands for provider and service too: those grains that go by the one go by the others.
GRAINS: tuple[Params, ...] = (
    _grain("hour", HOUR_MS, "account", "key", "model", "status"),
    _grain("day", DAY_MS, "account", "key", "model", "status"),
    _grain("account_day", DAY_MS, "account"),
    _grain("model_hour", HOUR_MS, "model", "status"),
    _grain("model_day", DAY_MS, "model", "status"),
)
ACCOUNT, KEY, PROVIDER, MODEL, SERVICE, STATUS = "account", "key", "provider", "model", "service", "status"
_DIMENSIONS = (ACCOUNT, KEY, PROVIDER, MODEL, SERVICE, STATUS)
_OF_MODELS = frozenset({PROVIDER, MODEL, SERVICE, STATUS})


def steps(rows: Sequence[Params]) -> list[Step]:
    """What stores usage records (parameters of `upsert_usage_record`) with their sums, in one transaction."""
    if not rows:
        return []
    calls = [{"call_id": call_id} for call_id in dict.fromkeys(row["call_id"] for row in rows)]
    return [
        ("note_usage_before", calls),
        ("upsert_usage_record", rows),
        ("note_usage_after", calls),
        ("merge_usage_changes", GRAINS),
        ("forget_usage_changes", [{}]),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A summary of the records of [from_at, to_at). Empty texts and lists stand for any; `not_services` are left out.

    `account_id` alone is much quicker than the same account in `accounts`. `width_ms` of buckets, 0 for one sum; `by` are
    dimensions to group by.
    """

    from_at: int
    to_at: int
    account_id: str = ""
    accounts: Sequence[str] = ()
    key_ids: Sequence[str] = ()
    providers: Sequence[str] = ()
    models: Sequence[str] = ()
    services: Sequence[str] = ()
    not_services: Sequence[str] = ()
    width_ms: int = 0
    by: frozenset[str] = frozenset()
    row_limit: int = 100_000


async def usage_sums(database: Database, asked: Asked) -> list[Row]:
    """Rows with bucket (at // width_ms), the dimensions (null where not grouped by; `status` -1 for none), calls, input_tokens,
    output_tokens, cached_tokens, cost_nano_usd, charge_microcredits; by bucket, model, account, key. Raises Unavailable.
    """
    params = _params(asked)
    ends = await _ends(database, asked)
    while True:
        first_at, last_at = ends
        if first_at is None or last_at is None:
            return []
        from_at, to_at = max(asked.from_at, first_at // DAY_MS * DAY_MS), asked.to_at
        is_open = last_at < to_at
        if is_open:  # nothing is behind the end: the hour or day that it is in need not be torn
            to_at = _ceil(min(to_at, last_at + 1), DAY_MS)
        rows = await _read(database, asked, params | _cut(from_at, to_at, asked))
        if not is_open:
            return rows
        ends = await _ends(database, asked)
        if ends[1] is None or ends[1] < asked.to_at:
            return rows
        # A record from behind the end came in meanwhile and may have been counted: once more, with the end torn.


def is_narrow(asked: Asked) -> bool:
    """Whether only provider, model, service and status matter, of all accounts: then sums by model do, and these are few."""
    return not (asked.account_id or asked.accounts or asked.key_ids or asked.by - _OF_MODELS)


def _coarse(asked: Asked) -> str:
    """The days' grain where accounts or keys matter."""
    others = (asked.key_ids, asked.providers, asked.models, asked.services, asked.not_services)
    return "day" if asked.by - {ACCOUNT} or any(others) else "account_day"


async def _ends(database: Database, asked: Asked) -> tuple[int | None, int | None]:
    if asked.account_id:
        row = await database.fetch_one("usage_ends_of_account", account_id=asked.account_id)
    else:
        row = await database.fetch_one("usage_ends_of_all")
    return (None, None) if row is None else (optional_integer(row, "first_at"), optional_integer(row, "last_at"))


async def _read(database: Database, asked: Asked, params: Params) -> list[Row]:
    if asked.account_id:
        return await database.fetch("usage_sums_of_account", account_id=asked.account_id, **params)
    fine, coarse = ("model_hour", "model_day") if is_narrow(asked) else ("hour", _coarse(asked))
    return await database.fetch(
        "usage_sums_of_all",
        accounts=_among(asked.accounts),
        fine=fine,
        coarse=coarse,
        **params,
    )


def _params(asked: Asked) -> dict[str, Value]:
    return {
        "width_ms": asked.width_ms,
        "divisor_ms": max(1, asked.width_ms),
        **{f"by_{name}": int(name in asked.by) for name in _DIMENSIONS},
        "keys": _among(asked.key_ids),
        "providers": _among(asked.providers),
        "models": _among(asked.models),
        "services": _among(asked.services),
        "not_services": _among(asked.not_services),
        "mark": MARK,
        "row_limit": asked.row_limit,
    }


def _cut(from_at: int, to_at: int, asked: Asked) -> dict[str, Value]:
    """The range in five: records, hours, days, hours, records; of days and hours only where buckets are not finer."""
    hours = asked.width_ms % HOUR_MS == 0
    days = asked.width_ms % DAY_MS == 0
    first_hour, last_hour = (_ceil(from_at, HOUR_MS), to_at // HOUR_MS * HOUR_MS) if hours else (from_at, from_at)
    if first_hour >= last_hour:
        first_hour = last_hour = from_at  # no whole hour: the tail is everything
    first_day, last_day = (_ceil(first_hour, DAY_MS), last_hour // DAY_MS * DAY_MS) if days else (last_hour, last_hour)
    if first_day >= last_day:
        first_day = last_day = last_hour  # no whole day: the early hours are all
    return {
        "head_from": from_at,
        "head_to": first_hour,
        "early_from": first_hour,
        "early_to": first_day,
        "days_from": first_day,
        "days_to": last_day,
        "late_from": last_day,
        "late_to": last_hour,
        "tail_from": last_hour,
        "tail_to": max(last_hour, to_at),
    }


def _ceil(instant: int, width_ms: int) -> int:
    return -(-instant // width_ms) * width_ms


def _among(texts: Iterable[str]) -> str:
    return _BETWEEN.join(f"{MARK}{one}{MARK}" for one in texts)


async def days_of(database: Database) -> range:
    """The beginnings of all days that have records or sums."""
    found: list[int] = []
    for query in ("usage_ends_of_all", "usage_sums_ends"):
        row = await database.fetch_one(query)
        found += [value for value in (row or {}).values() if isinstance(value, int)]
    if not found:
        return range(0)
    return range(min(found) // DAY_MS * DAY_MS, max(found) + 1, DAY_MS)


async def differing(database: Database, day_at: int, most: int = 100) -> list[Row]:
    """The groups of a day whose sums are wrong, each with its `grain`; at most `most` a grain.

    Hours are compared with the records, the other grains with the hours; one statement a grain, so that what is committed
    meanwhile is on both sides or on neither.
    """
    found: list[Row] = []
    for grain in GRAINS:
        query = "usage_sums_and_records" if grain is GRAINS[0] else "usage_sums_and_hours"
        rows = await database.fetch(query, **grain, from_at=day_at, to_at=day_at + DAY_MS, row_limit=most)
        found += [{"grain": grain["grain"], **row} for row in rows]
    return found


async def remake(database: Database, progress: Callable[[int], None] = lambda _: None) -> int:
    """Makes all sums again from the records, a commit a day, while the recorder may write. Returns how many days there were."""
    days = await days_of(database)
    for number, day_at in enumerate(days):
        span = {"from_at": day_at, "to_at": day_at + DAY_MS}
        forgotten = [{"grain": grain["grain"], **span} for grain in GRAINS]
        made = [{**grain, **span} for grain in GRAINS]
        await database.transaction(
            ("forget_usage_sums", forgotten),
            ("remake_usage_sums", made[:1]),
            ("remake_usage_sums_of_hours", made[1:]),
        )
        progress(number + 1)
    return len(days)


def calls_of(rows: Iterable[Row]) -> int:
    """The calls of all rows together."""
    return sum(integer(row, "calls") for row in rows)

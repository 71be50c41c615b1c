"""What a query of an organization's usage asks for, read from its members and checked. Pure; instants in Unix milliseconds.

Lists come as OpenAI's clients and others write them: repeated (`group_by=a&group_by=b`), with brackets (`group_by[]=a`), or
with commas (`group_by=a,b`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxy.core.errors import InvalidRequest
from proxy.surfaces.fields import MAX_ID, integer_text

if TYPE_CHECKING:
    from collections.abc import Mapping

_WIDTHS_MS = {"1m": 60_000, "1h": 3_600_000, "1d": 86_400_000}
_LATEST = 10**11  # seconds; whoever writes more means milliseconds
_MOST_LISTED = 100


@dataclass(frozen=True, slots=True)
class Kind:
    """One of the calls: the `part` of all records that it sums, its buckets (width -> default and most), what it groups by."""

    part: str
    buckets: Mapping[str, tuple[int, int]]
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A query. `end_ms` is exclusive, and now where none was given; `possible` is False where no record of ours can match.

    `signature` has everything that a cursor belongs to.
    """

    start_ms: int
    end_ms: int
    end_given: bool
    width_ms: int
    limit: int
    group_by: tuple[str, ...]
    project_ids: tuple[str, ...]
    key_ids: tuple[str, ...]
    models: tuple[str, ...]
    possible: bool
    page: str | None
    signature: str


def read_asked(params: Mapping[str, list[str]], kind: Kind, now_ms: int) -> Asked:
    """Raises InvalidRequest with the member that is wrong."""
    start = _seconds(params, "start_time")
    if start is None:
        raise InvalidRequest("start_time is required", param="start_time")
    end = _seconds(params, "end_time")
    if end is not None and end <= start:
        raise InvalidRequest("end_time must be after start_time", param="end_time")
    width = _one(params, "bucket_width")
    width = "1d" if width is None else width
    if width not in kind.buckets:
        raise InvalidRequest(f"bucket_width must be one of {', '.join(kind.buckets)}", param="bucket_width")
    group_by = _list(params, "group_by")
    if wrong := [name for name in group_by if name not in kind.groups]:
        raise InvalidRequest(f"group_by can be {', '.join(kind.groups)}, not {wrong[0][:40]!r}", param="group_by")
    listed = {name: _list(params, name) for name in ("project_ids", "api_key_ids", "models", "line_items", "user_ids")}
    batch = _batch(params)
    return Asked(
        start_ms=start * 1000,
        end_ms=now_ms + 1 if end is None else end * 1000,
        end_given=end is not None,
        width_ms=_WIDTHS_MS[width],
        limit=_limit(params, *kind.buckets[width]),
        group_by=group_by,
        project_ids=listed["project_ids"],
        key_ids=listed["api_key_ids"],
        models=listed["models"] + listed["line_items"],
        possible=not listed["user_ids"] and batch is not True,  # no user and no batch is known here
        page=_one(params, "page"),
        signature=repr((start, end, width, sorted(set(group_by)), sorted(listed.items()), batch)),
    )


def _one(params: Mapping[str, list[str]], name: str) -> str | None:
    values = params.get(name, [])
    if len(values) > 1:
        raise InvalidRequest(f"{name} must be given once", param=name)
    return values[0] if values else None


def _list(params: Mapping[str, list[str]], name: str) -> tuple[str, ...]:
    given = [*params.get(name, ()), *params.get(f"{name}[]", ())]
    found = tuple(dict.fromkeys(part for value in given for part in value.split(",")))
    if len(found) > _MOST_LISTED or any(not 1 <= len(one) <= MAX_ID or not one.isprintable() for one in found):
        raise InvalidRequest(f"{name} takes at most {_MOST_LISTED} names of at most {MAX_ID} characters", param=name)
    return found


def _seconds(params: Mapping[str, list[str]], name: str) -> int | None:
    given = _one(params, name)
    if given is None:
        return None
    number = integer_text(given)
    if number is None or not 0 <= number <= _LATEST:
        raise InvalidRequest(f"{name} must be a Unix timestamp in seconds", param=name)
    return number


def _limit(params: Mapping[str, list[str]], default: int, most: int) -> int:
    given = _one(params, "limit")
    number = default if given is None else integer_text(given)
    if number is None or not 1 <= number <= most:
        raise InvalidRequest(f"limit must be a whole number from 1 to {most}", param="limit")
    return number


def _batch(params: Mapping[str, list[str]]) -> bool | None:
    given = _one(params, "batch")
    if given not in {None, "true", "false"}:
        raise InvalidRequest("batch must be true or false", param="batch")
    return None if given is None else given == "true"

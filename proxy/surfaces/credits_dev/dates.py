"""`startDate` and `endDate` of a list, both inclusive."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.core.errors import InvalidRequest
from proxy.surfaces.fields import date_ms

if TYPE_CHECKING:
    from proxy.surfaces.vendor import Query

_ALWAYS = 2**62


def dates_of(query: Query) -> tuple[int, int]:
    """The bounds in Unix milliseconds; open where a date is absent. Raises InvalidRequest."""
    start = date_ms(query.param("startDate"), "startDate")
    end = date_ms(query.param("endDate"), "endDate", end=True)
    if start is not None and end is not None and end < start:
        raise InvalidRequest("endDate must not be before startDate", param="endDate")
    return 0 if start is None else start, _ALWAYS if end is None else end

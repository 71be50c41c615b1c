"""Sums of usage records by the values of one tag. Tags have no table of sums: the records of the range are read, a slice at a time,
so that no query is long and other readers come in between. Units are those of the records; instants are Unix milliseconds.
"""

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

from proxy.records.search import USAGE, Wanted, bounds_of, edge_of
from proxy.sql.database import Database, Row, Value, integer, text

SLICE = 20_000
DIMENSIONS = ("account", "key", "provider", "model")
_COLUMNS = ("account_id", "key_id", "provider", "model")
SUMS = ("calls", "input_tokens", "output_tokens", "cached_tokens", "cost_nano_usd", "charge_microcredits")

Group = tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class TagSums:
    """`found` is the sums by bucket (at // width_ms, 0 without a width), account, key, provider, model and the tag's value; what
    is not grouped by, and the value of a call without the tag, is None. Of `wanted` hold account, times, key, provider and model.
    """

    tag: str
    wanted: Wanted
    by: frozenset[str] = frozenset()
    width_ms: int = 0
    found: dict[Group, dict[str, int]] = field(default_factory=dict)

    async def read(self, database: Database, *, size: int = SLICE) -> AsyncIterator[int]:
        """Adds slice after slice, and says after each how many groups there are by then. Raises DatabaseUnavailable."""
        of = "all" if self.wanted.account_id is None else "account"
        low, end = USAGE.at(self.wanted.from_at), USAGE.at(self.wanted.to_at)
        while True:
            edge = await edge_of(database, USAGE, self.wanted, (low, end), way="up", skipped=size)
            bounds = bounds_of(USAGE, self.wanted, (low, edge or end))
            for row in await database.fetch(f"admin_usage_tags_of_{of}", **bounds, **self._params(), row_limit=size):
                self._add(row)
            yield len(self.found)
            if edge is None:
                return
            low = edge

    def _params(self) -> Mapping[str, Value]:
        call = self.wanted.call
        return {
            "width_ms": self.width_ms,
            "divisor_ms": max(1, self.width_ms),
            **{f"by_{name}": int(name in self.by) for name in DIMENSIONS},
            "key_id": call.key_id,
            "provider": call.provider,
            "model": call.model,
        }

    def _add(self, row: Row) -> None:
        value = json.loads(text(row, "tags")).get(self.tag)
        group = (row["bucket"], *(row[column] for column in _COLUMNS), value)
        sums = self.found.setdefault(group, dict.fromkeys(SUMS, 0))
        for name in SUMS:
            sums[name] += integer(row, name)

"""What a query of an organization's usage asks for, and where periods of a key's spending begin."""

from datetime import UTC, datetime
from typing import Any

import pytest

from proxy.core.errors import InvalidRequest
from proxy.sql.database import Row
from proxy.surfaces.key_facts import period_starts
from proxy.surfaces.openai_organization import COMPLETIONS, COSTS, EMBEDDINGS, MOST_RESULTS, _whole_buckets
from proxy.surfaces.organization_query import Asked, Kind, read_asked

NOW = 1_763_800_000_123
ENOUGH = {"start_time": ["1763000000"]}


def asked(kind: Kind = COMPLETIONS, **params: Any) -> Asked:
    given = {name: value if isinstance(value, list) else [value] for name, value in params.items()}
    return read_asked({**ENOUGH, **given}, kind, NOW)


def test_what_is_left_out() -> None:
    found = asked()
    assert (found.start_ms, found.end_ms, found.end_given) == (1_763_000_000_000, NOW + 1, False)
    assert (found.width_ms, found.limit, found.group_by, found.page) == (86_400_000, 7, (), None)
    assert found.possible


@pytest.mark.parametrize(
    ("kind", "width", "limit"),
    [(COMPLETIONS, "1m", 60), (COMPLETIONS, "1h", 24), (EMBEDDINGS, "1d", 7), (COSTS, "1d", 7)],
)
def test_default_limits(kind: Kind, width: str, limit: int) -> None:
    assert asked(kind, bucket_width=width).limit == limit


@pytest.mark.parametrize(
    ("kind", "width", "most"), [(COMPLETIONS, "1m", 1440), (EMBEDDINGS, "1h", 168), (COSTS, "1d", 180)]
)
def test_highest_limits(kind: Kind, width: str, most: int) -> None:
    assert asked(kind, bucket_width=width, limit=str(most)).limit == most
    with pytest.raises(InvalidRequest):
        asked(kind, bucket_width=width, limit=str(most + 1))


@pytest.mark.parametrize("kind", [EMBEDDINGS, COSTS])
@pytest.mark.parametrize("group", ["batch", "service_tier"])
def test_not_everything_is_grouped_everywhere(kind: Kind, group: str) -> None:
    with pytest.raises(InvalidRequest):
        asked(kind, group_by=group)


def test_lists_in_every_way() -> None:
    for params in (
        {"group_by": ["model", "api_key_id"]},
        {"group_by[]": ["model", "api_key_id"]},
        {"group_by": ["model,api_key_id"]},
        {"group_by": ["model"], "group_by[]": ["api_key_id", "model"]},
    ):
        assert asked(**params).group_by == ("model", "api_key_id")
    assert asked(models=["a", "b,c"]).models == ("a", "b", "c")
    assert len(asked(models=[str(number) for number in range(100)]).models) == 100
    for bad in ([str(number) for number in range(101)], ["a,"], [""], ["x" * 201], ["a\x1fb"]):
        with pytest.raises(InvalidRequest):
            asked(models=bad)


def test_what_none_of_ours_can_be() -> None:
    assert not asked(user_ids="u").possible
    assert not asked(batch="true").possible
    assert asked(batch="false").possible


def test_a_cursor_belongs_to_all_but_page_and_limit() -> None:
    one = asked(models="a", group_by="model").signature
    assert asked(models="a", group_by="model", page="x", limit="3").signature == one
    for other in (
        asked(models="b", group_by="model"),
        asked(models="a"),
        asked(models="a", group_by="model", bucket_width="1h"),
        asked(models="a", group_by="model", end_time="1763000001"),
        asked(models="a", group_by="model", start_time="1763000001"),
        asked(project_ids="a", group_by="model"),
    ):
        assert other.signature != one


def test_too_many_results_end_the_page_before_the_bucket_that_was_cut() -> None:
    rows: list[Row] = [{"bucket": number // 8000} for number in range(MOST_RESULTS + 1)]
    assert _whole_buckets(rows, 0, 10) == 2
    assert len(rows) == 16_000
    assert _whole_buckets(rows, 0, 10) == 10
    with pytest.raises(InvalidRequest):
        _whole_buckets([{"bucket": 5}] * (MOST_RESULTS + 1), 5, 10)


@pytest.mark.parametrize(
    ("at", "starts"),
    [
        ("2025-01-01T00:00:00", ("2025-01-01", "2024-12-30", "2025-01-01")),
        ("2025-03-02T23:59:59", ("2025-03-02", "2025-02-24", "2025-03-01")),
        ("2024-02-29T12:00:00", ("2024-02-29", "2024-02-26", "2024-02-01")),
        ("2025-12-29T00:00:00", ("2025-12-29", "2025-12-29", "2025-12-01")),
    ],
)
def test_periods_begin_in_utc(at: str, starts: tuple[str, str, str]) -> None:
    def ms(text: str) -> int:
        return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)

    assert period_starts(ms(at) + 999) == tuple(ms(start) for start in starts)

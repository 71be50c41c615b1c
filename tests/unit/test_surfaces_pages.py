"""Pages that are written piece by piece are the JSON of the objects that they stand for, and the loop turns meanwhile."""

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from proxy import tasks
from proxy.sql.database import Row
from proxy.surfaces.credits_dev.usage import _summary, _without
from proxy.surfaces.openai_organization import COMPLETIONS, _completions, _Organization
from proxy.surfaces.organization_query import Asked, read_asked
from proxy.surfaces.vendor import Answer, Query
from tests.support.turns import counted_turns

HOUSE: Any = SimpleNamespace(config=SimpleNamespace(keys=SimpleNamespace(pepper="pepper")))
START = 1_763_000_000  # 20 s into a minute
ODD_NAME = 'a "model" \\ \u00e9\n'


class Page(_Organization):
    """The surface with these rows in its database."""

    def __init__(self, rows: list[Row]) -> None:
        super().__init__(HOUSE)
        self.rows = rows

    async def _rows(self, *_: object) -> list[Row]:
        return list(self.rows)

    async def _view(self, *_: object) -> Any:
        return SimpleNamespace(account_id="", accounts=())


def json_of(page: object) -> bytes:
    assert isinstance(page, Answer)
    return msgspec.json.encode(page.content)


def row(bucket: int, model: str, calls: int) -> Row:
    return {
        "bucket": bucket, "account_id": "acct_1", "key_id": None, "model": model, "calls": calls,
        "input_tokens": 2**60 + calls, "output_tokens": 5, "cached_tokens": 0,
    }  # fmt: skip


def query(now_ms: int, **params: str) -> Any:
    given = {"start_time": str(START), "bucket_width": "1m", **params}
    lists = {name: [value] for name, value in given.items()}
    exchange: Any = SimpleNamespace(path="/v1/organization/usage/completions")
    who: Any = None
    return Query(exchange=exchange, call_id="", at_ms=now_ms, who=who, params=lists)


def as_objects(rows: list[Row], asked: Asked, numbers: range) -> list[object]:
    return [
        {
            "object": "bucket",
            "start_time": max(number * 60, START),
            "end_time": min((number + 1) * 60, asked.end_ms // 1000) if asked.end_given else (number + 1) * 60,
            "results": [_completions(one, asked) for one in rows if one["bucket"] == number],
        }
        for number in numbers
    ]


FIRST = START // 60


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [row(FIRST, "m", 1)],
        [row(FIRST, "a", 1), row(FIRST, ODD_NAME, 2), row(FIRST + 3, "c", 3), row(FIRST + 9, "d", 4)],
    ],
)
@pytest.mark.parametrize("end", [{}, {"end_time": str((FIRST + 9) * 60 + 7)}])
async def test_a_page_is_its_objects_in_json(rows: list[Row], end: dict[str, str]) -> None:
    wanted = query((FIRST + 9) * 60_000 + 8000, limit="10", **end)
    asked = read_asked(wanted.params, COMPLETIONS, wanted.at_ms)
    assert json_of(await Page(rows).completions(wanted)) == msgspec.json.encode(
        {
            "object": "page",
            "data": as_objects(rows, asked, range(FIRST, FIRST + 10)),
            "has_more": False,
            "next_page": None,
        }
    )


async def test_a_page_of_the_future_is_empty() -> None:
    page = await Page([]).completions(query((START - 86_400) * 1000))
    assert json_of(page) == b'{"object":"page","data":[],"has_more":false,"next_page":null}'


async def test_the_loop_turns_while_a_page_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "TURN_S", 0.0)
    wanted = query((START + 86_400) * 1000, limit="1440")
    page, turns = await counted_turns(Page([]).completions(wanted))
    assert turns >= 1440
    assert len(msgspec.json.decode(json_of(page))["data"]) == 1440


def summed(model: str, calls: int, cost_nano_usd: int) -> Row:
    return {
        "model": model,
        "calls": calls,
        "input_tokens": 10 * calls,
        "output_tokens": calls,
        "cost_nano_usd": cost_nano_usd,
    }


async def test_a_summary_names_each_model_and_adds_all_up() -> None:
    rows = [summed(ODD_NAME, 2, 1_500_000_000), summed("b", 3, 1), summed("system's", 4, 7)]
    left = _without(rows, [summed("b", 1, 1), summed("system's", 4, 7)])
    assert msgspec.json.decode(msgspec.json.encode(await _summary(left, 500_000_000))) == {
        "success": True,
        "summary": {
            "totalCostUsd": 1.5,
            "totalInputTokens": 40,
            "totalOutputTokens": 4,
            "byContext": {"customer": 1, "system": 0.5},
            "byModel": {ODD_NAME: {"costUsd": 1.5, "count": 2}, "b": {"costUsd": 0, "count": 2}},
        },
    }
    assert msgspec.json.decode(msgspec.json.encode(await _summary([])))["summary"]["byModel"] == {}

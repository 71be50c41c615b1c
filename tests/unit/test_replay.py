"""The replay itself notices what it is there to notice."""

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.support.replay import Recorded, Replayer, different
from tests.support.replay_run import Verdict, judge, no_usage_reason, same_bytes
from tests.support.replay_totals import bills_more, totals_of

REQUEST = {"model": "m", "messages": [], "stream": True}
USAGE = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}


def exchange(**members: Any) -> Recorded:
    body = json.dumps({"choices": [], "usage": USAGE}).encode()
    made = Recorded(
        id="0123456789ab",
        host="api.openai.com",
        method="POST",
        path="/v1/chat/completions",
        query="",
        request_type="application/json",
        request=json.dumps(REQUEST).encode(),
        status=200,
        headers={"content-type": "application/json"},
        response=body,
    )
    return replace(made, **members)


def row(**members: Any) -> dict[str, Any]:
    return {
        "trace_id": exchange().trace_id,
        "model": "m",
        "input_tokens": 5,
        "output_tokens": 3,
        "usage": {"input": 5, "output": 3},
        "settlement_basis": "reported",
        "charge_microcredits": 7,
    } | members


def problems(rows: list[dict[str, Any]], recorded: Recorded | None = None, **members: Any) -> list[str]:
    recorded = recorded or exchange()
    verdict = Verdict(recorded, "openai", "chat", status=recorded.status, body=recorded.response)
    for name, value in members.items():
        setattr(verdict, name, value)
    judge([verdict], rows, {})
    return verdict.problems


def test_what_is_well_has_no_problem() -> None:
    assert problems([row()]) == []


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        [row(), row()],
        [row(input_tokens=6)],
        [row(output_tokens=0)],
        [row(usage={"cache_read": 1})],
        [row(settlement_basis="counted")],
        [row(charge_microcredits=0)],
    ],
)
def test_a_record_that_is_not_the_providers_is_a_problem(wrong: list[dict[str, Any]]) -> None:
    assert problems(wrong)


def test_another_status_or_another_byte_is_a_problem() -> None:
    assert problems([row()], status=502)
    assert problems([row()], body=exchange().response + b" ")


def test_a_charge_for_what_the_provider_refused_is_a_problem() -> None:
    refused = exchange(status=400, response=b"{}")
    assert problems([row()], refused)
    assert problems([row(charge_microcredits=0, settlement_basis="none")], refused) == []


def test_the_forwarded_request_must_be_the_recorded_one_but_for_the_usage() -> None:
    recorded, path = exchange(), "/v1/chat/completions"
    asked = json.dumps({**REQUEST, "stream_options": {"include_usage": True}}).encode()
    assert different(recorded, "POST", path, recorded.request) is None
    assert different(recorded, "POST", path, asked) is None
    assert different(recorded, "GET", path, recorded.request)
    assert different(recorded, "POST", path + "?beta=true", recorded.request)
    assert different(recorded, "POST", "/v1/completions", recorded.request)
    assert different(recorded, "POST", path, json.dumps({**REQUEST, "n": 2}).encode())
    assert different(recorded, "POST", path, asked.replace(b"true}", b"false}"))
    assert different(exchange(request=b'{"model":"m"}'), "POST", path, asked)


def test_only_an_error_may_have_something_removed() -> None:
    failed = exchange(status=401, response=b'{"error":"key sk-abc*** is wrong"}')
    assert same_bytes(failed.response, failed)
    assert same_bytes(b'{"error":"key [removed] is wrong"}', failed)
    assert not same_bytes(b'{"error":"key [removed] was wrong"}', failed)
    assert not same_bytes(b"[removed]", exchange(response=b"sk-abcdefgh"))


def test_totals_are_the_last_that_were_told_and_reasons_are_known() -> None:
    first, last = json.dumps({"usage": {**USAGE, "completion_tokens": 1}}), json.dumps({"usage": USAGE})
    told = exchange(
        headers={"content-type": "text/event-stream"}, response=f"data: {first}\n\ndata: {last}\n\n".encode()
    )
    totals = totals_of(told)
    assert totals is not None
    assert (totals["input"], totals["output"]) == (5, 3)
    assert no_usage_reason(told) is None
    assert no_usage_reason(exchange(response=b"{}")) == "unexplained"
    assert no_usage_reason(exchange(status=429)) == "refused by the provider"
    rounds = json.dumps({"usage": {"iterations": [{"type": "advisor_message"}]}}).encode()
    assert bills_more(exchange(response=rounds))
    assert not bills_more(told)


def test_pieces_are_the_whole_answer_at_the_same_places_for_a_seed() -> None:
    recorded = exchange(response=bytes(range(256)) * 40)
    cut = Replayer((recorded,), split=True, seed=3)._pieces(recorded)
    assert b"".join(cut) == recorded.response
    assert len(cut) > 3
    assert cut == Replayer((recorded,), split=True, seed=3)._pieces(recorded)
    assert cut != Replayer((recorded,), split=True, seed=4)._pieces(recorded)
    assert Replayer((recorded,))._pieces(recorded) == [recorded.response]

"""What stands on a record when a call ends, and while it runs in case its worker does not live to see that."""

import time
from types import SimpleNamespace
from typing import Any

import pytest

from proxy.core import records
from proxy.core.errors import Unavailable
from proxy.core.pricing import Price, Tariff
from proxy.core.usage import Usage
from proxy.pipeline.parting import Parting
from proxy.pipeline.receipt import basis_of, checkpoint_record, counted, draft_record, final_record
from proxy.providers.dialect import BILLED, FREE, SSE, Ask
from proxy.providers.openai_chat import ChatCompletions

PLAIN = {"input": 10**9, "output": 2 * 10**9}
BODY = b'{"model":"m","messages":[{"role":"user","content":"' + b"word " * 80 + b'"}]}'
WORD = b'data: {"choices":[{"index":0,"delta":{"content":"word "}}]}\n\n'


def make_call(
    rates: dict[str, int] = PLAIN, ask: Ask | None = None, service: dict[str, Price] | None = None, **more: Any
) -> Any:
    price = Price("m", rates, "v7", service_tiers=service or {})
    endpoint = SimpleNamespace(provider="second", parting=Parting())
    call = SimpleNamespace(
        call_id="c", at_ms=5, caller=SimpleNamespace(account_id="a", key_id="k", on_client_left=None), tariff=Tariff(price, 1000),
        route=SimpleNamespace(endpoint=endpoint), ask=ask or Ask(model="m", stream=True), operation=ChatCompletions(),
        exchange=SimpleNamespace(path="/p", stalled=False), status=200, attempts=2, trace_id="t", tags={}, body=BODY,
        forwarded_at=1.0, first_byte_at=None, started=time.monotonic(), meter=None, outcome=records.COMPLETED, sent=True,
    )  # fmt: skip
    for name, value in more.items():
        setattr(call, name, value)
    return call


def meter(**more: Any) -> Any:
    made = ChatCompletions().meter(Ask(model="m", stream=True), SSE)
    for name, value in more.items():
        setattr(made, name, value)
    return made


def final(call: Any) -> records.UsageRecord:
    draft = draft_record(call, 777)
    draft.provider, draft.price_version = "first", "v1"
    return final_record(draft, call, 777, basis_of(call))


def test_a_checkpoint_has_the_prompt_from_the_moment_of_sending_on() -> None:
    assert checkpoint_record(make_call(forwarded_at=0.0), 10**9).charge_microcredits == 0
    waiting = checkpoint_record(make_call(status=None), 10**9)
    assert (waiting.input_tokens, waiting.output_tokens) == (len(BODY) // 4, 0)
    assert waiting.charge_microcredits == len(BODY) // 4 * 1000
    streaming = meter()
    streaming.feed(WORD * 9)
    running = checkpoint_record(make_call(meter=streaming), 10**9)
    assert (running.output_tokens, running.charge_microcredits) == (11, len(BODY) // 4 * 1000 + 11 * 2000)
    assert checkpoint_record(make_call(status=500), 10**9).charge_microcredits == 0


def test_the_record_names_the_provider_that_answered() -> None:
    record = final(make_call(meter=meter(usage=Usage({"input": 3, "output": 4}))))
    assert (record.provider, record.price_version, record.attempts) == ("second", "v7", 2)
    assert (record.settlement_basis, record.charge_microcredits, record.cost_nano_usd) == ("reported", 11_000, 11_000)


async def test_a_unit_without_a_rate_costs_the_hold_and_raises_a_flag() -> None:
    flagged = meter(usage=Usage({"input": 3, "output": 4, "output_images": 1}))
    call = make_call({"output_seconds": 5, "input": 0}, meter=meter(usage=Usage({"output_images": 2})))
    record = final(call)
    assert (record.settlement_basis, record.charge_microcredits) == ("hold", 777)
    assert "output_images" in call.meter.flag
    assert checkpoint_record(call, 777).charge_microcredits == 777
    record = final(make_call(meter=flagged))
    assert record.charge_microcredits == 11_000, "an image that is billed in the tokens beside it"


@pytest.mark.parametrize(
    ("asked", "told", "charge"), [(None, "priority", 22_000), ("flex", "flex", 5_500), (None, "flex", 11_000)]
)
async def test_the_tier_that_was_served_is_billed_where_it_is_dearer_or_was_asked_for(
    asked: str | None, told: str, charge: int
) -> None:
    service = {
        "priority": Price("m", {name: 2 * rate for name, rate in PLAIN.items()}, "v"),
        "flex": Price("m", {name: rate // 2 for name, rate in PLAIN.items()}, "v"),
    }
    served = meter(usage=Usage({"input": 3, "output": 4}), service_tier=told)
    record = final(make_call(ask=Ask(model="m", service_tier=asked), service=service, meter=served))
    assert record.charge_microcredits == charge


@pytest.mark.parametrize("outcome", [records.COMPLETED, records.CLIENT_LEFT, records.UPSTREAM_FAILED])
async def test_what_is_free_leaves_a_record_that_says_so(outcome: str) -> None:
    call = make_call(outcome=outcome, meter=meter(usage=Usage({"input": 3, "output": 4})))
    for billing, basis in ((FREE, "none"), (BILLED, "reported")):
        call.operation = SimpleNamespace(dialect="openai", billing=billing)
        record = final(call)
        assert (record.settlement_basis, record.charge_microcredits) == (basis, 0 if billing == FREE else 11_000)


async def test_leaving_where_that_is_free_costs_nothing_unless_the_client_was_cut_off() -> None:
    call = make_call(outcome=records.CLIENT_LEFT, meter=meter(usage=Usage({"input": 3, "output": 4})))
    call.route.endpoint.parting = Parting(policy="free")
    assert (final(call)).settlement_basis == "none"
    call.caller.on_client_left = "cancel"  # the account's own wish
    assert (final(call)).settlement_basis == "reported"
    call.caller.on_client_left = None
    call.exchange.stalled = True
    assert (final(call)).settlement_basis == "reported"


async def test_the_prompt_is_counted_where_only_the_output_was_reported() -> None:
    class Counter:
        async def count(self, text: str, model: str) -> int:
            assert model == "m"
            return len(text.split())

    call = make_call(meter=meter(partial=Usage({"output": 9})))
    call.route.own_model = None
    assert basis_of(call) == "counted"
    basis, count = await counted(call, Counter())  # type: ignore[arg-type]
    record = final_record(draft_record(call, 777), call, 777, basis, count)
    assert record.settlement_basis == "counted"
    assert (record.input_tokens >= 80, record.output_tokens) == (True, 9)


async def test_where_there_is_no_time_to_count_lengths_decide_and_the_record_says_so() -> None:
    class Counter:
        async def count(self, text: str, model: str) -> int:
            raise Unavailable

    streaming = meter()
    streaming.feed(WORD * 9)
    call = make_call(meter=streaming, outcome=records.CLIENT_LEFT)
    call.route.own_model = None
    basis, count = await counted(call, Counter())  # type: ignore[arg-type]
    record = final_record(draft_record(call, 777), call, 777, basis, count)
    assert (record.outcome, record.settlement_basis) == ("client_left", "checkpoint")
    assert record.charge_microcredits == checkpoint_record(call, 10**9).charge_microcredits > 0

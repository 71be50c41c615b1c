import base64
import json
import random
from typing import Any

import pytest

from proxy.core.errors import InvalidRequest
from proxy.providers.bedrock_invoke import INPUT_HEADER, METRICS, OPERATIONS, OUTPUT_HEADER, Invoke, InvokeStream
from proxy.providers.bedrock_meters import EVENT_STREAM
from proxy.providers.dialect import JSON, Ask, Head, Meter
from proxy.providers.event_stream import write_frame

INVOKE, STREAM = Invoke(), InvokeStream()
CLAUDE, LLAMA, TITAN = (
    "us.anthropic.claude-sonnet-4-6",
    "us.meta.llama4-scout-17b-instruct-v1:0",
    "amazon.titan-text-lite-v1",
)
NOVA, MISTRAL, GPT = "amazon.nova-lite-v1:0", "mistral.mistral-7b-instruct-v0:2", "openai.gpt-oss-20b-1:0"
COHERE, EMBED, SEARCH = "cohere.command-r-v1:0", "amazon.titan-embed-text-v2:0", "cohere.rerank-v3-5:0"
ARN = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123"
FOUNDATION_ARN = "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-3-haiku-20240307-v1:0"


def ask(model: str, **members: Any) -> Ask:
    return INVOKE.read(json.dumps(members).encode(), Head(params={"model": model}))


def chunk(**document: Any) -> bytes:
    payload = {"bytes": base64.b64encode(json.dumps(document).encode()).decode(), "p": "abcd"}
    headers = {":event-type": "chunk", ":content-type": "application/json", ":message-type": "event"}
    return write_frame(headers, json.dumps(payload).encode())


def metrics(**figures: int) -> dict[str, Any]:
    return {METRICS: {"invocationLatency": 5, "firstByteLatency": 2, **figures}}


def stream(model: str, *pieces: bytes) -> Meter:
    meter = STREAM.meter(Ask(model=model), EVENT_STREAM)
    body = b"".join(pieces)
    dice = random.Random(len(body))
    out = []
    while body:
        size = dice.choice((1, 13, 500, 5000))
        out.append(meter.feed(body[:size]))
        body = body[size:]
    assert b"".join([*out, meter.finish()]) == b"".join(pieces)
    return meter


def plain(
    model: str, document: Any, headers: list[tuple[bytes, bytes]] | None = None, asked: Ask | None = None
) -> Meter:
    meter = INVOKE.meter(asked or Ask(model=model), JSON)
    if headers is not None:
        meter.read_head(headers)
    meter.feed(json.dumps(document).encode())
    meter.finish()
    return meter


def counters(meter: Meter) -> dict[str, int]:
    assert meter.flag is None
    assert meter.usage is not None
    assert meter.complete
    return dict(meter.usage.counters)


def test_the_paths() -> None:
    assert [path.suffix for operation in OPERATIONS for path in operation.paths] == [
        "/model/{model}/invoke",
        "/model/{model}/invoke-with-response-stream",
    ]


@pytest.mark.parametrize(
    ("model", "members", "limit"),
    [
        (CLAUDE, {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 7}, 7),
        (FOUNDATION_ARN, {"max_tokens": 7}, 7),
        (ARN, {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 7}, 7),
        (ARN, {"max_tokens": 7}, None),  # nobody knows whose model it is
        ("anthropic.claude-v2:1", {"max_tokens_to_sample": 7}, 7),
        (LLAMA, {"max_gen_len": 7}, 7),
        (LLAMA, {"max_tokens": 7}, None),  # not where Llama looks
        (TITAN, {"textGenerationConfig": {"maxTokenCount": 7}}, 7),
        (NOVA, {"inferenceConfig": {"maxTokens": 7}}, 7),
        (NOVA, {"inferenceConfig": {"max_new_tokens": 7}}, 7),
        (NOVA, {"max_tokens": 7}, None),
        (MISTRAL, {"max_tokens": 7}, 7),
        (GPT, {"max_completion_tokens": 7, "max_tokens": 3}, 7),
        ("ai21.j2-ultra-v1", {"maxTokens": 7}, 7),
        (COHERE, {"max_tokens": 7}, 7),
        (EMBED, {"inputText": "hi"}, 0),
        ("amazon.nova-canvas-v1:0", {"imageGenerationConfig": {"numberOfImages": 3}}, 0),
        ("newvendor.model-v1", {"max_tokens": 7}, None),
    ],
)
def test_the_limit_is_where_the_vendor_looks_for_it(model: str, members: dict[str, Any], limit: int | None) -> None:
    asked = ask(model, **members)
    assert (asked.model, asked.output_limit) == (model, limit)


def test_images_searches_and_choices_are_bounded() -> None:
    assert ask("amazon.nova-canvas-v1:0", imageGenerationConfig={"numberOfImages": 3}).units == {"output_images": 3}
    assert ask("stability.sd3-5-large-v1:0", prompt="x").units == {"output_images": 1}
    assert ask("stability.stable-diffusion-xl-v1", samples=2).units == {"output_images": 2}
    assert ask(SEARCH, query="q", documents=["d"] * 100).units == {"search_units": 1}
    assert ask(SEARCH, query="q", documents=["d"] * 101).units == {"search_units": 2}
    assert ask(SEARCH, query="q", documents=["d" * 512] * 100).units == {"search_units": 2}
    assert ask("cohere.command-text-v14", num_generations=3).choices == 3
    assert ask(GPT, n=2).choices == 2
    assert ask(CLAUDE).choices == 1
    assert ask(CLAUDE, messages=[{"content": [{"type": "image", "source": {}}]}]).media_parts == 1


@pytest.mark.parametrize(
    "body",
    [
        b'{"max_tokens": -1}',
        b'{"max_tokens": "5"}',
        b'{"max_tokens": 1, "max_tokens": 1000}',
        b'{"Max_Tokens": 1}',
        b'{"max_tokens": 1',
        b'"text"',
    ],
)
def test_requests_that_could_be_read_in_two_ways_are_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        INVOKE.read(body, Head(params={"model": CLAUDE}))
    with pytest.raises(InvalidRequest):
        ask(TITAN, textGenerationConfig=[])
    twice = b'{"inferenceConfig": {"maxTokens": 1, "maxTokens": 900}}'
    with pytest.raises(InvalidRequest):
        INVOKE.read(twice, Head(params={"model": NOVA}))


@pytest.mark.parametrize(
    ("model", "document", "expected"),
    [
        (
            CLAUDE,
            {"type": "message", "usage": {"input_tokens": 3, "cache_read_input_tokens": 5, "output_tokens": 4}},
            {"input": 3, "cache_read": 5, "output": 4},
        ),
        (
            CLAUDE,
            {
                "usage": {
                    "input_tokens": 3,
                    "cache_creation_input_tokens": 9,
                    "cache_creation": {"ephemeral_1h_input_tokens": 9},
                    "output_tokens": 4,
                }
            },
            {"input": 3, "cache_write_5m": 0, "cache_write_1h": 9, "output": 4},
        ),
        (
            NOVA,
            {"output": {}, "usage": {"inputTokens": 3, "outputTokens": 4, "cacheReadInputTokenCount": 5}},
            {"input": 3, "cache_read": 5, "output": 4},
        ),
        (LLAMA, {"generation": "hi", "prompt_token_count": 3, "generation_token_count": 4}, {"input": 3, "output": 4}),
        (
            TITAN,
            {"inputTextTokenCount": 3, "results": [{"tokenCount": 4, "outputText": "a"}, {"tokenCount": 1}]},
            {"input": 3, "output": 5},
        ),
        (EMBED, {"embedding": [0.5], "inputTextTokenCount": 3}, {"input": 3}),
        (GPT, {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}, {"input": 3, "output": 4}),
        (COHERE, {"text": "hi", "token_count": {"prompt_tokens": 3, "response_tokens": 4}}, {"input": 3, "output": 4}),
        ("stability.sd3-5-large-v1:0", {"images": ["eHh4", "eHh4"]}, {"output_images": 2}),
        ("stability.stable-diffusion-xl-v1", {"artifacts": [{}]}, {"output_images": 1}),
    ],
)
def test_every_vendor_tells_its_usage_in_its_own_way(model: str, document: Any, expected: dict[str, int]) -> None:
    assert counters(plain(model, document)) == expected


def test_the_headers_tell_what_a_body_does_not() -> None:
    counts = [(INPUT_HEADER, b"3"), (OUTPUT_HEADER.title(), b"4"), (b"x-other", b"9")]
    body = {"outputs": [{"text": "hi"}]}
    assert counters(plain(MISTRAL, body, counts)) == {"input": 3, "output": 4}
    assert counters(plain("cohere.embed-english-v3", {"embeddings": [[0.5]]}, counts[:1])) == {"input": 3}
    own = {"generation": "hi", "prompt_token_count": 1, "generation_token_count": 2}
    assert counters(plain(LLAMA, own, counts)) == {"input": 1, "output": 2}
    half = plain(MISTRAL, body, counts[:1])
    assert half.usage is None
    assert half.partial is not None
    assert half.partial.counters == {"input": 3}
    for figure in (b"-1", b"1.5", b"x", b"1" * 5000, b'"3"'):
        meter = plain(MISTRAL, body, [(INPUT_HEADER, figure), (OUTPUT_HEADER, b"4")])
        assert meter.usage is None
        assert meter.flag is not None


def test_without_any_figure_a_known_vendor_is_counted_and_another_is_charged_at_its_hold() -> None:
    meter = plain(MISTRAL, {"outputs": [{"text": "hello"}]})
    assert (meter.usage, meter.flag, meter.output_text) == (None, None, "hello")
    assert plain("twelvelabs.pegasus-1-2-v1:0", {"message": "a video"}).flag is not None
    assert plain("stability.sd3-5-large-v1:0", {"pictures": []}).flag is not None
    assert stream("twelvelabs.pegasus-1-2-v1:0", chunk(message="a"), chunk(message="b", **metrics())).flag is not None
    assert stream(MISTRAL, chunk(outputs=[{"text": "hi"}]), chunk(outputs=[], **metrics())).flag is None


def test_a_rerank_is_charged_by_what_it_asks_for() -> None:
    asked = ask(SEARCH, query="q", documents=["d"] * 150)
    assert counters(plain(SEARCH, {"results": []}, asked=asked)) == {"search_units": 2}


def test_a_claude_stream_tells_cache_writes_apart() -> None:
    usage = {
        "input_tokens": 3,
        "cache_creation_input_tokens": 25,
        "cache_creation": {"ephemeral_1h_input_tokens": 25},
        "output_tokens": 1,
    }
    last = metrics(inputTokenCount=3, outputTokenCount=13, cacheWriteInputTokenCount=25)
    pieces = [
        chunk(type="message_start", message={"content": [], "usage": usage}),
        chunk(type="content_block_delta", index=0, delta={"type": "text_delta", "text": "hello"}),
        chunk(type="ping"),
        chunk(type="message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 13}),
        chunk(type="message_stop", **last),
    ]
    meter = stream(CLAUDE, *pieces)
    assert counters(meter) == {"input": 3, "cache_write_5m": 0, "cache_write_1h": 25, "output": 13}
    assert (meter.output_text, meter.output_events) == ("hello", 1)
    torn = stream(CLAUDE, *pieces[:2])
    assert (torn.usage, torn.complete) == (None, False)
    assert torn.partial is not None
    assert torn.partial.counters["cache_write_1h"] == 25


@pytest.mark.parametrize(
    ("model", "pieces"),
    [
        (LLAMA, [{"generation": "hello", "prompt_token_count": 3, "generation_token_count": 1}, {"generation": ""}]),
        (TITAN, [{"outputText": "hello", "inputTextTokenCount": 3, "totalOutputTextTokenCount": 4}]),
        (MISTRAL, [{"outputs": [{"text": "hello"}]}, {"outputs": [{"text": "", "stop_reason": "stop"}]}]),
        (NOVA, [{"contentBlockDelta": {"delta": {"text": "hello"}}}, {"messageStop": {}}]),
        ("anthropic.claude-v2:1", [{"type": "completion", "completion": "hello"}]),
        (COHERE, [{"text": "hello", "is_finished": False}]),
    ],
)
def test_the_last_chunk_has_the_metrics_of_every_vendor(model: str, pieces: list[dict[str, Any]]) -> None:
    last = metrics(inputTokenCount=3, outputTokenCount=4, cacheReadInputTokenCount=7)
    chunks = [*pieces[:-1], pieces[-1] | last]
    meter = stream(model, *(chunk(**document) for document in chunks))
    assert counters(meter) == {"input": 3, "cache_read": 7, "output": 4}
    assert meter.output_text.startswith("hello")


def test_openai_like_and_nova_streams_tell_their_own_usage() -> None:
    tokens = {"prompt_tokens": 3, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 2}}
    meter = stream(
        GPT,
        chunk(choices=[{"delta": {"content": "hello"}}]),
        chunk(choices=[], usage=tokens),
        chunk(choices=[], **metrics()),
    )
    assert counters(meter) == {"input": 1, "cache_read": 2, "output": 4}
    usage = {"inputTokens": 3, "outputTokens": 4, "cacheWriteInputTokenCount": 9}
    meter = stream(NOVA, chunk(messageStop={}), chunk(metadata={"usage": usage}, **metrics()))
    assert counters(meter) == {"input": 3, "cache_write_5m": 9, "output": 4}


@pytest.mark.parametrize("figure", [-1, 1.5, "3", True, 10**9 + 1])
def test_metrics_that_cannot_be_are_not_believed(figure: Any) -> None:
    meter = stream(LLAMA, chunk(generation="hi", **metrics(inputTokenCount=figure, outputTokenCount=4)))
    assert meter.usage is None
    assert meter.flag is not None


def test_chunks_that_cannot_be_read_are_passed_on_and_told() -> None:
    headers = {":event-type": "chunk", ":message-type": "event"}
    for payload in (b"{", b'{"bytes": 5}', b'{"bytes": "x"}', b'{"bytes": "e30x"}', b'{"bytes": "' + b"A" * 40 + b'"}'):
        meter = stream(CLAUDE, write_frame(headers, payload))
        assert meter.unread_events == 1
        assert meter.flag is not None
    failed = {":exception-type": "modelStreamErrorException", ":message-type": "exception"}
    meter = stream(CLAUDE, chunk(type="ping"), write_frame(failed, b'{"message": "x"}'))
    assert (meter.error, meter.complete, meter.flag) == (True, False, None)
    assert stream(CLAUDE, chunk(type="error", error={})).error
    assert stream(CLAUDE, chunk(type="message_start"), chunk(type="message_start", message=5)).unread_events == 1
    for document in (b"<html>", b"[]"):
        plain_meter = INVOKE.meter(Ask(model=CLAUDE), JSON)
        plain_meter.feed(document)
        plain_meter.finish()
        assert plain_meter.flag is not None


def test_nothing_is_changed_on_the_way_out_and_the_prompt_is_read() -> None:
    body = b'{"prompt": "one", "system": "two", "messages": [{"content": "three"}]}'
    assert INVOKE.outgoing(body, Ask(model=CLAUDE)) is body
    assert set(INVOKE.prompt_text(body).split("\n")) >= {"one", "two", "three"}

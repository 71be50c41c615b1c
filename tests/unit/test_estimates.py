import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from proxy.core.errors import InvalidRequest
from proxy.providers.anthropic_messages import Messages
from proxy.providers.dialect import Ask, Operation
from proxy.providers.encodings import count_now
from proxy.providers.estimates import (
    BOUND_ALLOWANCE,
    count_input,
    count_output,
    read_prompt,
    refined_input_bound,
)
from proxy.providers.images import image_bound
from proxy.providers.openai_chat import ChatCompletions
from proxy.providers.openai_completions import Completions
from proxy.providers.tool_tokens import openai_tools

CHAT: Operation = ChatCompletions()
PROSE = "The tide carries ships past the harbour wall, and the keeper writes their names down. "
TOOL = {"name": "look", "description": "Looks.", "parameters": {"type": "object", "properties": {}}}


class Here:
    """Counts on this thread and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def count(self, text: str, model: str) -> int:
        self.asked.append(text)
        return count_now(text, model)


def body_of(**members: Any) -> bytes:
    return json.dumps(members).encode()


def chat(content: Any, **members: Any) -> bytes:
    return body_of(model="m", messages=[{"role": "user", "content": content}], **members)


async def estimate(body: bytes, model: str, operation: Operation = CHAT) -> int:
    return await count_input(Here(), operation, body, model)


async def test_openai_messages_cost_what_the_cookbook_says() -> None:
    # https://cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken, its example: 124 tokens for gpt-4o, 129 for gpt-4.
    messages = [
        {
            "role": "system",
            "content": "You are a helpful, pattern-following assistant that translates corporate jargon into plain English.",
        },
        {
            "role": "system",
            "name": "example_user",
            "content": "New synergies will help drive top-line growth.",
        },
        {
            "role": "system",
            "name": "example_assistant",
            "content": "Things working well together will increase revenue.",
        },
        {
            "role": "system",
            "name": "example_user",
            "content": "Let's circle back when we have more bandwidth to touch base on opportunities for increased leverage.",
        },
        {
            "role": "system",
            "name": "example_assistant",
            "content": "Let's talk later when we're less busy about how to do better.",
        },
        {
            "role": "user",
            "content": "This late pivot means we don't have time to boil the ocean for the client deliverable.",
        },
    ]
    body = body_of(model="gpt-4o", messages=messages)
    # A name costs one more than its text, which is left out of the estimate.
    assert await estimate(body, "gpt-4o") + 4 == 124
    assert await estimate(body, "gpt-4") + 4 == 129


async def test_openai_tools_cost_what_the_cookbook_says() -> None:
    # The same page, section 7: 101 tokens for gpt-4o, 105 for gpt-4.
    weather = {
        "type": "function",
        "function": {
            "name": "get_current_weather",
            "description": "Get the current weather in a given location",
            "parameters": {
                "type": "object",
                "properties": {
                    "location": {"type": "string", "description": "The city and state, e.g. San Francisco, CA"},
                    "unit": {
                        "type": "string",
                        "description": "The unit of temperature to return",
                        "enum": ["celsius", "fahrenheit"],
                    },
                },
                "required": ["location"],
            },
        },
    }
    messages = [
        {"role": "system", "content": "You are a helpful assistant that can answer to questions about the weather."},
        {"role": "user", "content": "What's the weather like in San Francisco?"},
    ]
    body = body_of(model="gpt-4o", messages=messages, tools=[weather])
    assert await estimate(body, "gpt-4o") == 101
    assert await estimate(body, "gpt-4") == 105


async def test_gemini_counts_text_alone_and_claude_its_tool_prompt() -> None:
    text = "What is the capital of France?"
    gemini = body_of(contents=[{"role": "user", "parts": [{"text": text}]}])
    assert await estimate(gemini, "gemini-2.5-flash") == count_now(text, "gemini-2.5-flash")
    without = await estimate(chat(text, max_tokens=1), "claude-sonnet-4-0", Messages())
    with_tool = await estimate(chat(text, max_tokens=1, tools=[TOOL]), "claude-sonnet-4-0", Messages())
    assert with_tool - without > 346


@pytest.mark.parametrize(
    "tools",
    [
        [{"type": "function", "function": TOOL}],
        [{"type": "function", **TOOL}],
        [{"functionDeclarations": [TOOL]}],
        [{"function_declarations": [TOOL]}],
        [TOOL],
    ],
)
def test_tools_are_found_in_every_dialect(tools: list[Any]) -> None:
    prompt = read_prompt(chat("hello", tools=tools))
    assert prompt is not None
    assert prompt.complete
    assert [tool["name"] for tool in prompt.tools] == ["look"]
    bedrock = {"tools": [{"toolSpec": {"name": "look", "inputSchema": {"json": {"type": "object"}}}}]}
    prompt = read_prompt(body_of(messages=[], toolConfig=bedrock))
    assert prompt is not None
    assert prompt.tools == ({"name": "look", "parameters": {"type": "object"}},)


@pytest.mark.parametrize(
    ("body", "texts"),
    [
        ({"instructions": "a", "input": "b"}, ["a", "b"]),
        (
            {"instructions": "a", "input": [{"role": "user", "content": [{"type": "input_text", "text": "b"}]}]},
            ["a", "b"],
        ),
        ({"system": [{"type": "text", "text": "a"}], "messages": [{"role": "user", "content": "b"}]}, ["a", "b"]),
        ({"systemInstruction": {"parts": [{"text": "a"}]}, "contents": [{"parts": [{"text": "b"}]}]}, ["a", "b"]),
        ({"system": [{"text": "a"}], "messages": [{"role": "user", "content": [{"text": "b"}]}]}, ["a", "b"]),
        ({"prompt": ["a", "b"]}, ["a", "b"]),
        ({"messages": [{"content": [{"type": "tool_use", "name": "f", "input": {"k": 1}}]}]}, ["f", '{"k":1}']),
        ({"contents": [{"parts": [{"functionResponse": {"name": "f", "response": {"k": "v"}}}]}]}, ["f", '{"k":"v"}']),
        ({"input": [{"type": "reasoning", "summary": [{"text": "x"}], "encrypted_content": "zzzz"}]}, []),
    ],
)
def test_texts_are_found_in_every_dialect(body: dict[str, Any], texts: list[str]) -> None:
    prompt = read_prompt(body_of(**body))
    assert prompt is not None
    assert list(prompt.texts) == texts
    assert prompt.complete


def test_texts_without_a_role_are_no_messages() -> None:
    for body, messages in (
        ({"prompt": "a"}, 0),
        ({"prompt": ["a", "b"]}, 0),
        ({"input": ["a", "b"]}, 0),
        ({"input": "a"}, 1),
        ({"input": [{"role": "user", "content": "a"}], "instructions": "b"}, 2),
    ):
        prompt = read_prompt(body_of(**body))
        assert prompt is not None
        assert prompt.messages == messages


async def test_token_ids_are_counted_as_their_operation_reads_them() -> None:
    ids = body_of(model="gpt-4o", prompt=list(range(1000, 1200)))
    assert read_prompt(ids) is None
    assert read_prompt(body_of(input=[[1, 2], [3]])) is None
    assert await estimate(ids, "gpt-4o", Completions()) == pytest.approx(200, abs=5)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"[" * 100_000, b'{"file":1}', b"\xff"])
def test_what_is_no_conversation_has_no_prompt(body: bytes) -> None:
    assert read_prompt(body) is None


async def test_another_body_is_counted_by_what_its_operation_reads_of_it() -> None:
    class Speech(ChatCompletions):
        def prompt_text(self, body: bytes) -> str:
            return body.decode()

    assert await estimate(b"hello world", "gpt-4o", Speech()) == 2


async def test_a_bound_is_below_the_bytes_and_above_the_count() -> None:
    body = chat(PROSE * 400)
    for model in ("gpt-4o", "claude-sonnet-4-5", "gemini-2.5-flash", "anything"):
        bound = await refined_input_bound(Here(), body, model)
        assert bound is not None
        assert await estimate(body, model) + BOUND_ALLOWANCE <= bound < len(body)
    exact = await refined_input_bound(Here(), body, "gpt-4o")
    foreign = await refined_input_bound(Here(), body, "claude-opus-4-6")
    assert exact is not None
    assert foreign is not None
    assert exact < foreign


async def test_runs_that_one_tokenizer_folds_are_bounded_by_their_bytes_for_another() -> None:
    body = chat(" " * 100_000)
    assert await refined_input_bound(Here(), body, "gpt-4o") < 3000  # type: ignore[operator]
    assert await refined_input_bound(Here(), body, "claude-opus-4-6") > 25_000  # type: ignore[operator]


@pytest.mark.parametrize(
    "members",
    [
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        {"previous_response_id": "resp_1"},
        {"cachedContent": "caches/1"},
        {"mcp_servers": [{"url": "https://example.com"}]},
    ],
)
async def test_what_the_request_does_not_hold_has_no_bound(members: dict[str, Any]) -> None:
    assert await refined_input_bound(Here(), chat(PROSE * 400), "gpt-4o") is not None
    assert await refined_input_bound(Here(), chat(PROSE * 400, **members), "gpt-4o") is None


@pytest.mark.parametrize(
    "part",
    [
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "file", "file": {"file_id": "f"}},
        {"type": "document", "source": {"type": "url", "url": "https://example.com"}},
        {"type": "document_url", "document_url": "https://example.com"},
        {"inlineData": {"mimeType": "audio/wav", "data": "AAAA"}},
        {"file_data": {"mime_type": "video/mp4", "file_uri": "gs://x"}},
        {"video": {"format": "mp4", "source": {"bytes": "AAAA"}}},
    ],
)
async def test_media_of_unknown_length_have_no_bound(part: dict[str, Any]) -> None:
    body = chat([{"type": "text", "text": PROSE * 400}, part])
    assert await refined_input_bound(Here(), body, "gpt-4o") is None


async def test_images_are_bounded_each_and_their_base64_is_no_text() -> None:
    pixels = base64.b64encode(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (800).to_bytes(4) + (600).to_bytes(4) + b"\0" * 90_000)
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + pixels.decode()}}
    body = chat([{"type": "text", "text": "What is it?"}, image, image])
    bound = await refined_input_bound(Here(), body, "gpt-4o")
    assert bound is not None
    assert 2 * image_bound("gpt-4o") < bound < 2 * image_bound("gpt-4o") + 1000
    # 800 by 600: scaled to nothing smaller, two by two tiles.
    assert await estimate(body, "gpt-4o") == count_now("What is it?", "gpt-4o") + 7 + 2 * (85 + 4 * 170)


async def test_a_small_request_is_not_counted_for_a_bound() -> None:
    here = Here()
    assert await refined_input_bound(here, chat("hello"), "gpt-4o") is None
    assert here.asked == []


async def test_sealed_reasoning_is_counted_by_its_length_and_bounded_by_its_bytes() -> None:
    sealed = [{"type": "reasoning", "encrypted_content": "z" * 6000}, {"role": "user", "content": PROSE * 100}]
    with_it, without = body_of(input=sealed), body_of(input=sealed[1:])
    assert await estimate(with_it, "gpt-5") - await estimate(without, "gpt-5") == pytest.approx(1000, rel=0.1)
    bounds = [await refined_input_bound(Here(), body, "gpt-5") for body in (with_it, without)]
    assert None not in bounds
    assert bounds[0] - bounds[1] > 4000  # type: ignore[operator]


async def test_output_is_scaled_where_the_tally_was_cut_and_calls_are_added() -> None:
    meter = CHAT.meter(Ask(model="m", stream=True), b"text/event-stream")
    piece = b'data: {"choices":[{"delta":{"content":"%b"}}]}\n\n' % (PROSE * 100).encode()
    for _ in range(60):  # 510 kB
        meter.feed(piece)
    counted = await count_output(Here(), meter, "gpt-4o")
    assert counted == pytest.approx(60 * count_now(PROSE * 100, "gpt-4o"), rel=0.01)
    call = b'{"index":0,"id":"c","function":{"name":"look","arguments":""}}'
    meter.feed(b'data: {"choices":[{"delta":{"tool_calls":[%b]}}]}\n\n' % call)
    assert meter.output_calls == 1
    assert await count_output(Here(), meter, "gpt-4o") > counted


def test_hostile_prompts_do_not_break_the_reader() -> None:
    deep = b'{"messages":' + b"[" * 500 + b"]" * 500 + b"}"
    assert read_prompt(deep) is not None
    odd = {
        "messages": [None, 1, {"content": {"image_url": 3, "inlineData": 4}}],
        "tools": [1, {"function": 2}],
        "text": 5,
    }
    assert read_prompt(body_of(**odd)) is not None
    with pytest.raises(InvalidRequest):
        CHAT.read(b"{}")


@pytest.mark.parametrize("odd", [[], {}, ["image"], {"a": []}, 5, None, True])
def test_a_type_that_is_no_text_is_read_without_harm(odd: Any) -> None:
    body = {
        "messages": [{"role": "user", "content": [{"type": odd, "text": "hi"}]}],
        "tools": [{"type": odd, "name": odd, "parameters": {"properties": {"a": {"type": odd, "enum": [odd, "x"]}}}}],
    }
    prompt = read_prompt(json.dumps(body).encode())
    assert prompt is not None
    assert "hi" in prompt.texts
    assert openai_tools(prompt.tools, "gpt-4o")[0] >= 0


def below(frames: int, run: Callable[[], Any]) -> Any:
    """What a function returns at a depth of the stack."""
    return below(frames - 1, run) if frames else run()


@pytest.mark.parametrize("depth", [*range(850, 1000, 5), 5000])
def test_depth_is_counted_or_refused_and_never_breaks(depth: int) -> None:
    deep = "[" * depth + '"word"' + "]" * depth
    tool = f'{{"name":"f","parameters":{{"properties":{{"a":{{"enum":[{deep}]}}}}}}}}'
    prompt = read_prompt(f'{{"messages":[{{"role":"user","content":"hi"}}],"tools":[{tool}]}}'.encode())
    if prompt is not None:  # what could just be read may be too deep where it is counted
        assert any("word" in line for line in below(90, lambda: openai_tools(prompt.tools, "gpt-4o"))[1])
        assert below(90, lambda: prompt.text_bytes) > 0

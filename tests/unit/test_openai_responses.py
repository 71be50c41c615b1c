import json
from typing import Any

import pytest

from proxy.core.errors import InvalidRequest
from proxy.providers.clamping import Clamps
from proxy.providers.dialect import BILLED, FREE, Ask, Head, Operation
from proxy.providers.openai_responses import Compact, InputTokens, Responses

RESPONSES = Responses()
EVERY = pytest.mark.parametrize("operation", [RESPONSES, Compact(), InputTokens()], ids=lambda one: one.paths[0].suffix)


def body(**members: Any) -> bytes:
    return json.dumps({"model": "gpt-5", "input": "hello", **members}).encode()


def read(**members: Any) -> Ask:
    return RESPONSES.read(body(**members))


def refused(request: bytes) -> str | None:
    with pytest.raises(InvalidRequest) as caught:
        RESPONSES.read(request)
    return caught.value.param


def test_what_is_asked_for_is_read() -> None:
    ask = read(stream=True, max_output_tokens=50, service_tier="flex")
    assert (ask.model, ask.stream, ask.output_limit, ask.choices, ask.service_tier) == ("gpt-5", True, 50, 1, "flex")
    assert (ask.media_parts, dict(ask.units), ask.resources, ask.input_bound) == (0, {}, (), None)
    assert read().output_limit is None


@EVERY
def test_a_body_is_sent_as_it_came_but_for_another_name_of_the_model(operation: Operation) -> None:
    request = body(stream=True, previous_response_id="resp_1")
    ask = operation.read(request)
    assert operation.outgoing(request, ask) is request
    assert json.loads(operation.outgoing(request, ask, "other")) == {**json.loads(request), "model": "other"}


def test_only_counting_is_free_and_needs_no_model() -> None:
    assert (RESPONSES.billing, Compact().billing, InputTokens().billing) == (BILLED, BILLED, FREE)
    assert InputTokens().read(b'{"input":"x"}').model == ""
    for operation in (RESPONSES, Compact()):
        with pytest.raises(InvalidRequest):
            operation.read(b'{"input":"x"}')


def test_stored_objects_are_named_and_have_an_allowance_in_the_hold() -> None:
    assert read(previous_response_id="resp_1").resources == ("resp_1",)
    assert read(conversation="conv_1").resources == ("conv_1",)
    assert read(conversation={"id": "conv_2"}).resources == ("conv_2",)
    assert read(previous_response_id=None, conversation=None).resources == ()
    plain = read().media_parts
    for members in ({"previous_response_id": "resp_1"}, {"conversation": "conv_1"}, {"prompt": {"id": "pmpt_1"}}):
        assert read(**members).media_parts > plain
    for members in (
        {"previous_response_id": 5},
        {"previous_response_id": "x" * 257},
        {"conversation": 5},
        {"conversation": {}},
    ):
        assert refused(body(**members)) == next(iter(members))


def test_tools_of_the_provider_have_an_allowance_and_the_callers_have_none() -> None:
    function = {"type": "function", "name": "f", "parameters": {}}
    assert read(tools=[function, {"type": "custom", "name": "c"}]).media_parts == 0
    assert read(tools=[{"type": "mcp", "server_url": "x"}]).media_parts > 0
    assert read(tools=[{"type": "file_search"}]).units == {"file_searches": 4}
    assert read(tools=[{"type": "code_interpreter", "container": {"type": "auto"}}]).units == {"code_sessions": 1}
    large = {"type": "code_interpreter", "container": {"type": "auto", "memory_limit": "16g"}}
    assert read(tools=[large, {"type": "shell", "environment": {"type": "container_auto"}}]).units == {
        "code_sessions": 16
    }
    assert read(tools=[{"type": "image_generation"}]).media_parts > read(tools=[large]).media_parts
    for kind in ("web_search", "web_search_preview", "web_search_2025_08_26"):
        assert read(tools=[function, {"type": kind}]).units == {"web_searches": 4}
    assert read(tools=[{"type": "web_search"}], max_tool_calls=2).units == {"web_searches": 2}
    assert read(tools=[{"type": "web_search"}], max_tool_calls=0).units == {}
    assert read(tools=[{"type": "web_search"}], max_tool_calls=10**6).units == {"web_searches": 100}
    assert read(tools=None).media_parts == 0
    for tools in ("x", {}, [5], [{}], [{"type": 5}]):
        assert refused(body(tools=tools)) == "tools"


def test_media_of_the_input_are_counted_wherever_they_are() -> None:
    image, file = {"type": "input_image", "image_url": "data:..."}, {"type": "input_file", "file_id": "file_1"}
    text = {"type": "input_text", "text": "what is this?"}
    items = [
        {"role": "user", "content": "plain"},
        {"role": "user", "content": [text, image, file]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a cat"}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": [image, text]},
        {"type": "computer_call_output", "call_id": "c", "output": {"type": "computer_screenshot", "image_url": "x"}},
        {"type": "reasoning", "summary": [], "encrypted_content": "AAAA"},
        {"type": "item_reference", "id": "msg_1"},
    ]
    assert read(input=items).media_parts == 5
    assert read(input="text").media_parts == 0
    for value in ([5], ["x"], [{"content": [5]}], [{"content": [{"type": 5}]}], [{"type": 5}]):
        assert refused(body(input=value)) == "input"


def test_members_that_cost_are_read_strictly() -> None:
    for name, value in (
        ("max_output_tokens", -1),
        ("max_output_tokens", "5"),
        ("max_tool_calls", -1),
        ("stream", 1),
        ("background", "x"),
    ):
        assert refused(body(**{name: value})) == name
    assert refused(body(models="gpt-6")) == "models"
    assert read(models=["gpt-6"]).others == ("gpt-6",)
    assert refused(body(MODEL="x")) == "MODEL"
    assert refused(body()[:-1] + b',"max_output_tokens":1,"max_output_tokens":9999}') == "max_output_tokens"
    assert refused(b"[]") is None


def test_the_prompt_is_what_the_model_reads() -> None:
    text = RESPONSES.prompt_text(
        body(
            instructions="be brief",
            input=[
                {
                    "role": "user",
                    "content": [{"type": "input_text", "text": "hi"}, {"type": "input_image", "image_url": "AAAA"}],
                }
            ],
            tools=[{"type": "function", "name": "weather"}],
        )
    )
    for word in ("be brief", "hi", "weather"):
        assert word in text
    assert "AAAA" not in text


def test_only_a_response_can_be_limited() -> None:
    assert isinstance(RESPONSES, Clamps)
    assert json.loads(RESPONSES.clamp(body(max_output_tokens=50), 20, None))["max_output_tokens"] == 20
    assert not isinstance(Compact(), Clamps)
    assert not isinstance(InputTokens(), Clamps)


def test_a_long_input_is_read_as_a_short_one() -> None:
    image = {"type": "input_image", "image_url": "data:image/png;base64," + "A" * 200_000}
    long = body(
        input=[{"role": "user", "content": [{"type": "input_text", "text": "x" * 200_000}, image]}], stream=True
    )
    ask = RESPONSES.read(long)
    assert (ask.model, ask.stream, ask.media_parts) == ("gpt-5", True, 1)
    assert refused(long[:-1] + b',"model":"other"}') == "model"


def test_a_path_may_name_the_model() -> None:
    assert RESPONSES.read(b'{"input":"x"}', Head(params={"model": "d"})).model == "d"

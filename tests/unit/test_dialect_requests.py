"""Request bodies in both dialects: what is read of them, what is refused, and that what is refused names its member."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.errors import InvalidRequest
from proxy.providers.anthropic_messages import Messages
from proxy.providers.dialect import Operation
from proxy.providers.openai_chat import ChatCompletions

CHAT, MESSAGES = ChatCompletions(), Messages()
BOTH = pytest.mark.parametrize("operation", [CHAT, MESSAGES], ids=["openai", "anthropic"])
HELLO = [{"role": "user", "content": "hello"}]


def body(**members: Any) -> bytes:
    return json.dumps({"model": "m", "max_tokens": 5, "messages": HELLO, **members}).encode()


def raw(**members: str) -> bytes:
    """A body with members spelled by hand."""
    texts = {"model": '"m"', "max_tokens": "5", "messages": '[{"role":"user","content":"hello"}]', **members}
    return ("{" + ",".join(f'"{name}":{text}' for name, text in texts.items()) + "}").encode()


def said(content: str) -> str:
    """Messages with one content, spelled by hand."""
    return f'[{{"role":"user","content":{content}}}]'


def refused(operation: Operation, request: bytes) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        operation.read(request)
    assert caught.value.status == 400
    assert caught.value.should_retry is False
    return caught.value


@BOTH
def test_what_is_asked_for_is_read(operation: Operation) -> None:
    ask = operation.read(body(model="gpt-4o", stream=True, temperature=0.5))
    assert (ask.model, ask.stream, ask.output_limit, ask.choices, ask.media_parts) == ("gpt-4o", True, 5, 1, 0)
    assert not operation.read(body(stream=False)).stream
    assert not operation.read(body(stream=None)).stream


@BOTH
@pytest.mark.parametrize(
    "request_body",
    [
        b"",
        b"   ",
        b"not json",
        b"\xef\xbb\xbf{}",
        b'{"model":"m"',
        b"{} {}",
        b"[]",
        b'"text"',
        b"5",
        b"null",
        b"[" * 100_000,
        b'{"model":"m","messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        raw(x="NaN"),
        raw(x="Infinity"),
        raw(x="01"),
        raw(x="'single'"),
        raw() + b"x",
        raw(x='"a\nb"'),
    ],
)
def test_what_is_not_a_json_object_is_refused(operation: Operation, request_body: bytes) -> None:
    refused(operation, request_body)


@BOTH
@pytest.mark.parametrize("text", ['"a\x00b"', r'"a\u0000b"', r'"\\\u0000"'])
def test_nul_is_refused_anywhere(operation: Operation, text: str) -> None:
    refused(operation, raw(messages=said(text)))
    refused(operation, raw(user=text))


@BOTH
@pytest.mark.parametrize(
    "text", [r'"\ud800"', r'"\udc00 and more"', r'"\udc00\ud800"', r'"\uD83D x"', r'"x\ud83d"', r'"\ud83d\ud83d\ude00"']
)
def test_lone_surrogates_are_refused_anywhere(operation: Operation, text: str) -> None:
    refused(operation, raw(messages=said(text)))
    refused(operation, raw(metadata=f'{{"deep":[{text}]}}'))
    refused(operation, raw(metadata=f"{{{text}:1}}"))
    refused(operation, raw(model=text))


@BOTH
def test_pairs_and_escaped_backslashes_are_not_taken_for_surrogates_and_nul(operation: Operation) -> None:
    for text in (r'"\ud83d\ude00"', r'"\\ud800"', r'"\\u0000"', '"😀 é"', r'"\\\\u0000 \u00e9"'):
        operation.read(raw(messages=said(text)))


@BOTH
def test_invalid_utf8_is_refused_anywhere(operation: Operation) -> None:
    refused(operation, raw(messages='[{"role":"user","content":"é"}]').replace("é".encode(), b"\xe9"))
    refused(operation, raw(user='"é"').replace("é".encode(), b"\xc0\x80"))
    refused(operation, raw(user='"é"').replace("é".encode(), b"\xed\xa0\x80"))


@BOTH
@pytest.mark.parametrize(
    "text", ["-1", "1e9", "5.5", "5.0", "true", '"5"', "10000001", "1" * 5000, "[5]", "{}", "-0.1", "1e400"]
)
def test_output_limits_that_are_no_token_counts_are_refused(operation: Operation, text: str) -> None:
    assert refused(operation, raw(max_tokens=text)).param == "max_tokens"


@pytest.mark.parametrize("text", ["-1", "5.5", "true", '"5"', "99999999999999999999"])
def test_the_newer_output_limit_is_read_as_strictly(text: str) -> None:
    assert refused(CHAT, raw(max_completion_tokens=text)).param == "max_completion_tokens"


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "true", '"2"', "129", "1" * 5000])
def test_numbers_of_choices_that_are_none_are_refused(text: str) -> None:
    assert refused(CHAT, raw(n=text)).param == "n"


def test_the_larger_of_two_output_limits_counts() -> None:
    assert CHAT.read(body(max_tokens=5, max_completion_tokens=9)).output_limit == 9
    assert CHAT.read(body(max_tokens=9, max_completion_tokens=5)).output_limit == 9
    assert CHAT.read(raw(max_tokens="null", max_completion_tokens="7")).output_limit == 7
    assert CHAT.read(raw(max_tokens="null")).output_limit is None
    assert CHAT.read(body(n=3)).choices == 3
    assert CHAT.read(raw(n="null")).choices == 1


def test_anthropic_requires_an_output_limit() -> None:
    for request in (raw(max_tokens="null"), b'{"model":"m","messages":[]}'):
        assert refused(MESSAGES, request).param == "max_tokens"


@BOTH
@pytest.mark.parametrize(
    "text", ["5", "null", '""', '"a\\nb"', '"\\u007f"', '"\\u0085"', '["m"]', "true", '"%s"' % ("m" * 257)]
)
def test_models_that_are_no_names_are_refused(operation: Operation, text: str) -> None:
    assert refused(operation, raw(model=text)).param == "model"


@BOTH
def test_a_model_is_required(operation: Operation) -> None:
    assert refused(operation, b'{"max_tokens":5,"messages":[]}').param == "model"
    assert operation.read(body(model="m" * 256)).model == "m" * 256


@BOTH
@pytest.mark.parametrize("text", ["1", '"true"', "[]", "0"])
def test_a_stream_that_is_no_switch_is_refused(operation: Operation, text: str) -> None:
    assert refused(operation, raw(stream=text)).param == "stream"


@BOTH
@pytest.mark.parametrize(
    "text", ["5", '"hello"', "{}", "null", "[5]", '[{"content":[{"type":5}]}]', '[{"content":[5]}]']
)
def test_messages_that_are_no_messages_are_refused(operation: Operation, text: str) -> None:
    assert refused(operation, raw(messages=text)).param == "messages"


@BOTH
@pytest.mark.parametrize("name", ["Max_Tokens", "MODEL", "Stream", "me\u017fsages", "max_to\u212aens"])
def test_a_member_that_differs_only_in_case_is_refused(operation: Operation, name: str) -> None:
    assert refused(operation, body(**{name: 1})).param == name


@BOTH
@pytest.mark.parametrize("spaces", [False, True])
@pytest.mark.parametrize("size", [10, 100_000])
def test_a_metered_member_given_twice_is_refused(operation: Operation, size: int, spaces: bool) -> None:
    start = raw(messages=said('"' + "x" * size + '"')).replace(b"}", b"} ", spaces)
    for second in (
        b'"max_tokens":1',
        b'"max_tokens":5',
        b'"model":"n"',
        b'"stream":true,"stream":true',
        b'"messages":[]',
    ):
        refused(operation, start.rstrip()[:-1] + b"," + second + b"}")


@BOTH
def test_a_member_hidden_by_escapes_is_refused(operation: Operation) -> None:
    for second in (rb'"max\u005ftokens":1', rb'"m\u0061x_tokens":1', rb'"\u006dodel":"n"'):
        refused(operation, raw()[:-1] + b"," + second + b"}")
    refused(operation, raw().replace(b"max_tokens", rb"max\u005ftokens"))


@BOTH
def test_the_same_names_deeper_down_are_nobodys_business(operation: Operation) -> None:
    nested = {"properties": {"model": {}, "max_tokens": {}, "stream": {}, "messages": {"n": 1}}, "Model": 1}
    tools = [{"name": "f", "input_schema": nested}]
    content = 'say "model" and {"max_tokens": 1} \\u0041'
    for separators in ((",", ":"), (", ", ": ")):
        request = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": content}], "tools": tools}
        assert operation.read(json.dumps(request, separators=separators).encode()).output_limit == 5
    escaped = raw(messages=r'[{"role":"user","content":"\u0041\u0042 \"model\""}]')
    assert operation.read(escaped).model == "m"


@settings(max_examples=50)
@given(
    st.dictionaries(
        st.sampled_from(["temperature", "user", "tools", "metadata", "é", "x y", 'q"t', "system"]),
        st.recursive(
            st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=8),
            lambda inner: st.lists(inner, max_size=3),
        ),
    ),
    st.booleans(),
    st.booleans(),
)
def test_clean_bodies_are_never_refused(extra: dict[str, Any], ascii_only: bool, spaces: bool) -> None:
    separators = (", ", ": ") if spaces else (",", ":")
    request = {"model": "m", "max_tokens": 5, "messages": HELLO, **extra}
    text = json.dumps(request, ensure_ascii=ascii_only, separators=separators)
    if r"\u0000" in text:
        return
    for operation in (CHAT, MESSAGES):
        assert operation.read(text.encode()).output_limit == 5


@BOTH
def test_media_are_counted(operation: Operation) -> None:
    parts = [
        {"type": "text", "text": "what is this?"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "image", "source": {"type": "base64", "data": "AAAA"}},
        {"type": "tool_result", "content": [{"type": "image"}, {"type": "text", "text": "x"}]},
    ]
    messages = [{"role": "user", "content": parts}, {"role": "user", "content": "plain"}, {"role": "assistant"}]
    assert operation.read(body(messages=messages)).media_parts == 3
    hidden = raw(messages=r'[{"role":"user","content":[{"type":"im\u0061ge"}]}]')
    assert operation.read(hidden).media_parts == 1


@BOTH
def test_prompt_text_has_what_the_model_reads_and_no_media(operation: Operation) -> None:
    messages = [
        {
            "role": "user",
            "content": [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": "AAAA"}}],
        },
        {
            "role": "assistant",
            "content": "yes",
            "tool_calls": [{"id": "c1", "function": {"name": "f", "arguments": "{}"}}],
        },
    ]
    text = operation.prompt_text(body(messages=messages, tools=[{"name": "weather", "description": "tells it"}]))
    for word in ("look", "yes", "weather", "tells it", "f", "{}"):
        assert word in text.split("\n")
    assert "AAAA" not in text
    assert "c1" not in text
    assert "user" not in text.split("\n")  # what a role costs is added by message


@BOTH
def test_prompt_text_of_odd_but_accepted_bodies(operation: Operation) -> None:
    deep = "[" * 400 + "]" * 400
    assert operation.prompt_text(raw(tools=deep)) == "hello"
    assert "hello" in operation.prompt_text(raw(seed="1" * 5000))

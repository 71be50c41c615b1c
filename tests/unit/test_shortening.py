"""Long strings are left out of what is read, never out of what is sent, and never at the price of another reading."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.errors import InvalidRequest
from proxy.providers.anthropic_messages import Messages
from proxy.providers.openai_chat import METERED, ChatCompletions
from proxy.providers.openai_responses import Responses
from proxy.providers.reading import outline, top_level
from proxy.providers.shortening import KEPT_BYTES, RUN_BYTES, shortened

LONG = "a" * (3 * RUN_BYTES)
CHAT = ChatCompletions()


def skeleton(value: Any) -> Any:
    """A JSON value with long plain strings cut short, as far as their runs reach."""
    if isinstance(value, dict):
        return {name: skeleton(member) for name, member in value.items()}
    if isinstance(value, list):
        return [skeleton(member) for member in value]
    if isinstance(value, str) and len(value) >= RUN_BYTES and "\\" not in value and '"' not in value:
        return value.encode()[:KEPT_BYTES].decode(errors="ignore") + "~"
    return value


def written(value: Any, *, indent: int | None = None) -> bytes:
    return json.dumps(value, indent=indent, ensure_ascii=False).encode()


def test_long_strings_lose_their_insides_and_nothing_else() -> None:
    value = {"model": "m", "messages": [{"content": LONG}, {"content": "short"}, {"content": LONG + "é"}], "n": 2}
    assert json.loads(shortened(written(value))) == skeleton(value)


@pytest.mark.parametrize("text", ['"' + LONG, LONG + '"', LONG + '"' + LONG, LONG + "\\", "\\" + LONG, "\\\\" + LONG])
def test_quotes_and_backslashes_around_a_run(text: str) -> None:
    value = {"a": text, "b": [1, text, {"c": "d"}]}
    read = json.loads(shortened(written(value)))
    assert list(read) == ["a", "b"]
    assert read["b"][0] == 1
    assert read["b"][2] == {"c": "d"}


def test_without_a_long_run_it_is_the_same_object() -> None:
    for value in ({"a": "b" * 100}, {"a": ['"' * 5000] * 9}, {"a": list(range(9))}):
        body = written(value)
        assert shortened(body) is body


def test_a_long_run_outside_of_strings_is_read_whole() -> None:
    for value in (
        {"model": "m", "prompt": list(range(40_000)), "last": "x"},
        {"model": "m", "messages": LONG, "p": [0.5] * 40_000, "last": "x"},
    ):
        body = written(value)
        assert {name: json.loads(bytes(raw)) for name, raw in top_level(body, ("model",)).items()} == value
        assert [name for name in outline(body, ("model",))] == list(value)  # noqa: C416 - a list of names is compared
        assert bytes(outline(body, ("model",))["last"]) == b'"x"'


@pytest.mark.parametrize(
    "text", ["é" * RUN_BYTES, "a" + "é" * RUN_BYTES, "\U0001f600" * RUN_BYTES, "a\U0001f600" * RUN_BYTES]
)
def test_no_character_is_cut(text: str) -> None:
    value = {"a": text * 3, "b": [text * 3]}
    assert json.loads(shortened(written(value)).decode()) == skeleton(value)


def test_a_name_is_as_much_too_long_as_it_was() -> None:
    short = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": LONG * 3}]}
    for odd in ({"model": LONG}, {"container": LONG}, {"container": {"id": LONG}}, {"fallbacks": [{"model": LONG}]}):
        with pytest.raises(InvalidRequest):
            Messages().read(written({**short, **odd}))
    searches = [{"type": "web_search_" + LONG, "max_uses": 3}]
    assert Messages().read(written({**short, "tools": searches})).units == {"web_searches": 3}
    for odd in ({"service_tier": LONG}, {"conversation": LONG}, {"conversation": {"id": LONG}}):
        with pytest.raises(InvalidRequest):
            Responses().read(written({"model": "m", "input": LONG * 3, **odd}))


def test_a_second_member_of_a_metered_name_is_found_behind_a_long_string() -> None:
    body = b'{"model":"m","messages":[{"content":"%b"}],"max_tokens":5,"max_tokens":6}' % (LONG.encode() * 4)
    with pytest.raises(InvalidRequest, match="given once"):
        CHAT.read(body)


@pytest.mark.parametrize("tail", [b"", b'"', b'"}}}', b'"]}', b"\\", b'\\"}', b'":}'])
def test_what_is_no_json_stays_none(tail: bytes) -> None:
    with pytest.raises(InvalidRequest):
        outline(b'{"model":"' + LONG.encode() * 4 + tail, METERED)


# `L` stands for a long run and 77 for a long list, so that an example stays short enough to be printed.
PIECES = st.sampled_from(["", "a", '"', "\\", "é", "\n", "L", "L\\", '"L', "data:image/png;base64,L"])
TEXTS = st.lists(PIECES, max_size=4).map("".join)
VALUES = st.recursive(
    TEXTS | st.integers(-9, 9) | st.none() | st.just(77),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


def expanded(value: Any) -> Any:
    if isinstance(value, dict):
        return {expanded(name): expanded(member) for name, member in value.items()}
    if isinstance(value, list):
        return [expanded(member) for member in value]
    if value == 77:
        return [1.5] * 9_000
    return value.replace("L", LONG) if isinstance(value, str) else value


@settings(max_examples=300, deadline=None)
@given(content=VALUES, limit=st.integers(0, 9), indent=st.sampled_from([None, 1]))
def test_it_reads_as_the_whole_does(content: Any, limit: int, indent: int | None) -> None:
    value = {
        "filler": LONG * 3,
        "model": "m",
        "max_tokens": limit,
        "messages": [{"content": "x"}],
        "other": expanded(content),
        "n": 1,
    }
    body = written(value, indent=indent)
    names = list(top_level(body, METERED))
    found = outline(body, METERED)
    assert list(found) == names
    assert {name: bytes(found[name]) for name in ("model", "max_tokens", "n")} == {
        "model": b'"m"',
        "max_tokens": b"%d" % limit,
        "n": b"1",
    }
    assert CHAT.read(body).output_limit == limit

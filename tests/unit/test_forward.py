"""What goes to a provider, and nothing else: path, query and headers as they leave."""

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.errors import NotFound
from proxy.pipeline.forward import request_headers, target_for

TAIL = ((b"authorization", b"Bearer provider"), (b"accept-encoding", b"identity"))


def endpoint(**more: Any) -> Any:
    usual = {
        "dialect": "openai",
        "base_path": "/base/v1",
        "allowed_headers": frozenset((b"accept", b"content-type")),
        "allowed_query": frozenset(("alt", "include[]", "stream")),
        "defaults": ((b"content-type", b"application/json"), (b"x-version", b"1")),
        "tail": TAIL,
        "signer": None,
        "parts": {},
        "targets": {},
    }
    return SimpleNamespace(**(usual | more))


def call(suffix: str, query: str = "", headers: list[tuple[bytes, bytes]] | None = None, **raw: str) -> Any:
    headers = headers or []
    target = SimpleNamespace(suffix=suffix, raw=raw, params=raw)
    return SimpleNamespace(exchange=SimpleNamespace(query=query, headers=headers, named=dict(headers)), target=target)


def route(at: Any, own_model: str | None = None) -> Any:
    return SimpleNamespace(endpoint=at, own_model=own_model)


def test_a_path_is_the_base_and_what_follows_it() -> None:
    at = endpoint()
    assert target_for(call("/chat/completions"), route(at)) == "/base/v1/chat/completions"
    assert target_for(call("/chat/completions", "key=secret"), route(at)) == "/base/v1/chat/completions"
    assert target_for(call("/r/{response_id}", response_id="a%3Ab"), route(at)) == "/base/v1/r/a%3Ab"


def test_an_alias_takes_the_place_of_a_model_in_a_path_and_of_nothing_else() -> None:
    at = endpoint()
    named = call("/models/{model}:go/{id}", model="public", id="public")
    assert target_for(named, route(at, "own/../x?y#z")) == "/base/v1/models/own%2F..%2Fx%3Fy%23z:go/public"
    assert target_for(call("/d/{deployment}", deployment="public"), route(at, "own")) == "/base/v1/d/own"


def test_the_configuration_says_whose_project_pays() -> None:
    path = call("/p/{project}/l/{location}/m/{model}", project="theirs", location="there", model="m")
    assert target_for(path, route(endpoint())) == "/base/v1/p/theirs/l/there/m/m"
    ours = endpoint(parts={"project": "ours", "location": "here"}, signer=object())
    assert target_for(path, route(ours)) == "/base/v1/p/ours/l/here/m/m"
    with pytest.raises(NotFound):
        target_for(path, route(endpoint(signer=object())))


@pytest.mark.parametrize(
    ("query", "left"),
    [
        ("alt=sse&key=secret", "?alt=sse"),
        ("include[]=a%20b&include%5B%5D=c&stream=true", "?include[]=a%20b&include%5B%5D=c&stream=true"),
        ("ALT=sse", ""),
        ("alt=a b", ""),
        ("alt=a\r\nb", ""),
        ("alt=é", ""),
        ("alt=1#frag", ""),
        ("&&=&alt", "?alt"),
        ("k%65y=secret&alt=1", "?alt=1"),
    ],
)
def test_of_a_query_only_known_members_go_on_as_they_came(query: str, left: str) -> None:
    assert target_for(call("/x", query), route(endpoint())) == "/base/v1/x" + left


@given(st.text(max_size=80))
def test_no_query_can_say_more_than_its_known_members(query: str) -> None:
    target = target_for(call("/x", query), route(endpoint()))
    assert target.isascii()
    assert target.isprintable()
    assert " " not in target
    path, mark, members = target.partition("?")
    assert path == "/base/v1/x"
    assert not mark or all(
        one.partition("=")[0].startswith(("alt", "include", "stream", "%")) for one in members.split("&")
    )


def test_headers_are_the_allowed_ones_what_is_required_and_ours() -> None:
    sent = [(b"accept", b"a"), (b"authorization", b"Bearer client"), (b"x-other", b"b"), (b"content-type", b"c/d")]
    assert request_headers(call("/x", headers=sent), endpoint()) == [
        (b"accept", b"a"),
        (b"content-type", b"c/d"),
        (b"x-version", b"1"),
        *TAIL,
    ]
    assert request_headers(call("/x"), endpoint()) == [*endpoint().defaults, *TAIL]
    assert request_headers(call("/x"), endpoint(), with_body=False) == [(b"x-version", b"1"), *TAIL]

"""A token limit counts where it is obeyed: what is known of each provider, what is sent in mode strict, what a hold believes."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from proxy.config import parse_config
from proxy.core.errors import ConfigError, InvalidRequest
from proxy.core.outcomes import Refused
from proxy.core.pricing import Price, Tariff
from proxy.pipeline import strict
from proxy.pipeline.candidates import Candidates
from proxy.pipeline.obeyed import without_ignored
from proxy.pipeline.routes import make_endpoints
from proxy.providers.azure_openai import OPERATIONS as AZURE
from proxy.providers.clamping import Clamps
from proxy.providers.openai_chat import ChatCompletions
from proxy.providers.openai_completions import Completions
from proxy.providers.registry import known_providers
from proxy.providers.rows import PROVIDERS, Names
from proxy.providers.token_limits import LIMIT_NAMES, given_names, is_unsure, obeyed_names, with_named_limit

PRICE = Price("m", {"input": 10**9, "output": 2 * 10**9}, "v", assumed_output_tokens=500)
CHAT, LEGACY = ChatCompletions(), Completions()
OLDER, NEWER = ("max_tokens",), ("max_completion_tokens",)


def route(names: Names) -> Any:
    return SimpleNamespace(endpoint=SimpleNamespace(token_limits=names, provider="p"), price=PRICE)


def make_call(*names: Names, operation: Any = CHAT, **asked: Any) -> Any:
    given = {"messages": []} if operation is CHAT else {"prompt": "hi"}
    body = json.dumps({"model": "m", **given, **asked}).encode()
    routes = tuple(route(one) for one in names)
    return SimpleNamespace(
        body=body,
        ask=operation.read(body),
        operation=operation,
        candidates=SimpleNamespace(routes=routes),
        route=routes[0],
        tariff=Tariff(PRICE, 1000),
        limited=None,
    )


def limits(call: Any) -> dict[str, Any]:
    return {name: value for name, value in json.loads(call.body).items() if name in LIMIT_NAMES}


# What is known.


def test_every_row_that_serves_chat_says_which_names_it_obeys() -> None:
    silent = {name for name, row in PROVIDERS.items() if "openai" in row.base_urls and row.token_limits is None}
    assert silent == {"voyage"}, "it serves no chat"
    assert all(set(row.token_limits or ()) <= set(LIMIT_NAMES) for row in PROVIDERS.values())


def test_a_provider_is_known_by_its_name_or_by_its_address() -> None:
    assert obeyed_names("deepseek", "https://gateway.example/v1", None) == OLDER
    assert obeyed_names("ours", "https://api.deepseek.com", None) == OLDER
    assert obeyed_names("vllm-second", "http://10.0.0.1:8000/v1", None) == ("max_completion_tokens", "max_tokens")
    for unknown in (("openai-like", "http://10.0.0.1/v1"), ("ours", "http://127.0.0.1:11434/v1"), ("ours", "")):
        assert obeyed_names(*unknown, None) is None, "such a name, or a local port, may be anybody's"
    assert obeyed_names("deepseek", "", ["max_completion_tokens"]) == NEWER
    assert obeyed_names("deepseek", "", []) == ()


async def test_the_configuration_has_the_last_word() -> None:
    text = """
[providers.deepseek]
api_key = ""
token_limits = ["max_completion_tokens"]
[providers.moonshot]
api_key = ""
[providers.mine]
api_key = ""
base_url = "http://127.0.0.1:1/v1"
"""
    endpoints = make_endpoints(parse_config(text, known_providers=known_providers()))
    for endpoint in endpoints:
        await endpoint.client.close()
    found = {(one.provider, one.dialect): one.token_limits for one in endpoints}
    assert found == {
        ("deepseek", "openai"): NEWER,
        ("deepseek", "anthropic"): None,
        ("moonshot", "openai"): ("max_completion_tokens", "max_tokens"),
        ("moonshot", "anthropic"): None,
        ("mine", "openai"): None,
    }
    with pytest.raises(ConfigError, match="token_limits"):
        parse_config('[providers.x]\napi_key = ""\nbase_url = "http://h"\ntoken_limits = ["max_new_tokens"]')


def test_candidates_are_unsure_where_one_of_them_passes_over_a_usual_name() -> None:
    assert [is_unsure(names) for names in (None, ("max_completion_tokens", "max_tokens"), OLDER, NEWER, ())] == [
        False,
        False,
        True,
        True,
        True,
    ]
    assert Candidates([route(None), route(OLDER)]).unsure
    assert not Candidates([route(None)]).unsure


# What is sent in mode strict.


def test_a_limit_goes_out_under_a_name_that_is_obeyed() -> None:
    def sent(names: Names, **asked: Any) -> dict[str, Any]:
        return dict(json.loads(with_named_limit(json.dumps(asked).encode(), 50, names)))

    assert sent(OLDER, max_completion_tokens=80, n_predict=9, x=1) == {"max_tokens": 50, "x": 1}
    assert sent(NEWER, max_tokens=30) == {"max_completion_tokens": 30}, "never raised"
    assert sent(OLDER, max_tokens=30, max_completion_tokens=8) == {"max_tokens": 30}
    assert sent(("max_tokens", "n_predict"), n_predict=-1) == {"n_predict": 50}, "llama.cpp: -1 is no limit"
    assert sent(OLDER, max_tokens=None) == {"max_tokens": 50}
    assert sent(None, max_completion_tokens=80) == {"max_completion_tokens": 50, "max_tokens": 50}, "it may obey either"


@pytest.mark.parametrize(
    ("names", "asked", "sent"),
    [
        (OLDER, {"max_completion_tokens": 100}, {"max_tokens": 100}),
        (OLDER, {"max_tokens": 100}, {"max_tokens": 100}),
        (OLDER, {}, {"max_tokens": 500}),
        (NEWER, {}, {"max_completion_tokens": 500}),
        (None, {"max_completion_tokens": 100}, {"max_completion_tokens": 100, "max_tokens": 100}),
        (None, {"n_predict": 9000}, {"n_predict": 9000, "max_tokens": 9000}),
    ],
)
def test_strict_sends_the_clients_own_limit_so_that_it_holds(
    names: Names, asked: dict[str, int], sent: dict[str, int]
) -> None:
    call = make_call(names, **asked)
    told = strict.limit_output(call)
    assert (limits(call), told) == (sent, None if asked else 500)
    assert call.ask.output_limit == max(sent.values())


def test_strict_leaves_a_body_alone_whose_limit_is_obeyed() -> None:
    for names, asked in ((OLDER, "max_tokens"), (NEWER, "max_completion_tokens"), (None, "max_tokens")):
        call = make_call(names, **{asked: 7})
        before = call.body
        strict.limit_output(call)
        assert call.body is before


def test_strict_refuses_what_no_limit_bounds() -> None:
    for asked in ({}, {"max_tokens": 7}):
        with pytest.raises(InvalidRequest) as caught:
            strict.limit_output(make_call(None, (), **asked))
        assert caught.value.code == "token_limit_not_obeyed"


def test_a_second_provider_gets_the_limit_under_its_own_name() -> None:
    call = make_call(OLDER, NEWER, max_tokens=100)
    assert strict.limit_output(call) is None
    assert limits(call) == {"max_tokens": 100}
    call.route = call.candidates.routes[1]
    strict.send_limit(call, *call.limited)
    assert limits(call) == {"max_completion_tokens": 100}


def test_a_lowered_limit_is_sent_under_the_same_name() -> None:
    call = make_call(OLDER, max_completion_tokens=400)
    strict.limit_output(call)
    lowered = strict.afford(call, Refused("balance", None, 9_999_999, 500_000, None, ()))
    assert lowered is not None
    assert limits(call) == {"max_tokens": lowered}
    assert lowered < 400
    assert limits(SimpleNamespace(body=call.limited[0])) == {"max_completion_tokens": 400}, "for another provider"


def test_legacy_completions_have_the_older_name_only() -> None:
    call = make_call(("max_completion_tokens", "max_tokens"), operation=LEGACY, max_completion_tokens=9)
    assert call.ask.output_limit is None, "no server knows it there"
    strict.limit_output(call)
    assert limits(call) == {"max_tokens": 500, "max_completion_tokens": 9}, "passed over, as it came"
    newer = make_call(NEWER, operation=LEGACY, max_tokens=9)
    assert strict.limit_output(newer) is None
    assert limits(newer) == {"max_tokens": 9}


def test_azure_obeys_openais_names() -> None:
    chat = next(one for one in AZURE if one.paths[0].suffix.endswith("/chat/completions"))
    assert isinstance(chat, Clamps)
    assert json.loads(chat.clamp(b"{}", 50, None)) == {"max_completion_tokens": 50}


# What a hold believes.


@pytest.mark.parametrize(
    ("names", "asked", "believed"),
    [
        ([OLDER], {"max_completion_tokens": 5}, None),
        ([OLDER], {"max_tokens": 5}, 5),
        ([OLDER], {"max_completion_tokens": 600}, 600),  # more than is assumed: the larger one is held
        ([OLDER], {"max_completion_tokens": 5, "max_tokens": 6}, 6),
        ([None, OLDER], {"max_completion_tokens": 5}, None),
        ([None], {"max_completion_tokens": 5}, 5),
        ([()], {"max_tokens": 5}, None),
        ([("max_tokens", "n_predict")], {"max_completion_tokens": 5}, None),
    ],
)
def test_a_limit_that_is_passed_over_lowers_no_hold(
    names: list[Names], asked: dict[str, int], believed: int | None
) -> None:
    call = make_call(*names, **asked)
    ask = without_ignored(call.ask, CHAT, call.body, call.candidates.routes)
    assert ask.output_limit == believed
    if believed == call.ask.output_limit:
        assert ask is call.ask


def test_a_name_inside_a_prompt_is_no_limit() -> None:
    messages = [{"role": "user", "content": '"max_tokens": 9'}]
    body = json.dumps({"model": "m", "messages": messages, "max_completion_tokens": 5}).encode()
    assert given_names(body) == set(NEWER)
    assert without_ignored(CHAT.read(body), CHAT, body, [route(OLDER)]).output_limit is None

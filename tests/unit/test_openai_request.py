import json
from typing import Any

import pytest

from proxy.core.errors import InvalidRequest
from proxy.providers.dialect import Head
from proxy.providers.openai_chat import ChatCompletions
from proxy.providers.openai_request import model_of, resource_of

CHAT = ChatCompletions()


def body(**members: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [], **members}).encode()


def refused(request: bytes, head: Head | None = None) -> str | None:
    with pytest.raises(InvalidRequest) as caught:
        CHAT.read(request, head or Head())
    return caught.value.param


def test_the_largest_of_all_output_limits_counts_and_an_endless_one_is_none() -> None:
    assert CHAT.read(body(n_predict=7)).output_limit is None, "most servers pass over a name that they do not know"
    assert CHAT.read(body(n_predict=99_999)).output_limit == 99_999
    assert CHAT.read(body(n_predict=7, max_tokens=None)).output_limit is None
    assert CHAT.read(body(num_predict=7, max_tokens=9)).output_limit == 9
    assert CHAT.read(body(n_predict=99, max_tokens=9, max_completion_tokens=8)).output_limit == 99
    assert CHAT.read(body(n_predict=-1, max_tokens=9)).output_limit is None
    assert CHAT.read(body(num_predict=-2)).output_limit is None
    assert CHAT.read(body(n_predict=None, max_tokens=0)).output_limit == 0
    assert refused(body(n_predict=-3)) == "n_predict"
    assert refused(body(num_predict=1.5)) == "num_predict"
    assert refused(body(n_predict=10**8)) == "n_predict"


def test_models_that_may_answer_in_anothers_place_are_named() -> None:
    assert CHAT.read(body(models=["m", "x", "y", "x"])).others == ("x", "y")
    for models in (["m"], ["m", "m"], [], None):
        assert CHAT.read(body(models=models)).others == ()
    for models in ("x", [5], {}, [""], ["a\nb"], ["x" * 257], [f"model-{number}" for number in range(17)]):
        assert refused(body(models=models)) == "models"
    assert refused(body(Models=["x"])) == "Models"
    assert refused(body()[:-1] + b',"models":[],"models":["x"]}') == "models"


def test_the_tier_is_a_short_word() -> None:
    assert CHAT.read(body()).service_tier is None
    assert CHAT.read(body(service_tier=None)).service_tier is None
    assert CHAT.read(body(service_tier="flex")).service_tier == "flex"
    for tier in (5, ["flex"], "x" * 65):
        assert refused(body(service_tier=tier)) == "service_tier"


def test_a_deployment_in_the_path_is_the_model_whatever_the_body_says() -> None:
    head = Head(params={"model": "my deployment"})
    assert CHAT.read(body(model="gpt-4o"), head).model == "my deployment"
    assert CHAT.read(b'{"messages":[]}', head).model == "my deployment"
    assert model_of({}, head) == "my deployment"
    for name in ("", "a\nb", "x" * 257):
        assert refused(body(), Head(params={"model": name})) == "model"


@pytest.mark.parametrize("name", ["resp_1", "resp_68cdc387531c81938b4bee", "gen-1.2~x:y", "r" * 256])
def test_an_id_in_the_path_is_read(name: str) -> None:
    assert resource_of(Head(params={"response_id": name}), "response_id") == name


@pytest.mark.parametrize("name", ["", ".", "..", "...", "a/b", "a?b", "a#b", "a b", "é", "a%2fb", "x" * 257, "a\n"])
def test_what_could_lead_elsewhere_is_no_id(name: str) -> None:
    with pytest.raises(InvalidRequest):
        resource_of(Head(params={"response_id": name}), "response_id")
    with pytest.raises(InvalidRequest):
        resource_of(Head(), "response_id")

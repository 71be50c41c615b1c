import json

import pytest

from proxy.core.errors import InvalidRequest
from proxy.providers.dialect import FREE
from proxy.providers.openai_moderations import Moderations
from tests.support.answers import plain

MODERATIONS = Moderations()


@pytest.mark.parametrize("model", ["omni-moderation-latest", "omni-moderation-2024-09-26", "text-moderation-stable"])
def test_openais_models_are_free(model: str) -> None:
    request = json.dumps({"model": model, "input": "text"}).encode()
    ask = MODERATIONS.read(request)
    assert (ask.model, MODERATIONS.billing) == (model, FREE)
    assert MODERATIONS.outgoing(request, ask) is request
    assert MODERATIONS.prompt_text(request) == "text"


def test_the_default_model_is_openais() -> None:
    for request in (b'{"input":"x"}', b'{"input":["x"],"model":null}'):
        assert MODERATIONS.read(request).model == "omni-moderation-latest"


@pytest.mark.parametrize("model", ["mistral-moderation-latest", "gpt-4o", "omni-moderation", "", 5])
def test_no_other_model_is_given_away(model: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        MODERATIONS.read(json.dumps({"model": model, "input": "x"}).encode())
    assert caught.value.param == "model"
    with pytest.raises(InvalidRequest):
        MODERATIONS.read(b'{"model":"omni-moderation-latest","model":"gpt-4o","input":"x"}')


def test_an_answer_has_nothing_to_charge() -> None:
    meter = plain(MODERATIONS, {"id": "modr-1", "results": [{"flagged": False}]})
    assert (meter.usage, meter.flag, meter.complete) == (None, None, True)

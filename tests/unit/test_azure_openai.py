import json

import pytest
from openai.lib.azure import _deployments_endpoints

from proxy.core.errors import InvalidRequest
from proxy.providers.azure_openai import OPERATIONS
from proxy.providers.clamping import Clamps
from proxy.providers.dialect import FREE, Head
from proxy.providers.openai_operations import OPERATIONS as OPENAI
from tests.support.answers import plain
from tests.support.forms import FORM, form

BY_PATH = {(one.method, one.paths[0].suffix): one for one in OPERATIONS}
CHAT = BY_PATH["POST", "/openai/deployments/{model}/chat/completions"]
DEPLOYED = Head(params={"model": "my-gpt"}, query="api-version=2024-10-21")


def test_the_paths_are_the_sdks_and_need_a_provider() -> None:
    deployed = {suffix for _, suffix in BY_PATH if "/deployments/" in suffix}
    assert deployed == {f"/openai/deployments/{{model}}{endpoint}" for endpoint in _deployments_endpoints}
    for path in ("/openai/v1/chat/completions", "/openai/v1/responses", "/openai/responses", "/openai/v1/embeddings"):
        assert ("POST", path) in BY_PATH
    assert ("GET", "/openai/v1/responses/{response_id}") in BY_PATH
    for operation in OPERATIONS:
        assert operation.dialect == "azure"
        assert all(path.shared is None for path in operation.paths)


def test_every_operation_costs_what_openais_does() -> None:
    billing = {(one.method, path.suffix): one.billing for one in OPENAI for path in one.paths}
    for (method, suffix), operation in BY_PATH.items():
        own = suffix.removeprefix("/openai").removeprefix("/v1").removeprefix("/deployments/{model}")
        assert operation.billing == billing[method, own], suffix
    assert BY_PATH["POST", "/openai/v1/responses/input_tokens"].billing == FREE


def test_a_deployment_is_the_model_and_the_body_is_left_alone() -> None:
    for request in (b'{"messages":[]}', b'{"messages":[],"model":"gpt-4o"}'):
        ask = CHAT.read(request, DEPLOYED)
        assert ask.model == "my-gpt"
        assert CHAT.outgoing(request, ask, "another-deployment") is request
    stream = b'{"messages":[],"stream":true}'
    sent = json.loads(CHAT.outgoing(stream, CHAT.read(stream, DEPLOYED), "another-deployment"))
    assert sent == {"messages": [], "stream": True, "stream_options": {"include_usage": True}}
    transcriptions = BY_PATH["POST", "/openai/deployments/{model}/audio/transcriptions"]
    head = Head(params=DEPLOYED.params, content_type=FORM.content_type)
    assert transcriptions.read(form({"file": b"x"}), head).model == "my-gpt"


def test_in_v1_the_deployment_is_in_the_body() -> None:
    chat = BY_PATH["POST", "/openai/v1/chat/completions"]
    request = b'{"model":"my-gpt","messages":[]}'
    ask = chat.read(request, Head())
    assert ask.model == "my-gpt"
    assert json.loads(chat.outgoing(request, ask, "theirs"))["model"] == "theirs"
    with pytest.raises(InvalidRequest):
        chat.read(b'{"messages":[]}', Head())


def test_answers_are_metered_as_openais() -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}
    filters = {
        "prompt_filter_results": [{"prompt_index": 0}],
        "choices": [{"message": {"content": "hi"}, "content_filter_results": {}}],
    }
    meter = plain(CHAT, {**filters, "usage": usage})
    assert meter.usage is not None
    assert meter.usage.counters == {"input": 5, "cache_read": 4, "output": 2}
    assert CHAT.prompt_text(b'{"messages":[{"role":"user","content":"hello"}]}').endswith("hello")


def test_what_can_be_limited_at_openai_can_be_on_azure() -> None:
    limited = {path.suffix for one in OPENAI if isinstance(one, Clamps) for path in one.paths}
    assert "/chat/completions" in limited
    for (_, suffix), operation in BY_PATH.items():
        own = suffix.removeprefix("/openai").removeprefix("/v1").removeprefix("/deployments/{model}")
        assert isinstance(operation, Clamps) == (own in limited), suffix
    assert isinstance(CHAT, Clamps)
    sent = json.loads(CHAT.clamp(b'{"messages":[]}', 7, None))
    assert sent == {"messages": [], "max_completion_tokens": 7}


def test_a_deployment_is_no_more_than_a_name() -> None:
    body = b'{"messages":[]}'
    assert CHAT.read(body, Head(params={"model": "gpt-4o_mini.eu"})).model == "gpt-4o_mini.eu"
    for name in ("a/chat/completions", "a?x", "a#x", "a;x", "a\\x"):
        with pytest.raises(InvalidRequest):
            CHAT.read(body, Head(params={"model": name}))

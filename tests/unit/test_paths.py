"""Paths are matched raw and whole: what is read of them decoded can name nothing else on its way to a provider."""

from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.errors import FareboxError, InvalidRequest, MethodNotAllowed, NotFound
from proxy.pipeline.paths import Paths, callers_dialect, fill
from proxy.providers.dialect import BILLED, Path
from proxy.providers.registry import OPERATIONS


def operation(dialect: str, method: str, *paths: Path) -> Any:
    return SimpleNamespace(dialect=dialect, method=method, paths=paths, billing=BILLED)


def request(method: str, path: str, query: str = "", **headers: str) -> Any:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return SimpleNamespace(method=method, path=path, query=query, headers=pairs)


CHAT = operation("openai", "POST", Path("/chat/completions", "/v1/chat/completions"))
READ = operation("openai", "GET", Path("/responses/{response_id}", "/v1/responses/{response_id}"))
REMOVE = operation("openai", "DELETE", Path("/responses/{response_id}", "/v1/responses/{response_id}"))
COMPACT = operation("openai", "POST", Path("/responses/compact", "/v1/responses/compact"))
GENERATE = operation("gemini", "POST", Path("/v1beta/models/{model}:generateContent", "/v1beta/models/{model}:generateContent"))  # fmt: skip
MODEL = operation("gemini", "GET", Path("/v1beta/models/{model}", "/v1beta/models/{model}"))
CONVERSE = operation("bedrock", "POST", Path("/model/{model}/converse", "/model/{model}/converse"))
AZURE = operation("azure", "POST", Path("/openai/deployments/{deployment}/chat/completions", None))
RERANK = operation("cohere", "POST", Path("/v1/rerank", "/v1/rerank"))
OTHER_RERANK = operation("openai", "POST", Path("/rerank", "/v1/rerank"))

PATHS = Paths(
    (CHAT, READ, REMOVE, COMPACT, GENERATE, MODEL, CONVERSE, AZURE, OTHER_RERANK, RERANK),
    {
        "groq": {"openai": "/openai/v1"},
        "gemini": {"gemini": "", "openai": "/v1beta/openai"},
        "bedrock": {"bedrock": ""},
        "azure": {"azure": ""},
    },
)


@pytest.mark.parametrize(
    ("method", "path", "found", "provider", "params"),
    [
        ("POST", "/v1/chat/completions", CHAT, None, {}),
        ("POST", "/groq/openai/v1/chat/completions", CHAT, "groq", {}),
        ("POST", "/gemini/v1beta/openai/chat/completions", CHAT, "gemini", {}),
        ("GET", "/v1/responses/resp_1", READ, None, {"response_id": "resp_1"}),
        ("DELETE", "/v1/responses/resp_1", REMOVE, None, {"response_id": "resp_1"}),
        ("POST", "/v1/responses/compact", COMPACT, None, {}),
        ("POST", "/v1beta/models/gemini-2.0:generateContent", GENERATE, None, {"model": "gemini-2.0"}),
        ("POST", "/gemini/v1beta/models/a:b:generateContent", GENERATE, "gemini", {"model": "a:b"}),
        ("GET", "/v1beta/models/gemini-2.0", MODEL, None, {"model": "gemini-2.0"}),
        ("POST", "/bedrock/model/arn%3Aaws%3Ax%2Fy.z/converse", CONVERSE, "bedrock", {"model": "arn:aws:x/y.z"}),
        ("POST", "/model/anthropic.claude-v1:0/converse", CONVERSE, None, {"model": "anthropic.claude-v1:0"}),
        ("POST", "/azure/openai/deployments/mine/chat/completions", AZURE, "azure", {"deployment": "mine"}),
    ],
)
def test_what_a_path_means(method: str, path: str, found: Any, provider: str | None, params: dict[str, str]) -> None:
    target = PATHS.match(request(method, path))
    assert target.operation is found
    assert target.provider == provider
    assert target.params == params
    assert path.endswith(fill(target.suffix, target.raw)), "what is forwarded is what came"


@pytest.mark.parametrize(
    "path",
    [
        *("/", "", "/v1", "/v1/chat", "/v1/chat/completions/", "//v1/chat/completions", "/v1//chat/completions"),
        *("/v1/chat%2Fcompletions", "/v1/./chat/completions", "/v1/x/../chat/completions", "/V1/chat/completions"),
        *("/groq/v1/chat/completions", "/groq/openai/v1/../v1/chat/completions", "/nobody/v1/chat/completions"),
        *("/groq/openai/deployments/mine/chat/completions", "/v1/responses/", "/v1/responses/a/b"),
        *("/v1beta/models/:generateContent", "/v1beta/models/x:batchGenerateContent", "/v1beta/batches"),
        *("http://elsewhere/v1/chat/completions", "/v1/messages/batches", "/v1/files", "/v1/realtime", "/" * 4000),
    ],
)
def test_anything_else_is_not_open(path: str) -> None:
    with pytest.raises(NotFound):
        PATHS.match(request("POST", path))


@pytest.mark.parametrize(
    "part",
    [
        *(
            "..",
            ".",
            "%2e%2e",
            "%2E.",
            ".%2e",
            "%2e",
            "a%2f..%2fb",
            "..%2fb",
            "a%2f",
            "%2fa",
            "a%2f%2fb",
            "a%5cb",
            "a\\b",
        ),
        *(
            "%00",
            "a%0d%0ab",
            "a%0a",
            "%252e%252e",
            "a%25b",
            "a%2",
            "%zz",
            "%ff",
            "a b",
            "a;\n",
            "é",
            "\udcff",
            "a%20b\x00",
        ),
        *("", "%e2%80%ae", '"', "<", "a{b}", "a#b", "a|b", "a?b"),
    ],
)
@pytest.mark.parametrize("template", ["/model/{}/converse", "/v1beta/models/{}:generateContent"])
def test_no_part_can_be_read_as_another_path(part: str, template: str) -> None:
    with pytest.raises((NotFound, InvalidRequest)):
        PATHS.match(request("POST", template.format(part)))


def test_only_a_model_may_hold_an_encoded_slash() -> None:
    with pytest.raises(InvalidRequest):
        PATHS.match(request("GET", "/v1/responses/a%2fb"))
    target = PATHS.match(request("POST", "/model/a%2Fb/converse"))
    assert target.params == {"model": "a/b"}
    assert target.raw == {"model": "a%2Fb"}


def test_other_methods_are_named() -> None:
    with pytest.raises(MethodNotAllowed) as caught:
        PATHS.match(request("PUT", "/v1/responses/resp_1"))
    assert caught.value.metadata == {"allow": "DELETE, GET"}
    with pytest.raises(MethodNotAllowed) as caught:
        PATHS.match(request("GET", "/v1/chat/completions"))
    assert caught.value.metadata == {"allow": "POST"}


def test_a_path_of_two_dialects_is_the_caller_s() -> None:
    assert PATHS.match(request("POST", "/v1/rerank", authorization="Bearer k")).operation is OTHER_RERANK
    assert PATHS.match(request("POST", "/v1/rerank", x_api_key="k")).operation is OTHER_RERANK
    only = Paths((operation("anthropic", "GET", Path("/v1/x", "/v1/x")), operation("gemini", "GET", Path("/v1/x", "/v1/x"))), {})  # fmt: skip
    assert only.match(request("GET", "/v1/x", x_goog_api_key="k")).operation.dialect == "gemini"
    assert only.match(request("GET", "/v1/x", anthropic_version="1")).operation.dialect == "anthropic"


@pytest.mark.parametrize(
    ("headers", "query", "dialect"),
    [
        ({"authorization": "Bearer k"}, "", "openai"),
        ({"x_api_key": "k"}, "", "anthropic"),
        ({"anthropic_version": "1", "authorization": "Bearer k"}, "", "anthropic"),
        ({"x_goog_api_key": "k"}, "", "gemini"),
        ({}, "key=k", "gemini"),
        ({}, "", "openai"),
    ],
)
def test_headers_tell_a_dialect(headers: dict[str, str], query: str, dialect: str) -> None:
    assert callers_dialect(request("GET", "/", query, **headers)) == dialect


def test_errors_are_in_the_dialect_of_the_path() -> None:
    assert PATHS.dialect_of(request("PUT", "/v1/responses/x")) == "openai"
    assert PATHS.dialect_of(request("GET", "/model/x/converse")) == "bedrock"
    assert PATHS.dialect_of(request("GET", "/gemini/nothing")) == "gemini"
    assert PATHS.dialect_of(request("POST", "/v1beta/nothing")) == "gemini"
    assert PATHS.dialect_of(request("POST", "/v1/messages/batches")) == "anthropic"
    assert PATHS.dialect_of(request("POST", "/nothing", x_api_key="k")) == "anthropic"


def test_a_template_with_two_parts_in_a_segment_is_a_defect() -> None:
    with pytest.raises(ValueError, match="at most one part"):
        Paths((operation("openai", "GET", Path("/{a}-{b}", None)),), {"x": {"openai": ""}})


def test_every_open_path_leads_to_its_operation() -> None:
    every = Paths(OPERATIONS, {"x": {of.dialect: f"/{of.dialect}" for of in OPERATIONS}})
    for one in OPERATIONS:
        for path in one.paths:
            own = f"/x/{one.dialect}{path.suffix}"
            for template in filter(None, (own, path.shared)):
                target = every.match(request(one.method, _filled(template)))
                assert target.operation.method == one.method
                assert template in {f"/x/{target.operation.dialect}{target.suffix}", path.shared}
                if template == own:
                    assert target.operation is one


def _filled(template: str) -> str:
    return "/".join(
        segment[: segment.index("{")] + "name" + segment[segment.index("}") + 1 :] if "{" in segment else segment
        for segment in template.split("/")
    )


NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30)


@given(NAMES)
def test_a_name_that_passes_is_forwarded_as_it_came_and_names_one_thing(name: str) -> None:
    raw = quote(name, safe="")
    try:
        target = PATHS.match(request("POST", f"/model/{raw}/converse"))
    except FareboxError:
        return
    assert target.raw["model"] == raw
    assert target.params["model"] == unquote(raw) == name
    assert not {"", ".", ".."} & set(name.split("/"))
    assert "\\" not in name


@given(st.text(max_size=60))
def test_no_text_is_more_than_refused(path: str) -> None:
    try:
        target = PATHS.match(request("POST", f"/{path}"))
    except (InvalidRequest, NotFound, MethodNotAllowed):
        return
    assert f"/{path}".endswith(fill(target.suffix, target.raw))


@given(
    st.lists(
        st.sampled_from(["v1", "responses", "..", ".", "", "%2e%2e", "compact", "x", "chat", "completions", "%2f"])
    )
)
def test_no_walk_through_segments_gets_further(segments: list[str]) -> None:
    path = "/" + "/".join(segments)
    try:
        target = PATHS.match(request("POST", path))
    except FareboxError:
        return
    assert path in {"/v1/responses/compact", "/v1/chat/completions"}
    assert not target.params

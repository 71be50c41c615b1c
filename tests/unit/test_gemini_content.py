import json
from typing import Any

import pytest

from proxy.core.errors import InvalidRequest
from proxy.core.usage import Usage
from proxy.providers.clamping import Clamps
from proxy.providers.dialect import FREE, Ask, Head
from proxy.providers.gemini_content import SEARCH_QUERIES, CountTokens, GenerateContent
from proxy.providers.gemini_meters import AnswerMeter, ArrayMeter, EventMeter
from proxy.providers.gemini_requests import CONTEXT_TOKENS, TOOL_TOKENS

PLAIN, STREAM = GenerateContent("gemini", ()), GenerateContent("gemini", (), stream=True)
HEAD = Head(params={"model": "gemini-3-flash-preview"})
OLD = Head(params={"model": "gemini-2.5-flash"})
TEXT: list[dict[str, Any]] = [{"role": "user", "parts": [{"text": "Hi"}]}]


def body(**members: Any) -> bytes:
    return json.dumps({"contents": TEXT, **members}).encode()


def read(head: Head = HEAD, **members: Any) -> Ask:
    return PLAIN.read(body(**members), head)


def with_part(**part: Any) -> list[dict[str, Any]]:
    return [{"parts": [{"text": "What is this?"}, part]}]


def test_a_plain_request() -> None:
    assert read() == Ask(model="gemini-3-flash-preview")
    assert STREAM.read(body(), HEAD) == Ask(model="gemini-3-flash-preview", stream=True)


@pytest.mark.parametrize("config", ["generationConfig", "generation_config"])
@pytest.mark.parametrize("names", [("maxOutputTokens", "candidateCount"), ("max_output_tokens", "candidate_count")])
def test_limits_in_either_spelling(config: str, names: tuple[str, str]) -> None:
    ask = read(**{config: {names[0]: 50, names[1]: 3}})
    assert (ask.output_limit, ask.choices) == (50, 3)


def test_null_is_no_limit() -> None:
    for config in (None, {}, {"maxOutputTokens": None, "candidateCount": None}):
        ask = read(generationConfig=config)
        assert (ask.output_limit, ask.choices) == (None, 1)


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ('"generationConfig":{"maxOutputTokens":5},"generation_config":{"maxOutputTokens":9}', "generationConfig"),
        ('"generationConfig":{"maxOutputTokens":5,"max_output_tokens":9}', "maxOutputTokens"),
        ('"generationConfig":{"maxOutputTokens":5,"maxOutputTokens":9}', "maxOutputTokens"),
        ('"generationConfig":{"maxOutputTokens":5},"generationConfig":{}', "generationConfig"),
        ('"generationconfig":{"maxOutputTokens":5}', "generationconfig"),
        ('"Generation_Config":{"maxOutputTokens":5}', "Generation_Config"),
        ('"generationConfig":{"MaxOutputTokens":5}', "MaxOutputTokens"),
        ('"generationConfig":{"maxOutputTokens":5,"max\\u004futputTokens":9}', "maxOutputTokens"),
        ('"generationConfig":[5]', "generationConfig"),
        ('"generationConfig":{"maxOutputTokens":-1}', "maxOutputTokens"),
        ('"generationConfig":{"maxOutputTokens":0}', "maxOutputTokens"),
        ('"generationConfig":{"maxOutputTokens":"5"}', "maxOutputTokens"),
        ('"generationConfig":{"maxOutputTokens":5.5}', "maxOutputTokens"),
        ('"generationConfig":{"maxOutputTokens":1e99}', "maxOutputTokens"),
        ('"generationConfig":{"candidateCount":65}', "candidateCount"),
        ('"generationConfig":{"routingConfig":{"manualMode":{"modelName":"gemini-2.5-pro"}}}', "routingConfig"),
        ('"generationConfig":{"model_selection_config":{}}', "modelSelectionConfig"),
        ('"model":"models/gemini-2.5-pro"', "model"),
        ('"model":5', "model"),
        ('"cachedContent":5', "cachedContent"),
        ('"cachedContent":"cachedContents/a","cached_content":"cachedContents/b"', "cachedContent"),
        ('"serviceTier":2', "serviceTier"),
        ('"tools":"googleSearch"', "tools"),
        ('"tools":[["googleSearch"]]', "tools"),
        ('"tools":[{"retrieval":{}}]', "tools"),
        ('"tools":[{"parallel_ai_search":{}}]', "tools"),
    ],
)  # fmt: skip
def test_what_could_be_read_in_two_ways_or_is_not_metered_is_refused(members: str, param: str) -> None:
    request = b'{"contents":%b,%b}' % (json.dumps(TEXT).encode(), members.encode())
    with pytest.raises(InvalidRequest) as refused:
        PLAIN.read(request, HEAD)
    assert refused.value.param == param


@pytest.mark.parametrize(
    "contents", ["null", '"Hi"', "5", '[{"parts":[{"inlineData":5}]}]', '[{"parts":"inlineData"}]']
)
def test_contents_that_are_none(contents: str) -> None:
    with pytest.raises(InvalidRequest, match="content"):
        PLAIN.read(b'{"contents":%b}' % contents.encode(), HEAD)


def test_one_content_and_one_part_may_stand_without_their_arrays() -> None:
    assert read(contents={"parts": {"text": "Hi"}}).media_parts == 0
    assert read(contents={"parts": {"inlineData": {"mimeType": "image/png", "data": "AA"}}}).media_parts == 1
    assert read(tools={"googleSearch": {}}).units == {"web_searches": SEARCH_QUERIES}


@pytest.mark.parametrize("model", ["", ".", "..", "a/b", "../x", "a b", "a?b", "a" * 257, "ä", "x:generateContent"])
def test_the_path_must_name_a_model(model: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        PLAIN.read(body(), Head(params={"model": model}))
    assert refused.value.param == "model"


def test_tuned_models_and_endpoints_keep_their_collection() -> None:
    assert PLAIN.read(body(), Head(params={"tuned_model": "mine-1"})).model == "tunedModels/mine-1"
    assert PLAIN.read(body(), Head(params={"endpoint": "123"})).model == "endpoints/123"


def test_a_body_may_name_the_same_model() -> None:
    request = body(model="models/gemini-3-flash-preview")
    assert PLAIN.outgoing(request, PLAIN.read(request, HEAD)) is request
    renamed = json.loads(PLAIN.outgoing(request, read(), "gemini-x"))
    assert renamed == {"contents": TEXT, "model": "models/gemini-x"}
    assert PLAIN.outgoing(plain := body(), read(), "gemini-x") is plain


@pytest.mark.parametrize("requests", ["5", "null", "{}", '[5,[{"model":"models/m"}],{"a":1}]'])
def test_what_is_no_batch_is_left_to_the_provider(requests: str) -> None:
    request = b'{"requests":%b,"model":"models/gemini-a"}' % requests.encode()
    renamed = b'{"requests":%b,"model":"models/gemini-x"}' % requests.encode()
    assert PLAIN.outgoing(request, read(), "gemini-x") == renamed


@pytest.mark.parametrize("query", ["", "alt=json", "key=abc", "prettyPrint=false"])
def test_queries_that_leave_a_document(query: str) -> None:
    PLAIN.read(body(), Head(params=HEAD.params, query=query))


@pytest.mark.parametrize(
    "query", ["alt=proto", "alt=sse", "$alt=proto", "%24alt=media", "alt=json&alt=json", "alt=", "alt=json&$alt=json"]
)
def test_answers_that_could_not_be_metered_are_not_asked_for(query: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        PLAIN.read(body(), Head(params=HEAD.params, query=query))
    assert refused.value.param == "alt"


def test_a_stream_may_be_of_events() -> None:
    STREAM.read(body(), Head(params=HEAD.params, query="alt=sse"))
    with pytest.raises(InvalidRequest):
        STREAM.read(body(), Head(params=HEAD.params, query="alt=proto"))


def test_images_count_as_media_and_not_as_bytes() -> None:
    for name in ("inlineData", "inline_data"):
        for kind in ("mimeType", "mime_type"):
            request = body(contents=with_part(**{name: {kind: "image/jpeg", "data": "A" * 5000}}))
            ask = PLAIN.read(request, HEAD)
            assert ask.media_parts == 1
            assert ask.input_bound == len(request) - 5002


def test_an_escaped_name_hides_no_medium() -> None:
    request = b'{"contents":[{"parts":[{"file\\u0044ata":{"fileUri":"https://youtu.be/x"}}]}]}'
    assert PLAIN.read(request, HEAD).input_bound == CONTEXT_TOKENS


def test_sound_and_documents_are_their_bytes_and_files_the_context() -> None:
    request = body(contents=with_part(inlineData={"mimeType": "audio/mp3", "data": "A" * 5000}))
    assert PLAIN.read(request, HEAD).input_bound == len(request)
    film = body(contents=with_part(inlineData={"mimeType": "video/mp4", "data": "A" * 2 * CONTEXT_TOKENS}))
    assert PLAIN.read(film, HEAD).input_bound == CONTEXT_TOKENS
    for name in ("fileData", "file_data"):
        film = body(contents=with_part(**{name: {"mimeType": "video/mp4", "fileUri": "https://youtu.be/x"}}))
        assert PLAIN.read(film, HEAD).input_bound == CONTEXT_TOKENS
        image = body(contents=with_part(**{name: {"mime_type": "image/png", "file_uri": "gs://b/x.png"}}))
        assert PLAIN.read(image, HEAD).input_bound == len(image)
        assert PLAIN.read(image, HEAD).media_parts == 1
    assert read(contents=with_part(fileData={"fileUri": "https://youtu.be/x"})).input_bound == CONTEXT_TOKENS


def test_media_in_what_a_function_returned() -> None:
    part = {"inlineData": {"mimeType": "image/png", "data": "AA"}}
    nested = {"functionResponse": {"name": "f", "response": {"ok": True}, "parts": [part]}}
    assert read(contents=with_part(**nested)).media_parts == 1


def test_cached_content_belongs_to_somebody_and_may_fill_the_context() -> None:
    for name in ("cachedContent", "cached_content"):
        ask = read(**{name: "cachedContents/abc"})
        assert ask.resources == ("cachedContents/abc",)
        assert ask.input_bound == CONTEXT_TOKENS
    assert read(cachedContent="").resources == ()


def test_tools_that_the_provider_runs() -> None:
    own = [{"functionDeclarations": [{"name": "f"}]}, {"function_declarations": []}]
    assert read(tools=own) == read()
    ask = read(tools=[{"codeExecution": {}}])
    assert ask.units == {}
    assert ask.input_bound == len(body(tools=[{"codeExecution": {}}])) + TOOL_TOKENS
    for name in ("googleSearch", "google_search", "googleMaps", "enterprise_web_search"):
        assert read(tools=[{name: {}}]).units == {"web_searches": SEARCH_QUERIES}
        assert read(OLD, tools=[{name: {}}]).units == {"web_searches": 1}


@pytest.mark.parametrize(
    ("word", "tier"),
    [("flex", "flex"), ("PRIORITY", "priority"), ("SERVICE_TIER_PRIORITY", "priority"), ("standard", "standard"),
     ("unspecified", None), ("SERVICE_TIER_UNSPECIFIED", None), ("", None), (None, None)],
)  # fmt: skip
def test_service_tier(word: str | None, tier: str | None) -> None:
    assert read(serviceTier=word).service_tier == tier
    assert read(service_tier=word).service_tier == tier


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"generationConfig": {"maxOutputTokens": 50}}),
        ({"generationConfig": None}, {"generationConfig": {"maxOutputTokens": 50}}),
        ({"generationConfig": {"topK": 1}}, {"generationConfig": {"topK": 1, "maxOutputTokens": 50}}),
        ({"generation_config": {"max_output_tokens": 9000}}, {"generation_config": {"max_output_tokens": 50}}),
        ({"generationConfig": {"max_output_tokens": 20}}, {"generationConfig": {"max_output_tokens": 20}}),
        ({"generation_config": {"max_output_tokens": None}}, {"generation_config": {"max_output_tokens": 50}}),
        ({"generation_config": None}, {"generation_config": {"maxOutputTokens": 50}}),
    ],
)
def test_the_limit_can_be_lowered(given: dict[str, Any], expected: dict[str, Any]) -> None:
    assert isinstance(PLAIN, Clamps)
    clamped = PLAIN.clamp(body(**given), 50, None)
    assert json.loads(clamped) == {"contents": TEXT, **expected}
    assert (PLAIN.read(clamped, HEAD).output_limit or 0) in {20, 50}


def test_the_meter_is_chosen_by_the_answer() -> None:
    ask = STREAM.read(body(), HEAD)
    assert isinstance(STREAM.meter(ask, b"text/event-stream"), EventMeter)
    assert isinstance(STREAM.meter(ask, b"application/json; charset=utf-8"), ArrayMeter)
    assert isinstance(PLAIN.meter(read(), b"application/json; charset=utf-8"), AnswerMeter)
    assert isinstance(PLAIN.meter(read(), b"text/event-stream"), EventMeter)


def test_prompt_text_is_what_the_model_reads() -> None:
    request = body(
        system_instruction={"parts": {"text": "Be brief."}},
        contents=[
            {"role": "user", "parts": [{"text": "Look:"}, {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]},
            {
                "role": "model",
                "parts": [{"functionCall": {"name": "get", "args": {"id": "7"}}, "thoughtSignature": "xyz"}],
            },
        ],
        tools=[{"functionDeclarations": [{"name": "get", "description": "Gets."}]}],
    )
    text = PLAIN.prompt_text(request)
    assert text.split("\n") == ["Be brief.", "Look:", "get", "7", "get", "Gets."]


def test_counting_is_free() -> None:
    counting = CountTokens("gemini", ())
    assert counting.billing == FREE
    ask = counting.read(body(), HEAD)
    assert ask == Ask(model="gemini-3-flash-preview", output_limit=0)
    assert counting.prompt_text(body()) == ""
    meter = counting.meter(ask, b"application/json")
    meter.feed(b'{"totalTokens": 12}')
    meter.finish()
    assert meter.usage == Usage({})
    with pytest.raises(InvalidRequest):
        counting.read(body(), Head(params={"model": ".."}))

"""The simulated provider's Gemini dialect over HTTP: `/v1beta/models/{model}:{method}`, and the same under `/v1`.

JSON members may be written in camel case or in snake case, as Google's servers take both.
"""

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from aiohttp import web

from proxy.core.errors import InvalidRequest, NotFound
from proxy.providers.dialect import Head, Operation
from proxy.providers.gemini_content import GenerateContent
from proxy.providers.prompts import texts_in
from proxy.providers.sim import embeddings, gemini
from proxy.providers.sim.models import SIM_MODELS, behaviour
from proxy.providers.sim.request import Request, read_any
from proxy.providers.sim.serving import FAILED, Event, answering, count, encode, hesitate, input_tokens, send, stream
from proxy.providers.sim.tools import chosen_tool, last_words
from proxy.providers.sim.writer import Tool, identity, write

GENERATE: Operation = GenerateContent("gemini", ())

_ERROR = encode({"error": {"code": 503, "message": FAILED, "status": "UNAVAILABLE"}})


def add_routes(router: web.UrlDispatcher) -> None:
    """Everything below `/v1beta/models` and, but for the lists, `/v1/models`."""
    for version in ("v1beta", "v1"):
        router.add_post(f"/{version}/models/{{call}}", answering("gemini", _call))
    router.add_get("/v1beta/models", answering("gemini", list_models))
    router.add_get("/v1beta/models/{model}", answering("gemini", show_model))


async def list_models(_request: web.Request, _body: bytes = b"") -> web.StreamResponse:
    """The models as Gemini lists them."""
    return web.json_response({"models": [gemini.model_row(name) for name in SIM_MODELS]})


async def show_model(request: web.Request, _body: bytes) -> web.StreamResponse:
    """One model; raises NotFound."""
    behaviour(request.match_info["model"], None)  # raises NotFound
    return web.json_response(gemini.model_row(request.match_info["model"]))


async def _call(request: web.Request, body: bytes) -> web.StreamResponse:
    model, _, method = request.match_info["call"].rpartition(":")
    handler = _METHODS.get(method)
    if handler is None:
        raise NotFound(f"The method `{method}` does not exist here.")
    return await handler(request, model, body)


async def _generate(request: web.Request, model: str, body: bytes) -> web.StreamResponse:
    asked = _read(model, body)
    await hesitate(asked.behaviour)
    counted = await input_tokens(asked)
    replies = [write(asked.task(choice)) for choice in range(asked.ask.choices)]
    told = None if asked.behaviour.omit_usage else counted
    return await send(request, asked.behaviour, gemini.document(identity(asked.task(0)), model, replies, told))


async def _stream_generate(request: web.Request, model: str, body: bytes) -> web.StreamResponse:
    asked = _read(model, body)
    await hesitate(asked.behaviour)
    counted = await input_tokens(asked)
    replies = [write(asked.task(choice)) for choice in range(asked.ask.choices)]
    told = None if asked.behaviour.omit_usage else counted
    chunks = gemini.chunks(identity(asked.task(0)), model, replies, told)
    if request.query.get("alt") == "sse":
        events: Iterator[Event] = ((b"data: %b\r\n\r\n" % encode(chunk), is_token) for chunk, is_token in chunks)
        return await stream(request, asked.behaviour, events, b"data: %b\r\n\r\n" % _ERROR)
    failure = b",\r\n%b]" % _ERROR
    return await stream(request, asked.behaviour, _array(chunks), failure, "application/json; charset=UTF-8")


def _array(chunks: Iterator[tuple[dict[str, Any], bool]]) -> Iterator[Event]:
    """A JSON array that grows, as it is sent where `alt=sse` was not asked for."""
    before = b"["
    for chunk, is_token in chunks:
        yield before + encode(chunk), is_token
        before = b",\r\n"
    yield b"]", False


async def _count_tokens(_request: web.Request, model: str, body: bytes) -> web.StreamResponse:
    members, _ = read_any(model, body)
    inner = _member(members, "generateContentRequest")
    asked = _read(model, encode(inner) if isinstance(inner, dict) else body)
    counted = await input_tokens(asked)
    return web.json_response({"totalTokens": counted, "promptTokensDetails": gemini.modalities(counted)})


async def _embed(request: web.Request, model: str, body: bytes) -> web.StreamResponse:
    members, wanted = read_any(model, body)
    await hesitate(wanted)
    values, counted = await _embedding(members)
    answer: dict[str, Any] = {"embedding": {"values": values}}
    return await send(request, wanted, answer if wanted.omit_usage else {**answer, **_embedding_usage(counted)})


async def _batch_embed(request: web.Request, model: str, body: bytes) -> web.StreamResponse:
    members, wanted = read_any(model, body)
    await hesitate(wanted)
    requests = members.get("requests")
    if not isinstance(requests, list) or not requests:
        raise InvalidRequest("`requests` must be an array with at least one request.", param="requests")
    made = [await _embedding(one) for one in requests if isinstance(one, dict)]
    answer: dict[str, Any] = {"embeddings": [{"values": values} for values, _ in made]}
    counted = sum(tokens for _, tokens in made)
    return await send(request, wanted, answer if wanted.omit_usage else {**answer, **_embedding_usage(counted)})


_METHODS: dict[str, Callable[[web.Request, str, bytes], Awaitable[web.StreamResponse]]] = {
    "generateContent": _generate,
    "streamGenerateContent": _stream_generate,
    "countTokens": _count_tokens,
    "embedContent": _embed,
    "batchEmbedContents": _batch_embed,
}


async def _embedding(members: dict[str, Any]) -> tuple[list[float], int]:
    text = "\n".join(texts_in(_member(members, "content")))
    dimensions = embeddings.read_dimensions(_member(members, "outputDimensionality"), "outputDimensionality")
    return embeddings.vector(text, dimensions), await count(text)


def _embedding_usage(tokens: int) -> dict[str, Any]:
    return {"usageMetadata": {"promptTokenCount": tokens, "promptTokenDetails": gemini.modalities(tokens)}}


def _read(model: str, body: bytes) -> Request:
    ask = GENERATE.read(body, Head(params={"model": model}))
    members, wanted = read_any(model, body)
    contents = members["contents"] if isinstance(members["contents"], list) else [members["contents"]]
    config = _member(members, "generationConfig") or {}
    return Request(
        ask=ask,
        members=members,
        prompt=GENERATE.prompt_text(body),
        behaviour=wanted,
        stop=tuple(str(sequence) for sequence in _member(config, "stopSequences") or ()),
        tool=chosen_tool(_tools(members), _choice(members), _last_words(contents)),
    )


def _tools(members: dict[str, Any]) -> list[Tool]:
    tools = []
    for group in members.get("tools") or ():
        for item in _member(group, "functionDeclarations") or ():
            schema = _member(item, "parametersJsonSchema") or item.get("parameters")
            tools.append(Tool(str(item.get("name") or ""), schema if isinstance(schema, dict) else {}))
    return tools


def _choice(members: dict[str, Any]) -> Any:
    config = _member(_member(members, "toolConfig") or {}, "functionCallingConfig") or {}
    mode = str(config.get("mode") or "AUTO").lower()
    allowed = _member(config, "allowedFunctionNames")
    return {"name": allowed[0]} if mode == "any" and allowed else mode


def _last_words(contents: list[Any]) -> str:
    last = contents[-1] if contents else None
    if not isinstance(last, dict):
        return ""
    return last_words([{"role": last.get("role") or "user", "content": last.get("parts")}])


def _member(members: Any, name: str) -> Any:
    """A member in either spelling."""
    if not isinstance(members, dict):
        return None
    if name in members:
        return members[name]
    return members.get("".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name))

"""Gemini's `generateContent`, `streamGenerateContent` and `countTokens`, on the Gemini API and with the same bodies on Vertex AI.

The model is in the path; usage comes unasked. `maxOutputTokens` bounds thoughts and answer together. Cached content
belongs to whoever made it: its name is a resource of the request. Files and stores of files are known by long random names
that only their makers were told, and nobody makes one through a metered path.

Sources: https://ai.google.dev/api/generate-content, https://ai.google.dev/api/tokens, https://ai.google.dev/gemini-api/docs/thinking.
"""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from proxy.core.errors import InvalidRequest
from proxy.providers.clamping import with_limit_inside
from proxy.providers.dialect import BILLED, FREE, NO_HEAD, Ask, Head, Meter, Path, is_sse
from proxy.providers.gemini_answers import billed_by_prompt
from proxy.providers.gemini_meters import AnswerMeter, ArrayMeter, EventMeter, FreeMeter
from proxy.providers.gemini_requests import (
    Members,
    bound_input,
    given,
    is_object,
    model_of,
    read_media,
    require_json_answer,
    require_model,
    texts_of,
    with_model,
)
from proxy.providers.reading import MAX_OUTPUT_LIMIT, decode, is_array, read_count
from proxy.providers.rows import Names

MAX_CANDIDATES = 64  # eight is the documented bound
SEARCH_QUERIES = 10  # for one prompt where each query is billed; four to seven are usual

# Tools that the caller runs itself, and those that are billed by the search.
_OWN_TOOLS = frozenset(("functionDeclarations", "computerUse"))
_SEARCH_TOOLS = frozenset(("googleSearch", "googleSearchRetrieval", "googleMaps", "enterpriseWebSearch"))
# Billed by the query, and nothing in an answer says how many there were.
_UNMETERED_TOOLS = frozenset(("retrieval", "parallelAiSearch", "exaAiSearch"))
# Vertex AI lets a request choose the model that it is billed for.
_UNMETERED_CONFIG = ("routingConfig", "modelConfig", "modelSelectionConfig")

_BODY = Members(("contents", "systemInstruction", "generationConfig", "tools", "cachedContent", "serviceTier", "model"))
_CONFIG = Members(("maxOutputTokens", "candidateCount", *_UNMETERED_CONFIG))
_STRING: msgspec.json.Decoder[str | None] = msgspec.json.Decoder(str | None)
_TOOLS: msgspec.json.Decoder[list[dict[str, msgspec.Raw]]] = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_TOOL: msgspec.json.Decoder[dict[str, msgspec.Raw]] = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _Tools(NamedTuple):
    """What the tools of a request mean for its cost."""

    searches: bool = False
    served: bool = False
    """The provider runs one of them, and the model reads what it brings."""


class GenerateContent:
    """`POST .../models/{model}:generateContent`, and with `stream` its streamed sister."""

    method = "POST"
    billing = BILLED

    def __init__(self, dialect: str, paths: tuple[Path, ...], *, stream: bool = False) -> None:
        self.dialect = dialect
        self.paths = paths
        self._stream = stream

    def read(self, body: bytes, head: Head = NO_HEAD) -> Ask:
        """What the request asks for; the model is in the path, and the stream too."""
        require_json_answer(head, events=self._stream)
        model = model_of(head)
        members = _BODY.read(body)
        require_model(members, model)
        contents = given(members, "contents")
        if contents is None or not (is_array(contents) or is_object(contents)):
            raise InvalidRequest("`contents` must be an array.", param="contents")
        limit, choices = _read_config(members)
        tools = _read_tools(members)
        cached = _read_text(members, "cachedContent")
        media = read_media(contents, "contents")
        return Ask(
            model=model,
            stream=self._stream,
            input_bound=bound_input(len(body), media, cached=cached is not None, tools=tools.served),
            output_limit=limit,
            choices=choices,
            units={"web_searches": 1 if billed_by_prompt(model) else SEARCH_QUERIES} if tools.searches else {},
            media_parts=media.parts,
            service_tier=_read_tier(members),
            resources=() if cached is None else (cached,),
        )

    def outgoing(self, body: bytes, ask: Ask, model: str | None = None) -> bytes:  # noqa: ARG002 - nothing has to be asked for
        """The same bytes; a body that names its model too gets the provider's own name for it."""
        return body if model is None else with_model(body, model)

    def clamp(self, body: bytes, limit: int, names: Names) -> bytes:  # noqa: ARG002 - one name everywhere
        """See `clamping.Clamps`; JSON of protocol buffers knows both spellings."""
        parents = ("generationConfig", "generation_config")
        return with_limit_inside(body, parents, ("maxOutputTokens", "max_output_tokens"), limit)

    def meter(self, ask: Ask, content_type: bytes) -> Meter:
        """A meter for one document, for events, or for an array of answers."""
        if is_sse(content_type):
            return EventMeter(ask)
        return ArrayMeter(ask) if self._stream else AnswerMeter(ask)

    def prompt_text(self, body: bytes) -> str:
        """System instruction, contents and tools; of cached content nothing is known."""
        return texts_of(body, ("systemInstruction", "contents", "tools"))


class CountTokens:
    """`POST .../models/{model}:countTokens`, which is free of charge, and Vertex AI's `computeTokens`."""

    method = "POST"
    billing = FREE

    def __init__(self, dialect: str, paths: tuple[Path, ...]) -> None:
        self.dialect = dialect
        self.paths = paths

    def read(self, body: bytes, head: Head = NO_HEAD) -> Ask:
        """The model only: nothing is generated."""
        require_json_answer(head)
        model = model_of(head)
        require_model(_BODY.read(body), model)
        return Ask(model=model, output_limit=0)

    def outgoing(self, body: bytes, ask: Ask, model: str | None = None) -> bytes:  # noqa: ARG002 - nothing has to be asked for
        """The same bytes; a body that names its model too gets the provider's own name for it."""
        return body if model is None else with_model(body, model)

    def meter(self, ask: Ask, content_type: bytes) -> Meter:  # noqa: ARG002 - always a document
        """A meter that finds nothing used: the count is the answer, not what it cost."""
        return FreeMeter()

    def prompt_text(self, body: bytes) -> str:  # noqa: ARG002 - nothing is charged
        """Nothing: no model reads it."""
        return ""


def _read_config(members: Mapping[str, msgspec.Raw]) -> tuple[int | None, int]:
    """(output limit of one candidate, candidates)."""
    raw = given(members, "generationConfig")
    if raw is None:
        return None, 1
    if not is_object(raw):
        raise InvalidRequest("`generationConfig` must be an object.", param="generationConfig")
    config = _CONFIG.read(raw)
    for name in _UNMETERED_CONFIG:
        if given(config, name) is not None:
            raise InvalidRequest(f"`{name}` is not open: the path says which model answers.", param=name)
    limit = read_count(config, "maxOutputTokens", 1, MAX_OUTPUT_LIMIT)
    return limit, read_count(config, "candidateCount", 1, MAX_CANDIDATES) or 1


def _read_tools(members: Mapping[str, msgspec.Raw]) -> _Tools:
    raw = given(members, "tools")
    if raw is None:
        return _Tools()
    message = "Each tool must be an object."
    tools = decode(raw, _TOOLS, "tools", message) if is_array(raw) else [decode(raw, _TOOL, "tools", message)]
    used = {_camel(name) for tool in tools for name in tool}
    for name in _UNMETERED_TOOLS & used:
        raise InvalidRequest(
            f"The tool `{name}` is billed by the query and not metered here, so it is not open.", param="tools"
        )
    return _Tools(bool(_SEARCH_TOOLS & used), bool(used - _OWN_TOOLS))


def _read_text(members: Mapping[str, msgspec.Raw], name: str) -> str | None:
    raw = given(members, name)
    return None if raw is None else decode(raw, _STRING, name, f"`{name}` must be a string.") or None


def _read_tier(members: Mapping[str, msgspec.Raw]) -> str | None:
    """The service tier by its own word; the default has none."""
    tier = (_read_text(members, "serviceTier") or "").lower().removeprefix("service_tier_")
    return tier if tier not in {"", "unspecified"} else None


def _camel(name: str) -> str:
    """A tool by its camelCase name, whichever way it is spelled."""
    return _TOOL_NAMES.get(name.replace("_", "").casefold(), name)


_TOOL_NAMES = {name.casefold(): name for name in _OWN_TOOLS | _SEARCH_TOOLS | _UNMETERED_TOOLS}

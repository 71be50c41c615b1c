"""How many tokens a request and its answer come to, where the provider does not say: text counted off the event loop, and
the overhead that providers add around it.

An estimate is for charging what nobody reported; a bound is for holding, and is never less than what recordings of the same
family were billed. Counts are tokens. Nothing here is kept longer than the call.
"""

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Protocol

import msgspec

from proxy.providers.dialect import Meter, Operation
from proxy.providers.families import Family, family_of
from proxy.providers.images import image_bound, image_tokens
from proxy.providers.prompts import as_json, texts_in
from proxy.providers.tool_tokens import Definition, definition_of, openai_tools

# Below, reading takes less time than handing it to a thread.
_LARGE_BYTES = 64 * 1024
# The hidden text of structured outputs and of models that reason stays below this; what a bound adds to the estimate.
BOUND_ALLOWANCE = 600
# A foreign tokenizer may cut long runs, which o200k folds into one token, into small pieces: so much of the text at least.
_LEAST_BYTES_PER_TOKEN = 4
# Vertex takes Gemini's sealed reasoning back for nothing, as its recorded usage shows; Gemini's own interface bills it.
_UNBILLED_REASONING = ("vertex",)
_SEPARATOR = "\0"

# One thread: several would take the interpreter from the event loop by turns.
_READER = ThreadPoolExecutor(1, "prompt-reader")

_decode = msgspec.json.Decoder().decode

# Where the dialects put things. A request has one of each.
_SYSTEM = ("system", "instructions", "systemInstruction", "system_instruction")
_TURNS = ("messages", "contents", "input", "prompt")
_FORMATS = ("response_format", "text", "output_format", "output_config", "format")
# What a conversation continues with is not in the request.
_UNSEEN = ("previous_response_id", "conversation", "cachedContent", "cached_content", "mcp_servers")


class Counter(Protocol):
    """Counts texts off the event loop; `tokens.TokenCounter`."""

    async def count(self, text: str, model: str) -> int:
        """The tokens of a text as this model's encoding cuts it."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What of a request becomes input: texts, tools and formats as JSON, messages, images, reasoning that came back sealed.

    `complete` says that this is all: a provider bills parts of unknown length (sounds, documents), what it keeps itself and
    what its own tools find beside it.
    """

    texts: tuple[str, ...]
    tools: tuple[Definition, ...]
    schemas: tuple[str, ...]
    messages: int
    images: tuple[dict[str, Any], ...]
    sealed_chars: int
    complete: bool

    @property
    def text_bytes(self) -> int:
        """UTF-8 bytes of everything that is text."""
        return sum(len(text.encode("utf-8", "replace")) for text in (*self.texts, *self.schemas)) + len(
            as_json(self.tools)
        )


async def count_input(counter: Counter, operation: Operation, body: bytes, model: str) -> int:
    """The input tokens of a request that `operation` accepted, as `model` (the provider's own name) is billed for them."""
    prompt = await _read(body)
    if prompt is None:
        text = await asyncio.to_thread(operation.prompt_text, body)
        return _scaled(await counter.count(text, model), family_of(model).text_percent)
    if operation.dialect in _UNBILLED_REASONING:
        prompt = replace(prompt, sealed_chars=0)
    return await _estimate(counter, prompt, model)


async def count_output(counter: Counter, meter: Meter, model: str) -> int:
    """The output tokens of what a meter has seen pass."""
    family, text = family_of(model), meter.output_text
    tokens = _scaled(await counter.count(text, model), family.text_percent)
    kept = len(text.encode("utf-8", "replace"))
    if 0 < kept < meter.output_bytes:  # the tally is bounded: what it dropped is counted at the same density
        tokens = -(-tokens * meter.output_bytes // kept)
    return tokens + meter.output_calls * family.call_tokens


async def refined_input_bound(counter: Counter, body: bytes, model: str) -> int | None:
    """A bound of the input tokens below the body's bytes, images included; None where nothing better is known than bytes.

    Exact for OpenAI's families up to a margin for hidden text; for others the estimate times the family's factor.
    """
    if len(body) <= BOUND_ALLOWANCE * 2:
        return None
    prompt = await _read(body)
    if prompt is None or not prompt.complete:
        return None
    family = family_of(model)
    text_only = replace(prompt, images=(), sealed_chars=0)
    bound = _scaled(await _estimate(counter, text_only, model), family.bound_percent) + BOUND_ALLOWANCE
    bound += prompt.sealed_chars * 3 // 4  # a token of it is at least a byte
    if not family.exact:
        bound = max(bound, prompt.text_bytes // _LEAST_BYTES_PER_TOKEN + BOUND_ALLOWANCE)
    bound += len(prompt.images) * image_bound(model)
    return bound if bound < len(body) else None


async def _read(body: bytes) -> Prompt | None:
    if len(body) > _LARGE_BYTES:
        return await asyncio.get_running_loop().run_in_executor(_READER, read_prompt, body)
    return read_prompt(body)


async def _estimate(counter: Counter, prompt: Prompt, model: str) -> int:
    family = family_of(model)
    tokens = family.fixed_tokens + family.message_tokens * prompt.messages
    tokens += _scaled(await _count_each(counter, prompt.texts, model), family.text_percent)
    around, definitions = _defined(prompt, family, model)
    tokens += around + _scaled(await _count_each(counter, definitions, model), family.tools_percent)
    if family.schemas_percent:
        tokens += _scaled(await _count_each(counter, prompt.schemas, model), family.schemas_percent)
    tokens += _scaled(prompt.sealed_chars, family.sealed_percent)
    return tokens + sum(image_tokens(image, model) for image in prompt.images)


def _defined(prompt: Prompt, family: Family, model: str) -> tuple[int, list[str]]:
    """The tokens around tools, and their texts."""
    around = family.tools_tokens if prompt.tools else 0
    if family.name.startswith("openai"):
        fixed, lines = openai_tools(prompt.tools, model)
        return around + fixed, lines
    return around, [as_json(tool) for tool in prompt.tools]


async def _count_each(counter: Counter, texts: Sequence[str], model: str) -> int:
    """The texts one by one, in one question: a NUL, which no request may hold, is a token of its own."""
    if not texts:
        return 0
    return max(await counter.count(_SEPARATOR.join(texts), model) - (len(texts) - 1), 0)


def _scaled(tokens: int, percent: int) -> int:
    return -(-tokens * percent // 100)


def read_prompt(body: bytes) -> Prompt | None:
    """What of a JSON request becomes input, in any dialect; None for another body, or one without a conversation."""
    try:
        members = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(members, dict):
        return None
    turns = next((members[name] for name in _TURNS if members.get(name) is not None), None)
    if turns is None or _is_tokens(turns):
        return None
    system = [members[name] for name in _SYSTEM if members.get(name)]
    items = turns if isinstance(turns, list) else [turns]
    images = tuple(_images([*system, *items]))
    unseen = any(members.get(name) for name in _UNSEEN) or _has_server_tools(members) or _has_compaction(items)
    return Prompt(
        texts=tuple(texts_in([*system, *items])),
        tools=tuple(map(definition_of, _tool_items(members))),
        schemas=tuple(_formats(members)),
        messages=_messages(members, items) + bool(system),
        images=images,
        sealed_chars=sum(_sealed(items)),
        complete=not unseen and not _has_other_media(items),
    )


def _is_tokens(turns: Any) -> bool:
    """Token ids, of one prompt or of several: operations that take them know what they are."""
    first = turns[0] if isinstance(turns, list) and turns else None
    return isinstance(first, int) or (isinstance(first, list) and bool(first) and isinstance(first[0], int))


def _messages(members: dict[str, Any], items: list[Any]) -> int:
    """Texts without a role (of completions and embeddings) have nothing around them; one `input` is a message."""
    if isinstance(members.get("input"), str):
        return 1
    return sum(isinstance(item, dict) for item in items)


def _tool_items(members: dict[str, Any]) -> Iterator[Definition]:
    """Definitions of functions, however the dialect wraps them."""
    config = members.get("toolConfig")  # Bedrock's; Gemini's of the same name has no tools
    listed = config.get("tools") if isinstance(config, dict) else None
    for item in _objects(members.get("tools") or members.get("functions") or listed):
        declared = item.get("functionDeclarations") or item.get("function_declarations")
        if declared:
            yield from _objects(declared)
        elif isinstance(item.get("toolSpec"), dict):
            spec = item["toolSpec"]
            schema = spec.get("inputSchema")
            yield {**spec, "parameters": schema.get("json") if isinstance(schema, dict) else None}
        elif isinstance(item.get("function"), dict):
            yield item["function"]
        elif _is_function(item):
            yield item


def _is_function(item: dict[str, Any]) -> bool:
    return "name" in item and item.get("type") in (None, "function", "custom")


def _has_server_tools(members: dict[str, Any]) -> bool:
    """Tools that the provider runs itself (search, code) put pages into the input that nobody can foresee."""
    known = ("functionDeclarations", "function_declarations", "toolSpec", "function")
    items = _objects(members.get("tools"))
    return any(not any(name in item for name in known) and not _is_function(item) for item in items)


def _formats(members: dict[str, Any]) -> Iterator[str]:
    """Schemas that the answer is to follow: providers write them into the prompt."""
    config = members.get("generationConfig") or members.get("generation_config")
    named = [members.get(name) for name in _FORMATS]
    if isinstance(config, dict):
        named += [config.get(name) for name in ("responseSchema", "responseJsonSchema", "response_json_schema")]
    for item in named:
        if isinstance(item, dict) and "properties" in (text := as_json(item)):
            yield text


def _images(value: Any) -> Iterator[dict[str, Any]]:
    """Every part that is an image, in any dialect."""
    for part in _parts(value):
        if _is_image(part):
            yield part


def _sealed(items: list[Any]) -> Iterator[int]:
    """Characters of reasoning that only the provider can read: OpenAI's and Gemini's; both bill it again."""
    for part in _parts(items):
        if part.get("type") == "reasoning" and isinstance(text := part.get("encrypted_content"), str):
            yield len(text)
        if isinstance(text := part.get("thoughtSignature") or part.get("thought_signature"), str):
            yield len(text)


def _has_compaction(items: list[Any]) -> bool:
    """A conversation that only the provider can unfold."""
    return any(item.get("type") == "compaction" for item in _objects(items))


def _has_other_media(value: Any) -> bool:
    kinds = ("input_audio", "file", "input_file", "document", "document_url", "video", "audio", "container_upload")
    for part in _parts(value):
        if part.get("type") in kinds or any(isinstance(part.get(kind), dict) for kind in kinds):
            return True
        if _inline(part) and not _is_image(part):
            return True
    return False


def _is_image(part: dict[str, Any]) -> bool:
    if part.get("type") in ("image_url", "input_image", "image") or isinstance(part.get("image"), dict):
        return True
    inline = _inline(part)
    mime = inline.get("mimeType") or inline.get("mime_type") or ""
    return isinstance(mime, str) and mime.startswith("image/")


def _inline(part: dict[str, Any]) -> dict[str, Any]:
    """Gemini's media."""
    for name in ("inlineData", "inline_data", "fileData", "file_data"):
        if isinstance(found := part.get(name), dict):
            return found
    return {}


def _parts(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in a JSON value down to the parts of media; without recursion, for depth is the caller's choice."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, list):
            waiting += item
        elif isinstance(item, dict):
            yield item
            if not _is_image(item):
                waiting += [member for member in item.values() if isinstance(member, dict | list)]


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, list):
        yield from (item for item in value if isinstance(item, dict))

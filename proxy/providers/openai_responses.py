"""OpenAI's responses: https://platform.openai.com/docs/api-reference/responses; `compact` is billed, `input_tokens` is free.

What a request refers to by id (an earlier response, a conversation, a stored prompt) and what tools read for it are input
that its bytes do not bound; an allowance of media parts stands for each in the hold.
"""

import msgspec

from proxy.core.errors import InvalidRequest
from proxy.providers.clamping import with_limit
from proxy.providers.dialect import BILLED, FREE, NO_HEAD, Ask, Head, Meter, Path, is_sse
from proxy.providers.openai_request import model_of, read_others, read_text_member, read_tier
from proxy.providers.openai_response_meters import ResponseDocument, ResponseStream
from proxy.providers.openai_response_objects import SANDBOXES, Tool, gigabytes
from proxy.providers.passing import AsItCame
from proxy.providers.prompts import texts_of
from proxy.providers.reading import MAX_OUTPUT_LIMIT, decode, is_array, outline, read_count, read_switch
from proxy.providers.rows import Names
from proxy.providers.usage_reading import is_given

METERED = frozenset(
    (
        *("model", "models", "input", "stream", "max_output_tokens", "background", "service_tier", "tools"),
        *("max_tool_calls", "previous_response_id", "conversation", "prompt", "store"),
    )
)
_PROMPT_MEMBERS = ("instructions", "input", "tools", "text")

# In media parts (see `pipeline.admit`): recorded web searches added 8,000 to 20,000 input tokens each.
_REFERENCE_PARTS = 4
_TOOL_PARTS = 4
# An image of a tool, which another model makes, is below 0.25 USD: 25 parts at 1.25 USD per million tokens.
_IMAGE_PARTS = 25
_MAX_TOOL_CALLS = 100
_MAX_ID_CHARS = 256
_ASSUMED_TOOL_CALLS = 4
# These run at the caller's, or only tell the model what the caller runs.
_CALLERS_TOOLS = frozenset(
    ("function", "custom", "namespace", "tool_search", "local_shell", "apply_patch", "computer", "computer_use_preview")
)
_SEARCHES = frozenset(
    ("web_search", "web_search_2025_08_26", "web_search_preview", "web_search_preview_2025_03_11", "x_search")
)
_TEXT_PARTS = frozenset(("input_text", "output_text", "text", "refusal", "summary_text", "reasoning_text"))


class _Part(msgspec.Struct, gc=False):
    type: str = "text"


class _InputItem(msgspec.Struct, gc=False):
    type: str = "message"
    content: msgspec.Raw = msgspec.Raw(b"null")
    output: msgspec.Raw = msgspec.Raw(b"null")


class _Reference(msgspec.Struct, gc=False):
    id: str


_PARTS = msgspec.json.Decoder(list[_Part])
_PART = msgspec.json.Decoder(_Part)
_ITEMS = msgspec.json.Decoder(list[_InputItem])
_TOOLS: msgspec.json.Decoder[list[Tool] | None] = msgspec.json.Decoder(list[Tool] | None)
_CONVERSATION: msgspec.json.Decoder[str | _Reference | None] = msgspec.json.Decoder(str | _Reference | None)


class _Operation(AsItCame):
    """What the operations over an input have in common."""

    dialect = "openai"
    method = "POST"
    paths: tuple[Path, ...]
    billing = BILLED
    model_required = True

    def read(self, body: bytes, head: Head = NO_HEAD) -> Ask:
        """What the request asks for."""
        members = outline(body, METERED)
        model = model_of(members, head) if self.model_required or "model" in members else ""
        read_switch(members, "background")
        resources = _resources(members)
        references = len(resources) + ("prompt" in members and is_given(members["prompt"]))
        units, parts = _allowance(members)
        return Ask(
            model=model,
            stream=read_switch(members, "stream"),
            output_limit=read_count(members, "max_output_tokens", 0, MAX_OUTPUT_LIMIT),
            units=units,
            media_parts=_count_media(members) + references * _REFERENCE_PARTS + parts,
            service_tier=read_tier(members),
            others=read_others(members, model),
            resources=resources,
        )

    def meter(self, ask: Ask, content_type: bytes) -> Meter:  # noqa: ARG002 - everything is in the answer
        """A meter for a stream or for one document."""
        return ResponseStream() if is_sse(content_type) else ResponseDocument()

    def prompt_text(self, body: bytes) -> str:
        """Instructions, input, tools and text format."""
        return texts_of(body, _PROMPT_MEMBERS)


class Responses(_Operation):
    """`POST /responses`."""

    paths: tuple[Path, ...] = (Path("/responses", "/v1/responses"),)

    def clamp(self, body: bytes, limit: int, names: Names) -> bytes:  # noqa: ARG002 - one name everywhere
        """See `clamping.Clamps`."""
        return with_limit(body, ("max_output_tokens",), "max_output_tokens", limit)


class Compact(_Operation):
    """`POST /responses/compact`: a conversation made shorter by the model, billed as its input and output; it knows no limit."""

    paths: tuple[Path, ...] = (Path("/responses/compact", "/v1/responses/compact"),)


class InputTokens(_Operation):
    """`POST /responses/input_tokens`: counting, which OpenAI does not bill; the model may be left out."""

    paths: tuple[Path, ...] = (Path("/responses/input_tokens", "/v1/responses/input_tokens"),)
    billing = FREE
    model_required = False


def _resources(members: dict[str, msgspec.Raw]) -> tuple[str, ...]:
    """The ids of stored objects that are a part of the input."""
    found = []
    if (previous := read_text_member(members, "previous_response_id")) is not None:
        found.append(previous)
    if (raw := members.get("conversation")) is not None:
        conversation = decode(
            raw, _CONVERSATION, "conversation", "`conversation` must be an id or an object with an id."
        )
        if conversation is not None:
            found.append(conversation if isinstance(conversation, str) else conversation.id)
            if len(found[-1]) > _MAX_ID_CHARS:
                raise InvalidRequest("`conversation` must be an id.", param="conversation")
    return tuple(found)


def _allowance(members: dict[str, msgspec.Raw]) -> tuple[dict[str, int], int]:
    """Units and media parts that the tools which the provider runs are held for."""
    most = read_count(members, "max_tool_calls", 0, MAX_OUTPUT_LIMIT)
    raw = members.get("tools")
    if raw is None:
        return {}, 0
    tools = decode(raw, _TOOLS, "tools", "Each tool must be an object with its type.")
    calls = _ASSUMED_TOOL_CALLS if most is None else min(most, _MAX_TOOL_CALLS)
    run = [tool for tool in tools or () if tool.type not in _CALLERS_TOOLS]
    if not run or not calls:
        return {}, 0
    kinds = {tool.type for tool in run}
    units = {}
    if not _SEARCHES.isdisjoint(kinds):
        units["web_searches"] = calls
    if "file_search" in kinds:
        units["file_searches"] = calls
    if not kinds.isdisjoint(SANDBOXES):
        units["code_sessions"] = max(gigabytes(tool) for tool in run if tool.type in SANDBOXES)
    return units, min(calls, _TOOL_PARTS) + ("image_generation" in kinds) * _IMAGE_PARTS


def _count_media(members: dict[str, msgspec.Raw]) -> int:
    """How many parts of the input are media, files or references; raises InvalidRequest where they cannot be told apart."""
    raw = members.get("input")
    if raw is None or not is_array(raw):
        return 0
    message = "Each item of `input` must be an object with its content as text or as parts."
    count = 0
    for item in decode(raw, _ITEMS, "input", message):
        count += item.type == "item_reference"
        for holder in (item.content, item.output):
            if is_array(holder):
                count += sum(part.type not in _TEXT_PARTS for part in decode(holder, _PARTS, "input", message))
            elif bytes(memoryview(holder)[:1]) == b"{":
                count += decode(holder, _PART, "input", message).type not in _TEXT_PARTS
    return count

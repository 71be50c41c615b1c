"""What metering reads of OpenAI's response objects and of their events; msgspec skips the rest.

Sources: https://platform.openai.com/docs/api-reference/responses/object and /responses-streaming. Tools that the provider runs
are billed beside the tokens (https://platform.openai.com/docs/pricing, built-in tools): a web search by the billable request
(`tool_usage.web_search.num_requests`, else each search of the output; opening a page is none), a file search by the call, the
code interpreter by the container in sessions of 1 GB memory. Images that a tool made are billed at another model's rates.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from proxy.core.usage import Usage
from proxy.providers.openai_token_usage import ReportedTokens, read_raw_tokens, read_tokens
from proxy.providers.openai_usage import OTHER_COST
from proxy.providers.tally import Tally
from proxy.providers.usage_reading import NOTHING, Count, Reading, is_given

UNTOLD_TOOL = "tools that are billed apart were run, and the usage was not told"
OTHER_MODEL = "images were made by a tool, at the rates of another model"
CANCELLED = "a cancelled response does not tell its usage"

_PENDING = frozenset(("queued", "in_progress"))
_FAILED = frozenset(("failed",))
_IMAGE_CALL = "image_generation_call"
_BILLED_CALLS = frozenset(
    ("web_search_call", "x_search_call", "file_search_call", "code_interpreter_call", "shell_call", _IMAGE_CALL)
)
SANDBOXES = frozenset(("code_interpreter", "shell"))
_GIGABYTES = {"1g": 1, "4g": 4, "16g": 16, "64g": 64}


class Item(msgspec.Struct, gc=False):
    """One item of the output. The members that hold text are typed loosely and read by shape."""

    type: str = ""
    action: Any = None
    container_id: Any = None
    environment: Any = None
    content: Any = None
    summary: Any = None
    name: Any = None
    arguments: Any = None
    input: Any = None
    code: Any = None


class Tool(msgspec.Struct, gc=False):
    """A tool that was offered; `container` and `environment` say where the provider runs it."""

    type: str
    container: Any = None
    environment: Any = None


class _ImageUsage(msgspec.Struct, gc=False):
    total_tokens: Count = None


class _SearchUsage(msgspec.Struct, gc=False):
    num_requests: Count = None


class _ToolUsage(msgspec.Struct, gc=False):
    image_gen: _ImageUsage | None = None
    web_search: _SearchUsage | None = None


class Response(msgspec.Struct, gc=False):
    """A response, or what compaction made of a conversation."""

    id: str | None = None
    object: str | None = None
    status: str | None = None
    background: bool | None = None
    store: bool | None = None
    service_tier: str | None = None
    error: Any = None
    usage: ReportedTokens | None = None
    tool_usage: _ToolUsage | None = None
    output: list[Item] | None = None
    tools: list[Tool] | None = None

    @property
    def going_on(self) -> bool:
        """The provider has not finished it."""
        return self.status in _PENDING

    @property
    def failed(self) -> bool:
        """It ended in an error."""
        return self.error is not None or self.status in _FAILED

    @property
    def kept_as(self) -> str | None:
        """The id under which it can be fetched or continued; one that runs in the background is kept for that in any case."""
        kept = self.store is not False or self.background is True
        return self.id if kept and self.object in {None, "response"} else None


class Figures(msgspec.Struct, gc=False):
    """A response of another shape than expected: what can still be read of it."""

    id: Any = None
    status: Any = None
    store: Any = None
    error: msgspec.Raw = NOTHING
    usage: msgspec.Raw = NOTHING


class Event(msgspec.Struct, gc=False):
    """One event of a stream; `delta` is text, or the base64 of audio."""

    type: str = ""
    delta: Any = None
    response: Response | None = None
    item: Item | None = None


class OddEvent(msgspec.Struct, gc=False):
    """An event of another shape than expected."""

    type: Any = None
    response: Figures | None = None
    error: msgspec.Raw = NOTHING


_decode_response = msgspec.json.Decoder(Response).decode
_decode_figures = msgspec.json.Decoder(Figures).decode


def decode_response(document: bytes | bytearray) -> tuple[Response, Reading | None]:
    """A response; with its usage's reading where the rest has another shape. Raises what UNREADABLE names."""
    try:
        return _decode_response(document), None
    except msgspec.ValidationError:
        return from_figures(_decode_figures(document))


def from_figures(figures: Figures) -> tuple[Response, Reading]:
    """What can be read of a response of another shape, and its usage."""
    response = Response(
        id=_text(figures.id),
        status=_text(figures.status),
        store=False if figures.store is False else None,
        error=True if is_given(figures.error) else None,
    )
    if not is_given(figures.usage):
        return response, (None, None, None)
    usage, partial, flag = read_raw_tokens(figures.usage)
    # The tools that it ran may be in what could not be read.
    return response, (
        usage,
        partial,
        flag or "the answer has another shape, which may hide tools that are billed apart",
    )


def read_response(response: Response) -> Reading:
    """The usage of a response that is finished, with the tools that were run for it."""
    if response.usage is None:
        if response.status == "cancelled":
            return None, None, CANCELLED
        return None, None, None if response.failed or not has_billed_call(response.output) else UNTOLD_TOOL
    usage, partial, flag = read_tokens(response.usage)
    if usage is None:
        return usage, partial, flag
    tools = _tools_of(response)
    drawn = response.tool_usage is not None and response.tool_usage.image_gen is not None
    if any(item.type == _IMAGE_CALL for item in response.output or ()) or (drawn and _total(response.tool_usage) > 0):
        flag = OTHER_MODEL
    elif tools and flag == OTHER_COST:
        flag = None  # what was billed beside the tokens has a rate of its own
    return Usage({**usage.counters, **tools}) if tools else usage, None, flag


def has_billed_call(items: Iterable[Item] | None) -> bool:
    """Whether a tool that is billed beside the tokens was run."""
    return any(item.type in _BILLED_CALLS for item in items or ())


def tally_output(items: Iterable[Item] | None, tally: Tally) -> None:
    """Add what the model wrote to the tally."""
    for item in items or ():
        if isinstance(item.name, str):
            tally.call(item.name)
        for value in (item.content, item.summary, item.arguments, item.input, item.code):
            if value is not None:
                for text in _texts(value):
                    tally.add(text)


def _tools_of(response: Response) -> dict[str, int]:
    items = response.output or ()
    searches = sum(item.type in {"web_search_call", "x_search_call"} and _is_search(item.action) for item in items)
    reported = response.tool_usage.web_search if response.tool_usage is not None else None
    if reported is not None and reported.num_requests is not None:
        searches = reported.num_requests
    found = {
        "web_searches": searches,
        "file_searches": sum(item.type == "file_search_call" for item in items),
        "code_sessions": _sessions(response),
    }
    return {name: count for name, count in found.items() if count}


def _is_search(action: Any) -> bool:
    """Opening a page and finding in it are not billed; an action that is not told may be a search."""
    return not isinstance(action, dict) or action.get("type") in (None, "search")  # no set: it may be anything


def _sessions(response: Response) -> int:
    """Sessions of 1 GB: a larger container costs as many times more as it is larger."""
    containers = {_container(item) for item in response.output or () if item.type in _BILLED_CALLS} - {None}
    if not containers:
        return 0
    sizes = [gigabytes(tool) for tool in response.tools or () if tool.type in SANDBOXES]
    return len(containers) * max(sizes, default=1)


def _container(item: Item) -> str | None:
    if item.type == "code_interpreter_call":
        return _text(item.container_id) or ""
    if item.type == "shell_call" and isinstance(item.environment, dict):
        return _text(item.environment.get("container_id"))
    return None


def gigabytes(tool: Tool) -> int:
    """The memory of a tool's container; where it is none that is known, of the largest."""
    holder = tool.container if tool.type == "code_interpreter" else tool.environment
    limit = holder.get("memory_limit") if isinstance(holder, dict) else None
    if limit is None:
        return 1
    return _GIGABYTES.get(_text(limit) or "", max(_GIGABYTES.values()))


def _total(used: _ToolUsage | None) -> int:
    return used.image_gen.total_tokens or 0 if used is not None and used.image_gen is not None else 0


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for part in value:
            if isinstance(part, dict):
                for name in ("text", "refusal", "transcript"):
                    if isinstance(text := part.get(name), str):
                        yield text


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None

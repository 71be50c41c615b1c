"""The members of OpenAI's answers and chunks that metering needs; msgspec skips the rest.

`content` is text with OpenAI; some compatible providers (Mistral's reasoning models) send a list of parts, so the text
members are typed loosely and read by shape.
"""

from typing import Any

import msgspec

from proxy.providers.openai_usage import ReportedUsage
from proxy.providers.tally import Tally
from proxy.providers.usage_reading import NOTHING, is_given


class Function(msgspec.Struct, gc=False):
    """A tool's name and arguments, whole or in pieces."""

    name: Any = None
    arguments: Any = None


class ToolCall(msgspec.Struct, gc=False):
    """A tool call or a piece of one."""

    function: Function | None = None


class Text(msgspec.Struct, gc=False):
    """A message or a delta: everything in it that the model wrote."""

    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    refusal: Any = None
    tool_calls: list[ToolCall] | None = None
    function_call: Function | None = None
    executed_tools: Any = None


class StreamChoice(msgspec.Struct, gc=False):
    """One choice of a chunk; a legacy completion has its text right here, and Moonshot the stream's usage."""

    delta: Text | None = None
    text: Any = None
    finish_reason: Any = None
    usage: ReportedUsage | None = None


class Groq(msgspec.Struct, gc=False):
    """Groq's own place for a stream's usage: https://console.groq.com/docs/api-reference#chat-create."""

    usage: ReportedUsage | None = None


class Choice(msgspec.Struct, gc=False):
    """One choice of a plain answer; a legacy completion has its text right here."""

    message: Text | None = None
    text: Any = None


class Chunk(msgspec.Struct, gc=False):
    """One event of a stream."""

    choices: list[StreamChoice] | None = None
    usage: ReportedUsage | None = None
    error: Any = None
    service_tier: Any = None
    x_groq: Groq | None = None


class Answer(msgspec.Struct, gc=False):
    """A plain answer."""

    choices: list[Choice] | None = None
    usage: ReportedUsage | None = None
    error: Any = None
    service_tier: Any = None
    model: Any = None


class Named(msgspec.Struct, gc=False):
    """The model that an event names."""

    model: Any = None


class Figures(msgspec.Struct, gc=False):
    """What is read of a chunk or an answer of another shape than expected."""

    usage: msgspec.Raw = NOTHING
    error: msgspec.Raw = NOTHING


class _Holder(msgspec.Struct, gc=False):
    usage: msgspec.Raw = NOTHING


class Elsewhere(msgspec.Struct, gc=False):
    """The other places of a usage, in a chunk of another shape than expected."""

    choices: list[_Holder] | None = None
    x_groq: _Holder | None = None

    def usages(self) -> list[msgspec.Raw]:
        """Those that are there."""
        holders = [*(self.choices or ()), *([] if self.x_groq is None else [self.x_groq])]
        return [holder.usage for holder in holders if is_given(holder.usage)]


def read_text(text: Text, tally: Tally) -> None:
    """Add what the model wrote to the tally."""
    content = text.content
    if content:
        if isinstance(content, str):
            tally.add(content)
        else:
            _add(content, tally)
    thought = text.reasoning_content or text.reasoning  # OpenRouter sends the same text under both names
    if thought:
        _add(thought, tally)
    if text.refusal:
        _add(text.refusal, tally)
    if text.tool_calls or text.function_call:
        _add_calls(text, tally)


def _add(value: Any, tally: Tally) -> None:
    if isinstance(value, str):
        tally.add(value)
    elif isinstance(value, list):
        for item in value:
            if isinstance(item, dict) and isinstance(text := item.get("text"), str):
                tally.add(text)
            elif isinstance(item, dict) and isinstance(thinking := item.get("thinking"), list):
                _add(thinking, tally)


def _add_calls(text: Text, tally: Tally) -> None:
    functions = [call.function for call in text.tool_calls or ()]
    for function in (*functions, text.function_call):
        if function is not None:
            if isinstance(function.name, str) and function.name:
                tally.call(function.name)
            _add(function.arguments, tally)

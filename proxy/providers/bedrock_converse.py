"""Bedrock's Converse, ConverseStream and CountTokens: one format for every model.

The model is in the path, the limit in `inferenceConfig.maxTokens`. A stream ends with `messageStop` and then `metadata`,
which has the usage; an exception inside it is an event of its own. Counting tokens is free. What a guardrail costs is billed
by AWS in units of its own and is not in the usage: only guardrails of the operator's account can be named.

Sources: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html, ..._ConverseStream.html,
..._CountTokens.html.
"""

import msgspec

from proxy.providers.answer_texts import texts_of_answer
from proxy.providers.bedrock_meters import FrameMeter, is_event_stream
from proxy.providers.bedrock_paths import model_of, model_path
from proxy.providers.bedrock_requests import count_media, output_limit, tier_of, with_limit
from proxy.providers.bedrock_usage import read_token_usage
from proxy.providers.dialect import BILLED, FREE, NO_HEAD, Ask, Head, Meter, Operation, Path
from proxy.providers.meters import PlainMeter
from proxy.providers.prompts import texts_of
from proxy.providers.reading import top_level
from proxy.providers.rows import Names
from proxy.providers.usage_reading import NOTHING, UNREADABLE, is_given

METERED = frozenset(
    (
        *("messages", "system", "inferenceConfig", "toolConfig"),
        *("additionalModelRequestFields", "performanceConfig", "serviceTier"),
    )
)


class _Output(msgspec.Struct, gc=False):
    message: "_Written | None" = None


class _Written(msgspec.Struct, gc=False):
    content: msgspec.Raw = NOTHING


class _Document(msgspec.Struct, gc=False, rename="camel"):
    usage: msgspec.Raw = NOTHING
    output: _Output | None = None


class _Reasoning(msgspec.Struct, gc=False):
    text: str | None = None


class _ToolUse(msgspec.Struct, gc=False):
    input: str | None = None


class _Delta(msgspec.Struct, gc=False, rename="camel"):
    text: str | None = None
    tool_use: _ToolUse | None = None
    reasoning_content: _Reasoning | None = None


class _BlockDelta(msgspec.Struct, gc=False):
    delta: _Delta | None = None


class _Named(msgspec.Struct, gc=False):
    name: str = ""


class _Started(msgspec.Struct, gc=False, rename="camel"):
    tool_use: _Named | None = None


class _BlockStart(msgspec.Struct, gc=False):
    start: _Started | None = None


class _Metadata(msgspec.Struct, gc=False):
    usage: msgspec.Raw = NOTHING


_decode_document = msgspec.json.Decoder(_Document).decode
_decode_delta = msgspec.json.Decoder(_BlockDelta).decode
_decode_start = msgspec.json.Decoder(_BlockStart).decode
_decode_metadata = msgspec.json.Decoder(_Metadata).decode


class _Converse:
    dialect = "bedrock"
    method = "POST"
    billing = BILLED
    streams = False

    def read(self, body: bytes, head: Head = NO_HEAD) -> Ask:
        """What the request asks for; the model is in the path."""
        model = model_of(head)
        members = top_level(body, METERED)
        return Ask(
            model=model,
            stream=self.streams,
            output_limit=output_limit(members),
            media_parts=count_media(members.get("messages")),
            service_tier=tier_of(body),
        )

    def outgoing(self, body: bytes, ask: Ask, model: str | None = None) -> bytes:  # noqa: ARG002 - the model is in the path
        """The same bytes: usage comes unasked."""
        return body

    def clamp(self, body: bytes, limit: int, names: Names) -> bytes:  # noqa: ARG002 - one provider, one name
        """The body with `inferenceConfig.maxTokens` of at most `limit`, and no limit in a model's own words above it."""
        return with_limit(body, limit)

    def meter(self, ask: Ask, content_type: bytes) -> Meter:  # noqa: ARG002 - the answer's type says it all
        """A meter for a stream or for one document."""
        return ConverseStreamMeter() if is_event_stream(content_type) else ConverseMeter()

    def prompt_text(self, body: bytes) -> str:
        """System prompt, messages and tools."""
        return texts_of(body, ("system", "messages", "toolConfig"))


class Converse(_Converse):
    """`POST /model/{model}/converse`."""

    paths: tuple[Path, ...] = model_path("converse")


class ConverseStream(_Converse):
    """`POST /model/{model}/converse-stream`."""

    paths: tuple[Path, ...] = model_path("converse-stream")
    streams = True


class CountTokens(_Converse):
    """`POST /model/{model}/count-tokens`: free of charge."""

    paths: tuple[Path, ...] = model_path("count-tokens")
    billing = FREE

    def read(self, body: bytes, head: Head = NO_HEAD) -> Ask:
        """The model only: nothing is generated."""
        model = model_of(head)
        top_level(body, ("input",))
        return Ask(model=model, output_limit=0)

    def meter(self, ask: Ask, content_type: bytes) -> Meter:  # noqa: ARG002 - always a document
        """A meter that finds no usage: `inputTokens` is the answer, not what it cost."""
        return ConverseMeter()

    def prompt_text(self, body: bytes) -> str:  # noqa: ARG002 - nothing is charged
        """Nothing: no model reads it."""
        return ""


class ConverseMeter(PlainMeter):
    """A plain answer."""

    __slots__ = ()

    def _read(self, document: bytearray) -> None:
        answer = _decode_document(document)
        self.complete = True
        self.service_tier = tier_of(document)
        if is_given(answer.usage):
            self.usage, self.partial, self.flag = read_token_usage(answer.usage)
        message = answer.output.message if answer.output else None
        if message is not None and is_given(message.content):
            self._tally.add(texts_of_answer({"content": bytes(message.content)}))
            for _ in range(bytes(message.content).count(b'"toolUse"')):
                self._tally.call("")  # its name is among the texts


class ConverseStreamMeter(FrameMeter):
    """A streamed answer."""

    __slots__ = ("_stopped",)

    def __init__(self) -> None:
        super().__init__()
        self._stopped = False

    def finish(self) -> bytes:
        """A stream whose message stopped is complete, also where its usage never came, if nothing was torn."""
        if self._stopped and self._frames.idle:
            self.complete = True
        return super().finish()

    def _event(self, kind: str, payload: bytes) -> None:
        try:
            if kind == "contentBlockDelta":
                self._count(_decode_delta(payload).delta)
            elif kind == "contentBlockStart":
                started = _decode_start(payload).start
                if started is not None and started.tool_use is not None:
                    self._tally.call(started.tool_use.name)
            elif kind == "metadata":
                self._settle(_decode_metadata(payload).usage, payload)
            elif kind == "messageStop":
                self._stopped = True
        except UNREADABLE:
            self.unread_events += 1

    def _settle(self, usage: msgspec.Raw, payload: bytes) -> None:
        self.complete = True
        self.service_tier = tier_of(payload)
        if is_given(usage):
            self.usage, self.partial, self.flag = read_token_usage(usage)

    def _count(self, delta: _Delta | None) -> None:
        if delta is None:
            return
        tool, reasoning = delta.tool_use, delta.reasoning_content
        text = delta.text or (tool and tool.input) or (reasoning and reasoning.text)
        if text:
            self._tally.add(text)


OPERATIONS: tuple[Operation, ...] = (Converse(), ConverseStream(), CountTokens())

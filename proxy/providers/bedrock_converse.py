"""Bedrock's Converse, ConverseStream and CountTokens: one format for every model.

The model is in the path, the limit in `inferenceConfig.maxTokens`. A stream ends with `messageStop` and then `metadata`,
which has the usage; an exception inside it is an event of its own. Counting tokens is free. What a guardrail costs is billed
by AWS in units of its own and is not in the usage: only guardrails of the operator's account can be named.

Sources: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html, ..._ConverseStream.html,
..._CountTokens.html.
"""

import msgspec

from proxy.core.errors import InvalidRequest
from proxy.providers.bedrock_meters import FrameMeter, is_event_stream
from proxy.providers.bedrock_paths import model_of, model_path
from proxy.providers.bedrock_usage import read_token_usage
from proxy.providers.dialect import BILLED, FREE, NO_HEAD, Ask, Head, Meter, Operation, Path
from proxy.providers.meters import PlainMeter
from proxy.providers.prompts import texts_of
from proxy.providers.reading import MAX_OUTPUT_LIMIT, decode, is_array, read_count, top_level
from proxy.providers.usage_reading import NOTHING, UNREADABLE, is_given

METERED = frozenset(
    (
        *("messages", "system", "inferenceConfig", "toolConfig"),
        *("additionalModelRequestFields", "performanceConfig", "serviceTier"),
    )
)
# What Converse passes on to a model in its own words may hold a limit in those words too.
_OWN_LIMITS = ("max_tokens", "maxTokens", "max_gen_len", "max_new_tokens", "max_completion_tokens", "maxTokenCount")
LATENCY_OPTIMIZED = "optimized"
"""The service tier of a call that asks for latency-optimized inference; AWS calls it `performanceConfig.latency`."""


class _Blocks(msgspec.Struct, gc=False):
    content: list["_Block"] | None = None


class _Block(msgspec.Struct, gc=False, rename="camel"):
    """One part of a message; only its kind counts, so what is in a kind stays undecoded."""

    image: msgspec.Raw = NOTHING
    document: msgspec.Raw = NOTHING
    video: msgspec.Raw = NOTHING
    audio: msgspec.Raw = NOTHING
    tool_result: _Blocks | None = None
    guard_content: "_Guarded | None" = None


class _Guarded(msgspec.Struct, gc=False):
    image: msgspec.Raw = NOTHING


class _Latency(msgspec.Struct, gc=False):
    latency: str | None = None


class _Tier(msgspec.Struct, gc=False):
    type: str | None = None


class _Tiers(msgspec.Struct, gc=False, rename="camel"):
    performance_config: _Latency | None = None
    service_tier: _Tier | None = None


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


class _Metadata(msgspec.Struct, gc=False):
    usage: msgspec.Raw = NOTHING


_MESSAGES = msgspec.json.Decoder(list[_Blocks])
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_decode_tiers = msgspec.json.Decoder(_Tiers).decode
_decode_document = msgspec.json.Decoder(_Document).decode
_decode_delta = msgspec.json.Decoder(_BlockDelta).decode
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
            output_limit=_output_limit(members),
            media_parts=_count_media(members.get("messages")),
            service_tier=_tier_of(body),
        )

    def outgoing(self, body: bytes, ask: Ask, model: str | None = None) -> bytes:  # noqa: ARG002 - the model is in the path
        """The same bytes: usage comes unasked."""
        return body

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
        try:
            answer = _decode_document(document)
        except UNREADABLE:
            self.unread_events = 1
            self.flag = "the answer is not a JSON object of the known shape"
            return
        self.complete = True
        self.service_tier = _tier_of(document)
        if is_given(answer.usage):
            self.usage, self.partial, self.flag = read_token_usage(answer.usage)
        message = answer.output.message if answer.output else None
        if message is not None and is_given(message.content):
            self._tally.add(texts_of(b'{"content":%b}' % bytes(message.content), ("content",)))


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
            elif kind == "metadata":
                self._settle(_decode_metadata(payload).usage, payload)
            elif kind == "messageStop":
                self._stopped = True
        except UNREADABLE:
            self.unread_events += 1

    def _settle(self, usage: msgspec.Raw, payload: bytes) -> None:
        self.complete = True
        self.service_tier = _tier_of(payload)
        if is_given(usage):
            self.usage, self.partial, self.flag = read_token_usage(usage)

    def _count(self, delta: _Delta | None) -> None:
        if delta is None:
            return
        tool, reasoning = delta.tool_use, delta.reasoning_content
        text = delta.text or (tool and tool.input) or (reasoning and reasoning.text)
        if text:
            self._tally.add(text)


def _output_limit(members: dict[str, msgspec.Raw]) -> int | None:
    """The largest limit that the request names: which of two a model would obey is the model's affair."""
    limits = [
        read_count(holder, name, 0, MAX_OUTPUT_LIMIT)
        for holder, names in (
            (_object(members, "inferenceConfig"), ("maxTokens",)),
            (_object(members, "additionalModelRequestFields"), _OWN_LIMITS),
        )
        for name in names
    ]
    return max((limit for limit in limits if limit is not None), default=None)


def _object(members: dict[str, msgspec.Raw], name: str) -> dict[str, msgspec.Raw]:
    """A member that is an object, with what it holds undecoded; raises InvalidRequest where a limit is given twice."""
    raw = members.get(name)
    if raw is None or bytes(raw) == b"null":
        return {}
    holder = decode(raw, _OBJECT, name, f"`{name}` must be an object.")
    for limit in holder.keys() & {"maxTokens", *_OWN_LIMITS}:
        if bytes(raw).count(b'"%b"' % limit.encode()) > 1:
            raise InvalidRequest(f"`{name}.{limit}` must be given once.", param=name)
    return holder


def _count_media(messages: msgspec.Raw | None) -> int:
    """How many parts are images, documents, video or audio, in messages and in the results of tools."""
    if messages is None:  # a stored prompt brings its own
        return 0
    if not is_array(messages):
        raise InvalidRequest("`messages` must be an array.", param="messages")
    message = "Each message must be an object with an array of content blocks."
    return sum(_media_in(found.content or []) for found in decode(messages, _MESSAGES, "messages", message))


def _media_in(blocks: list[_Block]) -> int:
    count = 0
    for block in blocks:
        count += sum(kind is not NOTHING for kind in (block.image, block.document, block.video, block.audio))
        if block.tool_result is not None:
            count += _media_in(block.tool_result.content or [])
        if block.guard_content is not None:
            count += block.guard_content.image is not NOTHING
    return count


def _tier_of(document: bytes | bytearray) -> str | None:
    """The tier that a request asks for or an answer was served in, in AWS's own word."""
    try:
        tiers = _decode_tiers(document)
    except UNREADABLE:
        return None
    if tiers.performance_config is not None and tiers.performance_config.latency == LATENCY_OPTIMIZED:
        return LATENCY_OPTIMIZED
    return tiers.service_tier.type if tiers.service_tier is not None else None


OPERATIONS: tuple[Operation, ...] = (Converse(), ConverseStream(), CountTokens())

"""Bedrock's InvokeModel, plain and as a stream: a model's own format, request and answer.

A plain answer tells its usage in the body of most vendors, and in two headers for all. In a stream every chunk is one JSON
document of the vendor, in base64; the last one has `amazon-bedrock-invocationMetrics`. The vendor's own usage is taken where
it is whole (Anthropic's tells cache writes apart by lifetime), else the metrics. An answer of an unknown kind without
any figure is charged at its hold. Images are counted in the answer. Bedrock tells no search units for a rerank: they are
the bound that the request allows.

Sources: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModel.html, ..._PayloadPart.html.
"""

import binascii
from collections.abc import Iterable

import msgspec

from proxy.core.usage import Usage
from proxy.providers.anthropic_usage import Report
from proxy.providers.bedrock_bodies import Members, read_body_usage, read_counts, read_members, text_of
from proxy.providers.bedrock_families import (
    METERED,
    choices,
    generates_text,
    is_rerank,
    makes_images,
    output_limit,
    units,
    vendor_of,
)
from proxy.providers.bedrock_meters import FrameMeter, is_event_stream
from proxy.providers.bedrock_paths import model_of, model_path
from proxy.providers.bedrock_usage import read_metrics, read_token_usage
from proxy.providers.dialect import BILLED, NO_HEAD, Ask, Head, Meter, Operation, Path
from proxy.providers.meters import PlainMeter
from proxy.providers.prompts import texts_of
from proxy.providers.reading import top_level
from proxy.providers.usage_reading import NOTHING, UNREADABLE, is_given

METRICS = "amazon-bedrock-invocationMetrics"
INPUT_HEADER = b"x-amzn-bedrock-input-token-count"
OUTPUT_HEADER = b"x-amzn-bedrock-output-token-count"
_NO_FIGURES = "the answer has no usage in a format that is known"
_PROMPTS = (
    "system",
    "messages",
    "prompt",
    "inputText",
    "message",
    "chat_history",
    "texts",
    "query",
    "documents",
    "tools",
)
_MEDIA = (b'"image"', b'"images"', b'"document"', b'"video"', b'"image_url"', b'"inputImage"', b'"audio"')


class _Chunk(msgspec.Struct, gc=False):
    bytes: str = ""


class _Holder(msgspec.Struct, gc=False):
    usage: msgspec.Raw = NOTHING


class _Kind(msgspec.Struct, gc=False):
    type: str | None = None


_EMPTY = msgspec.Raw(b"{}")
_decode_chunk = msgspec.json.Decoder(_Chunk).decode
_decode_holder = msgspec.json.Decoder(_Holder).decode
_decode_kind = msgspec.json.Decoder(_Kind).decode


class Invoke:
    """`POST /model/{model}/invoke`."""

    dialect = "bedrock"
    method = "POST"
    paths: tuple[Path, ...] = model_path("invoke")
    billing = BILLED
    streams = False

    def read(self, body: bytes, head: Head = NO_HEAD) -> Ask:
        """What the request asks for; the model is in the path, and says where the limit is."""
        model = model_of(head)
        members = top_level(body, METERED)
        return Ask(
            model=model,
            stream=self.streams,
            output_limit=output_limit(model, members),
            choices=choices(members),
            units=units(model, members),
            # By name anywhere in the body: in eight formats, to count one too many is the safe side.
            media_parts=sum(body.count(name) for name in _MEDIA),
        )

    def outgoing(self, body: bytes, ask: Ask, model: str | None = None) -> bytes:  # noqa: ARG002 - the model is in the path
        """The same bytes: usage comes unasked."""
        return body

    def meter(self, ask: Ask, content_type: bytes) -> Meter:
        """A meter for a stream or for one document."""
        return InvokeStreamMeter(ask) if is_event_stream(content_type) else InvokeMeter(ask)

    def prompt_text(self, body: bytes) -> str:
        """The texts of the prompt, in whichever member the vendor has them."""
        return texts_of(body, _PROMPTS)


class InvokeStream(Invoke):
    """`POST /model/{model}/invoke-with-response-stream`."""

    paths: tuple[Path, ...] = model_path("invoke-with-response-stream")
    streams = True


class InvokeMeter(PlainMeter):
    """A plain answer, in a vendor's format."""

    __slots__ = ("_counts",)

    def __init__(self, ask: Ask) -> None:
        super().__init__(ask)
        self._counts: tuple[bytes | None, bytes | None] = (None, None)

    def read_head(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """The headers of the answer, before its body: the token counts of a format that has none."""
        found = {name.lower(): value for name, value in headers}
        self._counts = (found.get(INPUT_HEADER), found.get(OUTPUT_HEADER))

    def _read(self, document: bytearray) -> None:
        model = self._ask.model
        members = read_members(document)
        self.complete = True
        if makes_images(model):
            self.usage = _images(members)
        elif is_rerank(model):
            self.usage = Usage(dict(self._ask.units))
        else:
            self._read_tokens(members, document)
        silent = self.usage is None and self.partial is None and self.flag is None
        if silent and (makes_images(model) or vendor_of(model) is None):
            self.flag = _NO_FIGURES

    def _read_tokens(self, members: Members, document: bytearray) -> None:
        self.usage, self.partial, self.flag = read_body_usage(members, document)
        if self.usage is None and self.flag is None and any(self._counts):
            usage, partial, self.flag = read_counts(*self._counts)
            if not generates_text(self._ask.model):
                usage = usage or partial  # an embedding has no output to be counted
            self.usage, self.partial = usage, self.partial or partial
        if generates_text(self._ask.model):
            self._tally.add(text_of(members))


class InvokeStreamMeter(FrameMeter):
    """A streamed answer, in a vendor's format."""

    __slots__ = ("_ask", "_report")

    def __init__(self, ask: Ask) -> None:
        super().__init__()
        self._ask = ask
        self._report = Report()

    def finish(self) -> bytes:
        """A stream that ended without any figure, of a vendor that is not known, is not waved through."""
        held = super().finish()
        silent = self.usage is None and self.partial is None and self.flag is None
        if silent and self.complete and vendor_of(self._ask.model) is None:
            self.flag = _NO_FIGURES
        return held

    def _event(self, kind: str, payload: bytes) -> None:
        if kind != "chunk":
            return
        try:
            document = binascii.a2b_base64(_decode_chunk(payload).bytes)
            self._read_chunk(read_members(document), document)
        except (*UNREADABLE, binascii.Error, ValueError):
            self.unread_events += 1

    def _read_chunk(self, members: Members, document: bytes) -> None:
        kind = _decode_kind(document).type if "type" in members else None
        if kind in {"message_start", "message_delta"}:
            self._read_anthropic(members, final=kind == "message_delta")
        elif kind in {None, "content_block_delta", "completion"}:
            self._read_plain(members, document)
        elif kind == "error":
            self.error = True
        if METRICS in members:
            self.complete = True
            if self.usage is None and self.flag is None:
                self.usage, self.partial, self.flag = read_metrics(members[METRICS])

    def _read_anthropic(self, members: Members, *, final: bool) -> None:
        usage = members.get("usage", NOTHING) if final else _decode_holder(members.get("message", _EMPTY)).usage
        if is_given(usage):
            self._report.add(usage)
            self.usage, self.partial, self.flag = self._report.read(final=final)

    def _read_plain(self, members: Members, document: bytes) -> None:
        if text := text_of(members):
            self._tally.add(text)
        if "metadata" in members:  # Nova
            usage = _decode_holder(members["metadata"]).usage
            reading = read_token_usage(usage) if is_given(usage) else (None, None, None)
        elif METRICS in members and "usage" not in members:
            return  # Llama and Titan repeat figures of one chunk; the metrics have the whole
        else:
            reading = read_body_usage(members, document) if "usage" in members else (None, None, None)
        if any(reading):
            self.usage, self.partial, self.flag = reading


def _images(members: Members) -> Usage | None:
    for name in ("images", "artifacts"):
        if name in members:
            try:
                return Usage({"output_images": len(msgspec.json.decode(members[name], type=list[msgspec.Raw]))})
            except UNREADABLE:
                return None
    return None


OPERATIONS: tuple[Operation, ...] = (Invoke(), InvokeStream())

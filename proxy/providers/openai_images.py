"""OpenAI's images: https://platform.openai.com/docs/api-reference/images (generations, edits, variations).

GPT Image models bill tokens and report them: text and image tokens of the input, image tokens of the output; a stream does in
the event of each finished image. Other models (DALL-E, and most compatible providers) report nothing and bill by the image:
the unit `output_images` counts those that came. An image model's price by size or quality is one rate: the operator's dearest.

The hold of an image's tokens follows https://platform.openai.com/docs/guides/image-generation (cost and latency): 272, 1,056 and
4,160 tokens in low, medium and high quality for 1024 x 1024 pixels, in proportion to the area, and 100 for each partial image.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from proxy.core.errors import InvalidRequest
from proxy.core.usage import Usage
from proxy.providers.dialect import BILLED, NO_HEAD, Ask, Head, Meter, Path, is_sse
from proxy.providers.meters import MAX_PLAIN_BYTES, PlainMeter, StreamMeter
from proxy.providers.multipart import Form, is_multipart, read_form, with_field
from proxy.providers.openai_request import deployment_of, model_of, read_text_member
from proxy.providers.openai_token_usage import read_raw_tokens
from proxy.providers.prompts import texts_of
from proxy.providers.reading import checked_model, decode, is_array, read_count, read_switch, top_level, with_model
from proxy.providers.sse import Splitter
from proxy.providers.usage_reading import NOTHING, UNREADABLE, is_given

# Below what the proxy holds back of a plain answer until it is whole (`pipeline.relay`).
_RELAYED_BYTES = 8 * 1024 * 1024

METERED = frozenset(
    (
        *("model", "n", "size", "quality", "stream", "partial_images", "output_format", "frame_count"),
        *("images", "mask"),
    )
)
_FORM_FIELDS = METERED - {"images", "mask"}
MAX_IMAGES = 100
MAX_PARTIAL_IMAGES = 10
MAX_FRAMES = 64

_PIXELS_A_TOKEN = {"low": 3600, "standard": 990, "medium": 990, "hd": 250, "high": 250, "auto": 250}
_PIXELS_A_TOKEN_AT_MOST = 60  # qualities above `high`, and unknown ones
_AUTO_PIXELS = 1536 * 1024
_MOST_PIXELS = 3840 * 2160
_PARTIAL_TOKENS = 100
_DEFAULT_FRAMES = 9
_SIZE = re.compile(r"([1-9]\d{0,4})x([1-9]\d{0,4})", re.ASCII)

UNFINISHED = "the stream ended before an image was finished"
ANOTHER_MODEL = "a drawing was written by another model, at that one's rates"
_LIST = msgspec.json.Decoder(list[msgspec.Raw])


class ImageGenerations:
    """`POST /images/generations`."""

    dialect = "openai"
    method = "POST"
    paths: tuple[Path, ...] = (Path("/images/generations", "/v1/images/generations"),)
    billing = BILLED

    def read(self, body: bytes, head: Head = NO_HEAD) -> Ask:
        """What the request asks for, in JSON or as a form."""
        if is_multipart(head.content_type):
            return _read_form(body, head)
        members = top_level(body, METERED)
        given = members.get("images")
        images = len(decode(given, _LIST, "images", "`images` must be an array.")) if given and is_array(given) else 0
        return _ask(
            model_of(members, head),
            lambda name: read_text_member(members, name),
            lambda name, most: read_count(members, name, 0, most),
            stream=read_switch(members, "stream"),
            media=images + ("mask" in members and is_given(members["mask"])),
            input_bound=None,
        )

    def outgoing(self, body: bytes, ask: Ask, model: str | None = None) -> bytes:  # noqa: ARG002 - nothing has to be asked for
        """The same bytes; another name for the model goes where the caller's stood."""
        if model is None:
            return body
        return rename(body, model) if body.startswith(b"--") else with_model(body, model)

    def meter(self, ask: Ask, content_type: bytes) -> Meter:  # noqa: ARG002 - everything is in the answer
        """A meter for a stream or for one document."""
        return _Stream() if is_sse(content_type) else _Document()

    def prompt_text(self, body: bytes) -> str:
        """The prompt, where it is in JSON."""
        return "" if body.startswith(b"--") else texts_of(body, ("prompt",))


class ImageEdits(ImageGenerations):
    """`POST /images/edits`: a form with the images, or JSON with references to them."""

    paths: tuple[Path, ...] = (Path("/images/edits", "/v1/images/edits"),)


class ImageVariations(ImageGenerations):
    """`POST /images/variations`: a form with one image."""

    paths: tuple[Path, ...] = (Path("/images/variations", "/v1/images/variations"),)


def rename(body: bytes, model: str) -> bytes:
    """A form that was read, with another model's name; its boundary stands in its first line."""
    boundary = body[2 : body.index(b"\r\n")]
    form = read_form(body, b'multipart/form-data; boundary="%b"' % boundary, ("model",))
    field = form.fields.get("model")
    return body if field is None else with_field(body, field, model)


def model_of_form(form: Form, head: Head) -> str:
    """The model that the path names, else the form's."""
    return deployment_of(head) if "model" in head.params else checked_model(form.required("model"))


def _read_form(body: bytes, head: Head) -> Ask:
    form = read_form(body, head.content_type, _FORM_FIELDS)
    return _ask(
        model_of_form(form, head),
        form.text,
        lambda name, most: form.count(name, 0, most),
        stream=form.switch("stream"),
        media=len(form.files),
        input_bound=form.text_bytes,
    )


def _ask(
    model: str,
    text: Callable[[str], str | None],
    count: Callable[[str, int], int | None],
    *,
    stream: bool,
    media: int,
    input_bound: int | None,
) -> Ask:
    images = count("n", MAX_IMAGES)
    if images == 0:
        raise InvalidRequest(f"`n` must be an integer from 1 to {MAX_IMAGES}.", param="n")
    partial = count("partial_images", MAX_PARTIAL_IMAGES) or 0
    frames = count("frame_count", MAX_FRAMES) or (_DEFAULT_FRAMES if text("output_format") == "gif" else 1)
    return Ask(
        model=model,
        stream=stream,
        input_bound=input_bound,
        output_limit=_image_tokens(text("size"), text("quality")) * frames + partial * _PARTIAL_TOKENS,
        choices=images or 1,
        units={"output_images": images or 1},
        media_parts=media,
    )


def _image_tokens(size: str | None, quality: str | None) -> int:
    match = _SIZE.fullmatch(size) if size else None
    pixels = _AUTO_PIXELS if size in {None, "", "auto"} else _MOST_PIXELS
    if match is not None:
        pixels = int(match[1]) * int(match[2])
    return -(-pixels // _PIXELS_A_TOKEN.get(quality or "auto", _PIXELS_A_TOKEN_AT_MOST))


class _Image(msgspec.Struct, gc=False):
    """One image of an answer; its bytes are skipped."""


class _Answer(msgspec.Struct, gc=False):
    data: list[_Image] | None = None
    usage: msgspec.Raw = NOTHING
    svg_usage: msgspec.Raw = NOTHING
    error: Any = None


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    usage: msgspec.Raw = NOTHING
    error: Any = None


_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_event = msgspec.json.Decoder(_Event).decode


class _Document(PlainMeter):
    """A plain answer. Its usage stands behind its images: of a large one, which is relayed as it comes, they may be all that is read."""

    __slots__ = ()

    def feed(self, piece: bytes) -> bytes:
        """Keep the piece for the end; relay it as it is."""
        if self._size > _RELAYED_BYTES and self.flag is None:
            self.flag = UNFINISHED
        return super().feed(piece)

    def _read(self, document: bytearray) -> None:
        self.flag = None
        try:
            answer = _decode_answer(document)
        except UNREADABLE:
            self.unread_events = 1
            self.flag = "the answer is not an object with images"
            return
        self.complete = True
        self.error = answer.error is not None
        if is_given(answer.usage):
            self.usage, self.partial, self.flag = read_raw_tokens(answer.usage, "image")
        elif answer.data is not None:
            self.usage = Usage({"output_images": len(answer.data)})
        elif not self.error:
            self.flag = "the answer tells neither usage nor images"
        if self.flag is None and is_given(answer.svg_usage):
            self.flag = ANOTHER_MODEL


class _Stream(StreamMeter):
    """A streamed answer: partial images, and each finished one with its usage. The usages of several add up."""

    __slots__ = ("_counters", "_spoiled")

    def __init__(self) -> None:
        super().__init__()
        self._counters: dict[str, int] = {}
        self._spoiled = False  # one image's usage could not be read: no sum of the others is the whole
        # An event holds a whole image in base64 before it tells its usage: as long as a document may be.
        self._splitter = Splitter(MAX_PLAIN_BYTES)
        self.flag = UNFINISHED  # partial images are billed too

    def _event(self, data: bytes) -> bool:
        if not data or data.strip() == b"[DONE]":
            return False
        try:
            event = _decode_event(data)
        except UNREADABLE:
            self.unread_events += 1
            self._spoil("an event could not be read")
            return False
        if event.error is not None or event.type == "error":
            self.error = True
            if self.flag == UNFINISHED:
                self.flag = None
        elif event.type.endswith(".completed"):
            self.complete = True
            self._finish_image(event.usage)
        return False

    def _finish_image(self, raw: msgspec.Raw) -> None:
        counters: Mapping[str, int] = {"output_images": 1}
        if is_given(raw):
            usage, _, flag = read_raw_tokens(raw, "image")
            if usage is None:
                self._spoil(flag or "half a usage was reported")
                return
            counters = usage.counters
        if self._spoiled:
            return
        for name, count in counters.items():
            self._counters[name] = self._counters.get(name, 0) + count
        self.usage, self.flag = Usage(dict(self._counters)), None

    def _spoil(self, flag: str) -> None:
        self._spoiled = True
        self.usage, self.flag = None, flag

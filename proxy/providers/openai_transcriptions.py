"""OpenAI's transcriptions and translations: https://platform.openai.com/docs/api-reference/audio/createTranscription.

GPT models bill tokens (`usage.type` "tokens"), Whisper and most compatible providers bill seconds (`usage.type` "duration", or
the `duration` of a verbose answer), rounded up here. Answers as text, SRT or VTT tell neither, and neither do those of some
servers: they are charged at the hold, whose seconds are bounded from the file (see `audio_length`). The hold of tokens is 25
input and 10 output tokens a second; OpenAI's models hear 10 tokens a second and people speak below 5.
"""

import math
from typing import Annotated

import msgspec

from proxy.core.errors import InvalidRequest
from proxy.core.usage import MAX_COUNT, Usage
from proxy.providers.audio_length import seconds_at_most
from proxy.providers.dialect import BILLED, NO_HEAD, Ask, Head, Meter, Path, is_sse
from proxy.providers.meters import PlainMeter, StreamMeter
from proxy.providers.multipart import read_form
from proxy.providers.openai_images import model_of_form, rename
from proxy.providers.openai_token_usage import read_raw_tokens
from proxy.providers.sse import Splitter
from proxy.providers.usage_reading import NOTHING, UNREADABLE, Reading, is_given

# `url` is how some compatible providers take a recording that the request does not hold.
METERED = frozenset(("model", "stream", "response_format", "url", "prompt"))
_INPUT_TOKENS_A_SECOND = 25
_OUTPUT_TOKENS_A_SECOND = 10
_LEAST_OUTPUT_TOKENS = 256
_EVENT_BYTES = 8 * 1024 * 1024

UNTOLD = "the answer does not tell how long the recording is"


class _Duration(msgspec.Struct, gc=False):
    seconds: Annotated[float, msgspec.Meta(ge=0, le=MAX_COUNT)]


class _Kind(msgspec.Struct, gc=False):
    type: str | None = None


class _Answer(msgspec.Struct, gc=False):
    usage: msgspec.Raw = NOTHING
    duration: msgspec.Raw = NOTHING
    error: msgspec.Raw = NOTHING


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    delta: str | None = None
    usage: msgspec.Raw = NOTHING
    error: msgspec.Raw = NOTHING


_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_event = msgspec.json.Decoder(_Event).decode
_decode_kind = msgspec.json.Decoder(_Kind).decode
_decode_duration = msgspec.json.Decoder(_Duration).decode
_decode_seconds = msgspec.json.Decoder(Annotated[float, msgspec.Meta(ge=0, le=MAX_COUNT)]).decode


class Transcriptions:
    """`POST /audio/transcriptions`."""

    dialect = "openai"
    method = "POST"
    paths: tuple[Path, ...] = (Path("/audio/transcriptions", "/v1/audio/transcriptions"),)
    billing = BILLED

    def read(self, body: bytes, head: Head = NO_HEAD) -> Ask:
        """What the request asks for; the recording is a file of the form."""
        form = read_form(body, head.content_type, METERED)
        if form.text("url") is not None or not any(file.name == "file" for file in form.files):
            raise InvalidRequest("The recording must be a file of the form, in the field `file`.", param="file")
        seconds = sum(seconds_at_most(body, file.start, file.end) for file in form.files)
        return Ask(
            model=model_of_form(form, head),
            stream=form.switch("stream"),
            input_bound=form.text_bytes + seconds * _INPUT_TOKENS_A_SECOND,
            output_limit=_LEAST_OUTPUT_TOKENS + seconds * _OUTPUT_TOKENS_A_SECOND,
            units={"input_seconds": seconds},
        )

    def outgoing(self, body: bytes, ask: Ask, model: str | None = None) -> bytes:  # noqa: ARG002 - nothing has to be asked for
        """The same bytes; another name for the model goes where the caller's stood."""
        return body if model is None else rename(body, model)

    def meter(self, ask: Ask, content_type: bytes) -> Meter:  # noqa: ARG002 - everything is in the answer
        """A meter for events, for JSON or for text."""
        if is_sse(content_type):
            return _Events()
        return _Document(is_json=b"json" in content_type)

    def prompt_text(self, body: bytes) -> str:  # noqa: ARG002 - sound cannot be counted
        """Nothing."""
        return ""


class Translations(Transcriptions):
    """`POST /audio/translations`."""

    paths: tuple[Path, ...] = (Path("/audio/translations", "/v1/audio/translations"),)


def _read(usage: msgspec.Raw) -> Reading:
    """A usage of either kind."""
    try:
        if _decode_kind(usage).type == "duration":
            return Usage({"input_seconds": math.ceil(_decode_duration(usage).seconds)}), None, None
    except UNREADABLE as error:
        return None, None, f"usage not believed: {error}"
    reading = read_raw_tokens(usage)
    return reading if reading[0] is not None or reading[2] is not None else (None, None, UNTOLD)


class _Document(PlainMeter):
    """A plain answer: JSON, or text that tells nothing."""

    __slots__ = ("_is_json",)

    def __init__(self, *, is_json: bool) -> None:
        super().__init__()
        self._is_json = is_json

    def _read(self, document: bytearray) -> None:
        self.complete = True
        if not self._is_json:
            self.flag = UNTOLD
            return
        answer = _decode_answer(document)
        self.error = is_given(answer.error)
        if is_given(answer.usage):
            self.usage, self.partial, self.flag = _read(answer.usage)
        elif is_given(answer.duration):
            self._read_seconds(answer.duration)
        elif not self.error:
            self.flag = UNTOLD

    def _read_seconds(self, duration: msgspec.Raw) -> None:
        try:
            self.usage = Usage({"input_seconds": math.ceil(_decode_seconds(duration))})
        except UNREADABLE as error:
            self.flag = f"usage not believed: {error}"


class _Events(StreamMeter):
    """A streamed answer; the event with the whole text has the usage."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__()
        self._splitter = Splitter(_EVENT_BYTES)
        self.flag = UNTOLD  # what was heard cannot be counted

    def _event(self, data: bytes) -> bool:
        if not data or data.strip() == b"[DONE]":
            return False
        try:
            event = _decode_event(data)
        except UNREADABLE:
            self.unread_events += 1
            return False
        if event.delta:
            self._tally.add(event.delta)
        elif event.type == "error" or is_given(event.error):
            self.error = True
            if self.flag == UNTOLD:
                self.flag = None
        elif event.type == "transcript.text.done":
            self.complete = True
            if is_given(event.usage):
                self.usage, self.partial, self.flag = _read(event.usage)
        return False

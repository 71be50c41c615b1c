"""OpenAI's speech: https://platform.openai.com/docs/api-reference/audio/createSpeech.

`tts-1` and most compatible providers bill the characters of `input`, which the request tells exactly. `gpt-4o-mini-tts` bills
tokens and tells them only in a stream of events (`stream_format: "sse"`, `speech.audio.done`). Sound as bytes tells nothing:
its usage is the unit `input_characters`, and where the price has no rate for that unit the call is charged at its hold. So the
hold is near the truth: 0.015 USD a minute at 12 USD per million tokens (https://platform.openai.com/docs/pricing) are 1,250
tokens a minute, and read text has about 900 characters a minute, so two tokens a byte leave room.
"""

import msgspec

from proxy.core.errors import InvalidRequest
from proxy.core.usage import Usage
from proxy.providers.dialect import BILLED, NO_HEAD, SSE, Ask, Head, Meter, Path
from proxy.providers.meters import BaseMeter, StreamMeter
from proxy.providers.openai_request import model_of, read_text_member
from proxy.providers.openai_token_usage import read_raw_tokens
from proxy.providers.passing import AsItCame
from proxy.providers.prompts import texts_of
from proxy.providers.reading import decode, top_level
from proxy.providers.sse import Splitter
from proxy.providers.usage_reading import NOTHING, UNREADABLE, is_given

METERED = frozenset(("model", "input", "instructions", "speed", "stream_format"))
MAX_CHARACTERS = 1_000_000
_TOKENS_A_BYTE = 2
_LEAST_TOKENS = 100
_SLOWEST = 4  # `speed` goes down to 0.25
_EVENT_BYTES = 8 * 1024 * 1024
_SPEED: msgspec.json.Decoder[float | None] = msgspec.json.Decoder(float | None)

UNTOLD = "the stream ended before it told its usage"


class Speech(AsItCame):
    """`POST /audio/speech`."""

    dialect = "openai"
    method = "POST"
    paths: tuple[Path, ...] = (Path("/audio/speech", "/v1/audio/speech"),)
    billing = BILLED

    def read(self, body: bytes, head: Head = NO_HEAD) -> Ask:
        """What the request asks for."""
        members = top_level(body, METERED)
        text = read_text_member(members, "input", MAX_CHARACTERS)
        if text is None:
            raise InvalidRequest("The member `input` is required.", param="input")
        instructions = read_text_member(members, "instructions", MAX_CHARACTERS) or ""
        size = len(text.encode())
        slow = _is_slow(members)
        return Ask(
            model=model_of(members, head),
            stream=read_text_member(members, "stream_format") == "sse",
            input_bound=size + len(instructions.encode()),
            output_limit=max(_LEAST_TOKENS, size * _TOKENS_A_BYTE) * (_SLOWEST if slow else 1),
            units={"input_characters": len(text)},
        )

    def meter(self, ask: Ask, content_type: bytes) -> Meter:
        """A meter for events or for sound."""
        return _Events() if content_type.startswith(SSE) else _Sound(ask)

    def prompt_text(self, body: bytes) -> str:
        """The text to be spoken, and how."""
        return texts_of(body, ("input", "instructions"))


def _is_slow(members: dict[str, msgspec.Raw]) -> bool:
    raw = members.get("speed")
    speed = None if raw is None else decode(raw, _SPEED, "speed", "`speed` must be a number.")
    return speed is not None and not speed >= 1


class _Sound(BaseMeter):
    """Sound as bytes: passed on as it comes, billed by what was to be spoken."""

    __slots__ = ("_units",)
    streams = True

    def __init__(self, ask: Ask) -> None:
        super().__init__()
        self._units = ask.units

    @property
    def between_events(self) -> bool:
        """Nothing of ours may stand in sound."""
        return False

    def feed(self, piece: bytes) -> bytes:
        """The first sound says that the text was taken: all of it is billed."""
        if self.usage is None and piece:
            self.usage = Usage(dict(self._units))
        return piece

    def finish(self) -> bytes:
        """The sound has ended."""
        self.complete = self.usage is not None
        return b""

    def cut(self) -> bytes:
        """Nothing of ours can be said."""
        return b""


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    usage: msgspec.Raw = NOTHING
    error: msgspec.Raw = NOTHING


_decode = msgspec.json.Decoder(_Event).decode


class _Events(StreamMeter):
    """Sound in base64, an event a piece; the last event has the usage."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__()
        self._splitter = Splitter(_EVENT_BYTES)

    def _event(self, data: bytes) -> bool:
        if not data or data.strip() == b"[DONE]":
            return False
        try:
            event = _decode(data)
        except UNREADABLE:
            self.unread_events += 1
            return False
        if event.type == "error" or is_given(event.error):
            self.error = True
            self.flag = None
        elif event.type == "speech.audio.done":
            self.complete = True
            if is_given(event.usage):
                self.usage, self.partial, self.flag = read_raw_tokens(event.usage, "audio")
        elif self.usage is None and not self.error and self.flag is None:
            self.flag = UNTOLD  # sound cannot be counted
        return False

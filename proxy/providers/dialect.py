"""What the pipeline needs of a dialect: read a request, prepare what goes out, and meter what comes back.

Counts are tokens. Nothing here does I/O, and nothing keeps a prompt longer than the call that it is given to.
"""

from typing import Protocol

import msgspec

from proxy.core.usage import Usage


class Ask(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What one request asks for, as far as money and routing care.

    `output_limit` bounds the output tokens of one choice (None: the caller gave no limit), `choices` multiplies it.
    `usage_asked` says that the caller wants the stream's usage chunk for itself. `media_parts` counts the parts whose
    tokens do not follow from their bytes: images, audio, files.
    """

    model: str
    stream: bool = False
    output_limit: int | None = None
    choices: int = 1
    usage_asked: bool = False
    media_parts: int = 0


class Meter(Protocol):
    """Turns the bytes of one answer into usage while they pass."""

    usage: Usage | None
    """What the provider reported, complete on both sides; None until it is, and where it cannot be believed."""

    partial: Usage | None
    """What the provider reported of one side only (Anthropic tells the input first): the other side is to be counted."""

    flag: str | None
    """Why usage could not be believed or read; such a call is charged at its hold."""

    error: bool
    """The provider sent an error inside a 200 answer."""

    complete: bool
    """The answer reached its natural end."""

    unread_events: int
    """Events that were passed on but could not be read: malformed or longer than the bound."""

    @property
    def output_events(self) -> int:
        """Pieces of output so far; providers send about one token in each."""

    @property
    def output_bytes(self) -> int:
        """UTF-8 bytes of output text so far; never fewer than its tokens."""

    @property
    def output_text(self) -> str:
        """The output so far, to be counted; bounded, so it may be shorter than `output_bytes`."""

    @property
    def between_events(self) -> bool:
        """An event of ours could follow now without tearing one of the provider's in two."""

    def feed(self, piece: bytes) -> bytes:
        """Take the next bytes of the answer; return what to relay now, the same object where nothing is taken out."""

    def finish(self) -> bytes:
        """The provider's answer ended, cleanly or torn: settle the figures and return what was held back."""

    def cut(self) -> bytes:
        """Farebox ends the answer here, instead of `finish`: return what has to be sent before an event of ours."""


class Operation(Protocol):
    """One metered path of a dialect."""

    dialect: str
    suffix: str
    """What follows the provider's base URL: /chat/completions, /v1/messages."""

    shared_path: str
    """Where Farebox offers it without naming a provider: /v1/chat/completions, /v1/messages."""

    def read(self, body: bytes) -> Ask:
        """Read a request body; raises InvalidRequest naming the member that is wrong or ambiguous."""

    def outgoing(self, body: bytes, ask: Ask) -> bytes:
        """The body to send: the very same object unless usage has to be asked for on the caller's behalf."""

    def meter(self, ask: Ask, *, sse: bool) -> Meter:
        """A meter for the answer, chosen by the answer's own content type and not by what was asked."""

    def prompt_text(self, body: bytes) -> str:
        """The texts of a request whose tokens make its input; for a body that `read` accepted."""

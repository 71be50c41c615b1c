"""What the pipeline needs of a dialect: read a request, prepare what goes out, and meter what comes back.

Counts are tokens. Nothing here does I/O, and nothing keeps a prompt longer than the call that it is given to.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

import msgspec

from proxy.core.usage import Usage

JSON = b"application/json"
SSE = b"text/event-stream"

BILLED = "billed"
FREE = "free"


class Head(msgspec.Struct, frozen=True, gc=False):
    """What a request says outside its body: `params` captured from its path (percent-decoded), its raw query, its type."""

    params: Mapping[str, str] = {}
    query: str = ""
    content_type: bytes = JSON


NO_HEAD = Head()


class Path(msgspec.Struct, frozen=True, gc=False):
    """Where an operation is: `suffix` follows the provider's base URL, `shared` is what Farebox offers without a provider.

    Both are templates of literal text and `{name}` parts; a part matches within one segment, up to the text behind it:
    `/v1beta/models/{model}:generateContent`. `shared` is None where the operation has no path without a provider.
    """

    suffix: str
    shared: str | None


class Ask(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What one request asks for, as far as money and routing care.

    `model` is empty where a request names none (a response that is fetched again). `input_bound` bounds the input tokens
    where the body's bytes do not (None: a token is at least a byte). `output_limit` bounds the output tokens of one
    choice (None: the caller gave no limit), `choices` multiplies it. `units` bounds what is not counted in tokens, by
    counter: characters, seconds, images. `usage_asked` says that the caller wants the stream's usage chunk for itself.
    `media_parts` counts the parts whose tokens do not follow from their bytes: images, audio, files; each is held for as
    `media_tokens`, which whoever routes the call knows (None: what most models need at most). `service_tier` is
    the tier asked for, in the provider's own word. `resources` are ids of stored objects that the request refers to.
    `others` are models that the request lets the provider answer with in its model's place: it costs what the dearest does.
    """

    model: str
    stream: bool = False
    input_bound: int | None = None
    output_limit: int | None = None
    choices: int = 1
    units: Mapping[str, int] = {}
    usage_asked: bool = False
    media_parts: int = 0
    media_tokens: int | None = None
    service_tier: str | None = None
    resources: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


NO_ASK = Ask(model="")


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

    streams: bool
    """The answer is relayed piece by piece; otherwise it is held until it is whole, so that its head can say its charge."""

    service_tier: str | None
    """The tier that the provider says it served, in its own word."""

    answered_by: str | None
    """The model that answered, by the provider's word; told at least where the request named others beside its own."""

    resource: str | None
    """The id under which the provider keeps the answer, where it can be fetched or continued later."""

    pending: bool
    """The provider goes on working after this answer; its usage comes when the resource is fetched."""

    @property
    def output_events(self) -> int:
        """Pieces of output so far; providers send about one token in each."""

    @property
    def output_so_far(self) -> int:
        """About the tokens of the output so far: a piece is about one, and the bytes guard against providers that put many into one."""

    @property
    def output_bytes(self) -> int:
        """UTF-8 bytes of output text so far; never fewer than its tokens."""

    @property
    def output_calls(self) -> int:
        """Tool calls begun so far; a model writes more for each than its name and arguments."""

    @property
    def output_text(self) -> str:
        """The output so far, to be counted; bounded, so it may be shorter than `output_bytes`."""

    @property
    def between_events(self) -> bool:
        """An event of ours could follow now without tearing one of the provider's in two."""

    def read_head(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Take the headers of the answer, before its first byte; for providers that report usage there."""

    def feed(self, piece: bytes) -> bytes:
        """Take the next bytes of the answer; return what to relay now, the same object where nothing is taken out."""

    def finish(self) -> bytes:
        """The provider's answer ended, cleanly or torn: settle the figures and return what was held back."""

    def cut(self) -> bytes:
        """Farebox ends the answer here, instead of `finish`: return what has to be sent before an event of ours."""

    def farewell(self, event: bytes) -> bytes | None:
        """Farebox ends the answer here with an error: what to send, so that the client's SDK raises it and the end is clean.

        `event` is the error as a server-sent event of the dialect; another framing takes its data out of it. None where
        nothing of ours can be read in the answer: then the connection is closed without a clean end.
        """


class Operation(Protocol):
    """One path of a dialect that is open, with its rule for what it costs."""

    dialect: str
    method: str
    paths: tuple[Path, ...]

    billing: str
    """BILLED or FREE. Free: the provider bills nothing for it (counting tokens, lists); authenticated and limited all the same."""

    def read(self, body: bytes, head: Head = NO_HEAD) -> Ask:
        """Read a request; raises InvalidRequest naming the member that is wrong or ambiguous."""

    def outgoing(self, body: bytes, ask: Ask, model: str | None = None) -> bytes:
        """The body to send: the very same object, but where usage has to be asked for on the caller's behalf.

        `model` is the provider's own name for the model, where it differs from the one that was asked for.
        """

    def meter(self, ask: Ask, content_type: bytes) -> Meter:
        """A meter for a successful answer, chosen by the answer's own content type and not by what was asked.

        `content_type` is in lower case, with its parameters.
        """

    def prompt_text(self, body: bytes) -> str:
        """The texts of a request whose tokens make its input; for a body that `read` accepted."""


def is_sse(content_type: bytes) -> bool:
    """Whether an answer is a stream of server-sent events."""
    return content_type.startswith(SSE)

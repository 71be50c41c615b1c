"""Paths that the configuration opens without a meter: uploads, files, batches, fine-tuning, at a flat price or free.

What passes is not read. Each call that the provider answers well costs the price, once; a record is left all the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.core.money import MICROCREDITS_PER_CREDIT, NANO_USD_PER_USD, parse_scaled
from proxy.core.pricing import Price
from proxy.core.usage import Usage
from proxy.providers.dialect import BILLED, FREE, NO_HEAD, Ask, Head, Meter, Path, is_sse
from proxy.providers.meters import PlainMeter, StreamMeter

if TYPE_CHECKING:
    from proxy.provider_config import Open

ONE_REQUEST = Usage({"requests": 1})


class FlatRate:
    """One opened path. `price` has the rate of a request, such that it charges what the configuration says."""

    def __init__(self, opened: Open, dialect: str, credits_per_usd: int) -> None:
        self.dialect = dialect
        self.method: str = opened.method
        self.paths: tuple[Path, ...] = (Path(opened.path, opened.shared),)
        microcredits = parse_scaled(str(opened.price), MICROCREDITS_PER_CREDIT)
        self.billing = BILLED if microcredits else FREE
        # Nano-USD for 10^6 requests. Rounded down, so that the charge, which is rounded up, is exactly the price.
        rate = microcredits * NANO_USD_PER_USD // credits_per_usd
        self.price = Price("", {"input": 0, "output": 0, "requests": rate}, f"open-{microcredits}", 0)

    def read(self, body: bytes, head: Head = NO_HEAD) -> Ask:  # noqa: ARG002 - nothing of it is read
        """One request, whatever is in it."""
        return Ask(model="", output_limit=0, input_bound=0, units={"requests": 1})

    def outgoing(self, body: bytes, ask: Ask, model: str | None = None) -> bytes:  # noqa: ARG002 - nothing is named
        """The same bytes."""
        return body

    def meter(self, ask: Ask, content_type: bytes) -> Meter:  # noqa: ARG002 - nothing is asked
        """Counts the request."""
        return _Events() if is_sse(content_type) else _Document()

    def prompt_text(self, body: bytes) -> str:  # noqa: ARG002 - nothing is counted
        """Nothing: a request has its price whatever it holds."""
        return ""


class _Document(PlainMeter):
    """An answer that is passed on unread."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__()
        self.usage = ONE_REQUEST
        self.complete = True

    def feed(self, piece: bytes) -> bytes:
        """The same piece."""
        return piece

    def finish(self) -> bytes:
        """Nothing is held back."""
        return b""


class _Events(StreamMeter):
    """A stream that is passed on unread."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__()
        self.usage = ONE_REQUEST
        self.complete = True

    def feed(self, piece: bytes) -> bytes:
        """The same piece."""
        return piece

    def finish(self) -> bytes:
        """Nothing is held back."""
        return b""

"""A call: one client request end to end, as the rooms of the pipeline learn about it.

Instants: `at_ms` is Unix milliseconds, everything ending in `_at` and `started` are monotonic seconds (the event
loop's clock is coarser, and asking for the running loop costs a system call).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.accounts.caller import Caller
    from proxy.core.pricing import Tariff
    from proxy.pipeline.candidates import Candidates, Route
    from proxy.pipeline.exchange import Exchange
    from proxy.pipeline.paths import Target
    from proxy.providers.dialect import Ask, Meter, Operation


class Call(msgspec.Struct, kw_only=True, eq=False):
    """An authenticated, readable, routed request. Its id is that of the hold, the record, the log line and the answer.

    `route` and `tariff` are the dearest candidate's until one is tried, so that
    one hold covers them all, and then those of the provider that answers.
    """

    call_id: str
    at_ms: int
    started: float
    exchange: Exchange
    target: Target
    operation: Operation
    caller: Caller
    body: bytes
    ask: Ask
    candidates: Candidates
    route: Route
    tariff: Tariff
    trace_id: str
    tags: Mapping[str, str]
    # What the journey adds.
    limited: tuple[bytes, int] | None = None  # mode strict: the body that was asked for, and the limit sent with it
    sent: bool = False
    attempts: int = 1
    status: int | None = None
    outcome: str | None = None
    forwarded_at: float = 0.0
    first_byte_at: float | None = None
    meter: Meter | None = None
    left_early: bool = False  # the client left before its answer was whole

    def __repr__(self) -> str:
        """Its id: neither a body nor a key belongs into a message."""
        return f"Call({self.call_id})"

    @property
    def dialect(self) -> str:
        """The dialect that the client speaks."""
        return self.operation.dialect

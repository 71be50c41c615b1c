"""When the client leaves before the answer's end: what becomes of the provider's work, and what is charged for it.

`cancel` (default) closes the connection to the provider and charges what has passed, counted. `drain` reads on without
relaying, to the provider's own usage, bounded in time and tokens. `free` closes and charges nothing. A client that stays
but never reads was cut off by us: it is always cancelled and charged. Seconds; tokens of output.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from proxy.pipeline.exchange import ClientLeft

if TYPE_CHECKING:
    from proxy.config import Config
    from proxy.pipeline.call import Call
    from proxy.pipeline.upstream.exchange import Exchange as UpstreamExchange

Policy = Literal["cancel", "drain", "free"]
CANCEL: Policy = "cancel"
DRAIN: Policy = "drain"
FREE: Policy = "free"

_FIRST_ERROR_STATUS = 400


@dataclass(frozen=True, slots=True)
class Parting:
    """A provider's rules: the policy, and the bounds of `drain` counted from the moment of leaving.

    `counts_late`: a call that was sent and not begun to be answered in time is charged its prompt, counted; else nothing.
    """

    policy: Policy = CANCEL
    drain_s: float = 30.0
    drain_tokens: int = 8192
    counts_late: bool = False


USUAL = Parting()


def parting_of(config: Config, own: Policy | None) -> Parting:
    """The rules of a provider whose own policy is `own`. Draining never outlasts what a shutdown waits for."""
    upstream = config.upstream
    return Parting(
        policy=own or upstream.on_client_left,
        drain_s=min(upstream.drain_timeout_s, config.server.drain_s),
        drain_tokens=upstream.drain_tokens,
        counts_late=upstream.on_late == "count",
    )


def policy_of(call: Call) -> Policy:
    """What holds for this call, should its client leave now: the account's policy, else the provider's."""
    if call.exchange.stalled or (call.status or 0) >= _FIRST_ERROR_STATUS:
        return CANCEL
    return call.caller.on_client_left or call.route.endpoint.parting.policy


def client_left(call: Call, upstream: UpstreamExchange) -> None:
    """The client is gone: the provider is closed at once, or when the time for draining is over."""
    # SDKs hang up at the stream's last event, or at its error, without waiting for the end of the HTTP answer: that is no
    # leaving early.
    meter = call.meter
    call.left_early = meter is None or not (meter.complete or meter.error)
    if policy_of(call) != DRAIN:
        upstream.abort(ClientLeft())
        return
    # Not cancelled when the answer ends earlier: aborting an exchange that has ended changes nothing.
    drain_s = call.route.endpoint.parting.drain_s
    asyncio.get_running_loop().call_later(drain_s, upstream.abort, ClientLeft())

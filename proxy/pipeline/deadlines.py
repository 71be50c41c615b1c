"""How long a client may take: the deadlines of a connection, looked at by the listener's sweep. Times are loop seconds.

A timer for each connection would cost every call two changes of the loop's heap; a look at all of them costs calls nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.config import Server
    from proxy.pipeline.client import ClientConnection


def enforce(connection: ClientConnection, config: Server, now: float) -> None:
    """Ends what took too long: reading what was written, a body that is wanted, a head, or being idle."""
    if connection.paused_since is not None and now - connection.paused_since > config.write_stall_s:
        connection.abort()
    elif connection.body_deadline is not None and now > connection.body_deadline:
        connection.body_deadline = None
        if connection.exchange is not None:
            connection.exchange.fail_body(TimeoutError())
    elif (connection.head_since is not None and now - connection.head_since > config.header_timeout_s) or (
        connection.quiet_since is not None and now - connection.quiet_since > config.idle_timeout_s
    ):
        connection.close_after_flush()

"""What can go wrong on the way to a provider, told apart so that the caller can decide what is charged and repeated.

No message holds a host, a header value or a part of the URL: they are shown to clients. What the system said is in
`__cause__`, for the log.
"""

from proxy.core.errors import Unavailable, UpstreamFailed, UpstreamTimeout


class ConnectFailed(UpstreamFailed):
    """502: no address of the provider could be reached, or TLS failed. Nothing was sent."""

    code = "upstream_unreachable"
    default_message = "The model provider could not be reached."


class Disconnected(UpstreamFailed):
    """502: the provider closed the connection before the head of its answer. The request may have been processed."""

    code = "upstream_disconnected"
    default_message = "The model provider closed the connection before it answered."


class Truncated(UpstreamFailed):
    """502: the answer began and broke off before its end."""

    code = "upstream_truncated"
    default_message = "The model provider's answer broke off."


class BadAnswer(UpstreamFailed):
    """502: the answer is not HTTP/1 as this client accepts it, or exceeds one of its bounds."""

    code = "upstream_bad_answer"
    default_message = "The model provider's answer could not be understood."


class CallClosed(UpstreamFailed):
    """502: the call was closed on our side while somebody still waited for its answer."""

    code = "upstream_call_closed"
    default_message = "The call to the model provider was closed."


class ConnectTimeout(UpstreamTimeout):
    """504: the connection (addresses, TCP, TLS) did not come about in time. Nothing was sent."""

    code = "upstream_connect_timeout"
    default_message = "The model provider could not be reached in time."


class FirstByteTimeout(UpstreamTimeout):
    """504: the request is out (or stuck on its way), and no answer has begun."""

    code = "upstream_first_byte_timeout"
    default_message = "The model provider did not begin to answer in time."


class IdleTimeout(UpstreamTimeout):
    """504: the answer has begun, and then nothing came for too long."""

    code = "upstream_idle_timeout"
    default_message = "The model provider stopped in the middle of its answer."


class TotalTimeout(UpstreamTimeout):
    """504: the call as a whole took too long."""

    code = "upstream_total_timeout"
    default_message = "The model provider's answer took too long as a whole."


class PoolExhausted(Unavailable):
    """503: every connection to this provider is in use and none came free in time. Nothing was sent."""

    code = "upstream_busy"
    default_message = "Every connection to the model provider is in use. Try again shortly."

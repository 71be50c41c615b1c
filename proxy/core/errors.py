"""Every error that Farebox shows to somebody, grouped by who must act: the caller, the upstream, or us.

An error carries what an answer needs and nothing secret: the HTTP status, a stable code, a public message, and where
it helps the parameter, the metadata of a refusal and how long to wait. Dialects turn it into their own shape.
"""

from collections.abc import Mapping


class FareboxError(Exception):
    """The base: `status` (HTTP), `code` (stable slug), `message` (public text), `retry_after_ms` (milliseconds or None).

    `should_retry` says what the answer's `x-should-retry` header tells an SDK: False where repeating the same request
    cannot help, None where the SDK's own rule by status is right. `public` headers of a refusal travel in `headers`.
    """

    status = 500
    code = "internal_error"
    default_message = "Something went wrong in the proxy."
    should_retry: bool | None = None

    def __init__(
        self,
        message: str | None = None,
        *,
        code: str | None = None,
        param: str | None = None,
        metadata: Mapping[str, str | int] | None = None,
        retry_after_ms: int | None = None,
    ) -> None:
        self.message = message or self.default_message
        super().__init__(self.message)
        if code is not None:
            self.code = code
        self.param = param
        self.metadata = dict(metadata or {})
        self.retry_after_ms = retry_after_ms


# The caller must act.


class InvalidRequest(FareboxError):
    """400: the request is malformed; `param` names the member."""

    status = 400
    code = "invalid_request"
    default_message = "The request is not valid."
    should_retry = False


class InvalidKey(FareboxError):
    """401: no credential, more than one, or one that is not (or no longer) known."""

    status = 401
    code = "invalid_api_key"
    default_message = "The API key is missing or not valid."
    should_retry = False


class InsufficientCredits(FareboxError):
    """402: `metadata` has limit_source (balance, budget, in_flight), required and available (microcredits)."""

    status = 402
    code = "insufficient_credits"
    default_message = "The account does not have enough credits for this call."
    should_retry = False


class Forbidden(FareboxError):
    """403: known, but not allowed: a model, a suspended account, a role."""

    status = 403
    code = "not_allowed"
    default_message = "This API key may not do that."
    should_retry = False


class NotFound(FareboxError):
    """404: an unknown path, model, account or record."""

    status = 404
    code = "not_found"
    default_message = "There is nothing here."
    should_retry = False


class MethodNotAllowed(FareboxError):
    """405: the path exists, with another method."""

    status = 405
    code = "method_not_allowed"
    default_message = "This method is not allowed here."
    should_retry = False


class RequestTimeout(FareboxError):
    """408: the client was too slow to send its request."""

    status = 408
    code = "request_timeout"
    default_message = "The request took too long to arrive."
    should_retry = False


class Conflict(FareboxError):
    """409: the same idempotency key or name, with another content."""

    status = 409
    code = "conflict"
    default_message = "This was asked before with another content."
    should_retry = False


# What everything that takes an idempotency key says of one that stands for another request (409 `idempotency_conflict`).
KEY_USED = "This idempotency key was used before with another request: repeat that one as it was, or give this one a key of its own."


class UpgradeRefused(FareboxError):
    """426: the client asks for a WebSocket, which is not metered. This status has clients with a way over HTTP take it."""

    status = 426
    code = "websocket_not_metered"
    default_message = "WebSocket calls are not metered here, so they are not open; make the call over HTTP."
    should_retry = False


class TooLarge(FareboxError):
    """413: a body above the bound."""

    status = 413
    code = "request_too_large"
    default_message = "The request is larger than this proxy accepts."
    should_retry = False


class RateLimited(FareboxError):
    """429: a rate limit of the key, account or model; `metadata` names it, `retry_after_ms` says when."""

    status = 429
    code = "rate_limit_exceeded"
    default_message = "A rate limit was reached."


# The upstream must act.


class UpstreamFailed(FareboxError):
    """502: the provider could not be reached, or its answer could not be understood."""

    status = 502
    code = "upstream_failed"
    default_message = "The model provider could not be reached."


class UpstreamTimeout(FareboxError):
    """504: the provider did not answer in time."""

    status = 504
    code = "upstream_timeout"
    default_message = "The model provider did not answer in time."


# We must act.


class Unavailable(FareboxError):
    """503: a store that money depends on is away, or Farebox is draining."""

    status = 503
    code = "unavailable"
    default_message = "Farebox cannot account for calls at the moment. Try again shortly."


class ConfigError(FareboxError):
    """The configuration cannot be used; the message says which key, why, and the nearest known name."""

    code = "config_error"
    default_message = "The configuration is not valid."

"""Errors in the caller's dialect, as its SDKs parse them; and the provider's own errors without what identifies its account.

Shapes: OpenAI `{"error": {"message", "type", "param", "code"}}`, Anthropic `{"type": "error", "error": {"type", "message"},
"request_id"}`, Gemini `{"error": {"code", "message", "status"}}`, Cohere `{"id", "message"}`, Bedrock `{"message"}` with the kind
in the header `x-amzn-errortype`. A refusal's metadata stands beside the message in all of them.
"""

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import msgspec

from proxy.core.errors import FareboxError
from proxy.providers.event_stream import write_frame

# https://platform.openai.com/docs/guides/error-codes
_OPENAI_TYPES: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: "authentication_error",
    HTTPStatus.PAYMENT_REQUIRED: "insufficient_credits",
    HTTPStatus.FORBIDDEN: "permission_error",
    HTTPStatus.NOT_FOUND: "not_found_error",
    HTTPStatus.TOO_MANY_REQUESTS: "rate_limit_error",
}
# https://docs.anthropic.com/en/api/errors
_ANTHROPIC_TYPES: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: "authentication_error",
    HTTPStatus.PAYMENT_REQUIRED: "billing_error",
    HTTPStatus.FORBIDDEN: "permission_error",
    HTTPStatus.NOT_FOUND: "not_found_error",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "request_too_large",
    HTTPStatus.TOO_MANY_REQUESTS: "rate_limit_error",
    HTTPStatus.SERVICE_UNAVAILABLE: "overloaded_error",
    HTTPStatus.GATEWAY_TIMEOUT: "timeout_error",
}
# https://cloud.google.com/apis/design/errors, the codes of google.rpc.Code
_GEMINI_STATUSES: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: "UNAUTHENTICATED",
    HTTPStatus.PAYMENT_REQUIRED: "RESOURCE_EXHAUSTED",
    HTTPStatus.FORBIDDEN: "PERMISSION_DENIED",
    HTTPStatus.NOT_FOUND: "NOT_FOUND",
    HTTPStatus.CONFLICT: "ABORTED",
    HTTPStatus.TOO_MANY_REQUESTS: "RESOURCE_EXHAUSTED",
    HTTPStatus.SERVICE_UNAVAILABLE: "UNAVAILABLE",
    HTTPStatus.GATEWAY_TIMEOUT: "DEADLINE_EXCEEDED",
}
# https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html#API_runtime_Converse_Errors
_AWS_TYPES: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: "UnrecognizedClientException",
    HTTPStatus.PAYMENT_REQUIRED: "ServiceQuotaExceededException",
    HTTPStatus.FORBIDDEN: "AccessDeniedException",
    HTTPStatus.NOT_FOUND: "ResourceNotFoundException",
    HTTPStatus.TOO_MANY_REQUESTS: "ThrottlingException",
    HTTPStatus.SERVICE_UNAVAILABLE: "ServiceUnavailableException",
    HTTPStatus.GATEWAY_TIMEOUT: "ModelTimeoutException",
}
_FIRST_SERVER_ERROR = 500

# What a stream is cut with arrives inside a 200 answer: there the type alone says what the status would have said.
_STREAM_STATUSES = {
    "insufficient_credits": HTTPStatus.PAYMENT_REQUIRED,
    "upstream_failed": HTTPStatus.BAD_GATEWAY,
    "upstream_timeout": HTTPStatus.GATEWAY_TIMEOUT,
    "unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
}

# Providers quote parts of the key, the organisation or project that it belongs to, and the user that it stands for.
_ACCOUNT = re.compile(
    rb"\b(?:sk|rk|pk|gsk|csk|xai|nvapi|pplx)[-_][A-Za-z0-9_*-]{8,}|\bhf_[A-Za-z0-9*]{20,}|\b(?:org-|proj_)[A-Za-z0-9]{8,}"
    rb"|\b(?:AKIA|ASIA)[A-Z0-9]{12,}|\barn:aws[a-z-]*:(?:iam|sts)::[^\s\"'\\]{12,}"
    rb"|\bya29\.[A-Za-z0-9_.-]{8,}|\bAIza[A-Za-z0-9_-]{20,}|\b[a-z0-9-]{1,64}@[a-z0-9-]{1,64}\.iam\.gserviceaccount\.com"
)
# What is shorter is a name in the place of a key, as local providers take it, and may be a word of the message.
_LEAST_KEY_BYTES = 12
_REMOVED = b"[removed]"

_encode = msgspec.json.Encoder().encode


def error_body(dialect: str, error: FareboxError, call_id: str) -> bytes:
    """The body of an answer that says `error`; an unknown dialect gets OpenAI's shape."""
    return _encode(_shape(dialect, error, call_id))


def error_headers(dialect: str, error: FareboxError) -> tuple[tuple[bytes, bytes], ...]:
    """The headers in which a dialect says what kind of error it is; the AWS SDKs look nowhere else."""
    if dialect != "bedrock":
        return ()
    return ((b"x-amzn-errortype", _aws_type(error.status).encode()),)


def stream_error(dialect: str, code: str, message: str, call_id: str = "") -> bytes:
    """A final event that says why a stream ends here: the SDKs raise it, and no clean end follows.

    Bedrock's is a frame of the message type `error`. Cohere has no event for errors but the failed end of the message.
    """
    if dialect == "bedrock":
        return write_frame({":message-type": "error", ":error-code": code, ":error-message": message})
    if dialect == "cohere":
        delta = {"finish_reason": "ERROR", "error": message}
        return b"event: message-end\ndata: %b\n\n" % _encode({"type": "message-end", "id": call_id, "delta": delta})
    error = FareboxError(message, code=code)
    error.status = _STREAM_STATUSES.get(code, HTTPStatus.INTERNAL_SERVER_ERROR)
    name = b"event: error\n" if dialect == "anthropic" else b""
    return b"%bdata: %b\n\n" % (name, _encode(_shape(dialect, error, call_id)))


def scrub_error(body: bytes, secrets: Iterable[str]) -> bytes:
    """A provider's error without our secrets, or what it quotes of keys and accounts; else the same object."""
    for secret in secrets:
        # As it is, and as it stands in JSON that escapes slashes.
        for written in (secret.encode(), secret.replace("/", "\\/").encode()):
            if len(written) >= _LEAST_KEY_BYTES and written in body:
                body = body.replace(written, _REMOVED)
    return _ACCOUNT.sub(_REMOVED, body) if _ACCOUNT.search(body) else body


def _shape(dialect: str, error: FareboxError, call_id: str) -> dict[str, Any]:
    status, message = error.status, error.message
    if dialect == "anthropic":
        kind = _ANTHROPIC_TYPES.get(status) or _by_side(status, "invalid_request_error", "api_error")
        return {"type": "error", "error": _with({"type": kind, "message": message}, error), "request_id": call_id}
    if dialect in {"gemini", "vertex"}:
        name = _GEMINI_STATUSES.get(status) or _by_side(status, "INVALID_ARGUMENT", "INTERNAL")
        return {"error": _with({"code": status, "message": message, "status": name}, error)}
    if dialect == "bedrock":
        return _with({"message": message}, error)
    if dialect == "cohere":
        return _with({"id": call_id, "message": message}, error)
    kind = _OPENAI_TYPES.get(status) or _by_side(status, "invalid_request_error", "server_error")
    return {"error": _with({"message": message, "type": kind, "param": error.param, "code": error.code}, error)}


def _aws_type(status: int) -> str:
    return _AWS_TYPES.get(status) or _by_side(status, "ValidationException", "InternalServerException")


def _by_side(status: int, callers: str, ours: str) -> str:
    return ours if status >= _FIRST_SERVER_ERROR else callers


def _with(shape: dict[str, Any], error: FareboxError) -> dict[str, Any]:
    return {**shape, "metadata": error.metadata} if error.metadata else shape

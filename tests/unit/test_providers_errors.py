import json

import pytest

from proxy.core import errors
from proxy.core.errors import FareboxError
from proxy.providers.errors import error_body, error_headers, scrub_error, stream_error

EVERY = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, FareboxError)]


@pytest.mark.parametrize("kind", EVERY)
def test_every_error_has_a_shape_in_every_dialect(kind: type[FareboxError]) -> None:
    error = kind("what happened", param="model")
    openai = json.loads(error_body("openai", error, "c1"))
    assert set(openai) == {"error"}
    assert set(openai["error"]) == {"message", "type", "param", "code"}
    assert openai["error"] | {"type": ""} == {
        "message": "what happened",
        "type": "",
        "param": "model",
        "code": error.code,
    }
    anthropic = json.loads(error_body("anthropic", error, "c1"))
    assert anthropic["type"] == "error"
    assert anthropic["request_id"] == "c1"
    assert anthropic["error"]["message"] == "what happened"
    gemini = json.loads(error_body("gemini", error, "c1"))
    assert gemini["error"]["code"] == error.status
    assert gemini["error"]["status"].isupper()


@pytest.mark.parametrize(
    ("error", "openai", "anthropic"),
    [
        (errors.InvalidRequest(), "invalid_request_error", "invalid_request_error"),
        (errors.InvalidKey(), "authentication_error", "authentication_error"),
        (errors.InsufficientCredits(), "insufficient_credits", "billing_error"),
        (errors.Forbidden(), "permission_error", "permission_error"),
        (errors.NotFound(), "not_found_error", "not_found_error"),
        (errors.TooLarge(), "invalid_request_error", "request_too_large"),
        (errors.RateLimited(), "rate_limit_error", "rate_limit_error"),
        (errors.UpstreamFailed(), "server_error", "api_error"),
        (errors.Unavailable(), "server_error", "overloaded_error"),
        (errors.UpstreamTimeout(), "server_error", "timeout_error"),
    ],
)
def test_types_are_those_of_the_dialect(error: FareboxError, openai: str, anthropic: str) -> None:
    assert json.loads(error_body("openai", error, ""))["error"]["type"] == openai
    assert json.loads(error_body("anthropic", error, ""))["error"]["type"] == anthropic


@pytest.mark.parametrize("dialect", ["openai", "anthropic", "gemini"])
def test_a_refusal_says_what_was_needed(dialect: str) -> None:
    metadata = {"limit_source": "balance", "required": "2.5", "available": "1"}
    body = json.loads(error_body(dialect, errors.InsufficientCredits(metadata=metadata), "c1"))
    assert body["error"]["metadata"] == metadata


def test_the_event_that_ends_a_cut_stream() -> None:
    event = stream_error("openai", "insufficient_credits", "cut here")
    assert event.startswith(b"data: {")
    assert event.endswith(b"}\n\n")
    assert json.loads(event[6:])["error"] == {
        "message": "cut here",
        "type": "insufficient_credits",
        "param": None,
        "code": "insufficient_credits",
    }
    name, data, *rest = stream_error("anthropic", "insufficient_credits", "line\nbreak", "c1").split(b"\n")
    assert (name, rest) == (b"event: error", [b"", b""])
    assert json.loads(data[6:]) == {
        "type": "error",
        "error": {"type": "billing_error", "message": "line\nbreak"},
        "request_id": "c1",
    }


def test_a_providers_error_is_passed_on_unless_it_tells_of_its_account() -> None:
    clean = b'{"error":{"message":"The model does not exist: task-force-risk-management"}}'
    assert scrub_error(clean, ("a-secret-of-ours",)) is clean
    assert scrub_error(b'"key a-secret-of-ours is wrong"', ("a-secret-of-ours",)) == b'"key [removed] is wrong"'
    assert scrub_error(b"anything", ("",)) == b"anything"
    assert scrub_error(b"no model sim-9", ("sim",)) == b"no model sim-9"  # a name for a key, where none is needed
    for told in (b"sk-proj-abc****wxyz", b"sk-ant-api03-abcdefgh", b"org-AbCdEf123456", b"proj_AbCdEf123456"):
        assert (
            scrub_error(b'{"message":"wrong: ' + told + b'."}', ("a-secret-of-ours",))
            == b'{"message":"wrong: [removed]."}'
        )


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (errors.InvalidRequest(), b"ValidationException"),
        (errors.InvalidKey(), b"UnrecognizedClientException"),
        (errors.InsufficientCredits(), b"ServiceQuotaExceededException"),
        (errors.Forbidden(), b"AccessDeniedException"),
        (errors.NotFound(), b"ResourceNotFoundException"),
        (errors.RateLimited(), b"ThrottlingException"),
        (errors.UpstreamFailed(), b"InternalServerException"),
        (errors.Unavailable(), b"ServiceUnavailableException"),
        (errors.UpstreamTimeout(), b"ModelTimeoutException"),
    ],
)
def test_bedrock_says_the_kind_of_an_error_in_a_header(error: FareboxError, kind: bytes) -> None:
    assert error_headers("bedrock", error) == ((b"x-amzn-errortype", kind),)
    assert error_headers("openai", error) == ()
    assert json.loads(error_body("bedrock", error, "c1")) == {"message": error.message}


def test_cohere_says_the_message_and_the_id_of_the_call() -> None:
    error = errors.InsufficientCredits("No credits.", metadata={"required": "2"})
    assert json.loads(error_body("cohere", error, "c1")) == {
        "id": "c1",
        "message": "No credits.",
        "metadata": {"required": "2"},
    }
    event = stream_error("cohere", "insufficient_credits", "No credits.", "c1")
    assert event.startswith(b"event: message-end\ndata: ")
    assert json.loads(event.split(b"data: ")[1]) == {
        "type": "message-end",
        "id": "c1",
        "delta": {"finish_reason": "ERROR", "error": "No credits."},
    }


def test_every_secret_of_a_signature_is_taken_out_of_an_error() -> None:
    secrets = ("an-access-key-id", "secret/with+signs", "session-token/of-ours")
    told = b'{"a":"an-access-key-id","b":"secret/with+signs","c":"session-token\\/of-ours"}'
    assert scrub_error(told, secrets) == b'{"a":"[removed]","b":"[removed]","c":"[removed]"}'


@pytest.mark.parametrize(
    "told",
    [
        b"gsk_abcdefgh12345678",
        b"AKIAIOSFODNN7EXAMPLE",
        b"arn:aws:sts::123456789012:assumed-role/ours/session",
        b"arn:aws-us-gov:iam::123456789012:user/ours",
        b"ya29.c.b0AXv0zTabcdefgh",
        b"AIzaSyA1234567890abcdefghijklmnopqrstu",
        b"farebox@our-project.iam.gserviceaccount.com",
    ],
)
def test_clouds_name_who_called_them(told: bytes) -> None:
    assert scrub_error(b'{"message":"User: ' + told + b' may not."}', ()) == b'{"message":"User: [removed] may not."}'

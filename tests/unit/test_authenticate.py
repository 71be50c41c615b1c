import pytest

from proxy.core.errors import InvalidKey
from proxy.pipeline.authenticate import credential_of

KEY = b"sk-fb-" + b"a" * 43
SIGNED = b"/20261122/us-east-1/bedrock/aws4_request, SignedHeaders=host;x-amz-date, Signature=0f0f"


@pytest.mark.parametrize(
    "header",
    [
        (b"authorization", b"Bearer " + KEY),
        (b"authorization", b"bearer  " + KEY),
        (b"x-api-key", KEY),
        (b"api-key", KEY),
        (b"x-goog-api-key", KEY),
        (b"authorization", b"AWS4-HMAC-SHA256 Credential=" + KEY + SIGNED),
    ],
)
def test_the_key_is_found_where_each_sdk_puts_it(header: tuple[bytes, bytes]) -> None:
    assert credential_of([(b"host", b"x"), header]) == KEY


def test_the_key_is_found_in_a_query_that_is_given() -> None:
    assert credential_of([], "alt=sse&key=" + KEY.decode()) == KEY


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"authorization", b"Bearer ")],
        [(b"authorization", b"Basic abc")],
        [(b"authorization", KEY)],
        [(b"authorization", b"AWS4-HMAC-SHA256 Credential=/20261122/us-east-1")],
        [(b"authorization", b"AWS4-HMAC-SHA256 " + KEY)],
        [(b"authorization", b"AWS4-HMAC-SHA256 Signature=a, Credential=" + KEY + SIGNED)],
        [(b"authorization", b"Bearer " + KEY), (b"x-api-key", KEY)],
        [(b"authorization", b"AWS4-HMAC-SHA256 Credential=" + KEY + SIGNED), (b"api-key", KEY)],
        [(b"x-api-key", b"k" * 513)],
    ],
)
def test_none_two_and_malformed_ones_are_refused(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(InvalidKey):
        credential_of(headers)

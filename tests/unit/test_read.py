"""The head of a request: what two readers could take for two things goes to none of them."""

from types import SimpleNamespace
from typing import Any

import pytest

from proxy.core.errors import InvalidRequest
from proxy.pipeline.read import read_head
from proxy.providers.dialect import NO_HEAD

TARGET: Any = SimpleNamespace(params={})


def head(*types: bytes) -> Any:
    headers = [(b"content-type", one) for one in types]
    exchange: Any = SimpleNamespace(headers=headers, named=dict(headers), query="")
    return read_head(exchange, TARGET, exchange.named)


def refused(*types: bytes) -> str | None:
    with pytest.raises(InvalidRequest) as caught:
        head(*types)
    return caught.value.param


def test_a_usual_request_has_no_head_of_its_own() -> None:
    assert head() is NO_HEAD
    assert head(b"application/json") is NO_HEAD
    assert head(b"application/json; charset=utf-8").content_type == b"application/json; charset=utf-8"
    head(b'Application/JSON;Charset="UTF-8"')


def test_a_second_content_type_is_refused() -> None:
    form = b"multipart/form-data; boundary="
    assert refused(form + b"a", form + b"b") == "content-type"
    assert refused(b"text/plain", b"application/json") == "content-type"
    assert refused(b"application/json", b"application/json") == "content-type"


def test_bodies_are_utf_8() -> None:
    # The same bytes are `{"a":"","model":"x"}` in UTF-7.
    assert b'{"a":"+ACI,+ACI-model+ACI:+ACI-x"}'.decode("utf-7") == '{"a":"","model":"x"}'
    for charset in (b"utf-7", b'"UTF-16"', b"", b"utf-8; charset=utf-7"):
        assert refused(b"application/json; charset=" + charset) == "content-type"

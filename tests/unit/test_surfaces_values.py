"""What the surfaces read and show: amounts to the last digit, ids, instants, and credentials from where each vendor's callers put them."""

import json
import uuid
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from msgspec.json import encode

from proxy.core.errors import InvalidKey, InvalidRequest
from proxy.core.money import MAX_AMOUNT
from proxy.surfaces import credentials, fields, numbers
from proxy.surfaces.credits_dev.models import claims_models

KEY = "sk-fb-" + "a" * 43


def request(path: str = "/x", query: str = "", **headers: str) -> Any:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return SimpleNamespace(method="GET", path=path, query=query, headers=pairs)


@given(st.integers(-MAX_AMOUNT, MAX_AMOUNT))
def test_amounts_are_shown_to_the_last_digit(amount: int) -> None:
    shown = json.loads(encode(numbers.credits_number(amount)), parse_float=Decimal)
    assert Decimal(shown) * 1_000_000 == amount
    dollars = json.loads(encode(numbers.usd_number(amount)), parse_float=Decimal)
    assert Decimal(dollars) * 1_000_000_000 == amount
    assert numbers.whole_credits(amount) * 1_000_000 <= amount < (numbers.whole_credits(amount) + 1) * 1_000_000


@given(st.integers(1, MAX_AMOUNT))
def test_an_amount_is_read_as_it_is_shown(amount: int) -> None:
    body = b'{"amount":' + bytes(numbers.credits_number(amount)) + b"}"
    assert fields.microcredits(fields.read_object(body), "amount") == amount
    said = bytes(numbers.credits_number(amount)).decode()
    assert fields.microcredits({"amount": said}, "amount") == amount


@pytest.mark.parametrize(
    "text",
    [
        "0",
        "-1",
        "0.0000001",
        "9007199254.740992",
        "1e400",
        "1e-400",
        '"1e3"',
        '""',
        '"."',
        '"-1"',
        '"\u0661"',
        "true",
        "null",
        "[1]",
    ],
)
def test_what_is_no_amount(text: str) -> None:
    with pytest.raises(InvalidRequest):
        fields.microcredits(fields.read_object(f'{{"amount":{text}}}'.encode()), "amount")


@pytest.mark.parametrize(("value", "read"), [(5, 5), (Decimal("5.0"), 5), (Decimal("5.5"), None), (True, None)])
def test_integers_of_a_body(value: object, read: int | None) -> None:
    assert fields.as_integer(value) == read


@pytest.mark.parametrize("value", ["5", None, 2**70, Decimal("1E+400"), Decimal("Infinity"), [5], -(2**62)])
def test_what_is_no_integer(value: object) -> None:
    assert fields.as_integer(value) is None


@pytest.mark.parametrize(("text", "read"), [("5", 5), ("-5", -5), ("0", 0)])
def test_integers_of_a_query(text: str, read: int) -> None:
    assert fields.integer_text(text) == read


@pytest.mark.parametrize("text", [None, "", "-", "+5", " 5", "5 ", "1e3", "1.0", "٣", "9" * 40, "0x1", "--5"])
def test_what_is_no_integer_of_a_query(text: str | None) -> None:
    assert fields.integer_text(text) is None


@pytest.mark.parametrize(
    "body", [b"[]", b"null", b"5", b'"x"', b"{", b"\xff", b'{"a":1}x', b"[" * 50_000, b'{"a":NaN}']
)
def test_a_body_is_one_object(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        fields.read_object(body)


def test_an_absent_body_is_an_empty_one() -> None:
    assert fields.read_object(b"") == fields.read_object(b" \n") == {}


def test_kept_json_keeps_its_numbers() -> None:
    kept = fields.json_text({"metadata": {"a": Decimal("1.10"), "b": [2**70, {}]}}, "metadata")
    assert kept == '{"a":1.10,"b":[1180591620717411303424,{}]}'
    assert fields.json_text({}, "metadata") is None


@pytest.mark.parametrize("value", ["x", 5, [1], {"a": "x" * 20_000}, {"a": "\0"}])
def test_what_is_not_kept(value: object) -> None:
    with pytest.raises(InvalidRequest):
        fields.json_text({"metadata": value}, "metadata")


@pytest.mark.parametrize(
    ("text", "end", "at_ms"),
    [
        ("2024-01-15", False, 1_705_276_800_000),
        ("2024-01-15", True, 1_705_363_199_999),
        ("2024-01-15T10:00:00Z", True, 1_705_312_800_000),
        ("2024-01-15T10:00:00.250+01:00", False, 1_705_309_200_250),
        ("2024-01-15T10:00:00", False, 1_705_312_800_000),
    ],
)
def test_dates(text: str, end: bool, at_ms: int) -> None:
    assert fields.date_ms(text, "startDate", end=end) == at_ms


@pytest.mark.parametrize("text", ["yesterday", "2024-13-01", "9" * 30, "2024-01-15 OR 1=1", "\0"])
def test_what_is_no_date(text: str) -> None:
    with pytest.raises(InvalidRequest):
        fields.date_ms(text, "startDate")


def test_instants_and_ids() -> None:
    assert numbers.instant(1_757_556_305_225) == "2025-09-11T02:05:05.225Z"
    assert numbers.instant(0) == "1970-01-01T00:00:00.000Z"
    assert numbers.instant(2**53 - 1) == "9999-12-31T23:59:59.999Z", "what no calendar shows is shown as its end"
    trace = uuid.uuid4()
    assert numbers.as_uuid(trace.hex) == numbers.as_uuid(str(trace)) == str(trace)
    assert str(uuid.UUID(numbers.as_uuid("acct_1:7"))) == numbers.as_uuid("acct_1:7") != numbers.as_uuid("acct_1:8")
    assert numbers.decimal_number(Decimal("1E+3")) == Raw(b"1000")
    assert numbers.decimal_number(Decimal("0.0750")) == Raw(b"0.075")


@pytest.mark.parametrize(
    ("find", "asked"),
    [
        (credentials.bearer, request(authorization=f"Bearer {KEY}")),
        (credentials.bearer, request(authorization=f"bearer  {KEY}")),
        (credentials.x_api_key, request(x_api_key=KEY)),
        (credentials.x_api_key_or_bearer, request(x_api_key=KEY)),
        (credentials.x_api_key_or_bearer, request(authorization=f"Bearer {KEY}")),
        (credentials.x_api_key_or_query, request(x_api_key=f" {KEY} ")),
        (credentials.x_api_key_or_query, request(query=f"a=b&key={KEY}")),
    ],
)
def test_where_a_credential_is_found(find: Any, asked: Any) -> None:
    assert find(asked) == KEY.encode()


@pytest.mark.parametrize(
    ("find", "asked"),
    [
        (credentials.bearer, request()),
        (credentials.bearer, request(x_api_key=KEY)),
        (credentials.bearer, request(query=f"key={KEY}")),
        (credentials.bearer, request(authorization=f"Basic {KEY}")),
        (credentials.bearer, request(authorization=f"Bearer {KEY}", api_key=KEY)),
        (credentials.x_api_key, request(query=f"key={KEY}")),
        (credentials.x_api_key, request(authorization=f"Bearer {KEY}")),
        (credentials.x_api_key_or_bearer, request(x_api_key=KEY, authorization=f"Bearer {KEY}")),
        (credentials.x_api_key_or_bearer, request(x_api_key=KEY, x_goog_api_key=KEY)),
        (credentials.x_api_key_or_query, request(x_api_key=KEY, query=f"key={KEY}")),
        (credentials.x_api_key_or_query, request(query=f"key={KEY}&key={KEY}")),
        (credentials.x_api_key_or_query, request(query="key=")),
        (credentials.x_api_key_or_query, request(query="key=" + "k" * 600)),
        (credentials.x_api_key_or_query, request(query="&".join(f"a{n}=1" for n in range(200)) + f"&key={KEY}")),
        (credentials.x_api_key_or_query, request(query=f"key={KEY}", authorization=f"Bearer {KEY}")),
    ],
)
def test_none_two_and_misplaced_ones_are_refused(find: Any, asked: Any) -> None:
    with pytest.raises(InvalidKey):
        find(asked)


@pytest.mark.parametrize(
    ("asked", "claimed"),
    [
        (request(x_api_key=KEY), True),
        (request(x_api_key=KEY, anthropic_version="2023-06-01"), False),
        (request(x_api_key=KEY, authorization=f"Bearer {KEY}"), False),
        (request(authorization=f"Bearer {KEY}"), False),
        (request(authorization=f"Bearer {KEY}", query="limit=5&tier=flagship"), True),
        (request(authorization=f"Bearer {KEY}", query="after_provider=x"), False),
        (request(query="modelId"), True),
        (request(query="provider=x", anthropic_version="2023-06-01"), False),
    ],
)
def test_whose_list_of_models(asked: Any, *, claimed: bool) -> None:
    assert claims_models(asked) is claimed

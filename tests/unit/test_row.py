"""The record of a call, as it is made, stored and read: the same fields, in both of the forms that it may be stored in."""

import dataclasses

import msgspec
import pytest

from proxy.core.records import UsageRecord
from proxy.records.row import CallRecord, encode_record, read_record, shown_record, usage_record

NEEDED = {"at": 1, "key_id": "k", "provider": "p", "model": "m", "dialect": "openai", "path": "/x"}
IDS = {"call_id": "c", "account_id": "a"}
# Every field with a value of its own.
WHOLE = UsageRecord(
    **IDS, **NEEDED, status=200, outcome="completed", stream=True, usage={"input": 2, "output": 3}, input_tokens=2,
    output_tokens=3, cost_nano_usd=4, charge_microcredits=5, hold_microcredits=6, price_version="v", settlement_basis="reported",
    attempts=7, duration_ms=8, time_to_first_byte_ms=9, trace_id="t", tags={"team": "red"},
)  # type: ignore[arg-type]  # fmt: skip


def made(record: UsageRecord) -> CallRecord:
    return CallRecord(**{name: value for name, value in dataclasses.asdict(record).items() if name not in IDS})


def test_it_has_the_fields_of_a_usage_record_but_for_its_ids() -> None:
    fields = {one.name: one.default for one in dataclasses.fields(UsageRecord) if one.name not in IDS}
    assert set(CallRecord.__struct_fields__) == fields.keys()
    blank, plain = CallRecord(**NEEDED), UsageRecord(**IDS, **NEEDED)  # type: ignore[arg-type]
    assert usage_record(blank, **IDS) == plain


@pytest.mark.parametrize("record", [WHOLE, UsageRecord(**IDS, **NEEDED)])  # type: ignore[arg-type]
def test_both_forms_are_read(record: UsageRecord) -> None:
    array, written = encode_record(made(record)), msgspec.json.encode(record)
    assert (array[:1], written[:1]) == (b"[", b"{")
    assert read_record(array) == read_record(written) == made(record)
    assert usage_record(read_record(array), **IDS) == record


def test_what_earlier_versions_stored_is_read() -> None:
    short = b'{"call_id":"c","at":1,"account_id":"a","key_id":"k","provider":"p","model":"m","dialect":"openai","path":"/x"}'
    assert usage_record(read_record(short), **IDS) == UsageRecord(**IDS, **NEEDED)  # type: ignore[arg-type]
    # The array as it was first stored: fields that come later stand behind these, with defaults.
    first = b'[1,"k","p","m","openai","/x",true,200,7,6,"v","t",{"team":"red"},"completed","reported",{"input":2,"output":3},2,3,4,5,8,9]'
    assert usage_record(read_record(first), **IDS) == WHOLE


@pytest.mark.parametrize(
    "stored", [b"", b"[]", b"{}", b"null", b'[1,"k"]', b"[1,2,3,4,5,6]", b'["\\ud800"]', b"[\xff]", b"\xff"]
)
def test_what_is_no_record_is_refused(stored: bytes) -> None:
    with pytest.raises((msgspec.MsgspecError, UnicodeDecodeError)):
        read_record(stored)


def test_people_are_shown_names_and_no_defaults() -> None:
    assert shown_record(encode_record(CallRecord(**NEEDED)), "c", "a") == {**IDS, **NEEDED}  # type: ignore[arg-type]
    assert shown_record(encode_record(made(WHOLE)), "c", "a") == dataclasses.asdict(WHOLE)

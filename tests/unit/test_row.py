"""The record of a call, as it is made and as it is read: the same fields, with or without what stands at its default."""

import dataclasses

import msgspec

from proxy.core.records import UsageRecord
from proxy.records.row import CallRecord

NEEDED = {
    "call_id": "c", "at": 1, "account_id": "a", "key_id": "k", "provider": "p", "model": "m", "dialect": "openai", "path": "/x",
}  # fmt: skip


def test_what_was_left_out_is_read_as_its_default() -> None:
    written = msgspec.json.encode(CallRecord(**NEEDED))  # type: ignore[arg-type]  # each by its name
    assert msgspec.json.decode(written) == NEEDED
    assert msgspec.json.decode(written, type=UsageRecord) == UsageRecord(**NEEDED)  # type: ignore[arg-type]


def test_every_field_that_is_set_is_written() -> None:
    values = {one.name: f"{one.name}!" for one in dataclasses.fields(UsageRecord)}
    record = CallRecord(**NEEDED)  # type: ignore[arg-type]
    for name, value in values.items():
        setattr(record, name, value)
    assert msgspec.json.decode(msgspec.json.encode(record)) == values

"""The usage record as the path of a call makes it and as Redis keeps it: in a hold, in the stream, in the spool.

It is `UsageRecord` without the ids of account and call, which stand beside it wherever it is kept, in msgspec's own kind of object: made
in a third of a dataclass' time. It is written as a JSON array of its fields in their order, which is half as long as an object and is
read in a fifth of the time. So a field can only be added at the end, with a default: what was written before lacks it.
What others hand to the ledger (reservations, reported usage), and what was stored before there were arrays, is a JSON object
with the fields of `UsageRecord`; the first byte tells.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from proxy.core import records
from proxy.core.records import UsageRecord

_ARRAY = b"["


class CallRecord(msgspec.Struct, array_like=True, gc=False):
    """See `UsageRecord`. The order is that of what is stored (see above): first what is known when a call is held."""

    at: int
    key_id: str
    provider: str
    model: str
    dialect: str
    path: str
    stream: bool = False
    status: int | None = None
    attempts: int = 1
    hold_microcredits: int = 0
    price_version: str = ""
    trace_id: str = ""
    tags: Mapping[str, str] = {}
    outcome: str = records.ABANDONED
    settlement_basis: str = records.CHECKPOINT
    usage: Mapping[str, int] = {}
    input_tokens: int = 0
    output_tokens: int = 0
    cost_nano_usd: int = 0
    charge_microcredits: int = 0
    duration_ms: int | None = None
    time_to_first_byte_ms: int | None = None


encode_record = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(CallRecord).decode
_decode_object = msgspec.json.Decoder(UsageRecord).decode
_FIELDS = CallRecord.__struct_fields__
_BLANK = CallRecord(0, "", "", "", "", "")


def read_record(stored: bytes) -> CallRecord:
    """A record as it was stored, in either form. Raises msgspec.MsgspecError or UnicodeDecodeError where it is none."""
    if stored.startswith(_ARRAY):
        return _decode(stored)
    written = _decode_object(stored)
    return CallRecord(*[getattr(written, name) for name in _FIELDS])


def usage_record(record: CallRecord, call_id: str, account_id: str) -> UsageRecord:
    """The record with its ids."""
    return UsageRecord(call_id=call_id, account_id=account_id, **{name: getattr(record, name) for name in _FIELDS})


def shown_record(stored: bytes, call_id: str, account_id: str) -> dict[str, Any]:
    """A stored record by the names of its fields, for people; without what stands at its default. Raises as `read_record`."""
    record = read_record(stored)
    said = {name: value for name in _FIELDS if (value := getattr(record, name)) != getattr(_BLANK, name)}
    return {"call_id": call_id, "account_id": account_id, **said}

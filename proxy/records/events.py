"""One event of the ledger's stream as rows for SQL. Pure.

An event says which account, which ledger entry (if credits moved), and for a call how it ended, with its usage record. What it says
of money is authoritative; the record describes. An event whose money cannot be read is no event (`BadEvent`); one whose record
cannot be read keeps its ledger entry, so that P1 holds whatever a record contains.

A call's event is two fields, `call` with all figures packed (lua/parts/formats.lua) and `record`. Credit operations have a field for
each figure. So had calls in earlier versions, whose events may still wait in a stream or lie in the dead-letter stream.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from struct import Struct
from struct import error as struct_error
from typing import Any, NamedTuple

import msgspec

from proxy.core import records
from proxy.core.money import MAX_AMOUNT
from proxy.core.records import LedgerEntry, UsageRecord
from proxy.records.row import CallRecord, read_record
from proxy.sql.database import Params

CALL = "call"
CREDIT = "credit"
CHARGE, CORRECTION = "charge", "correction"  # ledger entries of calls
SETTLED, RELEASED, EXPIRED, CORRECTED = "settled", "released", "expired", "corrected"
_STATES = {SETTLED, RELEASED, EXPIRED, CORRECTED}
_LETTERS = {b"S": SETTLED, b"R": RELEASED, b"X": EXPIRED, b"C": CORRECTED}
_FIGURES, _LENGTH = Struct("<cqqqqq"), Struct("<H")
_PACKED_PARTS = 4
_NUL = b"\\u0000"  # the only way to say NUL in JSON
# dataclasses.asdict copies deeply: four fifths of the recorder's time, measured.
_ENTRY_COLUMNS = tuple(column.name for column in fields(LedgerEntry))
_RECORD_COLUMNS = CallRecord.__struct_fields__


class BadEvent(ValueError):
    """The event cannot be understood; the message says why, without quoting it."""


@dataclass(frozen=True, slots=True)
class Event:
    """What SQL is to hold of one event. `unreadable` says why there is no record although there should be one."""

    account_id: str
    entry: LedgerEntry | None
    record: CallRecord | None
    call_id: str | None = None
    revision: int = 0
    unreadable: str | None = None

    @property
    def operation_id(self) -> str | None:
        """The credit operation whose answer the ledger keeps until this event is committed."""
        return None if self.entry is None else self.entry.operation_id

    def usage_row(self) -> Params | None:
        """Parameters of the query `upsert_usage_record`."""
        if self.record is None:
            return None
        row = msgspec.structs.asdict(self.record)
        row["call_id"], row["account_id"] = self.call_id, self.account_id
        return _usage_row(row, self.revision)

    def ledger_row(self) -> Params | None:
        """Parameters of the query `insert_ledger_entry`."""
        return None if self.entry is None else {name: getattr(self.entry, name) for name in _ENTRY_COLUMNS}


def read_event(parts: Sequence[bytes]) -> Event:
    """An event from the names and values of a stream entry, alternating. Raises BadEvent."""
    if len(parts) % 2:
        raise BadEvent("a name without a value")
    if len(parts) == _PACKED_PARTS and parts[0] == b"call" and parts[2] == b"record":
        return _packed_event(read_call_end(parts[1]), parts[3])
    try:
        named = {name.decode(): value for name, value in zip(parts[::2], parts[1::2], strict=True)}
        kind, account_id = _text(named, "kind"), _text(named, "account")
    except UnicodeDecodeError as error:
        raise BadEvent("not UTF-8") from error
    if kind == CREDIT:
        return Event(account_id, _entry(named, account_id), None)
    if kind == CALL:
        return _call_event(named, account_id)
    raise BadEvent("an unknown kind of event")


class CallEnd(NamedTuple):
    """How a call ended, in figures: `seq` 0 where no credits moved, else by `amount` from the balance `before` on."""

    state: str
    charge: int
    seq: int
    amount: int
    before: int
    at: int
    account_id: str
    call_id: str


def read_call_end(packed: bytes) -> CallEnd:
    """The packed figures of a call's event. Raises BadEvent."""
    try:
        letter, charge, seq, amount, before, at = _FIGURES.unpack_from(packed)
        account_id, place = _packed_text(packed, _FIGURES.size)
        call_id, place = _packed_text(packed, place)
    except struct_error as error:
        raise BadEvent("packed figures that are cut off") from error
    state = _LETTERS.get(letter)
    if state is None or place != len(packed) or not account_id or not call_id:
        raise BadEvent("packed figures of something else")
    if min(charge, seq, at) < 0 or max(charge, seq, at, abs(amount), abs(before)) > MAX_AMOUNT:
        raise BadEvent("a figure beyond its bounds")
    return CallEnd(state, charge, seq, amount, before, at, account_id, call_id)


def _packed_text(packed: bytes, place: int) -> tuple[str, int]:
    """The text with its length before it at `place`, and where it ends."""
    (length,) = _LENGTH.unpack_from(packed, place)
    start = place + _LENGTH.size
    return _as_text(packed[start : start + length]), start + length


def _packed_event(end: CallEnd, stored: bytes) -> Event:
    entry = None
    if end.seq:
        kind = CORRECTION if end.state == CORRECTED else CHARGE
        after = end.before + end.amount
        entry = LedgerEntry(
            account_id=end.account_id,
            seq=end.seq,
            kind=kind,
            amount_microcredits=end.amount,
            before_microcredits=end.before,
            after_microcredits=after,
            at=end.at,
            call_id=end.call_id,
        )
    return _ended(end.account_id, end.call_id, end.state, end.charge, entry, stored)


def _call_event(named: Mapping[str, bytes], account_id: str) -> Event:
    call_id, state, charge = _text(named, "call"), _text(named, "state"), _integer(named, "charge")
    if state not in _STATES:
        raise BadEvent("an unknown state of a call")
    entry = _entry(named, account_id) if "seq" in named else None
    return _ended(account_id, call_id, state, charge, entry, named.get("record", b""))


def _ended(  # noqa: PLR0917 - what every form of the event says
    account_id: str, call_id: str, state: str, charge: int, entry: LedgerEntry | None, stored: bytes
) -> Event:
    if (entry is None and charge != 0 and state != CORRECTED) or charge < 0:
        raise BadEvent("a charge without its ledger entry")
    revision = 1 if state == CORRECTED else 0
    try:
        record = read_record(stored)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return Event(account_id, entry, None, call_id, revision, f"the usage record cannot be read: {error}")
    if _NUL in stored:
        _clean(record)
    record.charge_microcredits = charge
    if state == EXPIRED:
        whole_hold = charge > 0 and charge == record.hold_microcredits
        record.outcome = records.ABANDONED
        record.settlement_basis = records.HOLD if whole_hold else records.CHECKPOINT
    return Event(account_id, entry, record, call_id, revision)


def _entry(named: Mapping[str, bytes], account_id: str) -> LedgerEntry:
    entry = LedgerEntry(
        account_id=account_id,
        seq=_integer(named, "seq"),
        kind=_text(named, "entry"),
        amount_microcredits=_integer(named, "amount"),
        before_microcredits=_integer(named, "before"),
        after_microcredits=_integer(named, "after"),
        at=_integer(named, "at"),
        call_id=_optional_text(named, "call"),
        operation_id=_optional_text(named, "operation"),
        actor=_optional_text(named, "actor") or "",
        reason=_optional_text(named, "reason") or "",
        idempotency_key=_optional_text(named, "idempotency_key"),
    )
    if entry.seq < 1 or entry.before_microcredits + entry.amount_microcredits != entry.after_microcredits:
        raise BadEvent("a ledger entry that does not add up")
    return entry


def usage_row(record: UsageRecord, revision: int) -> Params:
    """A usage record as parameters of `upsert_usage_record`; JSON keeps its integers exact."""
    return _usage_row({column.name: getattr(record, column.name) for column in fields(UsageRecord)}, revision)


def _usage_row(row: dict[str, Any], revision: int) -> Params:
    usage = row["usage"]
    row["stream"] = int(row["stream"])
    row["usage"] = _json(usage)
    row["tags"] = _json(row["tags"])
    row["cached_tokens"] = sum(count for name, count in usage.items() if name.startswith("cache_read"))
    row["revision"] = revision
    return row


def _json(value: Mapping[str, object]) -> str:
    return msgspec.json.encode(value).decode()


def _clean(record: CallRecord) -> None:
    """Takes NUL out, which no text column of PostgreSQL takes: one odd tag must not cost the record."""
    for name in _RECORD_COLUMNS:
        value = getattr(record, name)
        if isinstance(value, str):
            setattr(record, name, _without_nul(value))
    record.tags = {_without_nul(key): _without_nul(value) for key, value in record.tags.items()}
    record.usage = {_without_nul(key): value for key, value in record.usage.items()}


def _without_nul(text: str) -> str:
    return text.replace("\0", "\ufffd")


def _text(named: Mapping[str, bytes], name: str) -> str:
    value = _optional_text(named, name)
    if not value:
        raise BadEvent(f"{name} is missing")
    return value


def _optional_text(named: Mapping[str, bytes], name: str) -> str | None:
    value = named.get(name)
    return None if value is None else _as_text(value)


def _as_text(value: bytes) -> str:
    return _without_nul(value.decode("utf-8", "replace"))


def _integer(named: Mapping[str, bytes], name: str) -> int:
    value = named.get(name, b"")
    digits = value.removeprefix(b"-")
    if not digits.isdigit() or len(digits) > 16:
        raise BadEvent(f"{name} is not a whole number")
    return int(value)

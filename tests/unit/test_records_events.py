"""Events as rows: what is legible is kept, money before descriptions, and nothing is guessed."""

import contextlib
import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.records.events import BadEvent, Event, read_event
from proxy.records.row import CallRecord, encode_record
from tests.support.stores import encoded, record_of

CALL = "01890000-0000-7000-8000-000000000000"


def fields(**named: str | int | bytes) -> list[bytes]:
    parts = [part for pair in named.items() for part in pair]
    return [part if isinstance(part, bytes) else str(part).encode() for part in parts]


def call_event(
    state: str = "settled", charge: int = 60, *, entry: int | None = -60, record: bytes | None = None
) -> Event:
    named: dict[str, str | int | bytes] = {
        "kind": "call", "account": "acct_1", "call": CALL, "state": state, "charge": charge, "at": 5,
        "record": encoded(record_of("acct_x", "call_x", hold_microcredits=100)) if record is None else record,
    }  # fmt: skip
    if entry is not None:
        named |= {"seq": 2, "entry": "charge", "amount": entry, "before": 100, "after": 100 + entry}
    return read_event(fields(**named))


def test_the_event_decides_whose_call_it_is_and_what_it_cost() -> None:
    event = call_event()
    assert event.record is not None
    row = event.usage_row()
    assert row is not None
    assert (row["account_id"], row["call_id"], row["charge_microcredits"]) == ("acct_1", CALL, 60)
    assert event.entry is not None
    assert (event.entry.account_id, event.entry.call_id, event.entry.amount_microcredits) == ("acct_1", CALL, -60)
    assert event.revision == 0


@pytest.mark.parametrize(
    ("charge", "basis"), [(100, "hold"), (40, "checkpoint"), (0, "checkpoint")]
)  # 100 is the whole hold
def test_an_expired_call_was_abandoned(charge: int, basis: str) -> None:
    record = call_event("expired", charge, entry=-charge if charge else None).record
    assert record is not None
    assert (record.outcome, record.settlement_basis, record.charge_microcredits) == ("abandoned", basis, charge)


def test_a_correction_overrides_and_may_leave_the_balance_alone() -> None:
    event = call_event("corrected", 40, entry=None)
    assert event.revision == 1
    assert event.record is not None
    assert event.record.outcome == "completed"


@pytest.mark.parametrize("record", [b"", b"[]", b"{}", b'{"call_id":"\\ud800"}', b"\xff", b"null", b'{"at":1e99}'])
def test_a_record_that_cannot_be_read_costs_no_money(record: bytes) -> None:
    event = call_event(record=record)
    assert event.record is None
    assert event.unreadable is not None
    assert event.entry is not None


@pytest.mark.parametrize(("charge", "entry"), [(60, None), (-1, None), (60, 10**17)])
def test_money_that_does_not_add_up_is_no_event(charge: int, entry: int | None) -> None:
    with pytest.raises(BadEvent):
        call_event("settled", charge, entry=entry)


def packed(letter: bytes = b"S", *figures: int, account_id: bytes = b"acct_1", call_id: bytes = CALL.encode()) -> bytes:
    """Figures of a call's event: charge, number and amount of the entry, balance before, when."""
    head = struct.pack("<cqqqqq", letter, *(figures or (60, 2, -60, 100, 5)))
    return head + b"".join(struct.pack("<H", len(text)) + text for text in (account_id, call_id))


def packed_event(figures: bytes, record: bytes | None = None) -> Event:
    stored = encode_record(
        CallRecord(1, "key_1", "sim", "m", "openai", "/x", outcome="completed", hold_microcredits=100)
    )
    return read_event([b"call", figures, b"record", stored if record is None else record])


def test_packed_figures_say_what_named_ones_do() -> None:
    for letter, state, charge in ((b"S", "settled", 60), (b"X", "expired", 100), (b"R", "released", 0)):
        entry = -charge if charge else None
        named = call_event(state, charge, entry=entry)
        event = packed_event(packed(letter, charge, 2 if charge else 0, -charge, 100, 5), encode_record(named.record))
        assert event == named
    corrected = packed_event(packed(b"C", 40, 3, 20, 0, 5))
    assert corrected.revision == 1
    assert corrected.entry is not None
    assert (corrected.entry.kind, corrected.entry.after_microcredits) == ("correction", 20)


@pytest.mark.parametrize(
    "figures",
    [
        b"", packed()[:-1], packed() + b"x", packed(b"?"), packed(b"S", -1, 2, -60, 100, 5), packed(b"S", 60, -2, -60, 100, 5),
        packed(b"S", 2**53, 2, -60, 100, 5), packed(b"S", 60, 0, 0, 100, 5), packed(account_id=b""), packed(call_id=b""),
    ],
)  # fmt: skip
def test_packed_figures_that_cannot_be_are_no_event(figures: bytes) -> None:
    with pytest.raises(BadEvent):
        packed_event(figures)


@given(st.binary(max_size=120), st.binary(max_size=60))
def test_any_packed_bytes_are_an_event_or_refused(figures: bytes, record: bytes) -> None:
    with contextlib.suppress(BadEvent):
        assert packed_event(figures, record).account_id


def test_the_largest_amounts_stay_exact() -> None:
    largest = 2**53 - 1
    event = read_event(
        fields(kind="credit", account="acct_1", operation="op_1", seq=1, entry="topup", amount=largest, before=0, after=largest, at=1)
    )  # fmt: skip
    row = event.ledger_row()
    assert row is not None
    assert row["amount_microcredits"] == row["after_microcredits"] == largest
    assert json.loads(json.dumps(row["amount_microcredits"])) == largest
    assert event.operation_id == "op_1"


@given(st.lists(st.binary(max_size=20), max_size=30))
def test_any_bytes_are_an_event_or_refused(noise: list[bytes]) -> None:
    with contextlib.suppress(BadEvent):
        assert read_event(noise).account_id


NAMES = ("kind", "account", "call", "state", "charge", "seq", "entry", "amount", "before", "after", "at", "record")


@given(
    st.dictionaries(
        st.sampled_from(NAMES), st.one_of(st.binary(max_size=9), st.sampled_from([b"call", b"settled", b"0"]))
    )
)
def test_any_values_are_an_event_or_refused(noise: dict[str, bytes]) -> None:
    try:
        event = read_event(fields(**noise))
    except BadEvent:
        return
    assert event.account_id

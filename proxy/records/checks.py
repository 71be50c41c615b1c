"""The rules that the audit holds entries and records against. Pure; amounts in microcredits."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from proxy.core.outcomes import Balance

# kinds of differences
CONFLICT = "conflict"  # SQL and the stream have different entries under one number
GAP = "gap"  # an entry number is missing
CHAIN = "chain"  # an entry does not begin where the one before it ended
CREDITED = "credited"  # Redis has another sum of credits than the entries
SPENT = "spent"  # Redis has another sum of charges than the entries
HELD = "held"  # Redis' held is not the sum of the open holds
AHEAD = "ahead"  # SQL has entries that Redis does not know: Redis went back in time
LOST = "lost"  # SQL has entries of an account that Redis does not have
STRANGER = "stranger"  # Redis has an account that SQL does not know
CHARGE = "charge"  # a usage record's charge is not what its ledger entries took
RECORD = "record"  # a ledger entry of a call without a usage record
REFUND = "refund"  # more was returned of a call than it was charged
GRANT = "grant"  # Redis has another remainder of a grant than the entries
SUM = "sum"  # a sum of usage is not that of its records

CALL_KINDS = ("charge", "correction")


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that must not be: whose, of which kind, and the figures."""

    account_id: str
    kind: str
    detail: str
    microcredits: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """What the audit needs of a ledger entry, wherever it was found."""

    seq: int
    kind: str
    amount: int
    before: int
    after: int
    operation_id: str | None = None


class ChainCheck:
    """Follows an account's entries in the order of their numbers and compares their sums with Redis at the end."""

    def __init__(self, account_id: str) -> None:
        self._account_id = account_id
        self.entries = 0
        self.credited = 0
        self.spent = 0
        self._seq = 0
        self._posted = 0

    def feed(self, entry: Entry) -> Iterator[Difference]:
        """The next entry; yields what is wrong with it."""
        if entry.seq != self._seq + 1:
            missing = f"entries {self._seq + 1} to {entry.seq - 1} are missing"
            yield Difference(self._account_id, GAP, missing, entry.before - self._posted)
        elif entry.before != self._posted:
            detail = f"entry {entry.seq} begins at {entry.before}, the one before it ended at {self._posted}"
            yield Difference(self._account_id, CHAIN, detail, entry.before - self._posted)
        if entry.before + entry.amount != entry.after:
            detail = f"entry {entry.seq}: {entry.before} and {entry.amount} are not {entry.after}"
            yield Difference(self._account_id, CHAIN, detail, entry.after - entry.before - entry.amount)
        self.entries += 1
        if entry.kind in CALL_KINDS:
            self.spent -= entry.amount
        else:
            self.credited += entry.amount
        self._seq, self._posted = entry.seq, entry.after

    def end(self, balance: Balance) -> Iterator[Difference]:
        """After the last entry up to the balance's own number."""
        if self._seq < balance.seq:
            detail = f"entries {self._seq + 1} to {balance.seq} are missing"
            yield Difference(self._account_id, GAP, detail, balance.posted_microcredits - self._posted)
        for kind, found, held in (
            (CREDITED, self.credited, balance.credited_microcredits),
            (SPENT, self.spent, balance.spent_microcredits),
        ):
            if found != held:
                detail = f"Redis has {kind} {held}, the entries sum up to {found}"
                yield Difference(self._account_id, kind, detail, held - found)


def check_call(
    account_id: str, call_id: str, moved: Iterable[tuple[str, int]], charge: int | None
) -> Difference | None:
    """What a call's entries (kind, amount) moved against the charge that its usage record says; None: it has none."""
    taken = refunded = 0
    for kind, amount in moved:
        if kind in CALL_KINDS:
            taken -= amount
        else:
            refunded += amount
    if charge is None:
        return Difference(
            account_id, RECORD, f"call {call_id} was charged {taken} and has no usage record", taken - refunded
        )
    if charge != taken:
        detail = f"the record of call {call_id} says {charge}, its entries took {taken}"
        return Difference(account_id, CHARGE, detail, charge - taken)
    if refunded > charge:
        detail = f"call {call_id} was charged {charge}, and {refunded} were refunded of it"
        return Difference(account_id, REFUND, detail, refunded - charge)
    return None


def merged(
    account_id: str, recorded: Iterable[Entry], streamed: dict[int, Entry], last: int
) -> Iterator[Entry | Difference]:
    """A page of SQL's entries with the stream's in between, each number once; takes out of `streamed` what it used.

    `last` is the highest number that may be taken from the stream before the next page of SQL is known.
    """
    for entry in recorded:
        yield from _taken(streamed, entry.seq - 1)
        twin = streamed.pop(entry.seq, None)
        if twin is not None and twin != entry:
            yield Difference(
                account_id,
                CONFLICT,
                f"entry {entry.seq} differs between SQL and the stream",
                twin.amount - entry.amount,
            )
        yield entry
    yield from _taken(streamed, last)


def _taken(streamed: dict[int, Entry], up_to: int) -> Iterator[Entry]:
    for seq in sorted(number for number in streamed if number <= up_to):
        yield streamed.pop(seq)

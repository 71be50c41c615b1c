"""What the credit ledger is asked and what it answers. Amounts are microcredits, durations and instants milliseconds.

What every call makes is not frozen, and nobody changes it: a frozen dataclass sets each of its fields by a call of its own.
"""

from dataclasses import dataclass

from proxy.core.limits import Limit

# What refused a hold; the kinds of limits are those of core/limits.py, every budget is "budget".
BALANCE = "balance"
IN_FLIGHT = "in_flight"  # the balance would do, but open holds stand in the way
BUDGET = "budget"

# How a call stands in the ledger.
SETTLED = "settled"
RELEASED = "released"
EXPIRED = "expired"
CORRECTED = "corrected"
UNKNOWN = "unknown"

# What a hold is charged when it expires.
POLICIES = ("checkpoint", "hold", "free")

MAX_SPEED = 10_000_000_000  # a minute; a bucket counts in 60,000ths and must stay exact below 2^53
MAX_LEASE_MS = 86_400_000
MAX_LIMITS = 32  # of one hold


@dataclass(slots=True)
class HoldRequest:
    """A call that asks to be admitted. `tokens` is what it may use, `version` the account's that its limits were read with.

    `draft` is its usage record so far: what is recorded should nobody come back to end the hold.
    """

    account_id: str
    call_id: str
    amount_microcredits: int
    tokens: int
    lease_ms: int
    limits: tuple[Limit, ...]
    version: int
    draft: bytes


@dataclass(slots=True)
class Standing:
    """What is left of a limit, and the time until it is whole again: None never, 0 for calls at once (as soon as one ends)."""

    limit: Limit
    remaining: int
    reset_ms: int | None


@dataclass(slots=True)
class Held:
    """The call is admitted; `held_microcredits` are all open holds of the account."""

    posted_microcredits: int
    held_microcredits: int
    standings: tuple[Standing, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """The call is not admitted and nothing was taken.

    `source` is balance, in_flight, budget, requests, tokens or concurrent; `limit` the one that refused, `required` and
    `available` in its unit. `retry_after_ms` is None where waiting does not help or nobody can say for how long.
    """

    source: str
    limit: Limit | None
    required: int
    available: int
    retry_after_ms: int | None
    standings: tuple[Standing, ...]


@dataclass(frozen=True, slots=True)
class Stale:
    """The account has another version than the caller was read with: read it again."""


@dataclass(frozen=True, slots=True)
class UnknownAccount:
    """The ledger has no such account."""


@dataclass(frozen=True, slots=True)
class Extended:
    """The lease is renewed; `granted` says whether the hold, now `amount_microcredits`, covers what was asked."""

    granted: bool
    amount_microcredits: int


@dataclass(frozen=True, slots=True)
class Gone:
    """There is no open hold of this call."""


@dataclass(slots=True)
class Ended:
    """How the call stands: `state`, its total charge, whether this was so before; then the account's balance now."""

    state: str
    repeated: bool
    charge_microcredits: int
    posted_microcredits: int
    held_microcredits: int


@dataclass(frozen=True, slots=True)
class NotDue:
    """The hold's deadline is still `remaining_ms` away."""

    remaining_ms: int


@dataclass(frozen=True, slots=True)
class Credited:
    """The ledger entry that a credit operation made, the first time it was asked for."""

    seq: int
    before_microcredits: int
    after_microcredits: int
    at_ms: int
    repeated: bool


@dataclass(frozen=True, slots=True)
class Balance:
    """An account as the ledger has it, and its open holds counted at the same instant (`held` is their sum, or it is an error)."""

    account_id: str
    credited_microcredits: int
    spent_microcredits: int
    held_microcredits: int
    seq: int
    version: int
    open_holds: int
    open_holds_microcredits: int

    @property
    def posted_microcredits(self) -> int:
        """Credited less spent; below zero when calls cost more than they held."""
        return self.credited_microcredits - self.spent_microcredits

    @property
    def available_microcredits(self) -> int:
        """What a new call can hold."""
        return self.posted_microcredits - self.held_microcredits

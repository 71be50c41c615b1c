"""The two rows that a call leaves: its usage record and its ledger entries. Field names are public and stable."""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field

# outcome
COMPLETED = "completed"
CLIENT_LEFT = "client_left"
UPSTREAM_FAILED = "upstream_failed"
TIMED_OUT = "timed_out"
REFUSED = "refused"
CUT = "cut"  # the credits did not last for the whole stream
ABANDONED = "abandoned"  # the worker died; the reaper ended the hold

# settlement_basis
REPORTED = "reported"  # the provider's own usage
COUNTED = "counted"  # tiktoken's count
CHECKPOINT = "checkpoint"  # the last amount noted while the call ran, or what it came to by lengths when there was no time to count
HOLD = "hold"  # usage could not be believed: the whole hold
NONE = "none"  # nothing was charged: the provider was not reached or refused


@dataclass(slots=True)
class UsageRecord:
    """One call. Instants in Unix milliseconds, amounts in the unit of their name, `usage` by disjoint counter."""

    call_id: str
    at: int
    account_id: str
    key_id: str
    provider: str
    model: str
    dialect: str
    path: str
    _: KW_ONLY
    status: int | None = None
    outcome: str = ABANDONED
    stream: bool = False
    usage: Mapping[str, int] = field(default_factory=dict)
    input_tokens: int = 0
    output_tokens: int = 0
    cost_nano_usd: int = 0
    charge_microcredits: int = 0
    hold_microcredits: int = 0
    price_version: str = ""
    settlement_basis: str = CHECKPOINT
    attempts: int = 1
    duration_ms: int | None = None
    time_to_first_byte_ms: int | None = None
    trace_id: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """An immutable signed change of a balance; `seq` counts an account's entries from 1 without gaps."""

    account_id: str
    seq: int
    kind: str
    amount_microcredits: int
    before_microcredits: int
    after_microcredits: int
    at: int
    call_id: str | None = None
    operation_id: str | None = None
    actor: str = ""
    reason: str = ""
    idempotency_key: str | None = None

"""How much of each limit is in use: the limits half of the ledger's model (see proxy/core/holds.py)."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from proxy.core.limits import BUDGET_DAY, BUDGET_KINDS, BUDGET_MONTH, BUDGET_WEEK, CONCURRENT, REQUESTS, TOKENS, Limit
from proxy.core.money import MAX_AMOUNT, divide_up
from proxy.core.outcomes import HoldRequest, Standing

MINUTE_MS = 60_000
DAY_MS = 86_400_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Taken:
    """What a hold counts in: a limit, and for a budget the beginning of the period it was taken from."""

    limit: Limit
    period: int


@dataclass(frozen=True, slots=True)
class Look:
    """One limit as a hold finds it: its level or use, what is left, and when it comes back."""

    limit: Limit
    used: int
    at: int
    left: int
    needed: int
    reset_ms: int | None

    @property
    def retry_after_ms(self) -> int | None:
        """When what is needed may be there; None where it never will be, or nobody knows."""
        if self.needed > self.limit.ceiling or self.limit.kind == CONCURRENT:
            return None
        if self.limit.kind in BUDGET_KINDS:
            return self.reset_ms
        return divide_up(self.needed * MINUTE_MS - self.used, self.limit.ceiling)


@dataclass(slots=True)
class LimitUses:
    """Levels of buckets in 60,000ths with their instant, calls at once, amounts of budgets with their period."""

    _uses: dict[tuple[str, str, str], tuple[int, int]] = field(default_factory=dict)

    def look(self, request: HoldRequest, limit: Limit, now_ms: int) -> Look:
        """The limit as this request finds it."""
        use = self._uses.get((request.account_id, limit.kind, limit.scope))
        if limit.kind in {REQUESTS, TOKENS}:
            level = full = limit.ceiling * MINUTE_MS
            if use is not None:
                level = min(full, use[0] + min(max(now_ms - use[1], 0), 2 * MINUTE_MS) * limit.ceiling)
            needed = 1 if limit.kind == REQUESTS else request.tokens
            return Look(limit, level, now_ms, level // MINUTE_MS, needed, _until_full(limit, level))
        if limit.kind == CONCURRENT:
            calls = use[0] if use else 0
            return Look(limit, calls, 0, limit.ceiling - calls, 1, 0)
        start, finish = period_of(limit.kind, now_ms)
        used, at = use if use is not None and use[1] >= start else (0, start)
        reset_ms = None if finish is None else finish * DAY_MS - now_ms
        return Look(limit, used, at, limit.ceiling - used, request.amount_microcredits, reset_ms)

    def take(self, account_id: str, look: Look) -> Standing:
        """Takes what was needed; what is left then."""
        limit, reset_ms, used = look.limit, look.reset_ms, look.used + look.needed
        if limit.kind in {REQUESTS, TOKENS}:
            used = look.used - look.needed * MINUTE_MS
            reset_ms = _until_full(limit, used)
        self._uses[account_id, limit.kind, limit.scope] = (used, look.at)
        return Standing(limit, look.left - look.needed, reset_ms)

    def budgets_allow(self, account_id: str, taken: tuple[Taken, ...], more: int) -> bool:
        """Whether every budget that a hold counts in, and whose period is not over, has room for `more`."""
        for each in taken:
            used, at = self._uses[account_id, each.limit.kind, each.limit.scope]
            same = each.limit.kind in BUDGET_KINDS and at == each.period
            if same and used + more > each.limit.ceiling:
                return False
        return True

    def correct(self, account_id: str, taken: tuple[Taken, ...], more: int, spare: int, *, ended: bool) -> None:
        """The call costs `more` than was taken and used `spare` tokens less; it no longer runs where `ended`."""
        for each in taken:
            key = (account_id, each.limit.kind, each.limit.scope)
            used, at = self._uses[key]
            if each.limit.kind == TOKENS:
                # What comes back fills the bucket at most (above it is one whose ceiling was raised since); a debt is bounded.
                full, after = each.limit.ceiling * MINUTE_MS, used + spare * MINUTE_MS
                used = max(used, min(full, after)) if spare > 0 else max(-full, after)
            elif each.limit.kind == CONCURRENT:
                used -= ended
            elif at == each.period:
                used = min(max(used + more, 0), MAX_AMOUNT)
            self._uses[key] = (used, at)


def _until_full(limit: Limit, level: int) -> int | None:
    """Milliseconds until a bucket at `level` is full again; None where it never fills."""
    return divide_up(limit.ceiling * MINUTE_MS - level, limit.ceiling) if limit.ceiling else None


def period_of(kind: str, now_ms: int) -> tuple[int, int | None]:
    """The budget period that an instant falls into: its first day and the day after its last, from 1970-01-01 UTC."""
    day = now_ms // DAY_MS
    date = EPOCH + timedelta(days=day)
    if kind == BUDGET_DAY:
        return day, day + 1
    if kind == BUDGET_WEEK:
        return day - date.weekday(), day - date.weekday() + 7
    if kind == BUDGET_MONTH:
        first = date.replace(day=1)
        following = (first + timedelta(days=32)).replace(day=1)
        return (first - EPOCH).days, (following - EPOCH).days
    return 0, None

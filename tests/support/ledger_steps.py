"""What may happen to a ledger: steps that prefer the bounds, where mistakes live.

A step comes from a seed, and hypothesis draws the seeds: its own draws cluster (most of its histories hold nothing),
while a sequence of seeds is still shrunk to the few steps that matter.
"""

from dataclasses import dataclass
from random import Random

from proxy.core.limit_uses import DAY_MS
from proxy.core.limits import BUDGET_DAY, CONCURRENT, KINDS, REQUESTS, TOKENS, Limit
from proxy.core.money import MAX_AMOUNT
from proxy.core.outcomes import POLICIES

ACCOUNTS = ("acct_a", "acct_b")
UNKNOWN_ACCOUNT = "acct_c"
SCOPES = ("account", "key:k1")
EDGES = (0, 1, 123_456_789_012_345, 2**52, 2**53 - 2, MAX_AMOUNT)
CEILINGS = {REQUESTS: (3, 10, 10**10), TOKENS: (300, 10**10), CONCURRENT: (2, 3)}
BUDGETS = (3_000, 10_000, MAX_AMOUNT)
WAITS_MS = (-5_000, -1, 1, 999, 20_000, 60_000, 60_000, 3_600_000, DAY_MS, DAY_MS, DAY_MS, 31 * DAY_MS)


@dataclass(frozen=True)
class Open:
    """An account is opened."""

    account_id: str
    version: int


@dataclass(frozen=True)
class Version:
    """An account's version is set."""

    account_id: str
    version: int


@dataclass(frozen=True)
class Credit:
    """A credit operation; few ids, so that they repeat."""

    account_id: str
    operation: str
    amount: int
    digest: str


@dataclass(frozen=True)
class Hold:
    """A new call, or (`again`) one that was there before. `beside`: an amount beside what is available."""

    account_id: str
    again: int | None
    amount: int
    beside: int | None
    tokens: int
    lease_ms: int
    most_limits: int
    version_off: int


@dataclass(frozen=True)
class Extend:
    """The next step of a hold, or one beside it. `beside`: a growth beside what is available."""

    which: tuple[str, int]
    newer: int
    more: int
    beside: int | None
    checkpoint: int
    lease_ms: int


@dataclass(frozen=True)
class Settle:
    """The end of a call that is paid. `beside`: a charge beside what is held."""

    which: tuple[str, int]
    charge: int
    beside: int | None
    tokens: int


@dataclass(frozen=True)
class Release:
    """The end of a call that is not paid."""

    which: tuple[str, int]


@dataclass(frozen=True)
class Expire:
    """The reaper, `after_ms` past the deadline; None: at whatever time it is."""

    which: tuple[str, int]
    policy: str
    after_ms: int | None


@dataclass(frozen=True)
class Wait:
    """Time goes on, or is set back."""

    by_ms: int


Step = Open | Version | Credit | Hold | Extend | Settle | Release | Expire | Wait


def one_limit(random: Random) -> Limit:
    kind = random.choice((*KINDS, BUDGET_DAY, BUDGET_DAY))
    ceilings = CEILINGS.get(kind, BUDGETS) if random.random() < 0.8 else (0, 1, 10**10)
    return Limit(random.choice(SCOPES), kind, random.choice(ceilings))


def limit_set(random: Random) -> tuple[Limit, ...]:
    """One to four limits of different scope or kind."""
    found = {(limit.scope, limit.kind): limit for limit in (one_limit(random) for _ in range(random.randint(1, 4)))}
    return tuple(found.values())


def any_amount(random: Random) -> int:
    return random.choice((*EDGES, random.randint(0, MAX_AMOUNT)))


def amount(random: Random) -> int:
    return any_amount(random) if random.random() < 0.07 else random.randint(0, 1_500)


def beside(random: Random) -> int | None:
    return random.choice((None, None, None, None, -1, 0, 1))


def tokens(random: Random) -> int:
    return random.choice((500, 10**10, MAX_AMOUNT)) if random.random() < 0.1 else random.randint(0, 100)


def account(random: Random) -> str:
    return random.choices((*ACCOUNTS, UNKNOWN_ACCOUNT), (16, 4, 1))[0]


def which(random: Random) -> tuple[str, int]:
    """Which call: an open one, an expired one, any that was there, or one that never was."""
    return random.choices(("open", "expired", "any", "none"), (12, 5, 2, 1))[0], random.randint(0, 9)


def hold(random: Random) -> Hold:
    return Hold(
        account(random),
        again=random.choice((None, None, None, None, None, None, 0, 1, 2)),
        amount=amount(random),
        beside=beside(random),
        tokens=tokens(random),
        lease_ms=random.choice((1, 1_000, 60_000)),
        most_limits=random.choice((4, 4, 4, 2, 0)),
        version_off=int(random.random() < 0.05),
    )


def extend(random: Random) -> Extend:
    return Extend(
        which(random),
        newer=random.choice((1, 1, 1, 2, 0, -1)),
        more=any_amount(random) if random.random() < 0.1 else random.randint(-10, 1_500),
        beside=beside(random),
        checkpoint=amount(random),
        lease_ms=random.choice((1, 60_000)),
    )


def settle(random: Random) -> Settle:
    return Settle(which(random), amount(random), beside(random), tokens(random))


def expire(random: Random) -> Expire:
    return Expire(which(random), random.choice(POLICIES), random.choice((None, -1, 0, 0, 7)))


def credit(random: Random) -> Credit:
    change = random.choice(
        (any_amount(random), random.randint(0, 10_000), random.randint(-2_000, 0), -any_amount(random))
    )
    return Credit(account(random), f"op-{random.randint(0, 12)}", change or 1, random.choice(("d0", "d0", "d1")))


def a_step(seed: int) -> Step:
    """The step of a seed."""
    random = Random(seed)
    kinds = (
        (hold, 10),
        (extend, 5),
        (settle, 5),
        (expire, 5),
        (credit, 2),
        (lambda _: Release(which(random)), 2),
        (lambda _: Wait(random.choice(WAITS_MS)), 4),
        (lambda _: Open(account(random), random.randint(0, 3)), 0.5),
        (lambda _: Version(account(random), random.randint(0, 3)), 0.5),
    )
    make = random.choices([kind for kind, _ in kinds], [weight for _, weight in kinds])[0]
    return make(random)

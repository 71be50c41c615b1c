"""How grants burn: credits with an expiry and a priority, spent before bought ones. Pure; amounts in microcredits.

Grants are a part of the one balance; an account keeps beside it which of its credits are granted. What was spent burns live
grants by (expires_at, priority, id), soonest first, a grant that never expires last. Burning is attributed lazily, whenever the
set of grants changes: between two changes the set is the same, so the order in which calls came does not matter. The rules:

- the sum of what remains of grants is never above the balance (nor above zero, where that is negative): a debt burns a new
  grant at once, and what an operator takes back burns grants only where bought credits do not cover it;
- a correction that lowers a charge gives bought credits back; spending makes up for what burned before it burns on, as far as
  those credits are still there;
- at its end a grant leaves the balance by one entry, but for what open holds need, which leaves later.

`Burning` follows an account's ledger entries in their order and says what remains of each grant; the scripts do the same in
proxy/ledger/lua/parts/grants.lua, and the audit and the rebuild hold them against each other.
"""

from dataclasses import dataclass, field, replace

from proxy.core.money import MAX_AMOUNT

NEVER = MAX_AMOUNT
DEFAULT_PRIORITY = 100
MAX_PRIORITY = 1000
MAX_LIVE = 100  # grants of one account at a time: a change looks at all of them
CALL_KINDS = ("charge", "correction")


@dataclass(frozen=True, order=True, slots=True)
class LiveGrant:
    """A grant as it burns; sorted, the first one burns first. `expires_at` in Unix milliseconds, `NEVER` for no expiry."""

    expires_at: int
    priority: int
    id: str
    remaining: int = field(compare=False)


@dataclass(slots=True)
class Burning:
    """The live grants of one account after some of its entries; `mark` is `spent` as it was when burning was attributed last."""

    posted: int = 0
    spent: int = 0
    live: list[LiveGrant] = field(default_factory=list)
    mark: int | None = None

    def follow(self, kind: str, amount: int, grant: LiveGrant | None = None) -> None:
        """The account's next ledger entry. `grant` is what a `grant` entry gave, or the one that an `expiry` took from."""
        if kind in CALL_KINDS:
            self.spent -= amount
            self.posted += amount
            return
        changes = grant is not None or (amount < 0 and self.mark is not None)
        if changes:
            self._attribute()
        self.posted += amount
        if grant is not None and kind == "grant":
            self.live = sorted([*self.live, grant])
        elif grant is not None:
            self.live = [
                replace(one, remaining=one.remaining + amount) if one.id == grant.id else one for one in self.live
            ]
        if changes:
            self._keep_within()
            self.live = [one for one in self.live if one.remaining]
            if not self.live:
                self.mark = None

    def remaining(self) -> dict[str, int]:
        """What is left of each grant now, by id; those that are used up are left out."""
        now = Burning(self.posted, self.spent, self.live, self.mark)
        now._attribute()
        return {one.id: one.remaining for one in now.live}

    def _attribute(self) -> None:
        if self.mark is None:
            self.mark = self.spent
        self._burn(self.spent - self.mark)
        self.mark = max(self.mark, self.spent)
        self.live = [one for one in self.live if one.remaining]

    def _keep_within(self) -> None:
        room = max(self.posted, 0)
        self._burn(sum(one.remaining for one in self.live) - room)
        bought = room - sum(one.remaining for one in self.live)
        self.mark = min(self.mark or 0, self.spent + bought)

    def _burn(self, amount: int) -> None:
        left = []
        for one in self.live:
            part = max(0, min(amount, one.remaining))
            amount -= part
            left.append(replace(one, remaining=one.remaining - part))
        self.live = left

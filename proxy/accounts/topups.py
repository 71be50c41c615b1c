"""Top-ups (credits bought) and adjustments (corrections by an operator, of either sign), applied once for ever by their
idempotency key (P6). What happens in which order is proxy/accounts/journal.py.
"""

from dataclasses import dataclass

from proxy.accounts.journal import (
    ADJUSTMENT,
    TOPUP,
    Journal,
    Wanted,
    check_amount_asked,
    check_words,
    digest_of,
)
from proxy.accounts.operations import DEDUCTION, entry_of
from proxy.core.errors import InvalidRequest
from proxy.core.money import parse_credits
from proxy.core.records import LedgerEntry

KINDS = (TOPUP, ADJUSTMENT)


@dataclass(frozen=True, slots=True)
class Credit:
    """What is asked for: `amount_microcredits` above zero (either sign for an adjustment), `actor` who asks for it.

    `covered`: an adjustment that takes, but only what is available (neither spent nor held).
    """

    amount_microcredits: int
    idempotency_key: str
    kind: str = TOPUP
    actor: str = ""
    reason: str = ""
    covered: bool = False


class Topups:
    """See the module's page."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def top_up(self, account_id: str, credit: Credit) -> LedgerEntry:
        """The ledger entry of this credit, the same at every repeat of key, kind and amount.

        Raises InvalidRequest (amount, kind, key), NotFound (account), Conflict (the key was used with another body),
        InsufficientCredits (`covered`), Unavailable (repeat it with the same key). What is taken back takes bought credits before granted ones.
        """
        check(credit)
        kind = DEDUCTION if credit.covered else credit.kind
        wanted = Wanted(
            account_id,
            credit.idempotency_key,
            kind,
            credit.amount_microcredits,
            digest_of(account_id, kind, credit.amount_microcredits),
            credit.actor,
            credit.reason,
        )
        return entry_of(await self._journal.finish(await self._journal.agree(wanted)))


def amount_from(credit_text: str) -> int:
    """Credits as people write them ("12.5") in microcredits. Raises InvalidRequest (`amount`)."""
    try:
        return parse_credits(credit_text)
    except ValueError as error:
        raise InvalidRequest(str(error), param="amount") from error


def check(credit: Credit) -> None:
    """Raises InvalidRequest for an amount, kind, key or text that cannot be."""
    amount: object = credit.amount_microcredits
    if credit.kind not in KINDS:
        raise InvalidRequest(f"kind must be one of {', '.join(KINDS)}", param="kind")
    if type(amount) is int and amount <= 0 and credit.kind != ADJUSTMENT:
        raise InvalidRequest(f"a {credit.kind} must be above zero; an adjustment takes credits away", param="amount")
    check_amount_asked(abs(amount) if type(amount) is int else amount)
    if credit.covered and credit.amount_microcredits > 0:
        raise InvalidRequest("only what is taken can be covered", param="amount")
    check_words(credit.idempotency_key, credit.actor, credit.reason)

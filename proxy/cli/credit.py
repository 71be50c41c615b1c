"""`farebox topup`, `adjust`, `refund` and `balance`: credits that come, are corrected, and are returned."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict

import click

from proxy.accounts.journal import ADJUSTMENT
from proxy.accounts.refunds import Refund
from proxy.accounts.topups import Credit, amount_from
from proxy.cli.context import confirm, json_option, print_fields, print_json, run_async, with_config, yes_option
from proxy.cli.stores import Stores, actor_here, open_stores
from proxy.config import Config
from proxy.core.errors import InvalidRequest, NotFound
from proxy.core.money import format_credits
from proxy.core.records import LedgerEntry
from proxy.records.queries import BalanceView, balance_of, usage_of_call

key_option = click.option(
    "--key", "idempotency_key", required=True, metavar="IDEMPOTENCY_KEY", help="The same key is applied once, ever."
)
reason_option = click.option("--reason", default="", help="Kept with the ledger entry.")
# A negative amount reaches the check that refuses it, instead of being taken for an option.
WITH_AMOUNT = {"ignore_unknown_options": True}


@click.command(context_settings=WITH_AMOUNT)
@click.argument("reference", metavar="ACCOUNT")
@click.argument("credit_text", metavar="CREDITS")
@key_option
@reason_option
@json_option
@with_config
def topup(
    config: Config, reference: str, credit_text: str, *, idempotency_key: str, reason: str, as_json: bool
) -> None:
    """Add CREDITS (a decimal, as in 12.5). Repeating the command with the same key changes nothing."""
    wanted = Credit(amount_from(credit_text), idempotency_key, actor=actor_here(), reason=reason)

    async def work(stores: Stores) -> LedgerEntry:
        return await stores.topups.top_up((await stores.directory.account(reference)).id, wanted)

    _work_on(config, work, as_json=as_json)


@click.command(context_settings=WITH_AMOUNT)
@click.argument("reference", metavar="ACCOUNT")
@click.argument("credit_text", metavar="CREDITS")
@key_option
@click.option("--reason", required=True, help="Why; kept with the ledger entry.")
@click.option("--available-only", is_flag=True, help="Refuse to take what is spent or held already.")
@yes_option
@json_option
@with_config
def adjust(
    config: Config,
    reference: str,
    credit_text: str,
    *,
    idempotency_key: str,
    reason: str,
    available_only: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Correct a balance by CREDITS: 2.5 gives, -2.5 takes, also what is spent or held. Once for each key."""
    amount = amount_from(credit_text)
    if available_only and amount > 0:
        raise click.UsageError("--available-only is for a correction that takes, such as -2.5")
    if amount < 0:
        confirm(f"Take {format_credits(-amount)} credits from {reference}?", yes=yes)
    wanted = Credit(amount, idempotency_key, ADJUSTMENT, actor_here(), reason, covered=available_only)

    async def work(stores: Stores) -> LedgerEntry:
        account = await stores.directory.account(reference)
        try:
            return await stores.topups.top_up(account.id, wanted)
        except InvalidRequest as error:
            if amount > 0 or error.param != "amount":
                raise
            raise InvalidRequest(
                f"No more can be taken than was added in all. farebox ledger {account.id} says what that was.",
                param="amount",
            ) from error

    _work_on(config, work, as_json=as_json)


@click.command()
@click.argument("call_id", metavar="CALL")
@click.option("--credits", "credit_text", metavar="N", help="This much; without it all that is left of the charge.")
@click.option("--account", "reference", metavar="ACCOUNT", help="Whose call it is, where it ended only just now.")
@key_option
@reason_option
@json_option
@with_config
def refund(
    config: Config,
    call_id: str,
    *,
    credit_text: str | None,
    reference: str | None,
    idempotency_key: str,
    reason: str,
    as_json: bool,
) -> None:
    """Return what a call was charged, in whole or in part, and never more than its charge in all. Once for each key."""
    amount = None if credit_text is None else amount_from(credit_text)
    wanted = Refund(call_id, idempotency_key, amount, actor_here(), reason)

    async def work(stores: Stores) -> LedgerEntry:
        account_id = await _owner_of(stores, call_id, reference)
        return await stores.refunds.refund(account_id, wanted)

    _work_on(config, work, as_json=as_json, done="returned")


async def _owner_of(stores: Stores, call_id: str, reference: str | None) -> str:
    """Whose call it is. Raises NotFound."""
    if reference is not None:
        return (await stores.directory.account(reference)).id
    record = await usage_of_call(stores.database, call_id)
    if record is None:
        raise NotFound(
            f"There is no usage record of the call {call_id[:100]!r}. farebox usage ACCOUNT lists an account's calls; "
            "of one that ended only just now, say --account ACCOUNT.",
            code="call_not_found",
        )
    return record.account_id


@click.command()
@click.argument("reference", metavar="ACCOUNT")
@json_option
@with_config
def balance(config: Config, reference: str, *, as_json: bool) -> None:
    """What the account has (posted), what its open calls hold, and what is available."""

    async def work() -> BalanceView:
        async with open_stores(config) as stores:
            return await balance_of(stores.database, stores.ledger, reference)

    found = run_async(work())
    if as_json:
        print_json(asdict(found))
        return
    print_fields(
        {"credits": found.credits, "held": format_credits(found.held), "available": format_credits(found.available)}
    )


def print_entry(entry: LedgerEntry, done: str = "added") -> None:
    """What a change did to a balance, for people."""
    before, after = format_credits(entry.before_microcredits), format_credits(entry.after_microcredits)
    amount, verb = entry.amount_microcredits, "taken" if entry.amount_microcredits < 0 else done
    click.echo(f"{format_credits(abs(amount))} credits {verb}: {before} -> {after} (entry {entry.seq})")


def _work_on(
    config: Config, work: Callable[[Stores], Awaitable[LedgerEntry]], *, as_json: bool, done: str = "added"
) -> None:
    async def run() -> LedgerEntry:
        async with open_stores(config) as stores:
            return await work(stores)

    entry = run_async(run())
    if as_json:
        print_json(asdict(entry))
    else:
        print_entry(entry, done)

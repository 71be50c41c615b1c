"""`farebox audit` proves the promise of conservation; `farebox rebuild` restores Redis from the database."""

from dataclasses import asdict

import click

from proxy.cli.context import json_option, print_fields, print_json, print_table, progress, run_async, with_config
from proxy.cli.stores import open_stores, partitions_of, using_database, using_redis
from proxy.config import Config
from proxy.core.money import format_credits
from proxy.ledger.scripts import RedisScripts
from proxy.records.audit import Audit, AuditReport
from proxy.records.queries import find_account_id
from proxy.records.rebuild import Rebuild, Rebuilt
from proxy.records.sums import remake


@click.command()
@click.option("--account", "reference", metavar="ACCOUNT", help="Only this account.")
@json_option
@with_config
def audit(config: Config, *, reference: str | None, as_json: bool) -> int:
    """Prove, while Farebox runs, that every balance is the sum of its ledger entries. Exit code 1 on a difference."""

    async def work() -> AuditReport:
        async with open_stores(config) as stores:
            with progress("accounts audited") as shown:
                auditor = Audit(stores.ledger, stores.redis, stores.database, progress=shown)
                if reference is None:
                    return await auditor.run()
                return await auditor.account(await find_account_id(stores.database, reference))

    report = run_async(work())
    if as_json:
        print_json({**asdict(report), "posted_microcredits": report.posted_microcredits, "ok": report.holds})
    else:
        _print_audit(report)
    return 0 if report.holds else 1


@click.command()
@click.option(
    "--force", is_flag=True, help="Drop what Redis still holds of Farebox; open holds and unrecorded events go."
)
@click.option(
    "--sums",
    "only_sums",
    is_flag=True,
    help="Instead: make the sums of usage again from the records, while Farebox runs.",
)
@json_option
@with_config
def rebuild(config: Config, *, force: bool, only_sums: bool, as_json: bool) -> int:
    """Restore every balance in Redis from the database. Running processes follow; stop them before --force."""
    if only_sums:
        return _rebuild_sums(config, as_json=as_json)

    async def work() -> Rebuilt:
        async with using_database(config) as database, using_redis(config) as redis:
            with progress("accounts restored") as shown:
                partitions = partitions_of(config)
                job = Rebuild(redis, RedisScripts(redis), database, partitions, progress=shown)
                return await job.run(force=force)

    result = run_async(work())
    if as_json:
        print_json(asdict(result))
    else:
        print_fields(
            {
                "accounts": result.accounts,
                "ledger entries": result.entries,
                "credited": format_credits(result.credited_microcredits),
                "spent": format_credits(result.spent_microcredits),
                "live grants": result.grants,
                "credits entered again": result.topups_entered_again,
            }
        )
        for account_id in result.gaps:
            click.echo(
                f"Entries of {account_id} are missing in the database: farebox audit --account {account_id}", err=True
            )
        click.echo("\nDone. Start Farebox, then run: farebox audit")
    return 1 if result.gaps else 0


def _rebuild_sums(config: Config, *, as_json: bool) -> int:
    async def work() -> int:
        async with using_database(config) as database:
            with progress("days summed") as shown:
                return await remake(database, shown)

    days = run_async(work())
    if as_json:
        print_json({"days": days})
    else:
        click.echo(f"The sums of {days} day(s) are made again from the usage records.")
    return 0


def _print_audit(report: AuditReport) -> None:
    print_fields(
        {
            "accounts": report.accounts,
            "ledger entries": report.entries,
            "calls": report.calls,
            "open holds": report.open_holds,
            "posted": format_credits(report.posted_microcredits),
            "held": format_credits(report.held_microcredits),
        }
    )
    if report.dead_events:
        click.echo(f"\n{report.dead_events} event(s) wait in the dead-letter stream; the recorder's log says why.")
    if report.holds:
        click.echo("\nEvery balance is the sum of its ledger entries.")
        return
    click.echo()
    columns = ("ACCOUNT", "KIND", "MICROCREDITS#", "DETAIL")
    rows = [(found.account_id, found.kind, found.microcredits, found.detail) for found in report.differences]
    print_table(columns, rows, empty="")
    click.echo(
        f"\n{report.difference_count} difference(s). Keep both stores as they are until this is understood.", err=True
    )

"""`farebox admin`: who may use the admin API, and what was changed; `farebox maintenance`."""

import json
from dataclasses import asdict

import click

from proxy.accounts.administrators import ROLES, Administrator, NewAdministrator
from proxy.accounts.audit_log import LogFilter, LoggedChange, read_log
from proxy.accounts.maintenance import is_on, switch
from proxy.cli.context import (
    confirm,
    future_from,
    json_option,
    print_fields,
    print_json,
    print_table,
    run_async,
    when,
    with_config,
    yes_option,
)
from proxy.cli.stores import actor_here, open_stores, using_database
from proxy.config import Config
from proxy.core.clock import SystemClock


@click.group()
def admin() -> None:
    """Administrators: each has a name, a credential of its own for the admin API, and roles. The configured admin.token is root."""


@admin.command()
@click.argument("name")
@click.option(
    "--role", "roles", multiple=True, required=True, type=click.Choice(ROLES), help="What they may do (repeatable)."
)
@click.option("--expires", metavar="WHEN", help="Refuse the credential from then on: 2026-12-31, or 30d, 12h, 90m.")
@json_option
@with_config
def create(config: Config, name: str, *, roles: tuple[str, ...], expires: str | None, as_json: bool) -> None:
    """Make an administrator and show the credential, for the only time."""
    expires_at = None if expires is None else future_from(expires)

    async def work() -> NewAdministrator:
        async with open_stores(config) as stores:
            return await stores.administrators.create(name, roles, actor=actor_here(), expires_at=expires_at)

    made = run_async(work())
    if as_json:
        print_json({"credential": made.credential, **asdict(made.administrator)})
        return
    shown = made.administrator
    print_fields({"id": shown.id, "name": shown.name, "roles": ", ".join(shown.roles), "credential": made.credential})
    click.echo("\nThis is the only time the credential is shown.")


@admin.command("list")
@json_option
@with_config
def list_administrators(config: Config, *, as_json: bool) -> None:
    """Administrators, revoked ones too; with --json one object a line."""

    async def work() -> list[Administrator]:
        async with open_stores(config) as stores:
            return await stores.administrators.page(limit=1000)

    found = run_async(work())
    if as_json:
        for one in found:
            print_json(asdict(one))
        return
    rows = [
        (one.id, one.name, ", ".join(one.roles), f"{one.prefix}...", when(one.created_at), _state(one)) for one in found
    ]
    empty = "Nobody but root. Make one: farebox admin create NAME --role operate"
    print_table(("ID", "NAME", "ROLES", "CREDENTIAL", "CREATED", "STATE"), rows, empty=empty)


@admin.command()
@click.argument("reference", metavar="ADMINISTRATOR")
@yes_option
@json_option
@with_config
def revoke(config: Config, reference: str, *, yes: bool, as_json: bool) -> None:
    """End a credential for ever; ADMINISTRATOR is an id or a name."""
    confirm(f"Revoke {reference} for ever?", yes=yes)

    async def work() -> Administrator:
        async with open_stores(config) as stores:
            return await stores.administrators.revoke(reference, actor=actor_here())

    ended = run_async(work())
    if as_json:
        print_json(asdict(ended))
    else:
        click.echo(f"{ended.name} ({ended.prefix}...) is revoked.")


@admin.command()
@click.option("--actor", help="Only changes of this one, such as root, admin:eve or cli:ada.")
@click.option("--action", help="Only this action, such as account.suspend.")
@click.option("--subject", help="Only changes of this account, key, call or administrator (its id).")
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most this many, newest first."
)
@json_option
@with_config
def log(
    config: Config, *, actor: str | None, action: str | None, subject: str | None, limit: int, as_json: bool
) -> None:
    """Who changed what, newest first; with --json one object a line."""
    wanted = LogFilter(actor=actor, action=action, subject=subject)

    async def work() -> list[LoggedChange]:
        async with using_database(config) as database:
            return await read_log(database, wanted, limit=limit)

    found = run_async(work())
    if as_json:
        for one in found:
            print_json(asdict(one))
        return
    rows = [(when(one.at), one.actor, one.action, one.subject, _short(one)) for one in found]
    print_table(("AT", "ACTOR", "ACTION", "SUBJECT", "AFTER"), rows, empty="No changes.")


@click.command()
@click.argument("state", type=click.Choice(("on", "off")), required=False)
@json_option
@with_config
def maintenance(config: Config, *, state: str | None, as_json: bool) -> None:
    """Say whether maintenance mode is on, or switch it. The query surfaces answer that they are being maintained; calls go on."""

    async def work() -> bool:
        async with using_database(config) as database:
            if state is not None:
                await switch(database, on=state == "on", actor=actor_here(), now_ms=SystemClock().now_ms())
            return await is_on(database)

    found = run_async(work())
    if as_json:
        print_json({"on": found})
    else:
        click.echo(f"Maintenance mode is {'on' if found else 'off'}.")


def _state(one: Administrator) -> str:
    if one.revoked_at is not None:
        return f"revoked {when(one.revoked_at)}"
    return "" if one.expires_at is None else f"until {when(one.expires_at)}"


def _short(one: LoggedChange) -> str:
    text = "" if one.after is None else json.dumps(one.after, ensure_ascii=False)
    return text if len(text) <= 100 else f"{text[:97]}..."

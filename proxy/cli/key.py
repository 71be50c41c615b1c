"""`farebox key`: credentials of an account. A key is shown once, when it is made."""

from dataclasses import asdict

import click

from proxy.accounts.directory import ApiKey, KeySettings, NewKey
from proxy.accounts.keys import MANAGER, USER
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
from proxy.cli.settings import NONE, all_or, changed_limits, limit_options, unless_none
from proxy.cli.stores import open_stores
from proxy.config import Config
from proxy.core.clock import SystemClock

_models = click.option(
    "--model", "models", multiple=True, metavar="NAME", help="Allow this model only (repeatable; a trailing * matches)."
)
_paths = click.option(
    "--path", "paths", multiple=True, metavar="PATH", help="Allow this path only (repeatable; a trailing * matches)."
)
_networks = click.option(
    "--network", "networks", multiple=True, metavar="CIDR", help="Allow clients of this network only (repeatable)."
)
_scopes = click.option(
    "--scope",
    "scopes",
    multiple=True,
    metavar="NAME",
    help="What a manager key may do: usage:read, balance:read (repeatable; without this both).",
)
_expires = click.option(
    "--expires",
    metavar="WHEN",
    help="Refuse the key from then on: 2026-12-31, 2026-12-31T18:00 (UTC), or 30d, 12h, 90m.",
)


@click.group()
def key() -> None:
    """API keys: made, listed, changed, rotated, revoked."""


@key.command()
@click.argument("reference", metavar="ACCOUNT")
@click.option("--name", default="", help="What the key is for.")
@click.option("--manager", is_flag=True, help="A key for the query APIs (sk_mg_...) instead of calls.")
@_models
@_paths
@_networks
@_scopes
@_expires
@limit_options
@json_option
@with_config
def create(
    config: Config,
    reference: str,
    *,
    name: str,
    manager: bool,
    expires: str | None,
    limits: tuple[str, ...],
    as_json: bool,
    **lists: tuple[str, ...],
) -> None:
    """Make a key and show it, for the only time."""
    settings = KeySettings(
        kind=MANAGER if manager else USER,
        name=name,
        limits=changed_limits({}, limits) or None,
        models=lists["models"] or None,
        scopes=lists["scopes"],
        expires_at=None if expires is None else future_from(expires),
        paths=lists["paths"] or None,
        networks=lists["networks"] or None,
    )

    async def work() -> NewKey:
        async with open_stores(config) as stores:
            return await stores.directory.create_key(reference, settings)

    _print_new(run_async(work()), as_json=as_json)


@key.command("list")
@click.argument("reference", metavar="ACCOUNT")
@json_option
@with_config
def list_keys(config: Config, reference: str, *, as_json: bool) -> None:
    """An account's keys, ended ones too, newest first; with --json one object a line."""

    async def work() -> list[ApiKey]:
        async with open_stores(config) as stores:
            return await stores.directory.keys(reference)

    found = run_async(work())
    if as_json:
        for one in found:
            print_json(asdict(one))
        return
    rows = [
        (one.id, f"{one.prefix}...", one.kind, one.name, _status(one), when(one.created_at), _until(one))
        for one in found
    ]
    columns = ("ID", "KEY", "KIND", "NAME", "STATUS", "CREATED", "EXPIRES")
    print_table(columns, rows, empty=f"No keys yet. Make one: farebox key create {reference}")


@key.command()
@click.argument("key_id", metavar="KEY_ID")
@json_option
@with_config
def show(config: Config, key_id: str, *, as_json: bool) -> None:
    """One key, without the key."""

    async def work() -> ApiKey:
        async with open_stores(config) as stores:
            return await stores.directory.key(key_id)

    _print(run_async(work()), as_json=as_json)


@key.command()
@click.argument("key_id", metavar="KEY_ID")
@click.option("--name", help="What the key is for.")
@limit_options
@_models
@_paths
@_networks
@_scopes
@_expires
@json_option
@with_config
def update(
    config: Config,
    key_id: str,
    *,
    name: str | None,
    limits: tuple[str, ...],
    expires: str | None,
    as_json: bool,
    **lists: tuple[str, ...],
) -> None:
    """Change a key; it holds from the next call on.

    A limit `none` is no limit any more, and `--expires none` ends an expiry. Lists replace what is there; the word all allows all.
    """
    changes: dict[str, object] = {kind: all_or(given) for kind, given in lists.items() if given}
    if lists["scopes"]:
        changes["scopes"] = list(lists["scopes"])
    if name is not None:
        changes["name"] = name
    if expires is not None:
        changes["expires_at"] = unless_none(expires, future_from)
    if not changes and not limits:
        raise click.UsageError(f"say what to change, such as --concurrent {NONE}: farebox key update --help")

    async def work() -> ApiKey:
        async with open_stores(config) as stores:
            if limits:
                before = await stores.directory.key(key_id)
                changes["limits"] = changed_limits(before.limits, limits)
            return await stores.directory.update_key(key_id, changes)

    _print(run_async(work()), as_json=as_json)


@key.command()
@click.argument("key_id", metavar="KEY_ID")
@yes_option
@json_option
@with_config
def revoke(config: Config, key_id: str, *, yes: bool, as_json: bool) -> None:
    """End a key for ever: its next call is refused."""
    confirm(f"End {key_id} for ever?", yes=yes)

    async def work() -> ApiKey:
        async with open_stores(config) as stores:
            return await stores.directory.revoke_key(key_id)

    ended = run_async(work())
    if as_json:
        print_json(asdict(ended))
    else:
        click.echo(f"{ended.id} ({ended.prefix}...) is revoked.")


@key.command()
@click.argument("key_id", metavar="KEY_ID")
@click.option(
    "--overlap", "overlap_s", type=click.IntRange(0), default=0, help="Seconds for which the old key stays good."
)
@json_option
@with_config
def rotate(config: Config, key_id: str, *, overlap_s: int, as_json: bool) -> None:
    """Replace a key by a new one with the same settings; the old one ends at once, or after --overlap."""

    async def work() -> NewKey:
        async with open_stores(config) as stores:
            return await stores.directory.rotate_key(key_id, overlap_s=overlap_s)

    _print_new(run_async(work()), as_json=as_json)


def _print_new(made: NewKey, *, as_json: bool) -> None:
    if as_json:
        print_json({"id": made.api_key.id, "key": made.key, **asdict(made.api_key)})
        return
    print_fields({"id": made.api_key.id, "account": made.api_key.account_id, "key": made.key})
    click.echo("\nThis is the only time the key is shown.")


def _print(shown: ApiKey, *, as_json: bool) -> None:
    if as_json:
        print_json(asdict(shown))
        return
    lists = {name: getattr(shown, name) for name in ("models", "paths", "networks")}
    print_fields(
        {
            "id": shown.id,
            "account": shown.account_id,
            "key": f"{shown.prefix}...",
            "kind": shown.kind,
            "name": shown.name,
            "status": _status(shown),
            "limits": ", ".join(f"{kind} {ceiling}" for kind, ceiling in shown.limits.items()) or "none",
            **{name: "all" if found is None else ", ".join(found) for name, found in lists.items()},
            "expires": _until(shown) or "never",
        }
    )


def _status(shown: ApiKey) -> str:
    """As people mean it: a key past its end is expired, though nobody revoked it."""
    over = shown.expires_at is not None and shown.expires_at <= SystemClock().now_ms()
    return "expired" if over and shown.status == "active" else shown.status


def _until(shown: ApiKey) -> str:
    return "" if shown.expires_at is None else when(shown.expires_at)

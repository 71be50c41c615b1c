"""`farebox check`: is this configuration one that can serve? One line for each thing that was tried."""

import asyncio
from collections.abc import Awaitable
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from proxy.accounts.keys import KeyHasher
from proxy.cli.context import json_option, print_json, run_async, with_path
from proxy.cli.stores import partitions_of, using_redis
from proxy.config import Config
from proxy.core.errors import FareboxError, Unavailable
from proxy.pipeline.upstream.client import UpstreamClient
from proxy.pipeline.upstream.dialer import client_tls
from proxy.pipeline.upstream.settings import Origin, Timeouts
from proxy.provider_config import Provider
from proxy.providers.registry import credential_headers, default_headers
from proxy.records.epoch import agree
from proxy.roles import load
from proxy.sql.database import DatabaseUnavailable, open_database

PROVIDER_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Finding:
    """One thing that was tried: what, whether it works, and what was seen or what to do."""

    what: str
    ok: bool
    detail: str


@click.command()
@json_option
@with_path
def check(path: Path, *, as_json: bool) -> int:
    """Validate the configuration, then reach both stores and every provider. Exit code 1 when something fails."""
    config = load(path)
    findings = [
        Finding("configuration", True, f"{path}, {len(config.prices)} price(s)"),
        *_secrets(config),
        *run_async(_reach(config)),
    ]
    for found in findings:
        if as_json:
            print_json(asdict(found))
        else:
            mark = click.style("ok  ", fg="green") if found.ok else click.style("FAIL", fg="red")
            click.echo(f"{mark}  {found.what}: {found.detail}")
    return 0 if all(found.ok for found in findings) else 1


def _secrets(config: Config) -> list[Finding]:
    try:
        KeyHasher(config.keys.pepper)
        pepper = Finding("keys.pepper", True, "set")
    except FareboxError as error:
        pepper = Finding("keys.pepper", False, error.message)
    if config.admin.token:
        return [pepper, Finding("admin.token", True, "set")]
    return [pepper, Finding("admin.token", False, "empty; the operators' listener will not start without it")]


async def _reach(config: Config) -> list[Finding]:
    findings = [
        await _tried("database", _try_database(config)),
        await _tried("redis", _try_redis(config)),
    ]
    for name, provider in config.providers.items():
        for dialect, base_url in provider.endpoints().items():
            what = f"provider {name} ({dialect})"
            findings.append(await _tried(what, _try_provider(name, provider, dialect, base_url)))
    return findings


async def _tried(what: str, attempt: Awaitable[str]) -> Finding:
    try:
        return Finding(what, True, await attempt)
    except FareboxError as error:
        return Finding(what, False, error.message)
    except (OSError, TimeoutError) as error:
        return Finding(what, False, f"{error}")


# A check changes nothing: it makes no table, and it does not bind a new database to the Redis that happens to be named.


async def _try_database(config: Config) -> str:
    database = open_database(config.database.url)
    try:
        await database.fetch_one("meta", key="epoch")
    except Unavailable as error:
        raise Unavailable(f"{error.message} (If this is a new database: farebox migrate.)") from error
    finally:
        await database.close()
    return "reached"


async def _try_redis(config: Config) -> str:
    async with using_redis(config) as redis:
        database = open_database(config.database.url)
        try:
            state = await database.fetch_one("meta", key="epoch_state")
            if state is not None and state["value"] == "agreed":
                await agree(redis, database, partitions_of(config))
                return "reached, append-only, never evicting, belongs to this database"
        except DatabaseUnavailable:
            return "reached, append-only, never evicting"
        finally:
            await database.close()
    return "reached, append-only, never evicting; a new installation"


async def _try_provider(name: str, provider: Provider, dialect: str, base_url: str) -> str:
    """Lists the provider's models, which costs nothing and needs the key. Any answer but 401 and 403 will do."""
    origin = Origin.parse(base_url)
    client = UpstreamClient(
        origin, timeouts=Timeouts(total_s=PROVIDER_TIMEOUT_S), tls=client_tls(provider.ca_file) if origin.tls else None
    )
    target = "/" + base_url.split("://", 1)[1].partition("/")[2].rstrip("/")
    suffix = "/models" if dialect == "openai" else "/v1/models"
    headers = [*credential_headers(name, dialect, provider.api_key), *default_headers(dialect)]
    try:
        call = client.open(b"GET", (target.rstrip("/") + suffix).encode(), headers)
        try:
            async with asyncio.timeout(PROVIDER_TIMEOUT_S):
                await call.start()
            status = call.status
        finally:
            call.close()
    finally:
        await client.close()
    if status in {401, 403}:
        raise FareboxError(
            f"{origin.host_header.decode()} refuses the API key ({status}); see providers.{name}.api_key"
        )
    return f"{origin.host_header.decode()} answers ({status})"

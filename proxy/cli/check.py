"""`farebox check`: is this configuration one that can serve? One line for each thing that was tried."""

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from proxy.accounts.keys import KeyHasher
from proxy.cli.context import json_option, print_json, run_async, with_path
from proxy.cli.stores import partitions_of, using_redis
from proxy.config import Config
from proxy.core.errors import FareboxError, Unavailable
from proxy.pipeline.candidates import Endpoint
from proxy.pipeline.routes import make_endpoints
from proxy.providers.signing import SigningError
from proxy.records.epoch import agree
from proxy.roles import load
from proxy.sql.database import DatabaseUnavailable, open_database

PROVIDER_TIMEOUT_S = 10.0
# Where a dialect's models are listed, behind the base URL.
_LISTS = {
    "openai": "/models",
    "anthropic": "/v1/models",
    "gemini": "/v1beta/models",
    "azure": "/openai/models?api-version=2024-10-21",
    "cohere": "/v1/models",
}


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
    endpoints = make_endpoints(config)
    findings += [await _tried(_named(endpoint, endpoints), _try_provider(endpoint)) for endpoint in endpoints]
    for client in {endpoint.client for endpoint in endpoints}:
        await client.close()
    return findings


def _named(endpoint: Endpoint, endpoints: Sequence[Endpoint]) -> str:
    """What an endpoint is called: by its provider and dialect, and by the number of its key where it has several."""
    same = [one for one in endpoints if (one.provider, one.dialect) == (endpoint.provider, endpoint.dialect)]
    number = f", key {same.index(endpoint) + 1} of {len(same)}" if len(same) > 1 else ""
    return f"provider {endpoint.provider} ({endpoint.dialect}{number})"


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


async def _try_provider(endpoint: Endpoint) -> str:
    """Lists the provider's models, which costs nothing and needs the key. Any answer but 401 and 403 will do.

    Where a dialect has no such list, its address is asked, which tells whether it can be reached.
    """
    listed = _LISTS.get(endpoint.dialect)
    target = endpoint.base_path + (listed or "/")
    headers = [*endpoint.tail, *(pair for pair in endpoint.defaults if pair[0] != b"content-type")]
    if endpoint.signer is not None:
        try:
            headers += await endpoint.signer.headers("GET", endpoint.origin + target, headers, b"")
        except SigningError as error:
            raise FareboxError(f"no credential could be had: {error}") from error
    call = endpoint.client.open(b"GET", target.encode(), headers)
    try:
        async with asyncio.timeout(PROVIDER_TIMEOUT_S):
            await call.start()
        status = call.status
    finally:
        call.close()
    host = endpoint.origin.partition("://")[2]
    if listed is None:
        return f"{host} answers ({status}); this dialect has no list to try the credential on"
    if status in {401, 403}:
        raise FareboxError(f"{host} refuses the API key ({status}); see providers.{endpoint.provider}.api_key")
    return f"{host} answers ({status})"

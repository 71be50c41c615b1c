"""Whether a Redis server is fit to hold money: refuses, with a sentence each, what would lose or evict balances."""

from dataclasses import dataclass
from typing import Any

from proxy.ledger.connection import RedisConnection
from proxy.ledger.errors import ServerUnfit

OLDEST = (7, 0)


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What a fit server said of itself."""

    version: str
    append_only: bool
    max_memory_bytes: int


async def check_server(connection: RedisConnection, *, require_append_only: bool = True) -> ServerFacts:
    """Asks the server and raises ServerUnfit with every reason why it must not be used."""
    sections = [await connection.execute("INFO", name) for name in ("server", "replication", "memory", "persistence")]
    facts = _parse(sections)
    refusals = refusals_of(facts, require_append_only=require_append_only)
    if refusals:
        raise ServerUnfit(refusals)
    return ServerFacts(
        facts.get("valkey_version") or facts.get("redis_version", "unknown"),
        facts.get("aof_enabled") == "1",
        int(facts.get("maxmemory", "0")),
    )


def refusals_of(facts: dict[str, str], *, require_append_only: bool) -> tuple[str, ...]:
    """Why a server with these INFO fields must not hold money; empty where it may."""
    refusals = []
    version = facts.get("redis_version", "unknown")
    numbers = version.split(".")[:2]
    if not all(number.isdigit() for number in numbers) or tuple(int(number) for number in numbers) < OLDEST:
        refusals.append(f"Redis {version} is too old: 7.0 or newer is needed.")
    if facts.get("role") != "master":
        refusals.append("This Redis is a replica: give the address of the primary.")
    policy = facts.get("maxmemory_policy", "unknown")
    if policy != "noeviction":
        refusals.append(f"maxmemory-policy is {policy}: it would evict balances. Set it to noeviction.")
    if require_append_only and facts.get("aof_enabled") != "1":
        refusals.append(
            "This Redis writes no append-only file and would forget credits when it ends: set appendonly yes, "
            "or redis.require_append_only = false where that is accepted."
        )
    return tuple(refusals)


def _parse(sections: list[Any]) -> dict[str, str]:
    """The fields of INFO sections; redis_version is also what Valkey says it is compatible with."""
    lines = (line for section in sections for line in bytes(section).decode("utf-8", "replace").splitlines())
    return dict(line.split(":", 1) for line in lines if ":" in line)

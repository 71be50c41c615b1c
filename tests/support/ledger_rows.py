"""Hands on the ledger's packed rows, for tests that need a balance to be wrong."""

from struct import Struct

from proxy.ledger.connection import RedisConnection

_ACCOUNT = Struct("<5q")
_FIELDS = ("credited", "spent", "held", "seq", "version")


async def change_account(redis: RedisConnection, key: bytes, field: str, by: int) -> None:
    """Adds to one figure of an account, past every rule."""
    figures = list(_ACCOUNT.unpack(await redis.execute("GET", key)))
    figures[_FIELDS.index(field)] += by
    await redis.execute("SET", key, _ACCOUNT.pack(*figures))

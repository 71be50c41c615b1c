"""A balance at a glance: one MGET of the epoch and the account, without looking at open holds one by one.

`Ledger.balance` proves that what is held is the sum of the open holds, and costs Redis a look at every one of the partition.
Whoever asks often, and trusts the account, asks here.
"""

import struct
from dataclasses import dataclass
from typing import Protocol

from proxy.ledger.connection import RedisConnection
from proxy.ledger.errors import EpochMismatch
from proxy.ledger.keys import Partition, check_id

_ACCOUNT = struct.Struct("<qqqqq")  # lua/parts/formats.lua: credited, spent, held, seq, version


class PartitionedLedger(Protocol):
    """Where accounts live, and under which epoch; see `proxy.ledger.ledger.Ledger`."""

    @property
    def epoch(self) -> str:
        """The epoch that Redis must hold."""
        ...

    def partition_of(self, account_id: str) -> Partition:
        """The partition that an account lives in."""
        ...


@dataclass(frozen=True, slots=True)
class Funds:
    """What an account has, in microcredits: given in all, spent in all, set aside now."""

    credited_microcredits: int
    spent_microcredits: int
    held_microcredits: int

    @property
    def posted_microcredits(self) -> int:
        """Credited less spent; below zero when calls cost more than they held."""
        return self.credited_microcredits - self.spent_microcredits

    @property
    def available_microcredits(self) -> int:
        """What a new call can hold."""
        return self.posted_microcredits - self.held_microcredits


NO_FUNDS = Funds(0, 0, 0)


class Glance:
    """Reads accounts of one Redis. Raises RedisUnavailable, RedisAmbiguous, EpochMismatch: all 503."""

    def __init__(self, redis: RedisConnection, ledger: PartitionedLedger) -> None:
        self._redis = redis
        self._ledger = ledger

    async def funds(self, account_id: str) -> Funds:
        """The account as it stands; zero for one that the ledger never met."""
        partition = self._ledger.partition_of(check_id(account_id, "account_id"))
        epoch, row = await self._redis.execute(b"MGET", partition.epoch, partition.account(account_id))
        if epoch != self._ledger.epoch.encode():
            raise EpochMismatch("EPOCH another one")
        if row is None:
            return NO_FUNDS
        credited, spent, held, _, _ = _ACCOUNT.unpack_from(row)
        return Funds(credited, spent, held)

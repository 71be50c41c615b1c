"""The names of everything in Redis. All keys of one account share a partition, and a partition is one cluster slot.

`fb:{p07}:...`: the tag in braces decides the slot. The number of partitions is fixed for the life of a Redis: another
number would look for every account elsewhere.
"""

import re
import zlib
from dataclasses import dataclass
from functools import lru_cache

PREFIX = "fb:"
MAX_ID_LENGTH = 128
_ID = re.compile(rf"[A-Za-z0-9._:-]{{1,{MAX_ID_LENGTH}}}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Partition:
    """The keys of one partition; `prefix` ends with a colon."""

    number: int
    prefix: bytes
    epoch: bytes
    accounts: bytes
    deadlines: bytes
    stream: bytes
    dead: bytes

    @classmethod
    def at(cls, number: int) -> "Partition":
        """The partition with this number."""
        prefix = f"{PREFIX}{{p{number:02d}}}:".encode()
        names = (b"epoch", b"accounts", b"deadlines", b"stream", b"dead")
        return cls(number, prefix, *(prefix + name for name in names))

    def account(self, account_id: str) -> bytes:
        """The account's balance: a packed string (lua/parts/formats.lua)."""
        return self.prefix + b"account:" + account_id.encode()

    def limit(self, account_id: str, letter: str, scope: str) -> bytes:
        """How much of one limit of the account is in use: a packed string. `letter` is the kind."""
        return self.prefix + f"limit:{account_id}:{letter}:{scope}".encode()

    def hold(self, call_id: str) -> bytes:
        """An open hold, and for a while after its end how it ended: a packed string."""
        return self.prefix + b"hold:" + call_id.encode()

    def operation(self, operation_id: str) -> bytes:
        """The answer to a credit operation, so that a repeat gets the same one."""
        return self.prefix + b"op:" + operation_id.encode()


def partition_number(account_id: str, partitions: int) -> int:
    """The partition of an account."""
    return zlib.crc32(account_id.encode()) % partitions


def check_id(value: str, name: str) -> str:
    """An id that may become part of a key. Raises ValueError: ids are ours, a bad one is a defect."""
    if not _ID.fullmatch(value):
        raise ValueError(f"{name} is not an id: {value[:40]!r}")
    return value


@lru_cache(maxsize=4096)  # a call's id comes twice, when it is held and when it is settled
def encoded_call_id(value: str) -> bytes:
    """A call's id as it becomes part of a key. Raises ValueError as `check_id`."""
    return check_id(value, "call_id").encode()

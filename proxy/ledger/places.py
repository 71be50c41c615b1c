"""Where an account's calls are held: what is the same for all of them, worked out and encoded once.

Of a command to hold or to settle only four arguments differ from call to call, and of these only the record in its length. Packing
all fourteen anew was a twentieth of what a small call costs; filling in a form takes a tenth of that.
"""

from collections.abc import Sequence
from typing import NamedTuple

from proxy.core.limits import Limit
from proxy.ledger.encoding import HOLD_NUMBERS, SETTLE_NUMBERS, encode_limits
from proxy.ledger.keys import Partition, check_id
from proxy.ledger.scripts import Script, load

MAX_CACHED_LIMITS = 100  # of one account: its keys and models with limits of their own


class Blank(NamedTuple):
    """What is filled into a form: `length` bytes, between what is always there. None: their length is filled in before them."""

    length: int | None
    beginning: bytes = b""
    ending: bytes = b""


Items = Sequence[bytes | Blank]
_RECORD = Blank(None)


class Place:
    """One account's keys, and the forms of its commands for call ids of one length; `holds` is what a hold's key begins with."""

    __slots__ = (
        "_account_id",
        "_epoch",
        "_holds",
        "_owner",
        "_partition",
        "account",
        "deadlines",
        "epoch",
        "holds",
        "id_length",
        "settle",
        "stream",
    )

    def __init__(self, partition: Partition, account_id: str, epoch: bytes, id_length: int) -> None:
        """Raises ValueError where the account's id is none. `epoch` is the word that every script compares first."""
        self._partition = partition
        self._account_id = check_id(account_id, "account_id")
        self._epoch = epoch
        self._holds: dict[tuple[Limit, ...], bytes] = {}
        self.deadlines, self.epoch, self.stream = partition.deadlines, partition.epoch, partition.stream
        self.account = partition.account(account_id)
        self.holds = partition.hold("")
        self.id_length = id_length
        keys = (self.epoch, self.account, Blank(id_length, self.holds), self.deadlines, self.stream)
        self._owner = len(account_id).to_bytes(2, "little") + account_id.encode()
        args = (epoch, Blank(id_length), Blank(SETTLE_NUMBERS.size, ending=self._owner), _RECORD)
        self.settle = form(load("settle"), keys, args)
        """The form of `settle`. To fill in: call id twice, numbers, length of the record, record."""

    def hold(self, limits: tuple[Limit, ...]) -> bytes:
        """The form of `hold` under these limits. To fill in: call id twice, numbers, length of the draft, draft.

        Raises ValueError.
        """
        known = self._holds.get(limits)
        if known is None:
            limit_keys, ceilings = encode_limits(self._partition, self._account_id, limits)
            call = Blank(self.id_length)
            key = Blank(self.id_length, self.holds)
            keys: Items = (self.deadlines, self.epoch, self.account, key, *limit_keys)
            numbers = Blank(HOLD_NUMBERS.size, ending=self._owner + ceilings)
            args = (self._epoch, call, numbers, _RECORD)
            known = form(load("hold"), keys, args)
            if len(self._holds) >= MAX_CACHED_LIMITS:  # limits were changed often: old ones are not asked for again
                self._holds.clear()
            self._holds[limits] = known
        return known


def form(script: Script, keys: Items, args: Items) -> bytes:
    """The command that runs a script, to be filled in by `%`: what goes into each blank, where it says so after its length."""
    items = (b"EVALSHA", script.sha, b"%d" % len(keys), *keys, *args)
    return b"*%d\r\n" % len(items) + b"".join(map(_part, items))


def _part(item: bytes | Blank) -> bytes:
    if isinstance(item, bytes):
        return b"$%d\r\n%b\r\n" % (len(item), item.replace(b"%", b"%%"))
    if item.length is None:
        return b"$%d\r\n%b\r\n"
    beginning, ending = (text.replace(b"%", b"%%") for text in (item.beginning, item.ending))
    return b"$%d\r\n%b%%b%b\r\n" % (len(item.beginning) + item.length + len(item.ending), beginning, ending)

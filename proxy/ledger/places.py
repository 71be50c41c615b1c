"""Where an account's calls are held: what is the same for all of them, worked out and encoded once.

Of a command to hold or to settle only four arguments differ from call to call. Packing all fourteen anew was a twentieth of what
a small call costs; filling in a form takes a fifth of that (0.7 instead of 3.2 us, measured).
"""

from collections.abc import Sequence

from proxy.core.limits import Limit
from proxy.ledger.encoding import encode_limits
from proxy.ledger.keys import Partition, check_id
from proxy.ledger.scripts import Script, load

MAX_CACHED_LIMITS = 100  # of one account: its keys and models with limits of their own


class Place:
    """One account's keys, and the forms of its commands; `holds` is what a hold's key begins with."""

    __slots__ = (
        "_account_id",
        "_ends",
        "_epoch",
        "_holds",
        "_partition",
        "account",
        "deadlines",
        "epoch",
        "holds",
        "stream",
    )

    def __init__(self, partition: Partition, account_id: str, epoch: bytes) -> None:
        """Raises ValueError where the account's id is none. `epoch` is the word that every script compares first."""
        self._partition = partition
        self._account_id = check_id(account_id, "account_id")
        self._epoch = epoch
        self._holds: dict[tuple[Limit, ...], bytes] = {}
        self._ends: dict[str, bytes] = {}
        self.deadlines, self.epoch, self.stream = partition.deadlines, partition.epoch, partition.stream
        self.account = partition.account(account_id)
        self.holds = partition.hold("")

    def hold(self, limits: tuple[Limit, ...]) -> bytes:
        """The form of `hold` under these limits. To fill in: the hold's key, call id, numbers, draft. Raises ValueError."""
        known = self._holds.get(limits)
        if known is None:
            limit_keys, ceilings = encode_limits(self._partition, self._account_id, limits)
            keys = (self.deadlines, self.epoch, self.account, None, *limit_keys)
            known = form(load("hold"), keys, (self._epoch, None, self._account_id.encode(), None, ceilings, None))
            if len(self._holds) >= MAX_CACHED_LIMITS:  # limits were changed often: old ones are not asked for again
                self._holds.clear()
            self._holds[limits] = known
        return known

    def end(self, name: str, blanks: int) -> bytes:
        """The form of a script that ends a hold. To fill in: the hold's key, call id, and so many more."""
        known = self._ends.get(name)
        if known is None:
            keys = (self.epoch, self.account, None, self.deadlines, self.stream)
            args = (self._epoch, None, self._account_id.encode(), *[None] * blanks)
            known = self._ends[name] = form(load(name), keys, args)
        return known


def form(script: Script, keys: Sequence[bytes | None], args: Sequence[bytes | None]) -> bytes:
    """The command that runs a script, to be filled in by `%`: for each None the length of what goes there, then it itself."""
    items = (b"EVALSHA", script.sha, b"%d" % len(keys), *keys, *args)
    return b"*%d\r\n" % len(items) + b"".join(map(_part, items))


def _part(item: bytes | None) -> bytes:
    return b"$%d\r\n%b\r\n" if item is None else (b"$%d\r\n%b\r\n" % (len(item), item)).replace(b"%", b"%%")

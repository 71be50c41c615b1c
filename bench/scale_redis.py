"""One Redis with so many accounts, open holds, partitions and unread entries, and what calls cost on it.

Everything goes through the ledger's own code: its commands, the recorder's reading and acknowledging, the looks at lag and the
reaper's sweep. Only the crowd of accounts and the queue of events are copies, of an account (with the state of its two key
limits) and an event that the scripts have made themselves: a million of each would take minutes otherwise. Redis has the subject's
core to itself; this process drives it from another one. A sample leaves the numbers as they were: what it queued is
recorded, the ended holds are removed.
"""

import contextlib
import itertools
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from bench.figures import Figures
from bench.generator import LoadFailedError
from bench.ledger import DRAFT, RECORD
from bench.processes import Cores, cpu_ns, pin
from bench.scale_fit import percentile
from bench.scale_wire import Kept, Wire, gathered, now
from bench.subjects.farebox import redis_alone
from proxy.core.ids import new_call_id
from proxy.core.limits import REQUESTS, TOKENS, Limit
from proxy.core.outcomes import MAX_LEASE_MS, Held, HoldRequest
from proxy.ledger.connection import Argument, encode
from proxy.ledger.ledger import Ledger
from proxy.ledger.reaper import Reaper
from proxy.ledger.scripts import ScriptRunner, load
from proxy.records.epoch import is_current
from proxy.records.streams import Streams, lag

_IN_FLIGHT = 64
_EPOCH = "bench"
_SCRIPTS = ("hold", "settle", "open_account", "credit", "due", "expire", "trim")
_LEASE_MS = 60_000
_BATCH = 500  # events a commit, as the recorder has them
_CHUNK = 1000
_SETTLING_S = 0.3
_ENDED = 10_000


@dataclass(frozen=True)
class Crowd:
    """What a Redis holds while calls are made on it."""

    accounts: int = 1000
    open_holds: int = 0
    partitions: int = 1
    unread: int = 0


@dataclass(frozen=True)
class Effort:
    """How much one sample does: calls that are weighed, holds that are timed one by one, looks of each kind."""

    calls: int
    timed: int
    looks: int


class Site:
    """One Redis that is filled, and sampled again and again."""

    def __init__(self, wire: Wire, pid: int, crowd: Crowd) -> None:
        self._wire, self._pid, self._crowd = wire, pid, crowd
        self._kept = Kept()
        self._chance = random.Random(20261122)
        self._encoding = Ledger(cast("ScriptRunner", self._kept), crowd.partitions, _EPOCH)
        runner = cast("ScriptRunner", wire)
        self._ledger = Ledger(runner, crowd.partitions, _EPOCH)
        self._streams = Streams(wire, runner, self._ledger.partitions, "bench")
        self._reaper = Reaper(self._ledger)
        self.memory: Figures = {}

    def fill(self) -> None:
        """Makes accounts, open holds and unread entries; notes what each of them takes in memory."""
        wire, crowd = self._wire, self._crowd
        wire.ask(
            "CONFIG", "SET", "auto-aof-rewrite-percentage", 0
        )  # no second process at work in the middle of a sample
        for name in _SCRIPTS:
            wire.ask("SCRIPT", "LOAD", load(name).text)
        for partition in self._ledger.partitions:
            wire.ask("SET", partition.epoch, _EPOCH)
        now(self._streams.make_groups())
        account, limits, event = self._models()
        self._weigh("account", crowd.accounts, lambda: self._copy_accounts(account))
        self._weigh("key", crowd.accounts, lambda: self._copy_limits(limits))
        self._weigh("hold", crowd.open_holds, self._open_holds)
        self._weigh("record", crowd.unread, lambda: self._queue(event))
        self.memory |= {"used_mb": self._used() / 1024 / 1024}
        if crowd.open_holds >= _ENDED:
            self._weigh_ended()

    def sample(self, effort: Effort) -> Figures:
        """Makes calls, records them, and looks around; returns CPU of Redis (us) and latencies (us)."""
        figures: Figures = {}
        accounts = [self._chance.randrange(self._crowd.accounts) for _ in range(effort.calls)]
        call_ids = [new_call_id() for _ in accounts]
        began = time.process_time_ns()
        calls = self._encoded(call_ids, accounts)
        figures["encode_us"] = (time.process_time_ns() - began) / 1000 / effort.calls
        figures["call_us"] = self._weighed(lambda: self._in_flight(calls)) / effort.calls
        timed, timed_ids = accounts[: effort.timed], [new_call_id() for _ in range(effort.timed)]
        figures |= self._timed_holds(timed_ids, timed)
        made = effort.calls + effort.timed
        figures["record_us"] = self._weighed(lambda: self._record(made)) / made
        figures["lag_us"] = self._each(effort.looks, lambda: gathered(lag(self._wire, self._ledger.partitions)))
        figures["epoch_us"] = self._each(effort.looks, lambda: gathered(is_current(self._wire, self._ledger)))
        figures["sweep_us"] = self._each(effort.looks, lambda: now(self._reaper.sweep()))
        if not self._crowd.unread:  # with something there, the recorder is not idle
            figures["poll_us"] = self._each(effort.looks, lambda: now(self._streams.read_new(_BATCH)))
        self._forget([*call_ids, *timed_ids], [*accounts, *timed])
        return figures

    # Filling.

    def _models(self) -> tuple[bytes, list[bytes], list[bytes]]:
        """An account, its limits and an event as the scripts leave them; nothing of it stays."""
        ledger, number = self._ledger, 0
        name, partition = _account(number), ledger.partition_of(_account(number))
        now(ledger.open_account(name, 1))
        now(ledger.credit(name, "op_bench", "topup", 10**12, "digest", "bench", "", None))
        call_id = new_call_id()
        held = now(ledger.hold(_request(number, call_id, _LEASE_MS)))
        if not isinstance(held, Held):
            raise LoadFailedError(f"a hold was not granted: {held}")
        now(ledger.settle(name, call_id, 60, 40, RECORD))
        keys = [partition.limit(name, *place) for place in _limit_places(number)]
        account, *limits = self._wire.ask("MGET", partition.account(name), *keys)
        event = self._wire.ask("XREVRANGE", partition.stream, "+", "-", "COUNT", 1)[0][1]
        self._record(2)
        self._wire.ask("DEL", partition.hold(call_id), partition.operation("op_bench"), partition.account(name), *keys)
        return account, limits, event

    def _copy_accounts(self, account: bytes) -> None:
        for numbers in _chunks(self._crowd.accounts):
            pairs: dict[bytes, list[Argument]] = {}
            members: dict[bytes, list[Argument]] = {}
            for number in numbers:
                name = _account(number)
                partition = self._ledger.partition_of(name)
                pairs.setdefault(partition.prefix, []).extend((partition.account(name), account))
                members.setdefault(partition.accounts, []).append(name)
            self._together(
                [("MSET", *one) for one in pairs.values()] + [("SADD", key, *ones) for key, ones in members.items()]
            )

    def _copy_limits(self, limits: Sequence[bytes]) -> None:
        for numbers in _chunks(self._crowd.accounts):
            pairs: list[Argument] = []
            for number in numbers:
                name = _account(number)
                partition = self._ledger.partition_of(name)
                for place, value in zip(_limit_places(number), limits, strict=True):
                    pairs += (partition.limit(name, *place), value)
            self._together([("MSET", *pairs)])

    def _open_holds(self) -> None:
        for numbers in _chunks(self._crowd.open_holds):
            self._kept.commands.clear()
            for number in numbers:
                now(self._encoding.hold(_request(number % self._crowd.accounts, new_call_id(), MAX_LEASE_MS)))
            self._in_flight(self._batches())

    def _queue(self, event: Sequence[bytes]) -> None:
        streams = [partition.stream for partition in self._ledger.partitions]
        for numbers in _chunks(self._crowd.unread):
            self._together([("XADD", streams[number % len(streams)], "*", *event) for number in numbers])

    def _weigh_ended(self) -> None:
        """What a call leaves behind once it is recorded: how its hold ended, for ten minutes."""
        accounts = [number % self._crowd.accounts for number in range(_ENDED)]
        call_ids = [new_call_id() for _ in accounts]
        calls = self._encoded(call_ids, accounts)

        def make() -> None:
            self._in_flight(calls)
            self._record(_ENDED)

        self._weigh("ended", _ENDED, make)
        self._forget(call_ids, accounts)

    def _together(self, commands: Sequence[tuple[Argument, ...]]) -> None:
        self._wire.write(b"".join(encode(command) for command in commands))
        self._wire.replies(len(commands))

    def _weigh(self, name: str, count: int, make: Callable[[], None]) -> None:
        if count < 10_000:  # buffers and tables of Redis itself are more than what is made
            make()
            return
        before = self._used()
        make()
        self.memory[f"{name}_bytes"] = (self._used() - before) / count

    def _used(self) -> float:
        """`used_memory` once the tables that grew have been moved and the log has left its buffer."""
        last, seen = -1, self._memory()
        while seen != last:
            time.sleep(_SETTLING_S)
            last, seen = seen, self._memory()
        return seen

    def _memory(self) -> int:
        lines = self._wire.ask("INFO", "memory").decode().splitlines()
        return next(int(line.partition(":")[2]) for line in lines if line.startswith("used_memory:"))

    # Sampling.

    def _encoded(self, call_ids: Sequence[str], accounts: Sequence[int]) -> list[list[bytes]]:
        """So many holds and their settlements, 64 of each in turn."""
        self._kept.commands.clear()
        calls = list(zip(call_ids, accounts, strict=True))
        for place in range(0, len(calls), _IN_FLIGHT):
            batch = calls[place : place + _IN_FLIGHT]
            for call_id, number in batch:
                now(self._encoding.hold(_request(number, call_id, _LEASE_MS)))
            for call_id, number in batch:
                now(self._encoding.settle(_account(number), call_id, 60, 40, RECORD))
        return self._batches()

    def _batches(self) -> list[list[bytes]]:
        commands = self._kept.commands
        return [commands[place : place + _IN_FLIGHT] for place in range(0, len(commands), _IN_FLIGHT)]

    def _in_flight(self, batches: Sequence[Sequence[bytes]]) -> None:
        """The next batch is there before the last is answered, so that Redis never waits."""
        wire = self._wire
        wire.write(b"".join(batches[0]))
        for batch, after in itertools.zip_longest(batches, batches[1:]):
            if after:
                wire.write(b"".join(after))
            for reply in wire.replies(len(batch)):
                if not isinstance(reply, bytes):  # a refusal is a list
                    raise LoadFailedError(f"not what a call is answered: {reply!r}")

    def _timed_holds(self, call_ids: Sequence[str], accounts: Sequence[int]) -> Figures:
        """One hold at a time, from the write to the reply."""
        commands = [
            command
            for batch in self._encoded(call_ids, accounts)
            for command in batch
            if b"\r\n" + load("hold").sha in command
        ]
        taken = []
        for command in commands:
            began = time.perf_counter_ns()
            self._wire.write(command)
            reply = self._wire.replies(1)[0]
            taken.append((time.perf_counter_ns() - began) / 1000)
            if not isinstance(reply, bytes):
                raise LoadFailedError(f"a hold was not granted: {reply!r}")
        for call_id, number in zip(call_ids, accounts, strict=True):
            now(self._ledger.settle(_account(number), call_id, 60, 40, RECORD))
        return {"hold_p50_us": percentile(taken, 0.5), "hold_p99_us": percentile(taken, 0.99)}

    def _record(self, wanted: int) -> None:
        """What the recorder does to so many events, but for the commit."""
        done = 0
        while done < wanted:
            entries = now(self._streams.read_new(min(_BATCH, wanted - done)))
            gathered(self._streams.acknowledge(entries, ()))
            done += len(entries)
        now(self._streams.trim())

    def _forget(self, call_ids: Sequence[str], accounts: Sequence[int]) -> None:
        """Removes what ended holds leave behind for ten minutes, so that the next sample finds the same Redis."""
        keys: dict[bytes, list[bytes]] = {}
        for call_id, number in zip(call_ids, accounts, strict=True):
            partition = self._ledger.partition_of(_account(number))
            keys.setdefault(partition.prefix, []).append(partition.hold(call_id))
        self._together([("UNLINK", *ones) for ones in keys.values()])

    def _each(self, times: int, look: Callable[[], object]) -> float:
        def all_of_them() -> None:
            for _ in range(times):
                look()

        return self._weighed(all_of_them) / times

    def _weighed(self, work: Callable[[], None]) -> float:
        """CPU of Redis for this work, in microseconds."""
        before = cpu_ns(self._pid)
        work()
        return (cpu_ns(self._pid) - before) / 1000


@contextlib.contextmanager
def site(directory: Path, crowd: Crowd, cores: Cores) -> Iterator[Site]:
    """A Redis on the subject's core, filled."""
    directory.mkdir(parents=True)
    with redis_alone(directory) as (port, pid, _):
        pin(pid, cores.subject)
        wire = Wire(port)
        try:
            one = Site(wire, pid, crowd)
            one.fill()
            yield one
        finally:
            wire.close()


def _account(number: int) -> str:
    return f"acct_{number:020d}"


def _limit_places(number: int) -> tuple[tuple[str, str], ...]:
    """Letter and scope of the limits of the account's only key, as `Partition.limit` wants them."""
    return ("r", f"key:key_{number:020d}"), ("t", f"key:key_{number:020d}")


def _request(number: int, call_id: str, lease_ms: int) -> HoldRequest:
    scope = f"key:key_{number:020d}"
    limits = (Limit(scope, REQUESTS, 10**9), Limit(scope, TOKENS, 10**10))
    return HoldRequest(_account(number), call_id, 100, 1040, lease_ms, limits, 1, DRAFT)


def _chunks(count: int) -> Iterator[range]:
    return (range(first, min(first + _CHUNK, count)) for first in range(0, count, _CHUNK))

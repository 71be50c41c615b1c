"""The composition root: what each role is made of, and how it starts and stops.

Roles: `worker` serves calls, `recorder` moves the stream into SQL, `reaper` ends abandoned holds and expired grants and
finishes credit operations that a crash left pending, `operator` answers scrapes. Nothing is shared between processes but
Redis, SQL and the metrics directory.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from proxy import descriptors, logs, memory
from proxy.accounts.authenticator import Authenticator
from proxy.accounts.desk import Desk
from proxy.accounts.keys import KeyHasher
from proxy.accounts.model_prices import ModelPrices
from proxy.config import parse_listen
from proxy.core.clock import SystemClock
from proxy.core.errors import ConfigError, Unavailable
from proxy.ledger.connection import RedisConnection
from proxy.ledger.keys import Partition
from proxy.ledger.ledger import Ledger
from proxy.ledger.reaper import Reaper
from proxy.ledger.scripts import RedisScripts, load_all
from proxy.ledger.server import check_server
from proxy.metrics import Metrics, use_directory
from proxy.pipeline.handle import Pipeline
from proxy.pipeline.health import Health
from proxy.pipeline.hold import Credits
from proxy.pipeline.resources import Resources
from proxy.pipeline.routes import Reloader, Routes, default_limits
from proxy.pipeline.server import DataListener
from proxy.pipeline.spool import Spool
from proxy.providers.tokens import TokenCounter
from proxy.records.epoch import EpochFollower, agree
from proxy.records.recorder import Pace, Recorder
from proxy.records.streams import Streams
from proxy.sql.database import open_database
from proxy.surfaces.building import open_surfaces
from proxy.tasks import Tasks, in_turns

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine

    from proxy.config import Config
    from proxy.sql.database import Database

log = logging.getLogger("farebox.app")

METRICS_FLUSH_S = 1.0
STARTING_PAUSE_S = 0.5
EPOCH_LOOK_S = 1.0
GRANTS_SWEEP_S = 1.0
RECONCILE_S = 15.0
BACKLOG = 1024
LOOP_WATCH_S = 0.01
PATIENT_S = 10.0  # roles behind the request path may wait longer for Redis than a call does
READY_FD = "FAREBOX_READY_FD"
# A thread that runs Python (a reload, a large prompt) keeps the interpreter so long each time that the event loop wants it back, which is
# whenever the loop waited or let go of it: Python's own 5 ms add up to 30 in one turn.
SWITCH_S = 0.0005


def metrics_directory(config: Config) -> Path:
    """Where this host's processes keep their metrics."""
    return Path(config.server.state_dir) / "metrics"


def run_role(
    name: str, config: Config, index: int, listen_fd: int | None, read_again: Callable[[], Config] | None = None
) -> int:
    """Runs one role until SIGTERM or SIGINT; returns the exit code. Raises ConfigError for a start that cannot work.

    `read_again` gives the configuration as it stands when SIGHUP comes.
    """
    logs.set_up(config.logs.level, config.logs.format, f"{name}-{index}" if name == "worker" else name)
    use_directory(metrics_directory(config))
    roles = {"worker": _worker, "recorder": _recorder, "reaper": _reaper, "operator": _operator}
    sys.setswitchinterval(SWITCH_S)
    if name == "worker":
        descriptors.make_room()
    uvloop.run(roles[name](Start(config, index, listen_fd, read_again or (lambda: config))))
    return 0


@dataclass(frozen=True, slots=True)
class Start:
    """What a role is started with."""

    config: Config
    index: int
    listen_fd: int | None
    read_again: Callable[[], Config]


@dataclass(frozen=True, slots=True)
class Stores:
    """What a role works on."""

    database: Database
    redis: RedisConnection
    ledger: Ledger


@asynccontextmanager
async def open_stores(
    config: Config, stop: asyncio.Event, command_timeout_s: float = PATIENT_S
) -> AsyncIterator[Stores]:
    """Opens SQL and Redis and agrees on their epoch; waits for a store that is not there yet, as long as `stop` is unset."""
    async with AsyncExitStack() as stack:
        database = open_database(config.database.url)
        stack.push_async_callback(database.close)
        redis = RedisConnection(config.redis.url, command_timeout_s=command_timeout_s)
        stack.push_async_callback(redis.close)
        epoch = await _agreed_epoch(config, database, redis, stop)
        load_all()
        ledger = Ledger(RedisScripts(redis), config.redis.partitions, epoch)
        tasks = Tasks()
        stack.push_async_callback(tasks.close)
        tasks.every("epoch", EPOCH_LOOK_S, EpochFollower(redis, database, ledger).look)
        yield Stores(database, redis, ledger)


async def _worker(start: Start) -> None:
    config, index, listen_fd = start.config, start.index, start.listen_fd
    stop = _stop_signal()
    tasks, metrics = Tasks(), Metrics()
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        stores = await enter(open_stores(config, stop, config.redis.command_timeout_ms / 1000))
        authenticator = Authenticator(
            stores.database,
            stores.ledger,
            KeyHasher(config.keys.pepper),
            SystemClock(),
            default_limits=default_limits(config),
        )
        spool = Spool(Path(config.server.state_dir) / "spool" / f"worker-{index}.jsonl", stores.ledger)
        counter = TokenCounter()
        credits_ = Credits(
            ledger=stores.ledger,
            authenticator=authenticator,
            counter=counter,
            spool=spool,
            metrics=metrics,
            resources=Resources(stores.redis, stores.ledger, metrics, config.credits),
            config=config.credits,
        )
        health = _health(config, stores)
        routes = Routes(config)
        pipeline = Pipeline(
            config,
            paths=routes.paths,
            router=routes.router,
            models=routes.models,
            authenticator=authenticator,
            credits_=credits_,
            metrics=metrics,
            clock=SystemClock(),
            health=health,
        )
        surfaces = await enter(open_surfaces(config, stores.redis, stores.ledger, authenticator, pipeline))
        listener = DataListener(config.server, pipeline.handle, pipeline.heads)
        server = await asyncio.get_running_loop().create_server(
            listener.protocol, sock=_listening_socket(config.server.listen, listen_fd), backlog=BACKLOG
        )
        for part in (listener, credits_, spool, health):
            part.start(tasks)
        tasks.spawn("event loop lag", _watch_loop(metrics))
        reloader = Reloader(start.read_again, routes, pipeline, authenticator, tasks, surfaces.reload)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reloader.reload)
        metrics.flush()  # the library is imported now, and not while calls wait
        tasks.every("metrics", METRICS_FLUSH_S, _worker_flusher(metrics, stores.ledger))
        memory.Collector(lambda: listener.open_calls).start(tasks)
        _say_ready()
        await stop.wait()
        health.draining = True
        server.close()
        await listener.drain(config.server.drain_s, counter.give_up)
        await tasks.close()
        await counter.close()
        await reloader.routes.close()
        metrics.flush()


async def _recorder(start: Start) -> None:
    config, index = start.config, start.index
    stop = _stop_signal()
    tasks, metrics = Tasks(), Metrics()
    async with open_stores(config, stop) as stores:
        scripts = RedisScripts(stores.redis)
        streams = Streams(stores.redis, scripts, stores.ledger.partitions, f"{socket.gethostname()}-{index}")
        pace = Pace(config.recorder.batch_size, config.recorder.poll_ms / 1000, config.recorder.claim_after_s)
        recorder = Recorder(streams, stores.ledger.partitions, stores.database, pace)
        tasks.spawn("recorder", recorder.run())
        tasks.every("metrics", METRICS_FLUSH_S, _recorder_flusher(metrics, recorder))
        memory.settle()
        _say_ready()
        await stop.wait()
        await tasks.close()
        metrics.flush()


async def _reaper(start: Start) -> None:
    config = start.config
    stop = _stop_signal()
    tasks, metrics = Tasks(), Metrics()
    async with open_stores(config, stop) as stores:
        reaper = Reaper(stores.ledger, policy=config.credits.abandoned)

        async def sweep() -> None:
            metrics.swept.add((), (await reaper.sweep()).expired)

        desk = Desk(
            stores.database,
            stores.ledger,
            RedisScripts(stores.redis),
            SystemClock(),
            hasher=KeyHasher(config.keys.pepper),
            prices=ModelPrices.of(config),
        )
        tasks.every("reaper", config.credits.sweep_s, sweep)
        reconcile = _patient(desk.reconciler.sweep)
        tasks.every("grants", GRANTS_SWEEP_S, _patient(desk.grants.sweep))
        tasks.spawn("first reconciliation", reconcile())
        tasks.every("reconciliation", RECONCILE_S, reconcile)
        tasks.every("metrics", METRICS_FLUSH_S, _flusher(metrics))
        memory.settle()
        _say_ready()
        await stop.wait()
        await tasks.close()
        metrics.flush()


def _patient(step: Callable[[], Awaitable[object]]) -> Callable[[], Coroutine[object, object, None]]:
    """A step that leaves it to the next round where a store is away."""

    async def step_or_wait() -> None:
        try:
            await step()
        except Unavailable as error:
            log.warning("put off: %s", error.message)

    return step_or_wait


async def _operator(start: Start) -> None:
    config, listen_fd = start.config, start.listen_fd
    if not config.admin.token:
        msg = "admin.token is empty; the operators' listener needs a credential of its own"
        raise ConfigError(msg)
    from proxy.admin.building import open_office  # noqa: PLC0415 - see the next line
    from proxy.admin.operator import Operator, serve_operators  # noqa: PLC0415 - prometheus-client must not be loaded earlier
    from proxy.admin.webhook_sender import send_webhooks  # noqa: PLC0415 - no other role needs an HTTP client of this kind

    stop = _stop_signal()
    async with open_stores(config, stop) as stores:
        health = _health(config, stores)
        sock = _listening_socket(config.admin.listen, listen_fd)
        office = open_office(config, start.read_again, stores.database, stores.redis, stores.ledger)
        tasks = Tasks()
        asyncio.get_running_loop().add_signal_handler(
            signal.SIGHUP, lambda: tasks.spawn("reload", office.settings.reread())
        )
        operator = Operator(
            office, health=health, metrics=metrics_directory(config), open_metrics=config.admin.open_metrics
        )
        operator.start(tasks)
        async with send_webhooks(config.webhooks, stores.database, SystemClock()), serve_operators(operator, sock):
            _say_ready()
            await stop.wait()
        await tasks.close()


async def _agreed_epoch(config: Config, database: Database, redis: RedisConnection, stop: asyncio.Event) -> str:
    """The epoch of both stores. A store that is away is waited for; one that lost its data is not served on."""
    while True:
        try:
            if not redis.is_up:
                await redis.start()
            await check_server(redis, require_append_only=config.redis.require_append_only)
            return await agree(redis, database, [Partition.at(number) for number in range(config.redis.partitions)])
        except Unavailable as error:
            log.warning("not ready yet: %s", error.message)
        try:
            await asyncio.wait_for(stop.wait(), STARTING_PAUSE_S)
        except TimeoutError:
            continue
        raise SystemExit(0)


def _stop_signal() -> asyncio.Event:
    """Set by SIGTERM and SIGINT. SIGHUP is answered by the roles that reload, and must end none."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, lambda: log.info("SIGHUP: nothing to reload here"))
    return stop


def _listening_socket(listen: str, listen_fd: int | None) -> socket.socket:
    if listen_fd is not None:
        sock = socket.socket(fileno=listen_fd)
    else:
        host, port = parse_listen(listen)
        sock = socket.create_server((host, port), backlog=BACKLOG, reuse_port=True)
    sock.setblocking(False)
    return sock


def _health(config: Config, stores: Stores) -> Health:
    return Health(stores.redis, stores.ledger, config.recorder.max_lag_records)


def _flusher(metrics: Metrics) -> Callable[[], Awaitable[None]]:
    async def flush() -> None:
        steps = metrics.steps()
        try:
            await in_turns(steps)
        finally:
            for _ in steps:  # a role that ends meanwhile writes what was taken over, too
                pass

    return flush


def _worker_flusher(metrics: Metrics, ledger: Ledger) -> Callable[[], Awaitable[None]]:
    seen, write = 0, _flusher(metrics)

    async def flush() -> None:
        nonlocal seen
        metrics.ambiguous.add((), ledger.ambiguous_holds - seen)
        seen = ledger.ambiguous_holds
        await write()

    return flush


def _recorder_flusher(metrics: Metrics, recorder: Recorder) -> Callable[[], Awaitable[None]]:
    seen, write = {"written": 0, "buried": 0}, _flusher(metrics)

    async def flush() -> None:
        for name, counter in (("written", metrics.recorded), ("buried", metrics.dead_letters)):
            total = getattr(recorder.tally, name)
            counter.add((), total - seen[name])
            seen[name] = total
        await write()

    return flush


async def _watch_loop(metrics: Metrics) -> None:
    """Notes how late a timer fires: what a blocked event loop costs every call."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + LOOP_WATCH_S
        await asyncio.sleep(LOOP_WATCH_S)
        metrics.loop_lag.observe((), max(loop.time() - due, 0.0))


def _say_ready() -> None:
    descriptor = os.environ.pop(READY_FD, "")
    if descriptor:
        os.write(int(descriptor), b"1")
        os.close(int(descriptor))

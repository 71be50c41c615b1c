"""The parent of `farebox serve` and `farebox dev`: starts the roles' processes, starts dead ones again, stops all in order.

A plain synchronous process manager. It binds the listening sockets itself, one for each worker (SO_REUSEPORT), and hands
them down: a killed worker's successor takes the same socket, so that no connection is refused in between.
Nobody outlives the supervisor (proxy/lifeline.py); the supervisor stops workers first, then the roles that they need,
the embedded Redis last. A role says that it serves with one byte on the descriptor in FAREBOX_READY_FD.
"""

import logging
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType

from proxy.core.errors import ConfigError
from proxy.embedded import EmbeddedRedis
from proxy.lifeline import Backoff, Child, spawn

log = logging.getLogger(__name__)

READY_TIMEOUT_S = 60.0
STOP_MARGIN_S = 10.0  # beyond a role's grace, before it is killed
BACKLOG = 1024  # connections that wait while a dead worker's successor starts
TICK_S = 0.1
READY_FD = "FAREBOX_READY_FD"

_Handler = Callable[[int, FrameType | None], object] | int | None


@dataclass(frozen=True)
class Role:
    """One process to keep running: `argv`, the socket it inherits, and how long it may take to stop (seconds)."""

    name: str
    argv: tuple[str, ...]
    listen: socket.socket | None = None
    grace_s: float = 5.0
    stops_first: bool = False
    env: Mapping[str, str] = field(default_factory=dict)


class _Seat:
    """A role's place: whoever sits in it may die and be replaced."""

    def __init__(self, role: Role) -> None:
        self.role = role
        self.child: Child | None = None
        self.backoff = Backoff()
        self.ready = False
        self.served = False  # one of its processes was ready once
        self.ready_fd: int | None = None

    def fill(self) -> None:
        """Starts the process."""
        reading, writing = os.pipe()
        listen = self.role.listen
        fds = [writing] if listen is None else [writing, listen.fileno()]
        env = {**os.environ, **self.role.env, READY_FD: str(writing)}
        try:
            self.child = spawn(self.role.argv, env=env, pass_fds=fds)
        finally:
            os.close(writing)
        self.backoff.started()
        self._close_ready()
        self.ready, self.ready_fd = False, reading

    def check_ready(self) -> None:
        """Reads the pipe, which has a byte or its end."""
        assert self.ready_fd is not None
        self.ready = bool(os.read(self.ready_fd, 1))
        self.served = self.served or self.ready
        self._close_ready()

    def vacated(self) -> int | None:
        """The exit code of the process that ended, once; None while it runs or the seat is empty."""
        code = None if self.child is None else self.child.poll()
        if code is not None:
            self.child = None
            self._close_ready()
        return code

    def _close_ready(self) -> None:
        if self.ready_fd is not None:
            os.close(self.ready_fd)
            self.ready_fd = None


class Supervisor:
    """Runs roles until SIGTERM or SIGINT. `on_ready` is called once when all serve; `on_reload` before SIGHUP is passed on."""

    def __init__(
        self,
        roles: Sequence[Role],
        redis: EmbeddedRedis | None,
        *,
        on_ready: Callable[[], None] = lambda: None,
        on_reload: Callable[[], None] = lambda: None,
    ) -> None:
        self._seats = [_Seat(role) for role in roles]
        self._redis = redis
        self._on_ready = on_ready
        self._on_reload = on_reload
        self._asked: list[int] = []  # signals that arrived and wait for the loop
        self._wake = socket.socketpair()

    def run(self) -> int:
        """Starts everything, keeps it running, stops it when asked; 0 for a clean stop, 1 when a role could not start."""
        before = self._take_signals()
        try:
            failed = not self._start()
            if not failed:
                self._on_ready()
                self._keep_running()
            clean = self._stop()
            return 0 if clean and not failed else 1
        finally:
            self._give_signals_back(before)

    # The life of the roles.

    def _start(self) -> bool:
        """Starts the roles and waits until all serve. False when one ended instead, or none answered in time."""
        for seat in self._seats:
            seat.fill()
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not all(seat.ready for seat in self._seats):
            if self._stopping():
                return True
            self._sleep()
            self._keep_redis()
            for seat in self._seats:
                if seat.served:
                    self._refill(seat)  # it can serve: that it died meanwhile is no reason to give up
                    continue
                code = seat.vacated()
                if code is not None:
                    log.error("%s ended with code %d before it served; stopping", seat.role.name, code)
                    return False
            if time.monotonic() > deadline:
                late = ", ".join(seat.role.name for seat in self._seats if not seat.ready)
                log.error("not serving after %.0f s: %s; stopping", READY_TIMEOUT_S, late)
                return False
        return True

    def _keep_running(self) -> None:
        while not self._stopping():
            self._sleep()
            if signal.SIGHUP in self._asked:
                self._asked.remove(signal.SIGHUP)
                self._reload()
            self._keep_redis()
            for seat in self._seats:
                self._refill(seat)

    def _refill(self, seat: _Seat) -> None:
        code = seat.vacated()
        if code is not None:
            log.warning("%s ended with code %d and is started again", seat.role.name, code)
        if seat.child is None and seat.backoff.over():
            seat.fill()

    def _reload(self) -> None:
        try:
            self._on_reload()
        except ConfigError as error:
            log.error("not reloaded: %s", error.message)  # noqa: TRY400 - the message says it all
            return
        for seat in self._seats:
            if seat.child is not None and seat.ready:
                seat.child.signal(signal.SIGHUP)

    def _stop(self) -> bool:
        """Workers first, so that their last settlements still find the recorder and Redis. False if one had to be killed."""
        self._asked.clear()
        for seat in self._seats:
            if seat.role.listen is not None:
                seat.role.listen.close()
        clean = self._stop_seats([seat for seat in self._seats if seat.role.stops_first])
        clean = self._stop_seats([seat for seat in self._seats if not seat.role.stops_first]) and clean
        if self._redis is not None:
            self._redis.stop()
        return clean

    def _stop_seats(self, seats: Sequence[_Seat]) -> bool:
        for seat in seats:
            if seat.child is not None:
                seat.child.signal(signal.SIGTERM)
        deadline = time.monotonic() + max((seat.role.grace_s for seat in seats), default=0) + STOP_MARGIN_S
        while any(seat.child is not None for seat in seats):
            for seat in seats:
                seat.vacated()
            impatient = self._stopping()  # asked a second time
            if impatient or time.monotonic() > deadline:
                return self._kill(seats)
            self._keep_redis()
            self._sleep()
        return True

    def _kill(self, seats: Sequence[_Seat]) -> bool:
        for seat in seats:
            if seat.child is not None:
                log.error("%s did not stop in time and is killed; its holds end by their lease", seat.role.name)
                seat.child.signal(signal.SIGKILL)
                seat.child.wait()
                seat.vacated()
        return False

    def _keep_redis(self) -> None:
        if self._redis is not None:
            self._redis.keep_alive()

    # Waiting and signals.

    def _sleep(self) -> None:
        """Until a signal, a ready byte or the next tick."""
        waiting = {seat.ready_fd: seat for seat in self._seats if seat.ready_fd is not None}
        wake = self._wake[0].fileno()
        reading, _, _ = select.select([wake, *waiting], [], [], TICK_S)
        for source in reading:
            if source == wake:
                self._wake[0].recv(4096)
            else:
                waiting[source].check_ready()

    def _stopping(self) -> bool:
        return signal.SIGTERM in self._asked or signal.SIGINT in self._asked

    def _take_signals(self) -> dict[int, _Handler]:
        for end in self._wake:
            end.setblocking(False)
        signal.set_wakeup_fd(self._wake[1].fileno(), warn_on_full_buffer=False)

        def note(number: int, frame: FrameType | None) -> None:
            del frame
            if number != signal.SIGCHLD:  # its only purpose is to wake the loop
                self._asked.append(number)

        wanted = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
        return {number: signal.signal(number, note) for number in wanted}

    def _give_signals_back(self, before: Mapping[int, _Handler]) -> None:
        signal.set_wakeup_fd(-1)
        for number, handler in before.items():
            signal.signal(number, handler)
        for end in self._wake:
            end.close()


def bind_shared(host: str, port: int, count: int) -> list[socket.socket]:
    """`count` listening sockets on one port (0: any free one, the same for all). Raises ConfigError where it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sockets: list[socket.socket] = []
    _refuse_taken(family, host, port)
    for _ in range(count):
        listening = socket.socket(family, socket.SOCK_STREAM)
        sockets.append(listening)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            listening.bind((host, port))
            listening.listen(BACKLOG)
        except OSError as error:
            for opened in sockets:
                opened.close()
            raise ConfigError(_cannot_listen(host, port, error)) from error
        port = listening.getsockname()[1]
    return sockets


def _refuse_taken(family: int, host: str, port: int) -> None:
    """SO_REUSEPORT would let a second Farebox of the same user join the port unnoticed, and take half of its calls."""
    if port == 0:
        return
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigError(_cannot_listen(host, port, error)) from error


def _cannot_listen(host: str, port: int, error: OSError) -> str:
    return (
        f"cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}. Stop what uses it, or choose another port."
    )

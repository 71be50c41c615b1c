"""The commands as programs use them: `--json` shapes, exit codes, nothing changed by what is refused."""

import getpass
import json
import os
import signal
import struct
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis

from tests.support.farebox import Farebox, command, command_json, command_lines, program
from tests.support.processes import until

CONFIG = """
[server]
listen = "127.0.0.1:0"
workers = 2
state_dir = "{folder}/state"
[admin]
listen = "127.0.0.1:0"
token = "an-admin-token"
[keys]
pepper = "a pepper for the tests"
[redis]
url = "embedded"
[database]
url = "sqlite:///{folder}/state/farebox.db"
[providers.local]
dialect = "openai"
base_url = "http://127.0.0.1:9/v1"
api_key = "unused"
models = ["test-model"]
[prices."test-model"]
input = "1.00"
output = "2.00"
"""


def configure(folder: Path) -> Path:
    (folder / "farebox.toml").write_text(CONFIG.format(folder=folder), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder whose Farebox runs; commands in it find its configuration."""
    folder = configure(tmp_path_factory.mktemp("served"))
    with Farebox(["serve", "--allow-embedded"], folder) as farebox:
        farebox.wait_for("^Farebox serves on http://")
        yield folder
        assert farebox.stop() == 0, farebox.output


@pytest.fixture
def account(served: Path, request: pytest.FixtureRequest) -> str:
    name = f"of {request.node.name}"
    command_json(served, "account", "create", name, "--credits", "12.5")
    return name


def test_account_shapes(served: Path) -> None:
    made = command_json(served, "account", "create", "shapes", "--credits", "2.000001")
    assert made["name"] == "shapes"
    assert made["id"].startswith("acct_")
    assert command_json(served, "account", "show", made["id"]) == made
    assert made in command_lines(served, "account", "list")
    assert command_json(served, "balance", "shapes") == {
        "credits": "2.000001",
        "microcredits": 2_000_001,
        "held": 0,
        "available": 2_000_001,
    }
    assert command_json(served, "account", "suspend", "shapes")["status"] == "suspended"
    assert command_json(served, "account", "resume", "shapes")["status"] == "active"
    again = command(served, "account", "create", "shapes")
    assert again.returncode == 1
    assert "already an account" in again.stderr


def test_key_shapes(served: Path, account: str) -> None:
    user = command_json(served, "key", "create", account, "--name", "laptop", "--model", "test-*", "--concurrent", "3")
    assert user["key"].startswith("sk-fb-")
    assert (user["models"], user["limits"]) == (["test-*"], {"concurrent": 3})
    manager = command_json(served, "key", "create", account, "--manager")
    assert manager["key"].startswith("sk_mg_")
    listed = command_lines(served, "key", "list", account)
    assert {row["id"] for row in listed} == {user["id"], manager["id"]}
    assert not [row for row in listed if "key" in row]
    rotated = command_json(served, "key", "rotate", user["id"])
    assert rotated["key"] != user["key"]
    assert rotated["limits"] == user["limits"]
    assert command_json(served, "key", "revoke", rotated["id"], "--yes")["status"] == "revoked"
    statuses = {row["id"]: row["status"] for row in command_lines(served, "key", "list", account)}
    assert statuses == {user["id"]: "revoked", rotated["id"]: "revoked", manager["id"]: "active"}


def test_key_limits_are_changed_by_the_options_that_made_them(served: Path, account: str) -> None:
    made = command_json(served, "key", "create", account, "--requests-per-minute", "5", "--limit", "budget_month=9")
    assert made["limits"] == {"requests_per_minute": 5, "budget_month": "9"}
    changed = command_json(served, "key", "update", made["id"], "--requests-per-minute", "60", "--concurrent", "2")
    assert changed["limits"] == {"requests_per_minute": 60, "concurrent": 2, "budget_month": "9"}
    assert command_json(served, "key", "update", made["id"], "--budget-month", "none")["limits"] == {
        "requests_per_minute": 60,
        "concurrent": 2,
    }
    assert command_json(served, "account", "update", account, "--budget-day", "3")["limits"] == {"budget_day": "3"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--expires", "2020-01-01"), "is over already"),
        (("--manager", "--scope", "usage"), "there is no scope 'usage'; scopes: usage:read, balance:read"),
        (("--requests-per-minute", "0"), "whole number from 1"),
        (("--requests-per-minute", "many"), "not 'many'"),
    ],
)
def test_a_key_that_could_never_be_used_is_not_made(
    served: Path, account: str, words: tuple[str, ...], said: str
) -> None:
    refused = command(served, "key", "create", account, *words)
    assert refused.returncode in {1, 2}
    assert said in refused.stderr
    assert command_lines(served, "key", "list", account) == []


def test_a_key_is_not_ended_without_being_asked(served: Path, account: str) -> None:
    made = command_json(served, "key", "create", account)
    refused = command(served, "key", "revoke", made["id"])
    assert (refused.returncode, "Say --yes" in refused.stderr) == (2, True)
    assert command_json(served, "key", "show", made["id"])["status"] == "active"


def test_a_key_past_its_end_is_shown_as_expired(served: Path, account: str) -> None:
    made = command_json(served, "key", "create", account, "--expires", "1h")
    soon = (datetime.now(UTC) + timedelta(seconds=2)).isoformat(timespec="milliseconds")
    command_json(served, "key", "update", made["id"], "--expires", soon)
    until(lambda: "expired" in command(served, "key", "list", account).stdout)
    assert "expired" in command(served, "key", "show", made["id"]).stdout


def test_what_nobody_would_hear_of_is_said(served: Path, account: str) -> None:
    told = command(served, "account", "update", account, "--low-balance", "3")
    assert (told.returncode, "Nobody is told yet" in told.stderr) == (0, True)
    assert command(served, "account", "update", account, "--low-balance", "none").stderr == ""


def test_an_export_says_how_much_it_wrote(served: Path, account: str) -> None:
    until(lambda: len(command_lines(served, "ledger", account)) == 1)
    said = command(served, "export", "ledger", "--account", account, "--output", "ledger.csv")
    assert (said.returncode, said.stdout, said.stderr.strip()) == (0, "", "1 rows in ledger.csv")


def test_a_topup_is_a_ledger_entry_and_applied_once(served: Path, account: str) -> None:
    first = command_json(served, "topup", account, "0.5", "--key", "invoice-7", "--reason", "invoice 7")
    assert first["kind"] == "topup"
    assert (first["seq"], first["amount_microcredits"]) == (2, 500_000)
    assert (first["before_microcredits"], first["after_microcredits"]) == (12_500_000, 13_000_000)
    actor = f"cli:{getpass.getuser()}"
    assert (first["idempotency_key"], first["reason"], first["actor"]) == ("invoice-7", "invoice 7", actor)
    assert command_json(served, "topup", account, "0.500000", "--key", "invoice-7") == first
    other = command(served, "topup", account, "0.6", "--key", "invoice-7")
    assert other.returncode == 1
    assert "idempotency key" in other.stderr
    until(lambda: len(command_lines(served, "ledger", account)) == 2)
    assert command_lines(served, "ledger", account, "--limit", "1") == [first]
    assert command_json(served, "balance", account)["microcredits"] == 13_000_000


@pytest.mark.parametrize(
    "amount", ["-5", "0", "1e3", "NaN", "0.0000001", "9007199254.740992", "99999999999999999999", "", "five"]
)
def test_an_amount_that_cannot_be_changes_nothing(served: Path, account: str, amount: str) -> None:
    done = command(served, "topup", account, amount, "--key", "bad")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert command_json(served, "balance", account)["microcredits"] == 12_500_000


def test_the_largest_topup_is_exact(served: Path) -> None:
    command_json(served, "account", "create", "largest")
    entry = command_json(served, "topup", "largest", "9007199254.740991", "--key", "all")
    assert entry["after_microcredits"] == 2**53 - 1
    assert command_json(served, "balance", "largest")["credits"] == "9007199254.740991"
    assert command(served, "topup", "largest", "0.000001", "--key", "one more").returncode == 1
    assert command_json(served, "balance", "largest")["microcredits"] == 2**53 - 1


def test_usage_of_an_account_without_calls(served: Path, account: str) -> None:
    assert command_lines(served, "usage", account) == []
    assert "No calls yet" in command(served, "usage", account).stdout


@pytest.mark.parametrize("words", [("balance",), ("usage",), ("ledger",), ("account", "show"), ("key", "create")])
def test_an_account_that_is_not_there(served: Path, words: tuple[str, ...]) -> None:
    done = command(served, *words, "nobody")
    assert done.returncode == 1
    assert "There is no account 'nobody'" in done.stderr


def test_as_a_process_it_prints_and_exits_in_the_same_way(served: Path, account: str) -> None:
    done = program(served, "balance", account, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == command_json(served, "balance", account)
    for words, code in ((["balance", "nobody"], 1), (["balance", "--nonsense"], 2)):
        done, same = program(served, *words), command(served, *words)
        assert (done.returncode, done.stdout, done.stderr) == (code, same.stdout, same.stderr)


def test_audit_and_check_and_migrate(served: Path, account: str) -> None:
    report = command_json(served, "audit")
    assert (report["ok"], report["difference_count"]) == (True, 0)
    assert report["accounts"] >= 1
    assert command_json(served, "migrate") == {"applied": []}
    rows = {row["what"]: row["ok"] for row in map(json.loads, command(served, "check", "--json").stdout.splitlines())}
    assert rows.pop("provider local (openai)") is False  # nothing listens there
    assert set(rows) == {"configuration", "keys.pepper", "admin.token", "database", "redis"}
    assert all(rows.values())
    assert command(served, "check").returncode == 1


def test_check_changes_nothing(tmp_path: Path) -> None:
    configure(tmp_path)
    done = command(tmp_path, "check")
    assert done.returncode == 1
    assert "farebox migrate" in done.stdout
    assert command_json(tmp_path, "migrate")["applied"] != []  # there was still everything to do


def test_commands_bring_the_embedded_redis_up_for_themselves(tmp_path: Path) -> None:
    configure(tmp_path)
    command_json(tmp_path, "account", "create", "quiet", "--credits", "1")
    assert command_json(tmp_path, "balance", "quiet")["microcredits"] == 1_000_000
    assert command(tmp_path, "audit").returncode == 0


def test_audit_finds_a_balance_that_was_tampered_with_and_rebuild_restores_it(tmp_path: Path) -> None:
    configure(tmp_path)
    with Farebox(["serve", "--allow-embedded"], tmp_path) as farebox:
        farebox.wait_for("^Farebox serves on http://")
        made = command_json(tmp_path, "account", "create", "victim", "--credits", "5")
        until(lambda: len(command_lines(tmp_path, "ledger", "victim")) == 1)
        tamper(tmp_path, made["id"])
        done = command(tmp_path, "audit", "--json")
        assert done.returncode == 1
        report = json.loads(done.stdout)
        assert {found["account_id"] for found in report["differences"]} == {made["id"]}
        assert farebox.stop() == 0
    refused = command(tmp_path, "rebuild")
    assert refused.returncode == 1
    assert "--force" in refused.stderr
    assert command_json(tmp_path, "rebuild", "--force")["accounts"] == 1
    assert command_json(tmp_path, "balance", "victim")["microcredits"] == 5_000_000
    assert command_json(tmp_path, "rebuild", "--sums")["days"] == 0  # no call, no sum
    assert command(tmp_path, "audit").returncode == 0


def tamper(folder: Path, account_id: str) -> None:
    """Adds a microcredit behind the ledger's back; the account's first packed integer is what it was credited."""
    with redis.Redis(unix_socket_path=str(folder / "state" / "redis" / "redis.sock")) as client:
        keys = list(client.scan_iter(match=f"fb:*:account:{account_id}"))
        assert len(keys) == 1
        packed = client.get(keys[0])
        assert isinstance(packed, bytes)
        (credited,) = struct.unpack_from("<q", packed)
        client.set(keys[0], struct.pack("<q", credited + 1) + packed[8:])


def test_serve_runs_the_workers_it_was_told_to_and_replaces_a_dead_one(tmp_path: Path) -> None:
    configure(tmp_path)
    with Farebox(["serve", "--allow-embedded"], tmp_path) as farebox:
        url = farebox.wait_for("^Farebox serves on (http://[^ ]+) with 2 worker").group(1)
        workers = role_pids(farebox.process.pid, "worker")
        assert len(workers) == 2
        os.kill(workers[0], signal.SIGKILL)
        for _ in range(20):
            with urllib.request.urlopen(f"{url}/healthz", timeout=30) as answer:
                assert answer.status == 200
        until(lambda: len(role_pids(farebox.process.pid, "worker")) == 2)
        assert farebox.stop() == 0, farebox.output


def role_pids(parent: int, role: str) -> list[int]:
    found = []
    for word in Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="ascii").split():
        line = Path(f"/proc/{word}/cmdline").read_bytes().split(b"\0")
        if b"role" in line and role.encode() in line:
            found.append(int(word))
    return found

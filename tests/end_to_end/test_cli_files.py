"""Files by command: accounts, keys and balances that come as CSV, usage and ledger that leave; completion of the shells."""

import csv
import io
import json
import stat
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from proxy.cli import root
from tests.support.command_line import Said
from tests.support.command_line import farebox as run_command
from tests.support.installation import Installation
from tests.support.mock_provider import MockProvider
from tests.support.processes import until
from tests.support.small_call import call

GIVEN = "sk-fb-" + "A" * 43


@pytest.fixture(scope="module")
def farebox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with MockProvider() as provider, Installation(tmp_path_factory.mktemp("files"), provider) as running:
        yield running


def said(farebox: Installation, *words: object) -> Said:
    return run_command([*map(str, words), "--config", str(farebox.config)])


def imported(farebox: Installation, what: str, file: Path, *words: object) -> dict:
    return farebox.command("import", what, str(file), *map(str, words))


def everything(farebox: Installation) -> object:
    """What an import must not change when it changes nothing."""
    accounts = farebox.lines("account", "list")
    return [
        (account, farebox.lines("key", "list", account["id"]), farebox.balance(account["id"])) for account in accounts
    ], len(farebox.lines("admin", "log", "--limit", "1000"))


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


# Imports.


def test_accounts_are_shown_first_then_made_then_left_as_they_are(farebox: Installation, tmp_path: Path) -> None:
    file = write(
        tmp_path / "accounts.csv",
        "\ufeffname,markup,budget_month,concurrent,metadata.region,low_balance\r\n"
        'shop,1.2,250.5,4,eu,10\r\n"Zoë, Ltd",,,,,\r\n,,,,,\r\n',
    )
    before = everything(farebox)
    assert imported(farebox, "accounts", file) == {"applied": False, "create": 2, "change": 0, "keep": 0}
    shown = said(farebox, "import", "accounts", file)
    assert "Nothing was changed" in shown.stdout
    assert "--yes" in shown.stdout
    assert everything(farebox) == before
    assert imported(farebox, "accounts", file, "--yes") == {"applied": True, "create": 2, "change": 0, "keep": 0}
    shop = farebox.command("account", "show", "shop")
    assert (shop["markup_ppm"], shop["limits"]) == (1_200_000, {"budget_month": "250.5", "concurrent": 4})
    assert (shop["metadata"], shop["low_balance_microcredits"]) == ({"region": "eu"}, 10_000_000)
    after = everything(farebox)
    assert imported(farebox, "accounts", file, "--yes") == {"applied": False, "create": 0, "change": 0, "keep": 2}
    assert everything(farebox) == after
    write(file, "name,concurrent,budget_month\nshop,none,\n")
    assert imported(farebox, "accounts", file, "--yes")["change"] == 1
    assert farebox.command("account", "show", "shop")["limits"] == {"budget_month": "250.5"}


def test_keys_are_given_or_made_and_good_at_once(farebox: Installation, tmp_path: Path) -> None:
    farebox.command("account", "create", "keyed", "--credits", "5")
    digest = "ab" * 32
    file = write(
        tmp_path / "keys.csv",
        "account,name,kind,key,digest,prefix,models,expires,concurrent\n"
        f"keyed,laptop,,,,,test-model;gpt-*,2100-01-01,2\nkeyed,given,,{GIVEN},,,,,\n"
        f"keyed,other,,,{digest},sk-fb-Zz,,,\nkeyed,robot,manager,,,,,,\n",
    )
    refused = said(farebox, "import", "keys", file, "--yes")
    assert (refused.returncode, "--output" in refused.stderr) == (1, True)
    assert farebox.lines("key", "list", "keyed") == []
    made = tmp_path / "made.csv"
    assert imported(farebox, "keys", file, "--output", made, "--yes")["create"] == 4
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    rows = list(csv.DictReader(io.StringIO(made.read_text(encoding="utf-8"))))
    assert [(row["name"], row["key"][:6]) for row in rows] == [("laptop", "sk-fb-"), ("robot", "sk_mg_")]
    keys = {row["name"]: row for row in farebox.lines("key", "list", "keyed")}
    assert (keys["laptop"]["models"], keys["laptop"]["limits"]) == (["test-model", "gpt-*"], {"concurrent": 2})
    assert (keys["other"]["prefix"], keys["given"]["prefix"]) == ("sk-fb-Zz", GIVEN[:10])
    assert (call(farebox, rows[0]["key"]), call(farebox, GIVEN)) == (200, 200)
    after = everything(farebox)
    assert imported(farebox, "keys", file, "--yes")["keep"] == 4  # nothing is made, so no file is wanted
    assert everything(farebox)[1] == after[1]
    write(file, "account,name\nkeyed,new one\n")
    existing = said(farebox, "import", "keys", file, "--yes", "-o", made)
    assert (existing.returncode, "is there already" in existing.stderr) == (1, True)
    log = farebox.lines("admin", "log", "--action", "key.import")
    assert len(log) == 4
    assert digest not in json.dumps(log)


def test_a_key_of_another_account_is_not_taken_over(farebox: Installation, tmp_path: Path) -> None:
    farebox.command("account", "create", "first owner")
    farebox.command("account", "create", "second owner")
    key = farebox.command("key", "create", "first owner")["key"]
    file = write(tmp_path / "keys.csv", f"account,key\nsecond owner,{key}\nsecond owner,sk-fb-short\nnobody,\n")
    refused = said(farebox, "import", "keys", file, "--yes")
    assert refused.returncode == 1
    assert "line 2: this key belongs to another account" in refused.stderr
    assert "line 3: this is not the form of a user key" in refused.stderr
    assert "line 4: there is no account 'nobody': import accounts first" in refused.stderr
    assert key not in refused.stderr


def test_balances_are_added_once_for_ever(farebox: Installation, tmp_path: Path) -> None:
    for name in ("rich", "poor"):
        farebox.command("account", "create", name)
    file = write(
        tmp_path / "opening.csv", "account,credits,key,reason\nrich,100.000001,,opening\nrich,1,,\npoor,2,p1,\n"
    )
    assert imported(farebox, "balances", file)["applied"] is False
    assert farebox.balance("rich")["microcredits"] == 0
    assert imported(farebox, "balances", file, "--yes") == {"applied": True, "create": 3, "change": 0, "keep": 0}
    assert imported(farebox, "balances", file, "--yes") == {"applied": False, "create": 0, "change": 0, "keep": 3}
    assert (farebox.balance("rich")["microcredits"], farebox.balance("poor")["microcredits"]) == (
        101_000_001,
        2_000_000,
    )
    write(file, "account,credits,key,reason\nrich,100.000002,,opening\nrich,1,,\npoor,2,p1,\n")
    changed = said(farebox, "import", "balances", file, "--yes")
    assert (changed.returncode, "line 2" in changed.stderr) == (1, True)
    assert imported(farebox, "balances", file, "--batch", "next", "--yes")["create"] == 2  # p1 is known by itself
    assert farebox.balance("rich")["microcredits"] == 202_000_003
    until(lambda: len(farebox.lines("ledger", "rich")) == 4)
    assert {row["reason"] for row in farebox.lines("ledger", "rich")} == {
        "opening",
        "import opening.csv",
        "import next",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no heading"),
        ("account\nrich\n", "line 1: the column 'credits' is missing"),
        ("account,credit\nrich,1\n", "did you mean credits?"),
        ("account,credits,credits\nrich,1,1\n", "twice"),
        ("account,credits\nrich,1,2\n", "line 2: 3 cells, but 2 columns"),
        ("account,credits\nrich,1e3\nrich,0\n,5\nrich,-1\n", "line 4: account is empty"),
        ('account,credits\n"rich,1\n', "line 2"),
        ("account,credits,key\nrich,1,a\nrich,1,a\n", "line 3: this key stands in line 2 already"),
        (
            "account,credits,kind\nrich,-1,topup\n",
            "line 2: a topup must be above zero; an adjustment takes credits away",
        ),
    ],
)
def test_one_wrong_line_and_nothing_is_changed(farebox: Installation, tmp_path: Path, text: str, message: str) -> None:
    before = everything(farebox)
    refused = said(farebox, "import", "balances", write(tmp_path / "bad.csv", text), "--yes")
    assert refused.returncode == 1
    assert message in refused.stderr
    assert everything(farebox) == before


def test_what_is_no_file_is_said(farebox: Installation, tmp_path: Path) -> None:
    assert "No such file" in said(farebox, "import", "accounts", tmp_path / "nowhere.csv").stderr
    (tmp_path / "latin.csv").write_bytes(b"name\nZo\xeb\n")
    assert "not UTF-8" in said(farebox, "import", "accounts", tmp_path / "latin.csv").stderr


# Exports.


@pytest.fixture(scope="module")
def exported(farebox: Installation) -> str:
    """An account with two calls, and an entry whose reason is a formula."""
    key = farebox.account("exported", "10")
    farebox.command("topup", "exported", "1", "--key", "=1+1", "--reason", '=HYPERLINK("http://evil.test")')
    assert [call(farebox, key), call(farebox, key)] == [200, 200]
    farebox.usage("exported", 2)
    until(lambda: len(farebox.lines("ledger", "exported")) == 4)
    return "exported"


def exported_rows(farebox: Installation, *words: object) -> list[dict[str, str]]:
    done = said(farebox, "export", *words)
    assert done.returncode == 0, done.stderr
    return list(csv.DictReader(io.StringIO(done.stdout, newline="")))


def test_csv_has_every_record_and_no_formula(farebox: Installation, exported: str) -> None:
    records = farebox.usage(exported)[::-1]
    rows = exported_rows(farebox, "usage", "--account", exported)
    assert [row["call_id"] for row in rows] == [record["call_id"] for record in records]
    assert [int(row["charge_microcredits"]) for row in rows] == [record["charge_microcredits"] for record in records]
    assert json.loads(rows[0]["usage"]) == records[0]["usage"]
    entries = exported_rows(farebox, "ledger", "--account", exported)
    assert [int(row["seq"]) for row in entries] == [1, 2, 3, 4]
    assert (entries[1]["reason"], entries[1]["idempotency_key"]) == ('\'=HYPERLINK("http://evil.test")', "'=1+1")
    assert entries[2]["credits"].startswith("-")  # a number, and left as one


def test_filters_hold_for_exports_too(farebox: Installation, exported: str) -> None:
    assert exported_rows(farebox, "usage", "--account", exported, "--since", "2100-01-01") == []
    assert len(exported_rows(farebox, "usage", "--account", exported, "--model", "test-model")) == 2
    assert {row["kind"] for row in exported_rows(farebox, "ledger", "--outcome", "completed")} == {"charge"}
    assert len(exported_rows(farebox, "usage")) > 2  # everybody's


def test_a_file_appears_whole_and_is_its_owners(farebox: Installation, exported: str, tmp_path: Path) -> None:
    file = tmp_path / "usage.jsonl"
    words = ("export", "usage", "--account", exported, "--format", "jsonl")
    assert said(farebox, *words, "-o", file).returncode == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text(encoding="utf-8") == said(farebox, *words).stdout
    assert [json.loads(line)["call_id"] for line in file.read_text(encoding="utf-8").splitlines()] == [
        record["call_id"] for record in farebox.usage(exported)[::-1]
    ]
    refused = said(farebox, *words, "-o", tmp_path / "no folder" / "x")
    assert (refused.returncode, "cannot be written" in refused.stderr) == (1, True)
    assert list(tmp_path.iterdir()) == [file]


def test_parquet_has_the_types_of_the_columns(farebox: Installation, exported: str, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    file = tmp_path / "ledger.parquet"
    assert said(farebox, "export", "ledger", "--account", exported, "--format", "parquet", "-o", file).returncode == 0
    rows = parquet.read_table(file).to_pylist()
    entries = farebox.lines("ledger", exported)[::-1]
    assert [row["amount_microcredits"] for row in rows] == [entry["amount_microcredits"] for entry in entries]
    assert [row["credits"] * 1_000_000 for row in rows] == [entry["amount_microcredits"] for entry in entries]
    assert [round(row["time"].timestamp() * 1000) for row in rows] == [entry["at"] for entry in entries]
    usage = tmp_path / "usage.parquet"
    assert said(farebox, "export", "usage", "--account", exported, "--format", "parquet", "-o", usage).returncode == 0
    assert [row["stream"] for row in parquet.read_table(usage).to_pylist()] == [False, False]


def test_without_pyarrow_it_is_said_what_to_install(
    farebox: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert said(farebox, "export", "usage", "--format", "parquet").returncode == 2  # not to a terminal's text
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    refused = said(farebox, "export", "usage", "--format", "parquet", "-o", tmp_path / "x")
    assert (refused.returncode, "farebox[parquet]" in refused.stderr) == (1, True)
    assert list(tmp_path.iterdir()) == []


def test_the_books_are_balanced(farebox: Installation) -> None:
    assert farebox.audit()["ok"]


# Completion.


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_has_its_script(shell: str) -> None:
    done = run_command(["completion", shell])
    assert (done.returncode, "_FAREBOX_COMPLETE" in done.stdout) == (0, True)
    assert run_command(["completion", "csh"]).returncode == 2


def test_commands_are_completed_without_being_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> types.ModuleType:
        raise AssertionError(f"{name} was imported")

    monkeypatch.setattr(root.importlib, "import_module", refuse)
    context = click.Context(root.farebox)
    assert [one.value for one in root.farebox.shell_complete(context, "gr")] == ["grant"]
    assert "--config" in [one.value for one in root.farebox.shell_complete(context, "--")]

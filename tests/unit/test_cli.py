"""The command line's own rules: where the configuration is found, what failures look like, what help says."""

import json
import re
from pathlib import Path

import click
import pytest

from proxy.cli import context, root
from proxy.cli.settings import changed_limits, limit_options
from proxy.core.errors import ConfigError, NotFound, Unavailable

GOOD = '[keys]\npepper = "0123456789abcdef"\n'


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: Path, text: str = GOOD) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_the_configuration_is_searched_in_order(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"give --config FILE, set FAREBOX_CONFIG"):
        context.find_config(None)
    last = write(folder / "farebox-data" / "farebox.toml")
    assert context.find_config(None).resolve() == last
    here = write(folder / "farebox.toml")
    assert context.find_config(None).resolve() == here
    named = write(folder / "named.toml")
    monkeypatch.setenv("FAREBOX_CONFIG", str(named))
    assert context.find_config(None) == named
    given = write(folder / "given.toml")
    assert context.find_config(str(given)) == given


def test_a_configuration_that_is_named_must_be_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder / "farebox.toml")
    with pytest.raises(ConfigError, match="--config names absent.toml"):
        context.find_config("absent.toml")
    monkeypatch.setenv("FAREBOX_CONFIG", "absent.toml")
    with pytest.raises(ConfigError, match="FAREBOX_CONFIG names absent.toml"):
        context.find_config(None)


@pytest.mark.parametrize("place", ["before", "after"])
def test_config_may_stand_before_or_after_the_command(
    folder: Path, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    write(folder / "x.toml", "[servr]\n")
    words = {"before": ["--config", "x.toml", "balance", "a"], "after": ["balance", "a", "--config", "x.toml"]}
    assert root.run(words[place]) == 1
    assert "servr" in capsys.readouterr().err


def test_a_setting_that_is_unknown_is_named_with_its_neighbour(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder / "farebox.toml", "[server]\nworker = 2\n")
    assert root.run(["check"]) == 1
    error = capsys.readouterr().err
    assert "server.worker" in error
    assert "did you mean server.workers?" in error


def test_serve_refuses_the_embedded_redis(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder / "farebox.toml", GOOD + '[redis]\nurl = "embedded"\n')
    assert root.run(["serve"]) == 1
    assert "--allow-embedded" in capsys.readouterr().err


def test_what_is_no_command_is_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert root.run(["frobnicate"]) == 2
    assert root.run(["topup", "demo", "5"]) == 2
    assert "--key" in capsys.readouterr().err


def test_every_command_loads_and_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    for name in root.COMMANDS:
        assert root.run([name, "--help"]) == 0
        assert "Usage: farebox" in capsys.readouterr().out
    assert root.run(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in root.COMMANDS)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ConfigError("say it like this"), 1, "error: say it like this"),
        (Unavailable("Redis is away"), 1, "error: Redis is away"),
        (KeyboardInterrupt(), 130, ""),
        (ZeroDivisionError("a defect"), 1, "ZeroDivisionError: a defect (FAREBOX_DEBUG=1 shows where)"),
    ],
)
def test_a_failure_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, said: str
) -> None:
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(root.farebox, "main", fail)
    assert root.run([]) == code
    shown = capsys.readouterr().err
    assert said in shown
    assert "Traceback" not in shown


def test_tables_show_data_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    context.print_table(("NAME", "N#"), [("[red]markup[/red]", 1), (None, 22)], empty="nothing")
    shown = capsys.readouterr().out
    assert "[red]markup[/red]" in shown
    context.print_table(("NAME",), [], empty="nothing")
    assert capsys.readouterr().out == "nothing\n"


def test_a_long_table_has_the_same_columns_as_a_short_one(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [("a" * (number % 5), None, number) for number in range(1001)]
    context.print_table(("NAME", "NONE", "N#"), rows, empty="nothing")
    long = [line.split() for line in capsys.readouterr().out.splitlines()]
    context.print_table(("NAME", "NONE", "N#"), rows[:1000], empty="nothing")
    assert long[:1001] == [line.split() for line in capsys.readouterr().out.splitlines()]
    assert long[-1] == ["1000"]


def test_json_is_one_line_and_keeps_large_integers(capsys: pytest.CaptureFixture[str]) -> None:
    context.print_json({"n": 2**53 - 1, "name": "Zoë\n"})
    shown = capsys.readouterr().out
    assert shown.count("\n") == 1
    assert json.loads(shown) == {"n": 2**53 - 1, "name": "Zoë\n"}


def test_help_is_said_without_loading_the_stores() -> None:
    group = root.farebox
    assert isinstance(group, click.Group)
    assert group.list_commands(click.Context(group)) == list(root.COMMANDS)


def test_instants_are_shown_to_the_end_of_the_calendar() -> None:
    assert context.when(1_757_556_305_225) == "2025-09-11 02:05:05"
    assert context.when(2**53 - 1) == "9999-12-31 23:59:59"


@pytest.mark.parametrize(("typed", "meant"), [("toppup", "topup"), ("acount", "account"), ("ledgr", "ledger")])
def test_a_command_that_is_mistyped_is_answered_with_its_neighbour(
    capsys: pytest.CaptureFixture[str], typed: str, meant: str
) -> None:
    assert root.run([typed, "demo"]) == 2
    assert f"No such command '{typed}'. Did you mean {meant}?" in capsys.readouterr().err


def test_what_is_not_there_is_said_with_the_command_that_finds_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(**_: object) -> None:
        raise NotFound("There is no account 'shp'.", code="account_not_found")

    monkeypatch.setattr(root.farebox, "main", fails)
    assert root.run(["balance", "shp"]) == 1
    assert "There is no account 'shp'. farebox account list --search TEXT" in capsys.readouterr().err


@pytest.mark.parametrize("code", root.NEXT)
def test_the_commands_that_errors_advise_exist(code: str) -> None:
    for _, words in re.findall(r"(farebox ((?:[a-z-]+ ?)+))", root.NEXT[code]):
        command: click.Command | None = root.farebox
        for word in words.split()[:2]:
            if isinstance(command, click.Group):
                command = command.get_command(click.Context(command), word)
        assert command is not None, words


def test_limits_have_an_option_each_and_one_for_all() -> None:
    given: list[tuple[str, ...]] = []

    @click.command()
    @limit_options
    def command(limits: tuple[str, ...]) -> None:
        given.append(limits)

    words = ["--budget-month", "none", "--requests-per-minute", "60", "--limit", "tokens-per-minute=5"]
    command.main(words, standalone_mode=False)
    before = {"budget_month": "7", "concurrent": 2}
    assert changed_limits(before, given[0]) == {"concurrent": 2, "requests_per_minute": 60, "tokens_per_minute": 5}
    for wrong, said in (
        ("rpm=5", "there is no limit 'rpm'"),
        ("concurrent", "KIND=VALUE"),
        ("concurrent=x", "not 'x'"),
    ):
        with pytest.raises(click.UsageError, match=said):
            changed_limits({}, [wrong])


def test_an_instant_ahead_is_ahead() -> None:
    assert context.future_from("1d") > context.instant_from("1h")
    with pytest.raises(click.UsageError, match="is over already"):
        context.future_from("2020-01-01")

"""`farebox price` on the command line: what it shows, what it writes, and what it refuses."""

import json
from pathlib import Path

import pytest

from proxy.cli import root
from proxy.config import load_config
from proxy.providers.registry import known_providers

CONFIG = """# mine
[keys]
pepper = "0123456789abcdef"
[providers.openai]
api_key = "k"
models = ["gpt-4o", "o3*"]
[prices."gpt-4o"]
input = "3"
output = "10"
"""


@pytest.fixture(autouse=True)
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FAREBOX_CONFIG", raising=False)
    config = tmp_path / "farebox.toml"
    config.write_text(CONFIG)
    return config


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = root.run(["price", *words])
    out, err = capsys.readouterr()
    return code, out, err


def rows(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_list_shows_what_is_configured(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "list", "--json")
    assert code == 0
    assert [(row["provider"], row["model"], row["usd"]) for row in rows(out)] == [
        ("openai", "gpt-4o", {"input": "3", "output": "10"})
    ]
    _, table, _ = run(capsys, "list")
    assert table.split()[:3] == ["PROVIDER", "MODEL", "INPUT"]


def test_list_shows_the_book_of_a_provider(capsys: pytest.CaptureFixture[str], path: Path) -> None:
    path.unlink()
    _, out, _ = run(capsys, "list", "--provider", "groq", "--json")
    found = {row["model"]: row for row in rows(out)}
    assert found["whisper-large-v3"]["usd"] == {"input_seconds": "92.5/3"}
    assert found["whisper-large-v3"]["minimums"] == {"input_seconds": 10}
    assert {row["provider"] for row in found.values()} == {"groq"}
    _, out, _ = run(capsys, "list", "--model", "no-such-thing")
    assert "No such price" in out


def test_show_says_everything(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "show", "gpt-5.4", "--provider", "openai", "--json")
    (row,) = rows(out)
    assert code == 0
    assert row["tiers"] == [
        {"above": 272000, "usd": {**row["usd"], "input": "5", "cache_read": "0.5", "output": "22.5"}}
    ]
    assert row["service_tiers"]["priority"]["usd"]["input"] == "5"
    assert row["source"].startswith("https://")
    _, out, _ = run(capsys, "show", "o3", "--provider", "openai", "--at", "2025-06-09")
    assert "input          10\n" in out
    code, _, err = run(capsys, "show", "no-such-model")
    assert (code, "farebox price set no-such-model" in err) == (1, True)
    assert run(capsys, "show", "o3", "--at", "tomorrow")[0] == 2


def test_set_writes_what_serve_reads(capsys: pytest.CaptureFixture[str], path: Path) -> None:
    code, out, _ = run(capsys, "set", "gpt-4o", "input=2.75", "cache_read=1")
    assert (code, "SIGHUP" in out) == (0, True)
    assert path.read_text() == CONFIG.replace(
        'input = "3"\noutput = "10"\n', 'input = "2.75"\noutput = "10"\ncache_read = "1"\n'
    )
    price = load_config(path, known_providers()).price_book().find("openai", "gpt-4o", 0)
    assert price is not None
    assert price.rates == {"input": 2_750_000_000, "output": 10**10, "cache_read": 10**9}
    assert run(capsys, "set", "openai/o3", "--extends", "input=7")[0] == 0
    assert run(capsys, "set", "gpt-4o", "--remove")[0] == 0
    assert 'prices."gpt-4o"' not in path.read_text()


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["x"], 2, "at least one rate"),
        (["x", "inptu=1"], 2, "COUNTER=USD"),
        (["x", "input=-1"], 2, "decimal"),
        (["x", "input=1"], 1, "output is missing"),
        (["x", "--remove"], 1, "there is no"),
    ],
)
def test_what_would_not_load_is_not_written(
    capsys: pytest.CaptureFixture[str], path: Path, words: list[str], code: int, says: str
) -> None:
    result, _, err = run(capsys, "set", *words)
    assert result == code
    assert says in err
    assert path.read_text() == CONFIG
    assert list(path.parent.iterdir()) == [path]


def test_check_finds_differences_and_what_has_no_price(capsys: pytest.CaptureFixture[str], path: Path) -> None:
    code, out, _ = run(capsys, "check", "--json")
    assert code == 0
    assert {"kind": "differs", "name": "openai/gpt-4o"}.items() <= rows(out)[0].items()
    assert "input 2.5 -> 3" in rows(out)[0]["detail"]
    path.write_text(CONFIG.replace('"o3*"', '"gpt-unheard-of"') + '[prices."mine"]\ninput="1"\noutput="1"\n')
    code, out, _ = run(capsys, "check", "--json")
    assert code == 1
    assert {(row["kind"], row["name"]) for row in rows(out)} >= {("unpriced", "openai/gpt-unheard-of"), ("own", "mine")}
    assert "stale" not in out
    assert run(capsys, "import", "--output", "old.jsonl", "--day", "2020-01-01")[0] == 0
    path.write_text(CONFIG.replace("[keys]", '[credits]\nprice_book = "old.jsonl"\n[keys]'))
    _, out, _ = run(capsys, "check", "--json")
    assert ("stale", "book 2020-01-01") in {(row["kind"], row["name"]) for row in rows(out)}


def test_import_makes_the_shipped_book_again(capsys: pytest.CaptureFixture[str], path: Path) -> None:
    """The book in the package is what its import makes of the locked genai-prices and the corrections."""
    shipped = Path(__file__).parents[2] / "proxy" / "prices" / "data" / "book.jsonl"
    day = json.loads(shipped.read_text(encoding="utf-8").splitlines()[0])["book"]
    code, out, _ = run(capsys, "import", "--output", "new.jsonl", "--day", day)
    assert (code, "No price changed." in out) == (0, True)
    assert (path.parent / "new.jsonl").read_bytes() == shipped.read_bytes()
    path.write_text(CONFIG.replace("[keys]", '[credits]\nprice_book = "new.jsonl"\n[keys]'))
    assert run(capsys, "show", "o3", "--provider", "openai")[0] == 0


def test_prices_are_in_force_though_no_provider_is_configured(capsys: pytest.CaptureFixture[str], path: Path) -> None:
    """What `farebox dev` keeps has no providers: it adds them when it starts."""
    path.write_text(
        '[keys]\npepper = "0123456789abcdef"\n[prices."sim"]\ninput = "3"\noutput = "4"\n[prices."*"]\ninput = "9"\noutput = "9"\n'
    )
    code, out, _ = run(capsys, "list", "--json")
    assert (code, [(row["provider"], row["model"], row["usd"]) for row in rows(out)]) == (
        0,
        [("any", "sim", {"input": "3", "output": "4"})],
    )
    for model, usd in (("sim", {"input": "3", "output": "4"}), ("another", {"input": "9", "output": "9"})):
        code, out, err = run(capsys, "show", model, "--json")
        assert (code, [(row["provider"], row["usd"]) for row in rows(out)], err) == (0, [("any", usd)], "")

"""Prices are written into the configuration without a change to anything else in it."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.errors import ConfigError
from proxy.prices.edit import remove_price, set_price, write

TEXT = """# mine
[providers.openai]
api_key = "k"   # a key

[prices."gpt-4o"]   # ours
input = "3"   # dear
output = "10"

[[prices."gpt-4o".tiers]]
above = 100000
input = "6"

[prices."gpt-4o".service_tiers.flex]
multiplier = "0.5"

[markups]
"openai/*" = "1.1"
"""


def test_a_known_key_is_changed_where_it_stands() -> None:
    changed = set_price(TEXT, "gpt-4o", {"input": "2.5"})
    assert changed == TEXT.replace('input = "3"   # dear', 'input = "2.5"   # dear')


def test_a_new_key_joins_its_table() -> None:
    changed = set_price(TEXT, "gpt-4o", {"cache_read": "1"})
    assert changed == TEXT.replace('output = "10"\n', 'output = "10"\ncache_read = "1"\n')


def test_a_new_price_is_a_new_table() -> None:
    changed = set_price(TEXT, "groq/llama-*", {"input": "1", "output": "2", "extends": "true"})
    assert changed.startswith(TEXT)
    assert tomllib.loads(changed)["prices"]["groq/llama-*"] == {"input": "1", "output": "2", "extends": True}
    assert tomllib.loads(set_price("", "m", {"input": "1"})) == {"prices": {"m": {"input": "1"}}}


def test_a_price_goes_with_what_belongs_to_it() -> None:
    left = remove_price(TEXT, "gpt-4o")
    assert tomllib.loads(left) == {"providers": {"openai": {"api_key": "k"}}, "markups": {"openai/*": "1.1"}}
    assert left.startswith('# mine\n[providers.openai]\napi_key = "k"   # a key\n')
    with pytest.raises(ConfigError, match=r'there is no \[prices."gpt-5"\]'):
        remove_price(TEXT, "gpt-5")


@pytest.mark.parametrize("text", ['[prices]\nm = { input = "1", output = "1" }\n', 'prices.m.input = "1"\n'])
def test_another_way_of_writing_it_is_left_to_its_author(text: str) -> None:
    with pytest.raises((ConfigError, tomllib.TOMLDecodeError)):
        set_price(text, "m", {"input": "2"})


def test_both_spellings_of_a_simple_name_are_found() -> None:
    for header in ("[prices.m]", '[prices."m"]', "[prices.'m']", " [prices.m] # x"):
        assert tomllib.loads(set_price(f'{header}\ninput = "1"\n', "m", {"input": "2"}))["prices"]["m"] == {
            "input": "2"
        }


names = st.text(st.characters(codec="ascii", exclude_categories=("Cc",)), min_size=1, max_size=20)
amounts = st.decimals(0, 1000, places=4, allow_nan=False).map(lambda amount: format(amount, "f"))


@given(names, st.dictionaries(st.sampled_from(("input", "output", "cache_read")), amounts, min_size=1))
def test_what_was_set_reads_back(name: str, rates: dict[str, str]) -> None:
    try:
        changed = set_price(TEXT, name, rates)
    except ConfigError:
        assert name == "gpt-4o", "only a name that is there already may be in another form"
        return
    found = tomllib.loads(changed)
    assert rates.items() <= found["prices"][name].items()
    rest = tomllib.loads(TEXT)
    assert found["providers"] == rest["providers"]
    assert found["markups"] == rest["markups"]


def test_a_file_keeps_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "farebox.toml"
    path.write_text("x")
    path.chmod(0o600)
    write(path, "y")
    assert (path.read_text(), path.stat().st_mode & 0o777, list(tmp_path.iterdir())) == ("y", 0o600, [path])

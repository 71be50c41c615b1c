"""The configuration: the published one works as it stands, and what is wrong is named."""

import tomllib
from pathlib import Path

import msgspec
import pytest

from proxy.config import Config, parse_config, parse_listen
from proxy.core.errors import ConfigError
from proxy.providers.registry import known_providers

PUBLISHED = """
[server]
listen = "127.0.0.1:8080"
workers = 1
[admin]
listen = "127.0.0.1:9090"
token = "env:FAREBOX_ADMIN_TOKEN"
[keys]
pepper = "env:FAREBOX_PEPPER"
[redis]
url = "redis://127.0.0.1:6379/0"
[database]
url = "sqlite:///farebox-data/farebox.db"
[credits]
per_usd = 1000
[providers.local]
dialect = "openai"
base_url = "http://127.0.0.1:9001/v1"
api_key = "env:LOCAL_API_KEY"
models = ["test-model"]
[prices."test-model"]
input = "1.00"
cache_read = "0.50"
output = 2.00
"""


ANY = "[providers.x]\napi_key = 'k'\nbase_url = 'http://h'\n"


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FAREBOX_ADMIN_TOKEN", "FAREBOX_PEPPER", "LOCAL_API_KEY"):
        monkeypatch.setenv(name, f"value of {name}")


def test_the_published_configuration_works(secrets: None) -> None:
    config = parse_config(PUBLISHED)
    assert config.admin.token == "value of FAREBOX_ADMIN_TOKEN"
    assert config.providers["local"].endpoints() == {"openai": "http://127.0.0.1:9001/v1"}
    price = config.price_book().find("local", "test-model", 0)
    assert price is not None
    assert price.rates == {"input": 10**9, "cache_read": 5 * 10**8, "output": 2 * 10**9}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[server]\nlisen = 'x'", ["server.lisen", "server.listen"]),
        ("[sever]", ["unknown setting sever", "server"]),
        ("[server]\nworkers = 'a'", ["server.workers"]),
        ("[server]\nworkers = 0", ["server.workers", "at least 1"]),
        ("[server]\nlisten = '8080'", ["host:port"]),
        ("[prices.x]\ninput = 1\noutputt = 2", ["outputt", "output"]),
        ("[prices.x]\ninput = 1", ['prices."x".output', "0 must be said"]),
        ("[prices.x]\ninput = -1\noutput = 1", ["negative"]),
        ("[prices.x]\ninput = '0.0000000001'\noutput = 1", ["decimals"]),
        ("[providers.x]\napi_key = 'env:NOT_SET_ANYWHERE'", ["providers.x.api_key", "NOT_SET_ANYWHERE"]),
        ("[providers.x]\napi_key = 'file:/no/such/file'", ["providers.x.api_key", "/no/such/file"]),
        ("[providers.x]\nbase_url = 'http://h/v1'", ["providers.x.api_key"]),
        ("[providers.x]\napi_key = 'k'\nbase_url = 'ftp://h'", ["providers.x.base_url"]),
        ("[providers.sim]\napi_key = 'k'", ["providers.sim.base_url is missing", "none is known for 'sim'"]),
        ("[providers.x]\napi_key = 'k'\nbase_url = 'http://u:p@h'", ["providers.x.base_url"]),
        ("[providers.x]\napi_key = 'k'\nbase_url = 'http://h'\ndialect = 'klingon'", ["klingon", "openai"]),
        ("[providers.v1]\napi_key = 'k'\nbase_url = 'http://h'", ["providers.v1"]),
        ("[providers.x]\napi_key = 'k'\nbase_url = 'http://h'\nweight = -1", ["providers.x.weight"]),
        ("[upstream]\nproxy = 'socks5://h:1080'", ["upstream.proxy", "http://"]),
        (f"{ANY}proxy = 'h:3128'", ["providers.x.proxy", "http://"]),
        ("[aliases]\nfast = 'nobody/m'", ['aliases."fast"', "provider/model"]),
        ("[[open]]\nprovider = 'nobody'\npath = '/files'\nprice = 0", ["open[0].provider", "nobody"]),
        ("[[open]]\nprovider = 'x'\npaht = '/files'\nprice = 0", ["open.0.paht", "path"]),
        (f"{ANY}[[open]]\nprovider = 'x'\npath = 'files'\nprice = 0", ["open[0].path"]),
        (f"{ANY}[[open]]\nprovider = 'x'\npath = '/files/../x'\nprice = 0", ["open[0].path"]),
        (f"{ANY}[[open]]\nprovider = 'x'\npath = '/files'\nprice = '0.0000001'", ["open[0].price"]),
        (f"{ANY}[[open]]\nprovider = 'x'\npath = '/files'\nprice = 0\ndialect = 'gemini'", ["open[0].dialect"]),
        ("[credits]\nmarkup = 'lots'", ["credits.markup"]),
        ("[redis]\npartitions = 0", ["redis.partitions"]),
        ("[surfaces]\ndisabled = ['mountsee']", ["surfaces.disabled", "mountsee"]),
        ("[surfaces]\nlongest_query_s = 0", ["surfaces.longest_query_s"]),
        ("[surfaces]\nqueries_per_minute = 0", ["surfaces.queries_per_minute", "at least 1"]),
        ("not toml", ["TOML"]),
    ],
)
def test_what_is_wrong_is_named(text: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(text)
    assert all(word in caught.value.message for word in words), caught.value.message


def test_a_known_provider_needs_only_its_key() -> None:
    config = parse_config("[providers.anthropic]\napi_key = 'k'", known_providers=known_providers())
    assert config.providers["anthropic"].endpoints() == {"anthropic": "https://api.anthropic.com"}


def test_a_provider_may_speak_several_dialects() -> None:
    config = parse_config(
        "[providers.x]\napi_key='k'\ndialect=['openai','anthropic']\nbase_url={openai='http://h/v1',anthropic='http://h'}"
    )
    assert config.providers["x"].endpoints() == {"openai": "http://h/v1", "anthropic": "http://h"}


def test_every_key_of_a_provider_is_a_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ONE", "TWO", "THREE"):
        monkeypatch.setenv(name, f"value of {name}")
    config = parse_config(f"{ANY}api_keys = ['env:TWO', 'env:THREE']".replace("'k'", "'env:ONE'"))
    assert config.providers["x"].every_key() == ["value of ONE", "value of TWO", "value of THREE"]
    only = parse_config("[providers.x]\nbase_url = 'http://h'\napi_keys = ['env:TWO']")
    assert only.providers["x"].every_key() == ["value of TWO"]
    none = parse_config("[providers.x]\nbase_url = 'http://h'\napi_key = ''")
    assert none.providers["x"].every_key() == [""]


def test_no_message_shows_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY", "sk-secret-canary")
    with pytest.raises(ConfigError) as caught:
        parse_config("[providers.x]\napi_key = 'env:CANARY'\nbase_url = 'nonsense'")
    assert "canary" not in caught.value.message
    with pytest.raises(ConfigError) as caught:
        parse_config("[upstream]\nproxy = 'http://user:sk-secret-canary@h/path'")
    assert "canary" not in caught.value.message


def test_addresses() -> None:
    assert parse_listen("0.0.0.0:80") == ("0.0.0.0", 80)
    assert parse_listen("[::1]:0") == ("::1", 0)


def test_every_setting_is_in_the_example(secrets: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example names every setting with its default, and loads."""
    path = Path(__file__).parents[2] / "config.example.toml"
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.setenv(name, "k")
    example = tomllib.loads(path.read_text())
    config = parse_config(path.read_text(), known_providers=known_providers())
    assert isinstance(config, Config)
    for section in msgspec.structs.fields(Config):
        if isinstance(section.type, type) and issubclass(section.type, msgspec.Struct):
            named = {field.encode_name for field in msgspec.structs.fields(section.type)}
            assert set(example[section.name]) == named, section.name
    provider = {field.encode_name for field in msgspec.structs.fields(type(config.providers["local"]))}
    assert set(example["providers"]["local"]) == provider

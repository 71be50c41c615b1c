"""What goes to the scripts is checked before it is sent, and what is ours never shows a secret."""

import pytest

from proxy.core.errors import ConfigError
from proxy.core.limits import REQUESTS, TOKENS, Limit
from proxy.core.money import MAX_AMOUNT
from proxy.core.outcomes import MAX_SPEED
from proxy.ledger.connection import Address
from proxy.ledger.encoding import check_amount, check_text, encode_limits
from proxy.ledger.errors import EpochMismatch, ScriptMissing, ScriptRefused, reply_error
from proxy.ledger.keys import Partition, check_id, encoded_call_id, partition_number
from proxy.ledger.reaper import call_began_ms
from proxy.ledger.scripts import FOLDER, load
from proxy.ledger.server import refusals_of

FIT = {"redis_version": "7.2.4", "role": "master", "maxmemory_policy": "noeviction", "aof_enabled": "1"}


@pytest.mark.parametrize("value", [-1, MAX_AMOUNT + 1, 1.0, True, "1", None])
def test_only_whole_numbers_in_their_bounds_are_amounts(value: int) -> None:
    with pytest.raises(ValueError, match="must be a whole number"):
        check_amount(value, "amount")


@pytest.mark.parametrize("value", ["", "a b", "a\n", "ä", "a{b}", "x" * 129])
def test_ids_that_could_leave_their_key_are_refused(value: str) -> None:
    with pytest.raises(ValueError, match="is not an id"):
        check_id(value, "call_id")
    for _ in range(2):  # what was refused is not remembered as good
        with pytest.raises(ValueError, match="is not an id"):
            encoded_call_id(value)


def test_texts_are_bounded_in_bytes() -> None:
    assert check_text("ä" * 1_000, "reason") == ("ä" * 1_000).encode()
    with pytest.raises(ValueError, match="longer than"):
        check_text("ä" * 1_001, "reason")


@pytest.mark.parametrize(
    "limits",
    [
        (Limit("account", REQUESTS, 1), Limit("account", REQUESTS, 2)),
        (Limit("account", TOKENS, MAX_SPEED + 1),),
        (Limit("account", REQUESTS, -1),),
        (Limit("x" * 513, REQUESTS, 1),),
        tuple(Limit(f"key:{number}", REQUESTS, 1) for number in range(33)),
    ],
)
def test_limits_that_cannot_be_counted_are_refused(limits: tuple[Limit, ...]) -> None:
    with pytest.raises(ValueError, match=r"limit|ceiling"):
        encode_limits(Partition.at(0), "acct_1", limits)


def test_every_key_of_an_account_is_in_its_partitions_slot() -> None:
    partition = Partition.at(partition_number("acct_1", 16))
    keys = [
        partition.account("acct_1"), partition.hold("c"), partition.operation("o"), partition.limit("acct_1", "r", "account"),
        partition.epoch, partition.accounts, partition.deadlines, partition.stream, partition.dead,
    ]  # fmt: skip
    assert len(set(keys)) == len(keys)
    assert all(key.startswith(b"fb:{p%02d}:" % partition.number) for key in keys)


def test_partitions_share_the_accounts() -> None:
    counts = [0] * 16
    for number in range(1_600):
        counts[partition_number(f"acct_{number:020x}", 16)] += 1
    assert min(counts) > 50


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://127.0.0.1", Address("127.0.0.1", 6379)),
        ("redis://h:7000/3", Address("h", 7000, database=3)),
        ("rediss://u:p%40ss@h", Address("h", 6379, tls=True, username="u", password="p@ss")),
        ("redis://:p@h/0", Address("h", 6379, password="p")),
        ("unix:///run/a%20b.sock?db=2", Address("", 0, "/run/a b.sock", database=2)),
    ],
)
def test_addresses(url: str, expected: Address) -> None:
    assert Address.parse(url) == expected


@pytest.mark.parametrize("url", ["http://h", "redis://h:port", "redis://h/one", "localhost:6379"])
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(ConfigError):
        Address.parse(url)


def test_an_address_does_not_show_its_password() -> None:
    assert "secret" not in repr(Address.parse("redis://user:secret@h"))


def test_error_replies_become_errors_that_quote_nothing() -> None:
    error = reply_error("ERR unknown command, with args beginning with: 'sk-secret'")
    assert type(error) is ScriptRefused
    assert "secret" not in str(error)
    assert type(reply_error("NOSCRIPT No matching script")) is ScriptMissing
    assert type(reply_error("EPOCH another one")) is EpochMismatch
    assert reply_error("OOM command not allowed").kind == "OOM"


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"role": "slave"}, "replica"),
        ({"maxmemory_policy": "allkeys-lru"}, "noeviction"),
        ({"aof_enabled": "0"}, "append-only"),
        ({"redis_version": "6.2.1"}, "too old"),
        ({"redis_version": "odd"}, "too old"),
    ],
)
def test_unfit_servers_are_refused_with_a_reason(changes: dict[str, str], word: str) -> None:
    (refusal,) = refusals_of(FIT | changes, require_append_only=True)
    assert word in refusal


def test_a_fit_server_is_not_refused() -> None:
    assert refusals_of(FIT, require_append_only=True) == ()
    assert refusals_of(FIT | {"aof_enabled": "0"}, require_append_only=False) == ()
    assert len(refusals_of({}, require_append_only=True)) == 4


def test_every_script_says_what_it_does_takes_and_answers() -> None:
    names = sorted(path.stem for path in FOLDER.glob("*.lua"))
    assert "hold" in names
    for name in names:
        text = (FOLDER / f"{name}.lua").read_text()
        assert text.startswith("#!lua"), name
        assert all(f"-- {word}" in text for word in ("KEYS", "ARGV", "Reply")), name
        assert b"-- include:" not in load(name).text, name


def test_the_age_of_a_call_is_in_its_id() -> None:
    assert call_began_ms("01a20175-f31b-788b-911e-f6a19ca81429") == 0x01A20175F31B
    assert call_began_ms("odd") is None
    assert call_began_ms(None) is None

"""API keys: their shape, and that only a digest under a secret pepper is kept."""

import hashlib
import hmac

import pytest

from proxy.accounts.keys import MANAGER, USER, KeyHasher, display_prefix, kind_of, new_key
from proxy.core.errors import ConfigError

PEPPER = "a pepper of some length"


def test_new_keys_have_their_kinds_shape_and_are_never_the_same() -> None:
    assert kind_of(new_key().encode()) == USER
    assert kind_of(new_key(MANAGER).encode()) == MANAGER
    assert len({new_key() for _ in range(100)}) == 100


@pytest.mark.parametrize(
    "text",
    [b"", b"sk-fb-", b"sk-fb-" + b"a" * 42, b"sk-fb-" + b"a" * 44, b"sk-fb-" + b"a" * 42 + b"\n", b"sk_mg_" + b"G" * 64,
     b"sk-" + b"a" * 48, b"\xff" * 49, b"sk-fb-" + b"a" * 43 + b"\n"],
)  # fmt: skip
def test_what_is_not_a_key_of_ours_is_known_by_its_shape(text: bytes) -> None:
    assert kind_of(text) is None


def test_the_digest_is_hmac_sha256_under_the_pepper() -> None:
    key = new_key().encode()
    for pepper in (PEPPER, "a" * 64, "ä" * 40):  # shorter than a block of SHA-256, as long, and longer
        assert KeyHasher(pepper).digest(key) == hmac.new(pepper.encode(), key, hashlib.sha256).hexdigest()
    assert KeyHasher(PEPPER).digest(key) != KeyHasher(PEPPER + "!").digest(key)


@pytest.mark.parametrize("pepper", ["", "short", "x" * 15])
def test_an_empty_or_short_pepper_is_refused(pepper: str) -> None:
    with pytest.raises(ConfigError, match=r"keys\.pepper"):
        KeyHasher(pepper)


def test_the_prefix_shows_four_random_characters() -> None:
    assert display_prefix("sk-fb-abcdefgh") == "sk-fb-abcd"

"""API keys: what they look like, how they are made, and the digest that is all that Farebox keeps of them.

A user key is `sk-fb-` and 43 base62 characters (256 random bits), a manager key `sk_mg_` and 64 hexadecimal digits
(256 bits). Stored is the HMAC-SHA256 under a secret pepper, so a stolen database neither contains a key nor can be used to
try one; shown is a prefix with 4 random characters. Keys are compared as bytes, by digest: no timing tells how near one is.
"""

import hashlib
import re
import secrets
import string

from proxy.core.errors import ConfigError

USER = "user"
MANAGER = "manager"

_BASE62 = string.ascii_letters + string.digits
_USER_PREFIX = b"sk-fb-"
_USER_KEY_BYTES = len(_USER_PREFIX) + 43
_MANAGER_KEY = re.compile(rb"sk_mg_[0-9a-f]{64}")
_SHOWN = 10
_MIN_PEPPER_BYTES = 16
_BLOCK_BYTES = 64  # of SHA-256


def new_key(kind: str = USER) -> str:
    """A key that nobody has seen before; show it once and keep only its digest."""
    if kind == MANAGER:
        return f"sk_mg_{secrets.token_hex(32)}"
    return "sk-fb-" + "".join(secrets.choice(_BASE62) for _ in range(43))


def kind_of(key: bytes) -> str | None:
    """`user` or `manager` by the key's shape; None for what cannot be a key of ours (no store needs to be asked)."""
    if len(key) == _USER_KEY_BYTES and key.startswith(_USER_PREFIX) and key[len(_USER_PREFIX) :].isalnum():
        return USER  # of bytes, only ASCII letters and digits are alphanumeric
    if _MANAGER_KEY.fullmatch(key):
        return MANAGER
    return None


def display_prefix(key: str) -> str:
    """What may be shown of a key: enough for its owner to recognise it, far too little to guess it."""
    return key[:_SHOWN]


class KeyHasher:
    """HMAC-SHA256 with the installation's pepper. Changing the pepper makes every key unknown."""

    def __init__(self, pepper: str) -> None:
        secret = pepper.encode()
        if len(secret) < _MIN_PEPPER_BYTES:
            raise ConfigError(
                f"keys.pepper must be a secret of at least {_MIN_PEPPER_BYTES} bytes, for example `openssl rand -hex 32`"
            )

        # RFC 2104 with its two first blocks done: half the time of `hmac.digest`, which every call would wait for.
        block = (hashlib.sha256(secret).digest() if len(secret) > _BLOCK_BYTES else secret).ljust(_BLOCK_BYTES, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block))

    def digest(self, key: bytes) -> str:
        """64 hexadecimal digits, the only trace of a key that is stored."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(key)
        outer.update(inner.digest())
        return outer.hexdigest()

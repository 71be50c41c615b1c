"""What a webhook is made of: its signature, the pauses between its attempts, and when a balance has become low.

Signed as Standard Webhooks says (https://www.standardwebhooks.com): the headers `webhook-id`, `webhook-timestamp` (Unix seconds) and
`webhook-signature`, which is `v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`; a receiver refuses old timestamps and takes
an id that it has seen for a repeat. Amounts in microcredits, instants in Unix milliseconds.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

SECRET_PREFIX = "whsec_"  # noqa: S105 - what a secret begins with
SECRET_BYTES = range(24, 65)
LONGEST_PAUSE_S = 4 * 3600.0


@dataclass(frozen=True, slots=True)
class Crossing:
    """The ledger entry by which a balance became low."""

    seq: int
    balance_microcredits: int
    at: int


@dataclass(frozen=True, slots=True)
class Entry:
    """What counts of a ledger entry here: its number, the balance after it, its instant."""

    seq: int
    after_microcredits: int
    at: int


@dataclass(frozen=True, slots=True)
class Watched:
    """How far an account's entries were looked at; `armed`: the balance was last above the threshold."""

    seen_seq: int
    armed: bool


def read_secret(text: str) -> bytes:
    """The key behind `whsec_` and base64 of 24 to 64 bytes. Raises ValueError, without the text."""
    try:
        key = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("it must be whsec_ and base64") from error
    if not text.startswith(SECRET_PREFIX) or len(key) not in SECRET_BYTES:
        raise ValueError("it must be whsec_ and the base64 of 24 to 64 random bytes")
    return key


def signed_headers(secrets: Sequence[bytes], event_id: str, at_s: int, body: bytes) -> dict[str, str]:
    """The three headers; with several secrets (one is being replaced) a signature of each, parted by spaces."""
    signed = f"{event_id}.{at_s}.".encode() + body
    signatures = (base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode() for secret in secrets)
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(at_s),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }


def pause_s(first_pause_s: float, attempts: int) -> float:
    """How long to wait after so many attempts (1, 2, ...): twice as long each time, at most four hours."""
    return min(first_pause_s * 2.0 ** min(attempts - 1, 30), LONGEST_PAUSE_S)


def crossings(
    before: Watched, entries: Iterable[Entry], threshold_microcredits: int
) -> tuple[Watched, tuple[Crossing, ...]]:
    """Looks at entries in the order of their numbers: each fall to the threshold or below it, from above, is a crossing.

    Stops before a number that is missing: several recorders may commit out of order, and it will come.
    """
    seen, armed = before.seen_seq, before.armed
    found = []
    for entry in entries:
        if entry.seq != seen + 1:
            break
        seen = entry.seq
        is_low = entry.after_microcredits <= threshold_microcredits
        if is_low and armed:
            found.append(Crossing(entry.seq, entry.after_microcredits, entry.at))
        armed = not is_low
    return Watched(seen, armed), tuple(found)

"""Reservations: holds that applications ask for. Their call ids say so, for the reaper ends them free whatever its policy."""

LEASE_MS = 5 * 60 * 1000
_SUFFIX = ":res"  # behind a time-ordered call id, so that records stay in the order of time
_PREFIX = "res_"


def reservation_call_id(call_id: str) -> str:
    """The id of a reservation's hold and usage record, made of a new call id."""
    return call_id + _SUFFIX


def is_reservation(call_id: str) -> bool:
    """Whether a hold is a reservation's."""
    return call_id.endswith(_SUFFIX)


def reservation_id(call_id: str) -> str:
    """The id that the application is given: `res_` and 32 hexadecimal digits."""
    return _PREFIX + call_id.removesuffix(_SUFFIX).replace("-", "")

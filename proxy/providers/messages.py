"""The messages that a chat's request consists of."""

from collections.abc import Mapping

import msgspec

from proxy.core.errors import InvalidRequest


def read_messages(members: Mapping[str, msgspec.Raw]) -> bytes:
    """The array of messages as it was written; raises InvalidRequest where there is none."""
    raw = members.get("messages")
    messages = b"" if raw is None else bytes(raw)
    if not messages.startswith(b"["):
        raise InvalidRequest("`messages` must be an array.", param="messages")
    return messages

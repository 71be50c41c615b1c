"""The messages that a chat's request consists of."""

from collections.abc import Mapping

import msgspec

from proxy.core.errors import InvalidRequest
from proxy.providers.reading import is_array


def read_messages(members: Mapping[str, msgspec.Raw]) -> msgspec.Raw:
    """The array of messages, undecoded; raises InvalidRequest where there is none."""
    messages = members.get("messages")
    if messages is None or not is_array(messages):
        raise InvalidRequest("`messages` must be an array.", param="messages")
    return messages

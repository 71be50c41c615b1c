"""The texts of an answer whose members are only partly known, for counting; foreign bytes, so nothing here raises."""

from proxy.providers.prompts import texts_of
from proxy.providers.usage_reading import UNREADABLE


def texts_of_answer(members: dict[str, bytes]) -> str:
    """The texts in some members (name -> JSON), one a line; every byte of them where they cannot be read."""
    if not members:
        return ""
    document = b"{%b}" % b",".join([b'"%b":%b' % (name.encode(), value) for name, value in members.items()])
    try:
        return texts_of(document, members)
    except (*UNREADABLE, ValueError):
        return document.decode(errors="replace")

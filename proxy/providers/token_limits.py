"""Under which names a server obeys the token limit of a chat request, and a limit sent under one of them.

OpenAI has had two names for it, llama.cpp has two more, and a server passes over those that it does not know (some refuse
them). What is known of a provider is in its row (`rows`), or in the configuration. Of a server of which nothing is known
`max_tokens` is sure: it is the name that every server of this API began with. Limits are tokens of one choice.
"""

from collections.abc import Sequence
from urllib.parse import urlsplit

import msgspec

from proxy.providers.clamping import lowered
from proxy.providers.openai_request import LIMIT_NAMES, read_output_limit
from proxy.providers.reading import outline
from proxy.providers.rows import PROVIDERS, Names, Row

SURE = ("max_tokens",)
NEWER = "max_completion_tokens"

_decode_top = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
LEGACY_NAMES = tuple(name for name in LIMIT_NAMES if name != NEWER)
"""Those of the legacy completions, which have never had the newer one."""

_NULL = b"null"
_BY_HOST = {urlsplit(url).netloc: row for row in PROVIDERS.values() for url in row.base_urls.values() if url}


def obeyed_names(provider: str, base_url: str, configured: Sequence[str] | None) -> Names:
    """What the configuration says of a provider, else its row: by its name, or by its address."""
    if configured is not None:
        return tuple(configured)
    row = _row_of(provider, base_url)
    return None if row is None else row.token_limits


def for_completions(names: Names) -> Names:
    """The same for the legacy completions."""
    return tuple(name for name in names if name != NEWER) or SURE if names else names


def sure_names(names: Names) -> frozenset[str]:
    """Those that certainly bound an answer."""
    return frozenset(SURE if names is None else names)


def believed_names(names: Names) -> frozenset[str]:
    """Those by which a call may be held: all but what the server is known to pass over."""
    return frozenset(LIMIT_NAMES if names is None else names)


def is_unsure(names: Names) -> bool:
    """Whether one of OpenAI's own two names is known not to bound an answer there."""
    return names is not None and not {*SURE, NEWER} <= set(names)


def given_names(body: bytes) -> frozenset[str]:
    """The names under which a request gives a limit; for a body that was read."""
    members = outline(body, LIMIT_NAMES)
    return frozenset(name for name in LIMIT_NAMES if name in members and bytes(members[name]) != _NULL)


def with_named_limit(body: bytes, limit: int, names: Names, known: Sequence[str] = LIMIT_NAMES) -> bytes:
    """The body with a limit of at most `limit` under a name that the server obeys, every other member as it was written.

    What it is known not to obey is taken out: it would say nothing, or the request would be refused for it. For a body that
    was read, and a server that obeys a name. `known` are the operation's names.
    """
    top = _decode_top(body)
    sure = SURE if names is None else names
    asked = read_output_limit({name: top[name] for name in known if name in top})
    for name in known:
        if name not in top or bytes(top[name]) == _NULL:
            continue
        if names is not None and name not in names:
            del top[name]
            continue
        top[name] = lowered(top[name], limit)
    if all(name not in top or bytes(top[name]) == _NULL for name in sure):
        top[sure[0]] = msgspec.Raw(b"%d" % (limit if asked is None else min(limit, asked)))
    return msgspec.json.encode(top)


def _row_of(provider: str, base_url: str) -> Row | None:
    """A server of one's own is known by its name alone: anybody's may listen at a local address."""
    if provider in PROVIDERS:
        return PROVIDERS[provider]
    for name, row in PROVIDERS.items():
        if row.key_optional and provider.startswith(name + "-"):
            return row
    url = urlsplit(base_url)
    return _BY_HOST.get(url.netloc) if url.scheme == "https" else None

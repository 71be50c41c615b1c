"""The members of an Anthropic request that decide what it may cost beside its tokens: modes, server tools, other models.

Sources: https://docs.anthropic.com/en/api/messages, https://platform.claude.com/docs/en/agents-and-tools/tool-use/web-search-tool
(`max_uses`), https://platform.claude.com/docs/en/build-with-claude/refusals-and-fallback (`fallbacks`).
"""

import msgspec

from proxy.core.errors import InvalidRequest
from proxy.providers.anthropic_usage import tier_of
from proxy.providers.reading import decode, other_models
from proxy.providers.usage_reading import is_given

COST_MEMBERS = ("speed", "inference_geo", "fallbacks")
# Without `max_uses` a call searches as often as its rounds allow: Anthropic pauses a turn after ten of them
# (https://platform.claude.com/docs/en/build-with-claude/handling-stop-reasons#pause-turn).
UNBOUND_SEARCHES = 10
MAX_SEARCHES = 1_000
_MAX_ID_CHARS = 256

_SEARCH_TOOL = b'"web_search_'


class _Tool(msgspec.Struct, gc=False):
    type: str = ""
    max_uses: int | None = None


class _Fallback(msgspec.Struct, gc=False):
    model: str


class _Container(msgspec.Struct, gc=False):
    id: str | None = None


_WORD: msgspec.json.Decoder[str | None] = msgspec.json.Decoder(str | None)
_TOOLS: msgspec.json.Decoder[list[_Tool] | None] = msgspec.json.Decoder(list[_Tool] | None)
_FALLBACKS: msgspec.json.Decoder[list[_Fallback] | str | None] = msgspec.json.Decoder(list[_Fallback] | str | None)
_CONTAINER: msgspec.json.Decoder[str | _Container | None] = msgspec.json.Decoder(str | _Container | None)


def read_tier(members: dict[str, msgspec.Raw]) -> str | None:
    """The tier that the request's speed and place make; None where they do not change the price."""
    if "speed" not in members and "inference_geo" not in members:
        return None
    words = {
        name: decode(members[name], _WORD, name, f"`{name}` must be a string.") if name in members else None
        for name in ("speed", "inference_geo")
    }
    return tier_of(words["speed"], words["inference_geo"])


def read_searches(members: dict[str, msgspec.Raw]) -> dict[str, int]:
    """The most web searches that the request lets the provider run, as a bound of units; empty where it offers none."""
    raw = members.get("tools")
    if raw is None or _SEARCH_TOOL not in bytes(raw):
        return {}
    tools = decode(raw, _TOOLS, "tools", "`tools` must be an array of objects; `max_uses` must be an integer.")
    uses = [tool.max_uses for tool in tools or () if tool.type.startswith("web_search_")]
    bound = sum([UNBOUND_SEARCHES if most is None else min(max(most, 0), MAX_SEARCHES) for most in uses])
    return {"web_searches": bound} if uses else {}


def read_resources(members: dict[str, msgspec.Raw]) -> tuple[str, ...]:
    """The container that the request goes on in, where it names one."""
    raw = members.get("container")
    if raw is None:
        return ()
    container = decode(raw, _CONTAINER, "container", "`container` must be an id or an object with an id.")
    name = container.id if isinstance(container, _Container) else container
    if name is not None and len(name) > _MAX_ID_CHARS:
        raise InvalidRequest("`container` must be an id.", param="container")
    return () if name is None else (name,)


def read_others(members: dict[str, msgspec.Raw], model: str) -> tuple[str, ...]:
    """The models that may answer where the one that is asked for declines.

    The provider's own choice (`"default"`) is not known beforehand: the usage says then that another model answered.
    """
    raw = members.get("fallbacks")
    if raw is None or not is_given(raw):
        return ()
    named = decode(raw, _FALLBACKS, "fallbacks", "`fallbacks` must be an array of objects with a model, or `default`.")
    if not isinstance(named, list):
        return ()
    return other_models([entry.model for entry in named], model, "fallbacks")

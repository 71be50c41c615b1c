"""What a Converse request asks for: its limits, its media, its tier; and the same request with a lower limit.

Source: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html (request syntax).
"""

from collections.abc import Iterable

import msgspec

from proxy.core.errors import InvalidRequest
from proxy.providers.reading import MAX_OUTPUT_LIMIT, decode, is_array, read_count, top_level
from proxy.providers.usage_reading import NOTHING, UNREADABLE

# What Converse passes on to a model in its own words may hold a limit in those words too.
_OWN_LIMITS = ("max_tokens", "maxTokens", "max_gen_len", "max_new_tokens", "max_completion_tokens", "maxTokenCount")
_LIMIT_NAMES = ("maxTokens", *_OWN_LIMITS)
LATENCY_OPTIMIZED = "optimized"
"""The service tier of a call that asks for latency-optimized inference; AWS calls it `performanceConfig.latency`."""


class _Blocks(msgspec.Struct, gc=False):
    content: list["_Block"] | None = None


class _Block(msgspec.Struct, gc=False, rename="camel"):
    """One part of a message; only its kind counts, so what is in a kind stays undecoded."""

    image: msgspec.Raw = NOTHING
    document: msgspec.Raw = NOTHING
    video: msgspec.Raw = NOTHING
    audio: msgspec.Raw = NOTHING
    tool_result: _Blocks | None = None
    guard_content: "_Guarded | None" = None


class _Guarded(msgspec.Struct, gc=False):
    image: msgspec.Raw = NOTHING


class _Latency(msgspec.Struct, gc=False):
    latency: str | None = None


class _Tier(msgspec.Struct, gc=False):
    type: str | None = None


class _Tiers(msgspec.Struct, gc=False, rename="camel"):
    performance_config: _Latency | None = None
    service_tier: _Tier | None = None


_MESSAGES = msgspec.json.Decoder(list[_Blocks])
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_LIMIT: msgspec.json.Decoder[int | None] = msgspec.json.Decoder(int | None)
_NULL = msgspec.Raw(b"null")
_decode_tiers = msgspec.json.Decoder(_Tiers).decode


def output_limit(members: dict[str, msgspec.Raw]) -> int | None:
    """The largest limit that the request names: which of two a model would obey is the model's affair."""
    limits = [
        read_count(holder, name, 0, MAX_OUTPUT_LIMIT)
        for holder, names in (
            (_object(members, "inferenceConfig"), ("maxTokens",)),
            (_object(members, "additionalModelRequestFields"), _OWN_LIMITS),
        )
        for name in names
    ]
    return max((limit for limit in limits if limit is not None), default=None)


def _object(members: dict[str, msgspec.Raw], name: str) -> dict[str, msgspec.Raw]:
    """A member that is an object, with what it holds undecoded; raises InvalidRequest where a limit is given twice."""
    raw = members.get(name)
    if raw is None or bytes(raw) == b"null":
        return {}
    return members_of(raw, name, _LIMIT_NAMES)


def members_of(raw: msgspec.Raw, name: str, metered: Iterable[str]) -> dict[str, msgspec.Raw]:
    """The members of an inner object, undecoded; raises InvalidRequest where one that is metered is ambiguous."""
    if bytes(memoryview(raw)[:1]) != b"{":
        raise InvalidRequest(f"`{name}` must be an object.", param=name)
    try:
        return top_level(bytes(raw), metered)
    except InvalidRequest as error:
        raise InvalidRequest(f"In `{name}`: {error.message}", param=name) from None


def count_media(messages: msgspec.Raw | None) -> int:
    """How many parts are images, documents, video or audio, in messages and in the results of tools."""
    if messages is None:  # a stored prompt brings its own
        return 0
    if not is_array(messages):
        raise InvalidRequest("`messages` must be an array.", param="messages")
    message = "Each message must be an object with an array of content blocks."
    return sum(_media_in(found.content or []) for found in decode(messages, _MESSAGES, "messages", message))


def _media_in(blocks: list[_Block]) -> int:
    count = 0
    for block in blocks:
        count += sum(kind is not NOTHING for kind in (block.image, block.document, block.video, block.audio))
        if block.tool_result is not None:
            count += _media_in(block.tool_result.content or [])
        if block.guard_content is not None:
            count += block.guard_content.image is not NOTHING
    return count


def tier_of(document: bytes | bytearray) -> str | None:
    """The tier that a request asks for or an answer was served in, in AWS's own word."""
    try:
        tiers = _decode_tiers(document)
    except UNREADABLE:
        return None
    if tiers.performance_config is not None and tiers.performance_config.latency == LATENCY_OPTIMIZED:
        return LATENCY_OPTIMIZED
    return tiers.service_tier.type if tiers.service_tier is not None else None


def with_limit(body: bytes, limit: int) -> bytes:
    """The body, every limit in it at most `limit`, and with one where it had none; for a body that was read.

    A null in a model's own words, which could stand for the most that the model can write, becomes the largest limit that
    holds: 0 is a limit, and asks for less than that.
    """
    top = _OBJECT.decode(body)
    asked = output_limit(top)
    most = limit if asked is None else min(asked, limit)
    own, inference = (_object(top, name) for name in ("additionalModelRequestFields", "inferenceConfig"))
    lowered = {name: _lowered(own[name], most) for name in own.keys() & set(_OWN_LIMITS)}
    if lowered:
        top["additionalModelRequestFields"] = msgspec.Raw(msgspec.json.encode({**own, **lowered}))
    given = inference.get("maxTokens", _NULL)
    if bytes(given) != b"null" or not lowered:
        top["inferenceConfig"] = msgspec.Raw(msgspec.json.encode({**inference, "maxTokens": _lowered(given, most)}))
    return msgspec.json.encode(top)


def _lowered(given: msgspec.Raw, most: int) -> int:
    asked = _LIMIT.decode(given)
    return most if asked is None else min(asked, most)

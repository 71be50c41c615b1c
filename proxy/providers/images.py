"""What an image costs as input, by the rules that providers document, from the size that its first bytes say.

Sources: https://platform.openai.com/docs/guides/images-vision#calculating-costs (tiles and patches),
https://docs.anthropic.com/en/docs/build-with-claude/vision (width x height / 750, at most about 1,600),
https://ai.google.dev/gemini-api/docs/tokens (258 a tile). Counts are tokens, sizes are pixels.
"""

import base64
import binascii
import struct
from typing import Any

from proxy.providers.families import family_of

# An image behind a URL is not fetched: it is taken for one of this size.
_ASSUMED = (1024, 1024)
_HEAD_CHARS = 64 * 1024  # of base64; JPEGs carry their size behind previews and profiles

# Base and tile of models that look at tiles of 512 pixels.
_TILED: tuple[tuple[str, int, int], ...] = (
    ("gpt-4o-mini", 2833, 5667),
    ("gpt-5-chat", 70, 140),
    ("gpt-5", 70, 140),
    ("o1", 75, 150),
    ("o3", 75, 150),
    ("computer-use", 65, 129),
)
_USUAL_TILE = (85, 170)
# Models that look at patches of 32 pixels, at most 1,536 of them: hundredths of a token for each.
_PATCHED: tuple[tuple[str, int], ...] = (
    ("gpt-4.1-mini", 162),
    ("gpt-4.1-nano", 246),
    ("gpt-5-mini", 162),
    ("gpt-5-nano", 246),
    ("o4-mini", 172),
)
_MOST_PATCHES = 1536
_MOST_TILES = 8  # 2048 by 768 pixels, the largest that is left after scaling
_CLAUDE_MOST = 1600
_GEMINI_TILE = 258

# The largest single image of all other models that OpenAI's and Anthropic's vision documentation prices is below this.
OTHER_BOUND = 8192


def image_tokens(part: dict[str, Any], model: str) -> int:
    """The tokens of one image part, in any dialect."""
    family, (width, height) = family_of(model).name, _size(part) or _ASSUMED
    if family.startswith("claude"):
        return min(-(-width * height // 750), _CLAUDE_MOST)
    if family.startswith("gemini"):
        return _gemini(width, height)
    name = _own_name(model)
    if (multiplier := _patch(name)) is not None:
        patches = min(-(-width // 32) * -(-height // 32), _MOST_PATCHES)
        return -(-patches * multiplier // 100)
    base, tile = _tile(name)
    return base if _detail(part) == "low" else base + tile * _tiles(width, height)


def image_bound(model: str) -> int:
    """The most that one image can cost."""
    base, tile = _tile(_own_name(model))
    return max(OTHER_BOUND, base + tile * _MOST_TILES)


def is_sized(part: dict[str, Any]) -> bool:
    """Whether the size of an image stands in the request."""
    return _size(part) is not None


def _own_name(model: str) -> str:
    """Without a provider before it, and what was fine-tuned by the model that it was made from."""
    return model.rpartition("/")[2].removeprefix("ft:")


def _tile(name: str) -> tuple[int, int]:
    return next(((base, tile) for start, base, tile in _TILED if name.startswith(start)), _USUAL_TILE)


def _patch(name: str) -> int | None:
    return next((multiplier for start, multiplier in _PATCHED if name.startswith(start)), None)


def _tiles(width: int, height: int) -> int:
    """Squares of 512 pixels after scaling into 2048 by 2048 and then the shorter side to 768; only ever smaller."""
    longest = max(width, height)
    if longest > 2048:
        width, height = width * 2048 // longest, height * 2048 // longest
    shortest = min(width, height)
    if shortest > 768:
        width, height = width * 768 // shortest, height * 768 // shortest
    return max(-(-width // 512), 1) * max(-(-height // 512), 1)


def _gemini(width: int, height: int) -> int:
    if max(width, height) <= 384:
        return _GEMINI_TILE
    return _GEMINI_TILE * -(-width // 768) * -(-height // 768)


def _detail(part: dict[str, Any]) -> Any:
    image = part.get("image_url")
    return image.get("detail") if isinstance(image, dict) else part.get("detail")


def _size(part: dict[str, Any]) -> tuple[int, int] | None:
    head = _head(part)
    for read in (_png, _gif, _jpeg, _webp):
        size = read(head)
        if size is not None and 0 < size[0] <= 65_536 and 0 < size[1] <= 65_536:
            return size
    return None


def _head(part: dict[str, Any]) -> bytes:
    """The first bytes of an image that stands in the request."""
    text = _encoded(part)
    if text.startswith("data:"):
        text = text[: _HEAD_CHARS + 256].partition(",")[2]
    text = text[:_HEAD_CHARS]
    try:
        return base64.b64decode(text[: len(text) // 4 * 4])
    except (binascii.Error, ValueError):
        return b""


def _encoded(part: dict[str, Any]) -> str:
    """The base64 of a part: OpenAI's data URL, Anthropic's and Bedrock's source, Gemini's inline data."""
    for path in (("image_url", "url"), ("image_url",), ("source", "data"), ("image", "source", "bytes")):
        if isinstance(found := _at(part, path), str):
            return found
    for name in ("inlineData", "inline_data"):
        if isinstance(found := _at(part, (name, "data")), str):
            return found
    return ""


def _at(value: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _png(head: bytes) -> tuple[int, int] | None:
    if len(head) < 24 or not head.startswith(b"\x89PNG\r\n\x1a\n"):
        return None
    width, height = struct.unpack(">II", head[16:24])
    return width, height


def _gif(head: bytes) -> tuple[int, int] | None:
    if len(head) < 10 or head[:6] not in {b"GIF87a", b"GIF89a"}:
        return None
    width, height = struct.unpack("<HH", head[6:10])
    return width, height


def _webp(head: bytes) -> tuple[int, int] | None:
    if len(head) < 30 or head[:4] != b"RIFF" or head[8:12] != b"WEBP":
        return None
    if head[12:16] == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if head[12:16] == b"VP8 ":
        width, height = struct.unpack("<HH", head[26:30])
        return width & 0x3FFF, height & 0x3FFF
    return None


def _jpeg(head: bytes) -> tuple[int, int] | None:
    """The frame header, looked for marker by marker."""
    if not head.startswith(b"\xff\xd8"):
        return None
    at = 2
    while at + 9 <= len(head) and head[at] == 0xFF:
        marker = head[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}:
            height, width = struct.unpack(">HH", head[at + 5 : at + 9])
            return width, height
        at += 2 + int.from_bytes(head[at + 2 : at + 4])
    return None

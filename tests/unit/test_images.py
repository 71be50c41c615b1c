import base64
import struct
from typing import Any

import pytest

from proxy.providers.images import image_bound, image_tokens, is_sized

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"


def png(width: int, height: int) -> bytes:
    return PNG + struct.pack(">II", width, height)


def jpeg(width: int, height: int) -> bytes:
    preview = b"\xff\xe1" + struct.pack(">H", 4000) + b"x" * 3998
    return b"\xff\xd8" + preview + b"\xff\xc2" + struct.pack(">HBHH", 17, 8, height, width) + b"\x03"


def webp(width: int, height: int) -> bytes:
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF\0\0\0\0WEBPVP8X" + b"\x0a\0\0\0" + b"\0\0\0\0" + size


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height)


def url(data: bytes, **more: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": "data:image/x;base64," + base64.b64encode(data).decode(), **more}}


# The examples of https://platform.openai.com/docs/guides/images-vision#calculating-costs.
@pytest.mark.parametrize(
    ("model", "size", "tokens"),
    [
        ("gpt-4o", (1024, 1024), 765),
        ("gpt-4o", (2048, 4096), 1105),
        ("gpt-5", (1024, 1024), 70 + 4 * 140),
        ("o1", (512, 512), 75 + 150),
        ("gpt-4o-mini", (512, 512), 2833 + 5667),
        ("openai/gpt-4o-mini", (512, 512), 2833 + 5667),
        ("ft:gpt-4o-mini:acme::1", (512, 512), 2833 + 5667),
        ("gpt-4.1-mini", (1024, 1024), 1659),
        ("claude-sonnet-4-5", (1000, 1000), 1334),
        ("claude-sonnet-4-5", (4000, 4000), 1600),
        ("gemini-2.5-flash", (384, 384), 258),
        ("gemini-2.5-flash", (960, 540), 516),
    ],
)
@pytest.mark.parametrize("form", [png, jpeg, webp, gif])
def test_documented_sizes(model: str, size: tuple[int, int], tokens: int, form: Any) -> None:
    assert image_tokens(url(form(*size)), model) == tokens
    assert tokens <= image_bound(model)


def test_low_detail_is_the_base() -> None:
    assert image_tokens(url(png(4000, 4000), detail="low"), "gpt-4o") == 85


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image", "source": {"type": "base64", "data": base64.b64encode(png(384, 384)).decode()}},
        {"image": {"format": "png", "source": {"bytes": base64.b64encode(png(384, 384)).decode()}}},
        {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(png(384, 384)).decode()}},
        {"inline_data": {"mime_type": "image/png", "data": base64.b64encode(png(384, 384)).decode()}},
        {"type": "input_image", "image_url": "data:image/png;base64," + base64.b64encode(png(384, 384)).decode()},
    ],
)
def test_every_dialects_image_is_read(part: dict[str, Any]) -> None:
    assert is_sized(part)
    assert image_tokens(part, "gemini-2.5-flash") == 258


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        PNG,
        png(0, 0),
        png(2**31, 5),
        jpeg(5, 5)[:8],
        b"\xff\xd8" + b"\xff\xe1\0\0" * 50,
        b"RIFF\0\0\0\0WEBPVP8 ",
    ],
)
def test_what_cannot_be_read_is_taken_for_a_large_image(data: bytes) -> None:
    assert not is_sized(url(data))
    assert image_tokens(url(data), "gpt-4o") == 765


def test_an_image_elsewhere_is_not_fetched() -> None:
    assert image_tokens({"type": "image_url", "image_url": {"url": "https://example.com/x.png"}}, "gpt-4o") == 765
    assert image_tokens({"type": "image_url", "image_url": 3}, "gpt-4o") == 765

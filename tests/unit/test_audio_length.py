import io
import struct
import wave

import pytest

from proxy.providers.audio_length import LEAST_BYTES_A_SECOND, seconds_at_most


def sound(seconds: float, rate: int = 16_000, channels: int = 1, width: int = 2) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(b"\x00" * (int(seconds * rate) * channels * width))
    return buffer.getvalue()


@pytest.mark.parametrize("seconds", [0.5, 1.0, 7.25, 60.0])
@pytest.mark.parametrize(("rate", "channels", "width"), [(16_000, 1, 2), (44_100, 2, 2), (8_000, 1, 1), (48_000, 2, 4)])
def test_uncompressed_sound_is_measured(seconds: float, rate: int, channels: int, width: int) -> None:
    body = b"head" + sound(seconds, rate, channels, width) + b"tail"
    found = seconds_at_most(body, 4, len(body) - 4)
    assert seconds <= found <= seconds + 2


@pytest.mark.parametrize(
    "body",
    [
        b"ID3\x04" + b"\xff" * 50_000,
        b"OggS" + b"\x00" * 50_000,
        b"RIFF" + b"\x00" * 50_000,
        b"RIFF\xff\xff\xff\xffWAVEfmt \x02\x00\x00\x00\x01\x00" + b"\x00" * 50_000,
        b"RIFF\xff\xff\xff\xffWAVEfmt \x10\x00\x00\x00"
        + struct.pack("<HHIIHH", 85, 2, 44_100, 0, 0, 16)
        + b"\x00" * 50_000,
        b"RIFF\xff\xff\xff\xffWAVEfmt \x10\x00\x00\x00"
        + struct.pack("<HHIIHH", 1, 0, 44_100, 0, 0, 16)
        + b"\x00" * 50_000,
        b"RIFF\xff\xff\xff\xffWAVE" + b"junk\x00\x00\x00\x00" * 5000,
        b"\x00" * 50_000,
    ],
)
def test_everything_else_is_bounded_by_its_size(body: bytes) -> None:
    assert seconds_at_most(body, 0, len(body)) == -(-len(body) // LEAST_BYTES_A_SECOND)


def test_the_rate_that_a_header_claims_beside_its_samples_is_not_used() -> None:
    body = bytearray(sound(10.0))
    body[28:32] = struct.pack("<I", 2**31)  # bytes a second, which decoders ignore
    assert 10 <= seconds_at_most(bytes(body), 0, len(body)) <= 12


def test_nothing_has_no_length() -> None:
    assert seconds_at_most(b"", 0, 0) == 0
    assert seconds_at_most(b"RIFF", 0, 4) == 1

"""What every meter shares: bytes pass without a copy that grows, in every shape, whatever the pieces."""

import tracemalloc

import pytest

from proxy.providers.dialect import BILLED, JSON, SSE, Ask, Meter
from proxy.providers.registry import OPERATIONS

SHAPES = {
    "json": JSON,
    "events": SSE,
    "binary": b"application/vnd.amazon.eventstream",
    "audio": b"audio/mpeg",
    "text": b"text/plain",
}
METERED = [one for one in OPERATIONS if one.billing == BILLED]
MEGABYTE = 1 << 20
PIECE = b"a" * (64 * 1024)


def meter_of(operation: object, content_type: bytes, *, stream: bool) -> Meter:
    ask = Ask(model="m", stream=stream, units={"input_characters": 1, "input_seconds": 1, "requests": 1})
    return operation.meter(ask, content_type)  # type: ignore[attr-defined,no-any-return]


def every_meter() -> list[tuple[str, object, bytes]]:
    """One of each class, with what makes it."""
    found: dict[type, tuple[str, object, bytes]] = {}
    for operation in METERED:
        for name, content_type in SHAPES.items():
            kind = type(meter_of(operation, content_type, stream=True))
            found.setdefault(
                kind, (f"{kind.__module__.rpartition('.')[2]}.{kind.__name__}-{name}", operation, content_type)
            )
    return list(found.values())


@pytest.mark.parametrize(("operation", "content_type"), [pytest.param(o, c, id=name) for name, o, c in every_meter()])
def test_a_line_of_100_megabytes_passes_in_bounded_memory(operation: object, content_type: bytes) -> None:
    start = b'data: {"x":"' if content_type == SSE else b'[{"candidates":[{"a":"'
    meter = meter_of(operation, content_type, stream=True)
    tracemalloc.start()
    try:
        relayed = len(meter.feed(start))
        for _ in range(100 * MEGABYTE // len(PIECE)):
            relayed += len(meter.feed(PIECE))
        relayed += len(meter.finish())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert relayed == len(start) + 100 * MEGABYTE
    # 32 MiB is what a plain answer is read up to; a bytearray that grows to it is copied once in a while.
    assert peak < 80 * MEGABYTE
    assert meter.usage is None or not meter.usage.input_tokens

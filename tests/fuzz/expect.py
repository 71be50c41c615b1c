"""What must hold of every meter and every reading, whatever the bytes were."""

from collections.abc import Sequence
from typing import Any

from proxy.core.usage import COUNTERS, MAX_COUNT, Usage
from proxy.providers.dialect import Ask, Meter
from proxy.providers.reading import MAX_MODEL_CHARS, MAX_OTHERS, MAX_OUTPUT_LIMIT
from proxy.providers.sse import Splitter
from tests.support.answers import state

_NAMES = frozenset(COUNTERS)
MAX_FLAG_CHARS = 400
MOST = 1000 * MAX_COUNT  # a counter may be the sum of several figures, each of which was believed


def believable(usage: Usage | None) -> None:
    """Counters are known ones, and whole numbers from 0 to a sum of what is believed."""
    if usage is None:
        return
    for name, count in usage.counters.items():
        assert name in _NAMES, name
        assert type(count) is int, (name, count)
        assert 0 <= count <= MOST, (name, count)


def sound(meter: Meter) -> None:
    """A meter's figures can be charged and stored."""
    believable(meter.usage)
    believable(meter.partial)
    assert meter.flag is None or (isinstance(meter.flag, str) and len(meter.flag) <= MAX_FLAG_CHARS), meter.flag
    assert meter.service_tier is None or isinstance(meter.service_tier, str)
    assert meter.resource is None or isinstance(meter.resource, str)
    assert type(meter.error) is type(meter.complete) is type(meter.pending) is type(meter.between_events) is bool
    assert min(meter.unread_events, meter.output_events, meter.output_bytes, meter.output_calls) >= 0
    assert isinstance(meter.output_text, str)


def everything(meter: Meter) -> tuple[Any, ...]:
    """All that a meter says, for comparison."""
    return (*state(meter), meter.output_calls, getattr(meter, "answered_by", None))


def sound_ask(ask: Ask) -> None:
    """What was read of a request can be held for."""
    assert isinstance(ask.model, str)
    assert len(ask.model) <= MAX_MODEL_CHARS + len("tunedModels/")
    assert not ask.model or ask.model.isprintable()
    assert type(ask.stream) is bool
    assert type(ask.usage_asked) is bool
    assert ask.output_limit is None or (type(ask.output_limit) is int and 0 <= ask.output_limit <= MAX_OUTPUT_LIMIT)
    assert type(ask.choices) is int
    assert ask.choices >= 1
    assert ask.input_bound is None or (type(ask.input_bound) is int and ask.input_bound >= 0)
    assert type(ask.media_parts) is int
    assert ask.media_parts >= 0
    assert ask.service_tier is None or isinstance(ask.service_tier, str)
    assert len(ask.others) <= MAX_OTHERS
    believable(Usage(ask.units))


def whole_events_only(came: bytes, relayed: bytes) -> None:
    """What is relayed is what came without some of its server-sent events, each taken out whole."""
    some_of(events_of(came), relayed)


def some_of(events: Sequence[bytes], relayed: bytes) -> None:
    """What is relayed is these events, but for some that were taken out whole."""
    at = 0
    for block in events:
        if relayed.startswith(block, at):
            at += len(block)
    if at == len(relayed):
        return
    # An event may begin with all of another one (CR CR and CR CR LF both end one), so every way to match is followed.
    reached = {0}
    for block in events:
        reached |= {at + len(block) for at in reached if relayed.startswith(block, at)}
    assert len(relayed) in reached, (events, relayed)


def events_of(came: bytes) -> Sequence[bytes]:
    """A whole stream as its events, and the torn one that it ends in."""
    splitter = Splitter(len(came))
    blocks = [block or b"" for _, block in splitter.feed(came)]
    return [*blocks, splitter.rest() or b""]

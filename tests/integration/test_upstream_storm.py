"""Everything at once: a provider of random manners, clients of random patience. No byte is wrong, and nothing is lost."""

import asyncio
import itertools
import random
from collections import Counter

import pytest

from proxy.core.errors import FareboxError
from proxy.pipeline.upstream import PoolLimits, PoolStats, Timeouts, UpstreamClient
from tests.support.both_loops import both_loops
from tests.support.raw_upstream import RawUpstream, Script, Talk
from tests.support.upstream_calls import OK, client_of

TIMEOUTS = Timeouts(connect_s=1, first_byte_s=0.3, idle_s=0.3, total_s=5)
LIMITS = PoolLimits(connections=7, waiting=40, wait_s=2, keepalive_s=0.2)


def echo(body: bytes, size: int) -> bytes:
    return (body * (size // len(body) + 1))[:size]


def random_manners(chance: random.Random) -> Script:
    async def script(talk: Talk) -> None:
        while True:
            request = await talk.request()
            body = echo(request.body, chance.choice([0, 1, 100, 5000, 300_000]))
            manner = chance.random()
            if manner < 0.05:
                return
            if manner < 0.1:
                talk.reset()
                return
            if manner < 0.15:
                await talk.send(OK + b"content-length: %d\r\n\r\n" % (len(body) + 5) + body)
                return
            if manner < 0.2:
                await talk.send(b"garbage")
                return
            if manner < 0.22:
                await asyncio.sleep(0.5)
            chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            plain = OK + b"content-length: %d\r\n\r\n%b" % (len(body), body)
            data = plain if manner < 0.6 else OK + b"transfer-encoding: chunked\r\n\r\n" + chunk + b"0\r\n\r\n"
            at = sorted({0, len(data), *(chance.randrange(len(data)) for _ in range(chance.randrange(4)))})
            pieces = [data[start:end] for start, end in itertools.pairwise(at)]
            await talk.send(*pieces, pause_s=chance.choice([0, 0, 0.003]))

    return script


async def one_call(client: UpstreamClient, chance: random.Random, number: int) -> str:
    """How it ended; what was received must be what this call sent, echoed."""
    body = b"%d;" % number * chance.choice([1, 10, 100_000])
    exchange = client.open(b"POST", b"/", [], body)
    received = b""
    try:
        await exchange.start()
        while piece := await exchange.read():
            received += piece
            if chance.random() < 0.02:
                return "left"
    except FareboxError as error:
        return type(error).__name__
    finally:
        exchange.close()
        assert received == echo(body, len(received))
    assert len(received) in {0, 1, 100, 5000, 300_000}
    return "whole"


async def patience(client: UpstreamClient, chance: random.Random, numbers: range, ends: Counter[str]) -> None:
    for number in numbers:
        limit_s = chance.random() * 0.05 if chance.random() < 0.1 else 20
        try:
            ends[await asyncio.wait_for(one_call(client, chance, number), limit_s)] += 1
        except TimeoutError:
            ends["cancelled"] += 1


async def storm(seed: int, calls: int = 40) -> Counter[str]:
    """Fifteen clients with so many calls each, one after the other; how they ended."""
    chance = random.Random(seed)
    ends: Counter[str] = Counter()
    async with RawUpstream(random_manners(chance)) as upstream:
        client = client_of(upstream, timeouts=TIMEOUTS, limits=LIMITS)
        await asyncio.gather(
            *(patience(client, chance, range(first, first + calls), ends) for first in range(1000, 16_000, 1000))
        )
        stats = client.stats
        assert stats == PoolStats(stats.idle, stats.idle, 0)
        assert not client._sweep._calls
        await client.close()
        assert client.stats == PoolStats(0, 0, 0)
    return ends


@both_loops
async def test_storm() -> None:
    ends = await storm(1, 20)
    assert ends.total() == 15 * 20
    assert {"whole", "left", "cancelled", "Disconnected", "Truncated", "BadAnswer"} <= set(ends)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2, 42))
@both_loops
async def test_many_storms(seed: int) -> None:
    assert (await storm(seed))["whole"]

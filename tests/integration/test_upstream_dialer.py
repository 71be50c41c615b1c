"""Names and addresses: looked up once for a burst, tried in turn, looked up anew when none of them answers."""

import asyncio
import socket
from typing import Any

import pytest

from proxy.pipeline.upstream import Origin, PoolStats, UpstreamClient
from proxy.pipeline.upstream.addresses import Addresses
from proxy.pipeline.upstream.connection import Connection
from proxy.pipeline.upstream.errors import ConnectFailed
from tests.support.both_loops import both_loops
from tests.support.raw_upstream import RawUpstream, answers
from tests.support.upstream_calls import QUICK, call


class Names:
    """Stands in for the resolver of a loop; `rows` is its answer, an exception its failure."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
        self.asked = 0
        self.addresses: tuple[str, ...] | OSError = addresses
        monkeypatch.setattr("proxy.pipeline.upstream.addresses._look_up_name", self._answer)

    async def _answer(self, host: str, port: int) -> list[tuple[Any, ...]]:
        self.asked += 1
        await asyncio.sleep(0.02)
        if isinstance(self.addresses, OSError):
            raise self.addresses
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in self.addresses]


@both_loops
async def test_a_burst_is_one_look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names(monkeypatch, "127.0.0.1")
    async with RawUpstream(answers) as upstream:
        client = UpstreamClient(Origin("http", "provider.test", upstream.port), timeouts=QUICK)
        assert await asyncio.gather(*(call(client) for _ in range(20))) == [(200, b"ok")] * 20
        assert names.asked == 1
        assert upstream.connections == 20
        assert upstream.seen[0].values(b"host") == [b"provider.test:%d" % upstream.port]
        await client.close()


@both_loops
async def test_addresses_are_tried_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names(monkeypatch, "127.0.0.2", "127.0.0.3", "127.0.0.1")
    async with RawUpstream(answers) as upstream:
        client = UpstreamClient(Origin("http", "provider.test", upstream.port), timeouts=QUICK)
        assert await call(client) == (200, b"ok")
        names.addresses = ("127.0.0.4", "127.0.0.5")
        await client.close()
        other = UpstreamClient(Origin("http", "provider.test", upstream.port), timeouts=QUICK)
        for _ in range(2):
            with pytest.raises(ConnectFailed):
                await call(other)
        assert names.asked == 3, "addresses that do not answer are not believed until their time is up"
        assert other.stats.open == 0
        await other.close()


@both_loops
async def test_a_failed_look_up_is_a_failed_connect_and_remembered_for_a_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = Names(monkeypatch)
    names.addresses = socket.gaierror(socket.EAI_NONAME, "no such name")
    client = UpstreamClient(Origin("http", "provider.test", 80), timeouts=QUICK)
    results = await asyncio.gather(*(call(client) for _ in range(5)), return_exceptions=True)
    assert all(isinstance(result, ConnectFailed) for result in results)
    assert names.asked == 1
    await client.close()


@both_loops
async def test_answers_are_believed_for_their_time_only(monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names(monkeypatch, "127.0.0.1", "127.0.0.1", "127.0.0.2")
    addresses = Addresses("provider.test", 80, ttl_s=0.1)
    for _ in range(3):
        assert await addresses.get() == ("127.0.0.1", "127.0.0.2")
    await asyncio.sleep(0.12)
    names.addresses = ("127.0.0.9",)
    assert await addresses.get() == ("127.0.0.9",)
    assert names.asked == 2


@both_loops
async def test_a_cancelled_look_up_is_taken_over_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names(monkeypatch, "127.0.0.1")
    addresses = Addresses("provider.test", 80)
    first = asyncio.ensure_future(addresses.get())  # noqa: TID251
    await asyncio.sleep(0)
    second = asyncio.ensure_future(addresses.get())  # noqa: TID251
    await asyncio.sleep(0)
    first.cancel()
    assert await second == ("127.0.0.1",)
    assert names.asked == 2
    await asyncio.gather(first, return_exceptions=True)


@both_loops
async def test_real_names_are_resolved() -> None:
    assert set(await Addresses("localhost", 80).get()) <= {"127.0.0.1", "::1"}
    assert await Addresses("127.0.0.1", 80).get() == ("127.0.0.1",)


class Stillborn(Connection):
    """Closed again before whoever asked for it has a turn."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.discard()


@both_loops
async def test_a_connection_that_is_gone_before_it_is_handed_over_is_a_failed_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("proxy.pipeline.upstream.exchange.Connection", Stillborn)
    async with RawUpstream(answers) as upstream:
        client = UpstreamClient(Origin.parse(upstream.url), timeouts=QUICK)
        exchange = client.open(b"GET", b"/")
        with pytest.raises(ConnectFailed):
            await exchange.start()
        assert not exchange.sent
        assert client.stats == PoolStats(0, 0, 0)
        await client.close()

"""TLS towards a provider: verified by name and authority, and a cut connection is never the end of an answer."""

import asyncio
import ssl

import pytest
import trustme

from proxy.pipeline.upstream import Origin, Timeouts, UpstreamClient, client_tls
from proxy.pipeline.upstream.errors import ConnectFailed, ConnectTimeout, Truncated
from tests.support.authority import server_tls
from tests.support.both_loops import both_loops
from tests.support.raw_upstream import RawUpstream, Talk, answers
from tests.support.upstream_calls import OK, body_of, call, client_of, until


@both_loops
async def test_a_call_with_server_name_and_kept_connection(authority: trustme.CA, ca_file: str) -> None:
    names: list[str | None] = []
    context = server_tls(authority)
    context.sni_callback = lambda _, name, __: names.append(name)
    async with RawUpstream(answers, tls=context) as upstream:
        client = client_of(upstream, tls=client_tls(ca_file))
        for _ in range(3):
            assert await call(client) == (200, b"ok")
        assert names == ["localhost"]
        assert upstream.connections == 1
        await client.close()
        await until(lambda: upstream.open == 0)


@both_loops
async def test_an_unknown_authority_is_refused(authority: trustme.CA) -> None:
    async with RawUpstream(answers, tls=server_tls(authority)) as upstream:
        client = client_of(upstream)
        exchange = client.open(b"GET", b"/", [(b"x-api-key", b"s3cret")])
        with pytest.raises(ConnectFailed) as caught:
            await exchange.start()
        assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
        assert not exchange.sent
        assert client.stats.open == 0
        await client.close()


@both_loops
async def test_a_certificate_for_another_name_is_refused(authority: trustme.CA, ca_file: str) -> None:
    async with RawUpstream(answers, tls=server_tls(authority, "other.test")) as upstream:
        client = client_of(upstream, tls=client_tls(ca_file))
        with pytest.raises(ConnectFailed) as caught:
            await call(client)
        assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
        await client.close()


@both_loops
async def test_plain_text_behind_https_is_refused(ca_file: str) -> None:
    async with RawUpstream(answers) as upstream:
        client = UpstreamClient(
            Origin("https", "127.0.0.1", upstream.port), timeouts=Timeouts(connect_s=0.3), tls=client_tls(ca_file)
        )
        with pytest.raises((ConnectFailed, ConnectTimeout)):
            await call(client)
        await client.close()


@both_loops
async def test_a_handshake_that_hangs_is_a_connect_timeout(ca_file: str) -> None:
    async def script(talk: Talk) -> None:
        await talk.hang()

    async with RawUpstream(script) as upstream:
        origin = Origin("https", "127.0.0.1", upstream.port)
        client = UpstreamClient(origin, timeouts=Timeouts(connect_s=0.2), tls=client_tls(ca_file))
        with pytest.raises(ConnectTimeout):
            await call(client)
        assert client.stats.open == 0
        await client.close()


@pytest.mark.parametrize(
    "head",
    [b"\r\n", b"content-length: 10\r\n\r\n", b"transfer-encoding: chunked\r\n\r\n3\r\n"],
    ids=["until close", "length", "chunked"],
)
@both_loops
async def test_a_cut_without_goodbye_is_a_truncation(head: bytes, authority: trustme.CA, ca_file: str) -> None:
    async def script(talk: Talk) -> None:
        await talk.request()
        await talk.send(OK + head + b"abc")
        await asyncio.sleep(0.05)
        talk.cut()

    async with RawUpstream(script, tls=server_tls(authority)) as upstream:
        client = client_of(upstream, tls=client_tls(ca_file))
        exchange = client.open(b"GET", b"/")
        await exchange.start()
        assert await exchange.read() == b"abc"
        with pytest.raises(Truncated):
            await exchange.read()
        exchange.close()
        await client.close()


@both_loops
async def test_a_goodbye_ends_an_answer_without_length(authority: trustme.CA, ca_file: str) -> None:
    async def script(talk: Talk) -> None:
        await talk.request()
        await talk.send(OK + b"\r\nabc", b"def", pause_s=0.01)

    async with RawUpstream(script, tls=server_tls(authority)) as upstream:
        client = client_of(upstream, tls=client_tls(ca_file))
        assert await call(client) == (200, b"abcdef")
        await client.close()


@both_loops
async def test_large_bodies_both_ways_in_bounded_memory(authority: trustme.CA, ca_file: str) -> None:
    size = 8_000_000
    most = 0

    async def script(talk: Talk) -> None:
        nonlocal most
        await talk.head()
        received = 0
        while received < size:
            received += len(await talk.reader.read(200_000))
            connection = exchange._connection
            if connection is not None and connection._transport is not None:
                most = max(most, connection._transport.get_write_buffer_size())
        await talk.answer(b"y" * size)
        await talk.hang()

    async with RawUpstream(script, tls=server_tls(authority)) as upstream:
        client = client_of(upstream, tls=client_tls(ca_file))
        exchange = client.open(b"POST", b"/", [], b"x" * size)
        await exchange.start()
        assert await body_of(exchange) == b"y" * size
        exchange.close()
        assert most < 1_500_000
        assert client.stats.idle == 1
        await client.close()


@both_loops
async def test_an_answer_that_nobody_reads_stops_the_provider(authority: trustme.CA, ca_file: str) -> None:
    sent = 0

    async def script(talk: Talk) -> None:
        nonlocal sent
        await talk.request()
        await talk.send(OK + b"content-length: 40000000\r\n\r\n")
        for _ in range(400):
            await talk.send(b"x" * 100_000)
            sent += 100_000
        await talk.hang()

    async with RawUpstream(script, tls=server_tls(authority)) as upstream:
        client = client_of(upstream, tls=client_tls(ca_file))
        exchange = client.open(b"GET", b"/")
        await exchange.start()
        await asyncio.sleep(0.4)
        stopped_at = sent
        await asyncio.sleep(0.1)
        assert sent == stopped_at < 40_000_000
        assert exchange.buffered < 1_500_000
        assert len(await body_of(exchange)) == 40_000_000
        exchange.close()
        await client.close()

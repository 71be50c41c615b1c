"""Providers behind an HTTP proxy: TLS goes through a tunnel that nobody can read, plain calls are addressed to the proxy."""

import asyncio
import contextlib
import ssl
from dataclasses import dataclass, field

import pytest
import trustme

from proxy.config import parse_config
from proxy.pipeline.routes import make_endpoints
from proxy.pipeline.upstream import ForwardProxy, Origin, Timeouts, UpstreamClient, client_tls
from proxy.pipeline.upstream.errors import ConnectFailed, ConnectTimeout
from tests.support.authority import server_tls
from tests.support.both_loops import both_loops
from tests.support.raw_upstream import RawRequest, RawUpstream, Script, Talk, answers
from tests.support.upstream_calls import QUICK, call, until

PASSWORD = "http://user:s3cret@127.0.0.1:{}"


@dataclass
class Proxy:
    """A forward proxy that knows one host: what it was asked for, and every byte that it passed on towards that."""

    upstream: RawUpstream
    asked: list[RawRequest] = field(default_factory=list)
    passed: bytearray = field(default_factory=bytearray)

    async def tunnel(self, talk: Talk) -> None:
        self.asked.append(await talk.head())
        reader, writer = await asyncio.open_connection("127.0.0.1", self.upstream.port)
        try:
            # In pieces: the head of the answer need not come at once.
            await talk.send(b"HTTP/1.1 200 Connection est", b"ablished\r\nvia: test\r\n\r", b"\n", pause_s=0.01)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(talk.reader, writer, self.passed))
                both.create_task(self._pump(reader, talk.writer, bytearray()))
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    @staticmethod
    async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: bytearray) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                seen += data
                writer.write(data)
                await writer.drain()
        writer.close()


def https_client(proxy: RawUpstream, ca_file: str, timeouts: Timeouts = QUICK) -> UpstreamClient:
    way = ForwardProxy.parse(PASSWORD.format(proxy.port))
    return UpstreamClient(Origin("https", "llm.test", 443), timeouts=timeouts, tls=client_tls(ca_file), proxy=way)


@both_loops
async def test_tls_goes_through_a_tunnel_and_the_connection_is_kept(authority: trustme.CA, ca_file: str) -> None:
    async with RawUpstream(answers, tls=server_tls(authority, "llm.test")) as upstream:
        proxy = Proxy(upstream)
        async with RawUpstream(proxy.tunnel) as outer:
            client = https_client(outer, ca_file)
            for _ in range(3):
                assert await call(client, b"my prompt") == (200, b"ok")
            await client.close()
            await until(lambda: upstream.open == outer.open == 0)
    assert [request.line for request in proxy.asked] == [b"CONNECT llm.test:443 HTTP/1.1"]
    assert proxy.asked[0].values(b"host") == [b"llm.test:443"]
    assert proxy.asked[0].values(b"proxy-authorization") == [b"Basic dXNlcjpzM2NyZXQ="]
    assert upstream.connections == 1
    assert b"my prompt" not in proxy.passed  # what the proxy sees is TLS
    assert all(not request.values(b"proxy-authorization") for request in upstream.seen)


@both_loops
async def test_the_provider_is_verified_through_the_tunnel(authority: trustme.CA) -> None:
    async with (
        RawUpstream(answers, tls=server_tls(authority, "llm.test")) as upstream,
        RawUpstream(Proxy(upstream).tunnel) as outer,
    ):
        client = UpstreamClient(
            Origin("https", "llm.test", 443), timeouts=QUICK, proxy=ForwardProxy("127.0.0.1", outer.port)
        )
        with pytest.raises(ConnectFailed) as caught:
            await call(client)
        assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
        await client.close()
        await until(lambda: upstream.open == outer.open == 0)


@both_loops
async def test_a_plain_call_is_addressed_to_the_proxy() -> None:
    async with RawUpstream(answers) as outer:
        way = ForwardProxy.parse(PASSWORD.format(outer.port))
        client = UpstreamClient(Origin("http", "llm.test", 8000), timeouts=QUICK, proxy=way)
        for _ in range(2):
            assert await call(client) == (200, b"ok")
        await client.close()
        request = outer.seen[0]
        assert request.line == b"POST http://llm.test:8000/v1/x HTTP/1.1"
        assert request.values(b"host") == [b"llm.test:8000"]
        assert request.values(b"proxy-authorization") == [b"Basic dXNlcjpzM2NyZXQ="]
        assert outer.connections == 1


def says(answer: bytes) -> Script:
    async def script(talk: Talk) -> None:
        await talk.head()
        await talk.send(answer)
        await talk.hang()

    return script


@pytest.mark.parametrize(
    ("script", "why"),
    [
        pytest.param(says(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"), "it answers 407", id="407"),
        pytest.param(says(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 2\r\n\r\nno"), "it answers 502", id="502"),
        pytest.param(says(b"SSH-2.0-x\r\n\r\n"), "does not speak HTTP", id="ssh"),
        pytest.param(says(b"HTTP/1.1 200 OK\r\n\r\nhello"), "speaks where the provider should", id="early"),
        pytest.param(says(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 5000), "too long", id="long"),
    ],
)
@both_loops
async def test_a_proxy_that_opens_no_tunnel_is_told_in_the_log_only(script: Script, why: str, ca_file: str) -> None:
    async with RawUpstream(script) as outer:
        client = https_client(outer, ca_file)
        exchange = client.open(b"POST", b"/", [(b"x-api-key", b"s3cret")], b"{}")
        with pytest.raises(ConnectFailed) as caught:
            await exchange.start()
        assert why in str(caught.value.__cause__)
        assert "llm.test" not in caught.value.message
        assert "s3cret" not in str(caught.value.__cause__)
        assert not exchange.sent
        assert client.stats.open == 0
        await client.close()
        await until(lambda: outer.open == 0)


async def hang(talk: Talk) -> None:
    await talk.head()
    await talk.hang()


async def leave(talk: Talk) -> None:
    await talk.head()


@pytest.mark.parametrize(("script", "error"), [(hang, ConnectTimeout), (leave, ConnectFailed)], ids=["hang", "leave"])
@both_loops
async def test_a_proxy_that_does_not_answer(script: Script, error: type[Exception], ca_file: str) -> None:
    async with RawUpstream(script) as outer:
        client = https_client(outer, ca_file, Timeouts(connect_s=0.3))
        with pytest.raises(error):
            await call(client)
        assert client.stats.open == 0
        await client.close()
        await until(lambda: outer.open == 0)


CONFIGURED = """
[upstream]
proxy = "env:WAY_OUT"
[providers.far]
base_url = "http://llm.test/v1"
api_key = ""
[providers.near]
base_url = "http://127.0.0.1:{}/v1"
api_key = ""
proxy = ""
"""


@both_loops
async def test_the_configuration_says_which_provider_is_behind_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    async with RawUpstream(answers) as outer, RawUpstream(answers) as near:
        monkeypatch.setenv("WAY_OUT", PASSWORD.format(outer.port))
        config = parse_config(CONFIGURED.format(near.port))
        for endpoint in make_endpoints(config):
            assert await call(endpoint.client) == (200, b"ok")
            await endpoint.client.close()
        assert [request.line for request in outer.seen] == [b"POST http://llm.test/v1/x HTTP/1.1"]
        assert [request.line for request in near.seen] == [b"POST /v1/x HTTP/1.1"]

"""CPU microseconds that one call of the upstream client costs: `python -m bench.micro_upstream [seconds]`.

A trivial uvloop server on the last core answers; the client runs on the first. The figure is the process's CPU time (user
and system) divided by the calls, for 64 calls at once, one at a time, and 1 MB bodies; over TCP beside aiohttp's client in
the same run, and over TLS where `trustme` is installed.
"""

import asyncio
import contextlib
import multiprocessing
import os
import resource
import ssl
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from multiprocessing.connection import Connection as Pipe
from pathlib import Path

import aiohttp
import uvloop
import yarl

from proxy.pipeline.upstream import Origin, UpstreamClient, client_tls

BODY = b'{"id":"chatcmpl-1","object":"chat.completion","choices":[{"message":{"content":"%b"}}]}' % (b"x" * 300)
ANSWER = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ndate: Sun, 22 Nov 2026 00:00:00 GMT\r\nserver: mock\r\n"
    b"x-request-id: req_0123456789\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)
)
HEADERS = [
    (b"authorization", b"Bearer sk-0123456789"),
    (b"content-type", b"application/json"),
    (b"accept", b"application/json"),
    (b"user-agent", b"OpenAI/Python 3.54.0"),
    (b"x-stainless-lang", b"python"),
]
SMALL = b'{"model":"m","messages":[{"role":"user","content":"%b"}]}' % (b"y" * 400)
LARGE = b"z" * 1_000_000
LOADS = {"64 at once": (64, SMALL), "one at a time": (1, SMALL), "1 MB, 4 at once": (4, LARGE)}


class _Server(asyncio.Protocol):
    """Answers when the length that the head announces has arrived."""

    def __init__(self) -> None:
        self._missing = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if not self._missing:
            head, _, body = data.partition(b"\r\n\r\n")
            length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            self._missing = int(length or b"0") - len(body)
        else:
            self._missing -= len(data)
        if not self._missing:
            self._transport.write(ANSWER)  # type: ignore[attr-defined]


def serve(pipe: Pipe, certificate: str | None) -> None:
    _pin(-1)

    async def run() -> None:
        tls = None
        if certificate:
            tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            tls.load_cert_chain(certificate)
        server = await asyncio.get_running_loop().create_server(_Server, "127.0.0.1", 0, ssl=tls)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(run())


Call = Callable[[bytes], Awaitable[None]]
Maker = Callable[[Origin, ssl.SSLContext | None], contextlib.AbstractAsyncContextManager[Call]]


@contextlib.asynccontextmanager
async def our_client(origin: Origin, tls: ssl.SSLContext | None) -> AsyncIterator[Call]:
    client = UpstreamClient(origin, tls=tls)

    async def call(body: bytes) -> None:
        exchange = client.open(b"POST", b"/v1/chat/completions", HEADERS, body)
        await exchange.start()
        while await exchange.read():
            pass
        exchange.close()

    yield call
    await client.close()


@contextlib.asynccontextmanager
async def aiohttp_client(origin: Origin, tls: ssl.SSLContext | None) -> AsyncIterator[Call]:
    url = yarl.URL(f"{origin.scheme}://{origin.host}:{origin.port}/v1/chat/completions")
    headers = {name.decode(): value.decode() for name, value in HEADERS}
    connector = aiohttp.TCPConnector(limit=0, ssl=tls or True)
    async with aiohttp.ClientSession(
        connector=connector, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
    ) as session:

        async def call(body: bytes) -> None:
            async with session.post(url, data=body, headers=headers, allow_redirects=False) as answer:
                await answer.read()

        yield call


async def measure(
    make: Maker, origin: Origin, tls: ssl.SSLContext | None, load: tuple[int, bytes], seconds: float
) -> tuple[float, float]:
    """CPU microseconds a call, and calls a second, after a short warm-up."""
    clients, body = load
    calls = 0

    async def work() -> None:
        nonlocal calls
        while time.monotonic() < stop_at:
            await call(body)
            calls += 1

    async with make(origin, tls) as call:
        stop_at = time.monotonic() + 0.3
        await asyncio.gather(*(work() for _ in range(clients)))
        calls, began, cpu, stop_at = 0, time.monotonic(), _cpu_s(), time.monotonic() + seconds
        await asyncio.gather(*(work() for _ in range(clients)))
        return (_cpu_s() - cpu) / calls * 1e6, calls / (time.monotonic() - began)


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _pin(core: int) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[core]})


def against(
    name: str, makers: dict[str, Maker], seconds: float, certificate: str | None = None, ca_file: str | None = None
) -> None:
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs, certificate), daemon=True)
    server.start()
    try:
        origin = Origin("https" if ca_file else "http", "127.0.0.1", ours.recv())
        tls = client_tls(ca_file) if ca_file else None
        for label, load in LOADS.items():
            for whose, make in makers.items():
                cpu_us, rate = uvloop.run(measure(make, origin, tls, load, seconds))
                print(f"{name:4} {label:16} {whose:8} {cpu_us:8.1f} us CPU a call  {rate:9.0f} calls/s")
    finally:
        server.terminate()
        server.join()


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 2.0
    _pin(0)
    against("TCP", {"ours": our_client, "aiohttp": aiohttp_client}, seconds)
    try:
        import trustme  # noqa: PLC0415 - a test dependency
    except ImportError:
        return
    authority = trustme.CA()
    with tempfile.TemporaryDirectory() as folder:
        certificate, ca_file = Path(folder, "server.pem"), Path(folder, "ca.pem")
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
        authority.cert_pem.write_to_path(ca_file)
        against("TLS", {"ours": our_client}, seconds, str(certificate), str(ca_file))


if __name__ == "__main__":
    main()

"""The plain way to write a proxy with aiohttp: web.Application, ClientSession, one handler, no metering.

A program of its own, so that it carries nothing of the bench: `bare_aiohttp_proxy.py PORT UPSTREAM_PORT [AUTHORITY]`. With the
file of an authority (PEM) the upstream is spoken to over TLS, and its certificate verified.
"""

import ssl
import sys
from collections.abc import AsyncIterator

from aiohttp import ClientSession, ClientTimeout, TCPConnector, web

_NOT_FORWARDED = {"host", "content-length", "connection", "transfer-encoding"}
_MAX_BODY_BYTES = 64 * 1024 * 1024
_SESSION = web.AppKey("session", ClientSession)
_UPSTREAM = web.AppKey("upstream", str)
_TLS = web.AppKey("tls", ssl.SSLContext)


async def forward(request: web.Request) -> web.StreamResponse:
    """Forward one request and stream its answer back, piece by piece as it comes."""
    body = await request.read()
    headers = {name: value for name, value in request.headers.items() if name.lower() not in _NOT_FORWARDED}
    url = request.app[_UPSTREAM] + request.path_qs
    async with request.app[_SESSION].post(url, data=body, headers=headers) as answer:
        kept = {name: value for name, value in answer.headers.items() if name.lower() not in _NOT_FORWARDED}
        response = web.StreamResponse(status=answer.status, headers=kept)
        response.content_length = answer.content_length
        await response.prepare(request)
        async for piece in answer.content.iter_any():
            await response.write(piece)
        await response.write_eof()
        return response


async def with_session(application: web.Application) -> AsyncIterator[None]:
    """Keep one client session, its connections unbounded, for as long as the application runs."""
    async with ClientSession(
        connector=TCPConnector(limit=0, ssl=application.get(_TLS, True)), timeout=ClientTimeout(), auto_decompress=False
    ) as application[_SESSION]:
        yield


def main(port: int, upstream_port: int, authority: str | None = None) -> None:
    """Serve on `port` of the loopback interface until SIGTERM."""
    application = web.Application(client_max_size=_MAX_BODY_BYTES)
    application[_UPSTREAM] = f"{'https' if authority else 'http'}://127.0.0.1:{upstream_port}"
    if authority:
        application[_TLS] = ssl.create_default_context(cafile=authority)
    application.cleanup_ctx.append(with_session)
    application.router.add_post("/{path:.*}", forward)
    web.run_app(application, host="127.0.0.1", port=port, access_log=None, print=None, backlog=4096)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])

"""A receiver of webhooks: real HTTP; it answers as it is told, and remembers what came."""

import asyncio
import base64
import hashlib
import hmac
import json
import threading
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from tests.support.threaded import WebServer

KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()


@dataclass(frozen=True)
class Told:
    """One request, whose signature was found good."""

    id: str
    timestamp: int
    body: bytes

    @property
    def value(self) -> Any:
        return json.loads(self.body)


class Receiver(WebServer):
    """`answers` are the statuses to answer with, in turn, then 204; 0: no answer while `gate` is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Told] = []
        self.astray: list[str] = []
        self.answers: list[int] = []
        self.headers: dict[str, str] = {}
        self.gate = threading.Event()

    @property
    def ids(self) -> list[str]:
        return [told.id for told in self.told]

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/hook", self._hook), web.route("*", "/{other:.*}", self._other)]

    async def _hook(self, request: web.Request) -> web.Response:
        body = await request.read()
        told = Told(request.headers["webhook-id"], int(request.headers["webhook-timestamp"]), body)
        signed = f"{told.id}.{told.timestamp}.".encode() + body
        expected = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
        assert f"v1,{expected}" in request.headers["webhook-signature"].split(" ")
        assert request.content_type == "application/json"
        self.told.append(told)
        status = self.answers.pop(0) if self.answers else 204
        if status == 0:
            await asyncio.to_thread(self.gate.wait, 10)
            status = 204
        return web.Response(status=status, headers=self.headers)

    async def _other(self, request: web.Request) -> web.Response:
        self.astray.append(request.path)
        return web.Response(status=204)

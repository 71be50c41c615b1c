"""Sends what is in the outbox to the receivers that the configuration names, and to nobody else.

Each receiver has a loop of its own, so that one that is slow or away holds up no other. An answer 2xx is a delivery; anything else (a
redirect too, which is not followed) is tried again with growing pauses, later still where Retry-After says so; 410 ends it. Addresses
are looked up and judged at each connection, and that very address is connected to: a name cannot lead into a private network.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from proxy.accounts.low_balance import LowBalances, Receiver, receiver_of
from proxy.accounts.outbox import DELIVERED, FAILED, PENDING, Attempt, Leased, Outbox
from proxy.core.webhooks import LONGEST_PAUSE_S, pause_s, signed_headers
from proxy.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from proxy.core.clock import Clock
    from proxy.sql.database import Database
    from proxy.webhook_config import Webhooks

log = logging.getLogger("farebox.webhooks")

LOOK_S = 1.0
AT_ONCE = 8
_LEASE_MARGIN_S = 30.0
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_GONE = 410


class PrivateAddress(OSError):
    """The receiver's name leads into a private network, or to this machine."""


def receivers_of(webhooks: Webhooks) -> dict[str, tuple[Receiver, str]]:
    """The configured receivers by id, each with its URL."""
    found = {}
    for url in webhooks.urls:
        receiver = receiver_of(url, urlsplit(url).hostname or "")
        found[receiver.id] = (receiver, url)
    return found


@asynccontextmanager
async def send_webhooks(webhooks: Webhooks, database: Database, clock: Clock) -> AsyncIterator[None]:
    """Watches balances and sends while the block runs; without receivers it does nothing."""
    receivers = receivers_of(webhooks)
    if not receivers:
        yield
        return
    tasks = Tasks()
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            resolver=None if webhooks.private_addresses else PublicResolver(), use_dns_cache=False
        ),
        timeout=aiohttp.ClientTimeout(total=webhooks.timeout_s),
        cookie_jar=aiohttp.DummyCookieJar(),
    ) as session:
        sender = Sender(webhooks, Outbox(database, clock), session, clock)
        watch = LowBalances(database, clock, [receiver for receiver, _ in receivers.values()])
        tasks.every("low balances", LOOK_S, watch.sweep)
        for receiver, url in receivers.values():
            tasks.every(f"webhooks to {receiver.host}", LOOK_S, partial(sender.deliver, receiver, url))
        try:
            yield
        finally:
            await tasks.close()  # what was being sent is leased; it goes out again after the next start


class Sender:
    """Attempts deliveries; `deliver` raises Unavailable where SQL is away."""

    def __init__(self, webhooks: Webhooks, outbox: Outbox, session: aiohttp.ClientSession, clock: Clock) -> None:
        self._webhooks = webhooks
        self._secrets = webhooks.secrets()
        self._outbox = outbox
        self._session = session
        self._clock = clock

    async def deliver(self, receiver: Receiver, url: str) -> None:
        """Sends everything that is due for a receiver."""
        lease_ms = int((self._webhooks.timeout_s + _LEASE_MARGIN_S) * 1000)
        while leased := await self._outbox.lease(receiver.id, lease_ms=lease_ms, limit=AT_ONCE):
            await asyncio.gather(*(self._attempt(receiver, url, one) for one in leased))

    async def _attempt(self, receiver: Receiver, url: str, leased: Leased) -> None:
        answered, retry_after, problem = await self._post(url, leased)
        attempt = self._judged(leased, answered, retry_after, problem)
        if attempt.status != DELIVERED:
            log.warning("%s to %s, attempt %d: %s", leased.event_id, receiver.host, leased.attempts, attempt.problem)
        await self._outbox.end(leased, attempt)

    async def _post(self, url: str, leased: Leased) -> tuple[int | None, float, str | None]:
        """The answer's status, its Retry-After in seconds, and what went wrong without an answer."""
        body = leased.body.encode()
        headers = signed_headers(self._secrets, leased.event_id, self._clock.now_ms() // 1000, body)
        headers |= {"content-type": "application/json", "user-agent": "farebox"}
        try:
            self._refuse_private_literal(url)
            async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as answer:
                return answer.status, _seconds(answer.headers.get("retry-after", "")), None
        except PrivateAddress as error:
            return None, 0.0, str(error)
        except TimeoutError:
            return None, 0.0, f"no answer within {self._webhooks.timeout_s:g} s"
        except aiohttp.ClientConnectorError as error:
            found = error.os_error
            return None, 0.0, str(found) if isinstance(found, PrivateAddress) else "no connection"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return None, 0.0, f"no answer: {type(error).__name__}"

    def _refuse_private_literal(self, url: str) -> None:
        """A numeric address is connected to without being looked up."""
        if not self._webhooks.private_addresses and not is_public(urlsplit(url).hostname or "", unknown=True):
            raise PrivateAddress("a private address")

    def _judged(self, leased: Leased, answered: int | None, retry_after_s: float, problem: str | None) -> Attempt:
        now_ms = self._clock.now_ms()
        if answered is not None and 200 <= answered < 300:
            return Attempt(DELIVERED, answered, None, now_ms)
        said = problem or f"answered {answered}"
        if answered == _GONE or leased.attempts >= self._webhooks.attempts:
            return Attempt(FAILED, answered, said, now_ms)
        pause = max(pause_s(self._webhooks.first_pause_s, leased.attempts), retry_after_s)
        return Attempt(PENDING, answered, said, now_ms + int(pause * 1000))


class PublicResolver(AbstractResolver):
    """Looks names up and gives public addresses alone. Raises PrivateAddress where there are others besides."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of a name, numeric."""
        loop = asyncio.get_running_loop()
        rows = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family)
        addresses = {str(row[4][0]): row[0] for row in rows}
        if not all(is_public(address) for address in addresses):
            raise PrivateAddress("a private address")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=kind,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address, kind in addresses.items()
        ]

    async def close(self) -> None:
        """Nothing is open."""


def is_public(address: str, *, unknown: bool = False) -> bool:
    """Whether a numeric address is one of the public Internet, also where IPv6 only wraps another one; `unknown`: of what is none."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return unknown
    if isinstance(found, ipaddress.IPv6Address):
        wrapped = found.ipv4_mapped or found.sixtofour
        if found in _NAT64:
            wrapped = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if wrapped is not None:
            return is_public(str(wrapped))
        if found.teredo is not None:
            return False
    return found.is_global and not found.is_multicast


def _seconds(retry_after: str) -> float:
    """Retry-After in seconds, at most four hours; a date counts as nothing, the pauses grow anyway."""
    return min(float(retry_after), LONGEST_PAUSE_S) if retry_after.isascii() and retry_after.isdecimal() else 0.0

"""Whose a stored answer is. Providers keep answers (OpenAI's responses) under an id, for everybody who has our key with them:
so Farebox remembers in Redis which account each one was made for, and no other account can fetch or continue it. An id that
nobody here made is let through unless the configuration says otherwise: providers' ids are long and random.

A response made in the background goes on after its call: its hold stays open, with the whole amount as its checkpoint, and
is settled under its own call id when somebody fetches the finished response. Who never does pays the hold when its lease
is over; a later fetch corrects that once. The value is JSON, beside the account's balance (same slot), and expires.
"""

from __future__ import annotations

import hashlib
import logging
import time
from typing import TYPE_CHECKING

import msgspec

from proxy.core import records
from proxy.core.errors import NotFound, Unavailable
from proxy.core.outcomes import UNKNOWN
from proxy.core.pricing import Tariff, Unpriced
from proxy.core.records import UsageRecord
from proxy.pipeline.receipt import price_usage

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from proxy.config import Credits as CreditsConfig
    from proxy.core.usage import Usage
    from proxy.ledger.connection import RedisConnection
    from proxy.ledger.ledger import Ledger
    from proxy.metrics import Metrics
    from proxy.pipeline.call import Call
    from proxy.providers.dialect import Meter

log = logging.getLogger("farebox.resources")

_SECONDS_A_DAY = 86_400


class Unfinished(msgspec.Struct, frozen=True):
    """A call that waits for its response to be fetched: its record so far, and the price that it was made at."""

    record: UsageRecord
    tariff: Tariff
    service_tier: str | None


class Kept(msgspec.Struct, frozen=True, omit_defaults=True):
    """A stored answer: the provider that keeps it, and its call where that is not settled yet."""

    provider: str
    unfinished: Unfinished | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Kept).decode


class Resources:
    """The stored answers of all accounts."""

    def __init__(self, redis: RedisConnection, ledger: Ledger, metrics: Metrics, config: CreditsConfig) -> None:
        self._redis = redis
        self._ledger = ledger
        self._metrics = metrics
        self._kept_s = config.resources_kept_days * _SECONDS_A_DAY
        self._policy = config.resources

    async def provider_of(self, account_id: str, ids: Sequence[str], asked: str | None) -> str | None:
        """The provider that keeps these, which must be the one asked for where the path names one; None where any may serve.

        Raises NotFound where one was made for another account (or, by policy, not for this one), Unavailable while Redis is
        away.
        """
        provider = asked
        for resource in ids:
            kept = await self._find(account_id, resource)
            if kept is None and self._policy == "unowned" and await self._is_owned(resource):
                kept = await self._find(account_id, resource)  # it may be ours since we looked
                if kept is None:
                    raise NotFound(f"There is no {resource[:80]!r} of this account.", code="resource_not_found")
            if kept is None:
                if self._policy == "own":
                    raise NotFound(f"There is no {resource[:80]!r} of this account.", code="resource_not_found")
                continue
            if provider not in {None, kept.provider}:
                raise NotFound(f"Another provider keeps {resource[:80]!r}.", code="resource_not_found")
            provider = kept.provider
        return provider

    def remember(
        self, call: Call, resource: str, unfinished: Unfinished | None = None
    ) -> asyncio.Future[object] | None:
        """Notes whose an answer is; the future is done when Redis has it, and None where Redis is away.

        The command leaves with whatever else is sent in this turn.
        """
        return self._put(call.caller.account_id, resource, Kept(call.route.endpoint.provider, unfinished))

    async def remembered(self, noted: asyncio.Future[object] | None) -> None:
        """Waits for a note; one that is lost costs the client its id, and nobody any credits."""
        try:
            if noted is not None:
                await noted
        except Unavailable as error:
            log.warning("whose a stored answer is could not be noted: %s", error.code)

    async def fetched(self, call: Call, meter: Meter) -> None:
        """Settles the call that made a response, once the response is finished; before that, or after, does nothing."""
        account_id, resource = call.caller.account_id, meter.resource
        if resource is None or meter.pending:
            return
        try:
            kept = await self._find(account_id, resource)
            if kept is None or kept.unfinished is None:
                return
            record = _final(kept.unfinished, meter)
            if record is None:
                return
            await self._settle(record)
            await self.remembered(self._put(account_id, resource, Kept(kept.provider)))
        except Unavailable as error:
            log.warning("call %s: fetched, and not settled yet: %s", call.call_id, error.code)

    async def _settle(self, record: UsageRecord) -> None:
        payload, tokens = _encode(record), record.input_tokens + record.output_tokens
        if record.settlement_basis == records.NONE:
            ended = await self._ledger.release(record.account_id, record.call_id, payload)
        else:
            charge = record.charge_microcredits
            ended = await self._ledger.settle(record.account_id, record.call_id, charge, tokens, payload)
        if ended.state == UNKNOWN:
            log.error("call %s: its response was fetched long after its hold had ended", record.call_id)
        elif not ended.repeated:
            self._metrics.basis.add((record.settlement_basis,))

    async def _find(self, account_id: str, resource: str) -> Kept | None:
        value = await self._redis.execute("GET", self._key(account_id, resource))
        return None if value is None else _decode(value)

    async def _is_owned(self, resource: str) -> bool:
        return bool(await self._redis.execute("EXISTS", self._owned_key(resource)))

    def _put(self, account_id: str, resource: str, kept: Kept) -> asyncio.Future[object] | None:
        try:
            # First whose it is: on one connection nobody sees that somebody owns it who could not see who does.
            noted = self._redis.execute("SET", self._key(account_id, resource), _encode(kept), "EX", self._kept_s)
            noted.add_done_callback(_heard)
            return self._redis.execute("SET", self._owned_key(resource), b"1", "EX", self._kept_s)
        except Unavailable:
            return None

    def _key(self, account_id: str, resource: str) -> bytes:
        return self._ledger.partition_of(account_id).prefix + f"resource:{account_id}:{_digest(resource)}".encode()

    def _owned_key(self, resource: str) -> bytes:
        """In a slot of its own, for whoever asks does not know the account."""
        digest = _digest(resource)
        return self._ledger.partition_of(digest).prefix + f"owned:{digest}".encode()


def _digest(resource: str) -> str:
    """The provider chooses its ids, and they may be of any length."""
    return hashlib.blake2b(resource.encode("utf-8", "replace"), digest_size=16).hexdigest()


def _heard(noted: asyncio.Future[object]) -> None:
    """Whether it failed is told by the second note, which left on the same connection."""
    if not noted.cancelled():
        noted.exception()


def _final(unfinished: Unfinished, meter: Meter) -> UsageRecord | None:
    """The last word on a call whose response is finished; None where nothing is known of its usage: then its hold stands."""
    record, tariff = unfinished.record, unfinished.tariff
    record.outcome = records.UPSTREAM_FAILED if meter.error else records.COMPLETED
    usage: Usage | None = meter.usage or (meter.partial if meter.error else None)
    record.duration_ms = max(0, time.time_ns() // 1_000_000 - record.at)
    if meter.flag is None and usage is not None:
        try:
            price_usage(record, tariff, usage, unfinished.service_tier, meter.service_tier)
        except Unpriced:
            log.warning("call %s: its usage has no price; charged at its hold", record.call_id)
        else:
            record.settlement_basis = records.REPORTED
            return record
    elif meter.flag is None:
        if not meter.error:
            return None
        record.settlement_basis, record.charge_microcredits = records.NONE, 0
        return record
    record.settlement_basis, record.charge_microcredits = records.HOLD, record.hold_microcredits
    return record

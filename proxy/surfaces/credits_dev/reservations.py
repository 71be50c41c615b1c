"""Reservations: the proxy's own holds, for applications that meter work of their own. They end free after five minutes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from proxy.accounts.administrators import FINANCE, Administrator
from proxy.accounts.reservations import ReservationOrder
from proxy.core.errors import InvalidRequest
from proxy.surfaces.credits_dev.access import MOST_ROWS, account_id_of, flag, said
from proxy.surfaces.credits_dev.transactions import charge_id
from proxy.surfaces.fields import MAX_ID, identifier, json_text, line, microcredits, read_object
from proxy.surfaces.numbers import credits_number, instant

if TYPE_CHECKING:
    from proxy.accounts.reservations import Reservation
    from proxy.surfaces.credits_dev.access import Access
    from proxy.surfaces.house import House
    from proxy.surfaces.once import Once, Work
    from proxy.surfaces.vendor import Query


class Reservations:
    """Handlers under /v1/reservations."""

    def __init__(self, house: House, access: Access, once: Once) -> None:
        self._house = house
        self._access = access
        self._once = once

    async def create(self, query: Query) -> object:
        """POST /v1/reservations/create."""

        async def prepare() -> Work:
            order = ReservationOrder(
                microcredits(query.body, "amount"),
                operation=line(query.body, "operation", MAX_ID),
                model=line(query.body, "model", MAX_ID),
                metadata=json_text(query.body, "metadata") or "{}",
                key_id="" if isinstance(query.who, Administrator) else query.who.key_id,
            )
            account_id = account_id_of(await self._access.named(query, query.body, FINANCE))

            async def work(operation_id: str) -> object:
                keyed = replace(order, idempotency_key=f"surface:{operation_id}")
                made = await self._house.desk.reservations.create(account_id, keyed)
                return {"success": True, "reservation": _shown(made)}

            return work

        return await self._once.answer(query, "/v1/reservations/create", prepare)

    async def list(self, query: Query) -> object:
        """GET /v1/reservations: the newest 100, with `activeOnly=true` those that are still pending."""
        active_only = flag(query, "activeOnly")
        account_id = account_id_of(await self._access.named(query, said(query)))
        found = await self._house.desk.reservations.list(account_id, active_only=active_only, limit=MOST_ROWS)
        return {
            "success": True,
            "reservations": [{**_shown(one), "createdAt": instant(one.created_at)} for one in found],
        }

    async def confirm(self, query: Query) -> object:
        """POST /v1/reservations/confirm: charges what was really used, and releases the rest."""

        async def prepare() -> Work:
            actual = microcredits(query.body, "actualAmount", lowest=0)
            reservation_id, account_id = self._named(query)

            async def work(_operation_id: str) -> object:
                confirm = self._house.desk.reservations.confirm
                return _ended(await confirm(reservation_id, actual, account_id=account_id))

            return work

        return await self._once.answer(query, "/v1/reservations/confirm", prepare)

    async def cancel(self, query: Query) -> object:
        """POST /v1/reservations/cancel: releases the hold, at no charge."""

        async def prepare() -> Work:
            reservation_id, account_id = self._named(query)

            async def work(_operation_id: str) -> object:
                return _ended(await self._house.desk.reservations.cancel(reservation_id, account_id=account_id))

            return work

        return await self._once.answer(query, "/v1/reservations/cancel", prepare)

    @staticmethod
    def _named(query: Query) -> tuple[str, str | None]:
        """The reservation, and whose it must be: None where an administrator asks."""
        reservation_id = identifier(query.body, "reservationId")
        if reservation_id is None:
            raise InvalidRequest("reservationId is required", param="reservationId")
        if isinstance(query.who, Administrator):
            query.who.require(FINANCE)
            return reservation_id, None
        return reservation_id, query.who.account_id


def _shown(one: Reservation) -> dict[str, object]:
    words = {"operation": one.operation, "model": one.model}
    metadata = {**{name: word for name, word in words.items() if word}, **read_object(one.metadata.encode())}
    return {
        "id": one.id,
        "accountId": one.account_id,
        "amount": credits_number(one.amount_microcredits),
        "status": one.status,
        "expiresAt": instant(one.expires_at),
        "metadata": metadata,
    }


def _ended(one: Reservation) -> dict[str, object]:
    """What a reservation came to, and the transaction of its charge where it has one."""
    actual = one.actual_microcredits or 0
    return {
        "success": True,
        "reservationId": one.id,
        "status": one.status,
        "transactionId": charge_id(one.call_id) if actual else None,
        "reservedAmount": credits_number(one.amount_microcredits),
        "actualAmount": credits_number(actual),
        "releasedAmount": credits_number(max(0, one.amount_microcredits - actual)),
    }

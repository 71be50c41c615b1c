"""Apikley's credit call, and the same one of its twin kie: an envelope with a code, whose HTTP status is 200 beside all but 500.

The published document (docs.apikley.ru, "Get Remaining Credits") lists the codes under HTTP 200 and requires `code`, `msg` and an
integer `data` in each of them; so `data` is 0 where there is an error. `[surfaces.apikley] mirror = true` makes the HTTP status
equal the code. `data` is whole credits, floored: no credit is shown that is not there.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from proxy.core.errors import (
    FareboxError,
    Forbidden,
    InsufficientCredits,
    InvalidKey,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    RateLimited,
)
from proxy.surfaces.credentials import bearer
from proxy.surfaces.numbers import whole_credits
from proxy.surfaces.vendor import Answer, Endpoint, Maintenance, SurfaceDisabled, Vendor

if TYPE_CHECKING:
    from proxy.surfaces.house import House
    from proxy.surfaces.vendor import Query

PATH = "/api/v1/chat/credit"
_SUCCESS, _SERVER_ERROR = 200, 500
# The document's codes; what is above decides before what it is a kind of.
_CODES: tuple[tuple[type[FareboxError], int], ...] = (
    (Maintenance, 455),
    (SurfaceDisabled, 505),
    (InvalidKey, 401),
    (Forbidden, 401),
    (InsufficientCredits, 402),
    (NotFound, 404),
    (MethodNotAllowed, 404),
    (InvalidRequest, 422),
    (RateLimited, 429),
)


def apikley(house: House) -> Vendor:
    """The surface under its own name."""
    return _vendor(house, "apikley")


def kie(house: House) -> Vendor:
    """The same under its twin's: it answers under `/compat/kie/`, and on the shared path where Apikley does not."""
    return _vendor(house, "kie")


def _vendor(house: House, name: str) -> Vendor:
    async def credit(query: Query) -> object:
        funds = await house.glance.funds(query.caller.account_id)
        return _envelope(_SUCCESS, "success", whole_credits(funds.posted_microcredits))

    return Vendor(
        name=name,
        endpoints=(Endpoint("GET", PATH, credit),),
        credential=bearer,
        refuse=partial(refuse, mirror=house.config.surfaces.apikley.mirror),
    )


def refuse(error: FareboxError, _call_id: str, *, mirror: bool) -> Answer:
    """An error in the envelope, under HTTP 200 (500 for code 500), or under its code where `mirror` says so."""
    code = next((code for kind, code in _CODES if isinstance(error, kind)), _SERVER_ERROR)
    status = code if mirror or code == _SERVER_ERROR else _SUCCESS
    return Answer(status, _envelope(code, error.message, 0))


def _envelope(code: int, message: str, data: int) -> dict[str, object]:
    return {"code": code, "msg": message, "data": data}

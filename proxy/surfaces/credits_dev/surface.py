"""The endpoints of credits.dev's surface, and the shape of its errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.surfaces.credentials import x_api_key_or_bearer
from proxy.surfaces.credits_dev.access import Access
from proxy.surfaces.credits_dev.accounts import Accounts
from proxy.surfaces.credits_dev.models import PricedModels, claims_models
from proxy.surfaces.credits_dev.reservations import Reservations
from proxy.surfaces.credits_dev.transactions import Transactions
from proxy.surfaces.credits_dev.usage import UsageRecords
from proxy.surfaces.once import Once
from proxy.surfaces.vendor import Answer, Endpoint, Vendor

if TYPE_CHECKING:
    from proxy.core.errors import FareboxError
    from proxy.pipeline.exchange import Exchange
    from proxy.surfaces.house import House

NAME = "credits-dev"


def credits_dev(house: House) -> Vendor:
    """The surface."""
    access, once = Access(house.database), Once(house.database, NAME)
    accounts = Accounts(house, access, once)
    usage = UsageRecords(house, access, once)
    transactions = Transactions(house, access, accounts, once)
    reservations = Reservations(house, access, once)
    models = PricedModels(house, once)
    return Vendor(
        name=NAME,
        endpoints=(
            Endpoint("POST", "/v1/usage/record", usage.record),
            Endpoint("GET", "/v1/usage", usage.list, claims=_has_x_api_key),
            Endpoint("POST", "/v1/accounts/create", accounts.create),
            Endpoint("GET", "/v1/accounts", accounts.list),
            Endpoint("GET", "/v1/accounts/get", accounts.get),
            Endpoint("GET", "/v1/accounts/balance", accounts.balance),
            Endpoint("POST", "/v1/accounts/credits/add", accounts.add),
            Endpoint("POST", "/v1/accounts/credits/deduct", accounts.deduct),
            Endpoint("GET", "/v1/transactions", transactions.list),
            Endpoint("POST", "/v1/transactions/create", transactions.create),
            Endpoint("GET", "/v1/reservations", reservations.list),
            Endpoint("POST", "/v1/reservations/create", reservations.create),
            Endpoint("POST", "/v1/reservations/confirm", reservations.confirm),
            Endpoint("POST", "/v1/reservations/cancel", reservations.cancel),
            Endpoint("GET", "/v1/models", models.list, claims=claims_models),
            Endpoint("POST", "/v1/models/calculate", models.calculate),
        ),
        credential=x_api_key_or_bearer,
        refuse=refuse,
        administrators=True,
    )


def refuse(error: FareboxError, _call_id: str) -> Answer:
    """`{"success": false, "error", "code"}` under the error's own status."""
    return Answer(error.status, {"success": False, "error": error.message, "code": error.code})


def _has_x_api_key(exchange: Exchange) -> bool:
    return exchange.header(b"x-api-key") is not None

"""All endpoints of the admin API, resource by resource, in the order in which the reference shows them."""

from proxy.admin import (
    accounts,
    administrators,
    codes,
    credit,
    exports,
    grants,
    holds,
    keys,
    ledger_entries,
    prices,
    summaries,
    system,
    usage,
    webhooks,
)
from proxy.admin.call import Endpoint

RESOURCES = (
    accounts,
    keys,
    credit,
    grants,
    codes,
    usage,
    ledger_entries,
    summaries,
    exports,
    prices,
    holds,
    system,
    administrators,
    webhooks,
)

ENDPOINTS: tuple[Endpoint, ...] = tuple(endpoint for resource in RESOURCES for endpoint in resource.ENDPOINTS)

"""All endpoints of the admin API, resource by resource, in the order in which the reference shows them."""

from proxy.admin import accounts, administrators, holds, keys, prices, system, webhooks
from proxy.admin.call import Endpoint

RESOURCES = (accounts, keys, prices, holds, system, administrators, webhooks)

ENDPOINTS: tuple[Endpoint, ...] = tuple(endpoint for resource in RESOURCES for endpoint in resource.ENDPOINTS)

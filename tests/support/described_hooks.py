"""Read by schemathesis itself (`hooks` in its configuration): what is made once under a name or a key gets new ones as it goes along.

Its own repeat so often that nearly every request to make something would be a conflict with one before. Every fourth keeps what it has, so
that repeats and conflicts are asked for too; what is not a good name or key is left as it is. Of two members that exclude each other,
which no schema here says, one is left out.
"""

import itertools
from typing import Any

import schemathesis

_KEY = "Idempotency-Key"
_NAMED = ("POST /admin/v1/accounts", "POST /admin/v1/administrators", "POST /v1/accounts/create")
_EITHER = (("credits", "amount_microcredits"), ("accountId", "externalId"))
_requests = itertools.count(1)


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Changes a request just before it is sent."""
    del context, kwargs
    number = next(_requests)
    if number % 4 == 0:
        return
    for members in (case.body, case.query):
        for pair in _EITHER:
            if isinstance(members, dict) and all(name in members for name in pair):
                del members[pair[0 if number % 3 == 0 else 1]]
    key = (case.headers or {}).get(_KEY)
    if isinstance(key, str) and 1 <= len(key) <= 255:
        case.headers[_KEY] = f"asked-{number}"
    if case.operation.label in _NAMED and isinstance(case.body, dict):
        name = case.body.get("name")
        if isinstance(name, str) and 1 <= len(name) <= 180:
            case.body["name"] = f"{name}-{number}"

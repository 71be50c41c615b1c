"""What exists in the installation that is held against openapi.yaml, so that what is asked is found, and not only refused.

Accounts, keys and administrators, calls that were charged, grants, codes, reservations and deliveries. What ends things asks for others
than what uses them, or everything would be closed and revoked before it is used.
"""

import http.client
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tests.support.admin_api import AdminApi
from tests.support.installation import Installation
from tests.support.processes import until
from tests.support.sdk import PRICE

# Asked often, and many at once; Apikley's codes are HTTP statuses, for a refusal under HTTP 200 looks like none. Nobody hears the events.
SECTIONS = """
[surfaces]
queries_per_minute = 1000000
queries_at_once = 1000
[surfaces.apikley]
mirror = true
[webhooks]
urls = ["http://127.0.0.1:9/nobody"]
secret = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
timeout_s = 1.0
private_addresses = true
[providers.sim]
dialect = ["openai", "anthropic", "gemini"]
base_url = {{ openai = "{url}/v1", anthropic = "{url}", gemini = "{url}" }}
api_key = "upstream-key"
models = ["sim", "sim-*"]
[aliases]
{aliases}
{price}
"""
CREDITS = 'resources = "own"'  # ids of answers that nobody stored are refused here
# The names in the document's examples, which the simulated model answers to.
EXAMPLES = (
    *("gpt-5-mini", "gpt-3.5-turbo-instruct", "text-embedding-3-small", "claude-sonnet-4-5"),
    *("gemini-2.5-flash", "gemini-embedding-001"),
)
_CHAT = {"model": "sim", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}


@dataclass
class Things:
    """Ids by what they name; `user` and `manager` are the secrets of the keys that ask."""

    user: str = ""
    manager: str = ""
    values: dict[str, Sequence[str | float]] = field(default_factory=dict)


def sections(sim_url: str) -> str:
    """The configuration, with the simulated model at this address."""
    aliases = "\n".join(f'"{name}" = "sim/sim"' for name in EXAMPLES)
    return SECTIONS.format(url=sim_url, aliases=aliases, price=PRICE.format(model="sim"))


def make_things(farebox: Installation) -> Things:
    """Makes a few of everything. The first account's keys ask: it is not among what is closed, nor are they among what is revoked."""
    api = AdminApi(farebox.admin_url)
    made = Things()
    accounts = [api.account(f"asked {number}", credits="1000") for number in range(9)]
    made.values = {"accounts": accounts[:6], "closing": accounts[6:], "keys": [], "ending_keys": []}
    for account in accounts:
        keys = [
            api.made("accounts", account, "keys", body={"name": kind, "kind": kind}) for kind in ("user", "manager")
        ]
        if not made.user:
            made.user, made.manager = (str(key["key"]) for key in keys)
            continue
        made.values["keys" if account in accounts[:4] else "ending_keys"] += [key["id"] for key in keys]
    asked = [api.made("administrators", body={"name": f"asked-{number}", "roles": ["read"]}) for number in range(4)]
    made.values["administrators"] = [one["id"] for one in asked]
    _credit_things(api, accounts[0], made)
    _call_things(farebox, api, accounts[0], made)
    made.values["models"] = ["sim", *EXAMPLES]
    made.values["credits"] = ["1", "12.5", "0.000001"]
    made.values["amounts"] = [1, 0.5, "0.25", "0.000001"]
    return made


def _credit_things(api: AdminApi, account: str, made: Things) -> None:
    grants = [
        api.made("accounts", account, "grants", body={"credits": "2"}, key=f"made-{number}")["id"]
        for number in range(8)
    ]
    made.values["grants"], made.values["ending_grants"] = grants[:4], grants[4:]
    codes = api.made("codes", body={"count": 60, "credits": "1"})["codes"]
    made.values["codes"] = [one["id"] for one in codes[:10]]
    made.values["ending_codes"] = [one["id"] for one in codes[10:20]]
    made.values["code_texts"] = [one["code"] for one in codes[20:]]


def _call_things(farebox: Installation, api: AdminApi, account: str, made: Things) -> None:
    api.patch("accounts", account, body={"low_balance_credits": "1015.999"})
    for _ in range(6):
        _ask(farebox, {"authorization": f"Bearer {made.user}"}, "/v1/chat/completions", _CHAT)
    until(lambda: len(api.get("usage", account=account).value["items"]) == 6, 20)
    until(lambda: bool(api.get("webhooks", "deliveries").value["items"]), 20)
    made.values["calls"] = [one["call_id"] for one in api.get("usage", account=account).value["items"]]
    made.values["deliveries"] = [one["id"] for one in api.get("webhooks", "deliveries").value["items"]]
    own = {"x-api-key": made.user}
    reserved = [_ask(farebox, own, "/v1/reservations/create", {"amount": 1}) for _ in range(60)]
    ids = [one["reservation"]["id"] for one in reserved]
    made.values["reservations"], made.values["holds"] = ids[:50], ids[50:]


def _ask(farebox: Installation, credential: dict[str, str], path: str, body: object) -> dict[str, dict[str, str]]:
    """The answer of the data listener, which must be 200."""
    connection = http.client.HTTPConnection(urlsplit(farebox.url).netloc, timeout=30)
    try:
        connection.request("POST", path, json.dumps(body), {**credential, "content-type": "application/json"})
        answer = connection.getresponse()
        said = answer.read()
    finally:
        connection.close()
    assert answer.status == 200, said
    found: dict[str, dict[str, str]] = json.loads(said)
    return found

"""Servers held against proxy/admin/openapi.yaml by schemathesis: whatever the document allows and forbids is asked, and each answer judged.

Judged are errors of the server, statuses, media types, headers and bodies that are not described, requests that should be refused and are
not, and credentials that are not looked at. It runs as a process of its own, with a credential for each way of the document to say
who asks; ids of things that exist are among what it asks for.
"""

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.support.admin_api import AdminApi
from tests.support.farebox import environment
from tests.support.installation import ADMIN_TOKEN, Installation

DOCUMENT = Path(__file__).parents[2] / "proxy" / "admin" / "openapi.yaml"
OPERATORS = "^(/admin/|/healthz|/readyz|/metrics)"
# Asked often, and many at once; Apikley's codes are HTTP statuses, for a refusal under HTTP 200 looks like none.
SECTIONS = """
[surfaces]
queries_per_minute = 1000000
queries_at_once = 1000
[surfaces.apikley]
mirror = true
"""
CREDITS = 'resources = "own"'  # ids of answers that nobody stored are refused here, and not by the tests' provider, in plain text
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "ignored_auth",
)
_CONFIG = """
[auth.openapi]
administrator = {{ bearer = "{token}" }}
administrator_in_header = {{ api_key = "{token}" }}
user_key = {{ bearer = "{user}" }}
surface_key = {{ api_key = "{user}" }}
key_in_query = {{ api_key = "{user}" }}
manager_key = {{ bearer = "{manager}" }}
anthropic_key = {{ api_key = "{user}" }}
gemini_key = {{ api_key = "{user}" }}
[dictionaries.accounts]
values = [{accounts}]
[dictionaries.keys]
values = [{keys}]
[dictionaries.administrators]
values = [{administrators}]
[parameters]
"path.account" = {{ dictionary = "accounts", probability = 0.6 }}
"query.account" = {{ dictionary = "accounts", probability = 0.6 }}
"query.accountId" = {{ dictionary = "accounts", probability = 0.3 }}
"path.key" = {{ dictionary = "keys", probability = 0.6 }}
"path.administrator" = {{ dictionary = "administrators", probability = 0.6 }}
"""


@dataclass(frozen=True)
class Asked:
    """What came of a run: how many requests, whether every answer was as described, and what was said."""

    cases: int
    good: bool
    said: str


def prepare(farebox: Installation, folder: Path) -> Path:
    """Makes accounts, keys and administrators; the configuration of the runs, which names them."""
    api = AdminApi(farebox.admin_url)
    accounts = [api.account(f"asked {number}", credits="1000") for number in range(6)]
    keys, secrets = [], []
    for account in accounts:
        for kind in ("user", "manager"):
            made = api.made("accounts", account, "keys", body={"name": kind, "kind": kind})
            keys.append(made["id"])
            secrets.append(made["key"])
    people = [api.made("administrators", body={"name": f"asked-{n}", "roles": ["read"]})["id"] for n in range(4)]
    described = yaml.load(DOCUMENT.read_bytes(), yaml.CSafeLoader)
    (folder / "openapi.json").write_text(json.dumps(described), encoding="ascii")  # read in a tenth of the time
    path = folder / "schemathesis.toml"
    # The first account is whose keys ask; it is not among what is closed, nor are its keys among what is revoked.
    path.write_text(
        _CONFIG.format(
            token=ADMIN_TOKEN,
            user=secrets[0],
            manager=secrets[1],
            accounts=_strings(accounts[1:]),
            keys=_strings(keys[2:]),
            administrators=_strings(people),
        )
    )
    return path


def ask_whatever(
    config: Path,
    url: str,
    *,
    operators: bool,
    examples: int,
    seed: int,
    phases: str,
    timeout_s: float = 3600,
) -> Asked:
    """Asks one listener about everything that the document says of it, each operation `examples` times or less."""
    words = [
        *(str(Path(sys.executable).with_name("st")), "--config-file", str(config), "run", "openapi.json", "--url", url),
        *("--include-path-regex" if operators else "--exclude-path-regex", OPERATORS),
        *("--checks", ",".join(CHECKS), "--phases", phases, "--max-examples", str(examples), "--seed", str(seed)),
        *("--generation-database", "none", "--warnings", "off", "--no-color", "--continue-on-failure"),
        *("--suppress-health-check", "all"),
    ]
    done = subprocess.run(
        words, cwd=config.parent, env=environment(), capture_output=True, text=True, timeout=timeout_s, check=False
    )
    said = done.stdout + done.stderr
    counted = re.search(r"^\s+(\d+) generated", said, re.MULTILINE)
    return Asked(int(counted[1]) if counted else 0, done.returncode == 0, said)


def _strings(values: list[str]) -> str:
    return ", ".join(f'"{value}"' for value in values)

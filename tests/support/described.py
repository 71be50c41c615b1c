"""Servers held against proxy/admin/openapi.yaml by schemathesis: whatever the document allows and forbids is asked, and each answer judged.

Judged are errors of the server, statuses, media types, headers and bodies that are not described, requests that should be refused and are
not, and credentials that are not looked at. It runs as a process of its own, with a credential for each way of the document to say
who asks; ids of things that exist (`described_things`) are among what it asks for.
"""

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.support.described_things import Things
from tests.support.farebox import environment
from tests.support.installation import ADMIN_TOKEN

DOCUMENT = Path(__file__).parents[2] / "proxy" / "admin" / "openapi.yaml"
OPERATORS = "^(/admin/|/healthz|/readyz|/metrics)"
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "ignored_auth",
)
_HOOKS = Path(__file__).with_name("described_hooks.py")
_CONFIG = """
hooks = "{hooks}"
[auth.openapi]
administrator = {{ bearer = "{token}" }}
administrator_in_header = {{ api_key = "{token}" }}
user_key = {{ bearer = "{user}" }}
surface_key = {{ api_key = "{user}" }}
key_in_query = {{ api_key = "{user}" }}
manager_key = {{ bearer = "{manager}" }}
anthropic_key = {{ api_key = "{user}" }}
gemini_key = {{ api_key = "{user}" }}
{dictionaries}
[parameters]
{parameters}
{operations}
"""

# What is asked for by ids that exist, and how often.
_FOUND = {
    "path.account": ("accounts", 0.7),
    "query.account": ("accounts", 0.6),
    "query.accountId": ("accounts", 0.5),
    "body.accountId": ("accounts", 0.5),
    "path.key": ("keys", 0.6),
    "path.administrator": ("administrators", 0.6),
    "path.grant": ("grants", 0.6),
    "path.code": ("codes", 0.6),
    "path.call": ("calls", 0.6),
    "path.delivery": ("deliveries", 0.6),
    "path.model": ("models", 0.7),
    "query.id": ("calls", 0.6),
    "body.call_id": ("calls", 0.6),
    "body.code": ("code_texts", 0.6),
    "body.reservationId": ("reservations", 0.6),
    "body.model": ("models", 0.7),
    "body.modelId": ("models", 0.5),
    "body.credits": ("credits", 0.5),
    "body.amount": ("amounts", 0.6),
    "body.actualAmount": ("amounts", 0.6),
}
_ENDED = {
    "POST /admin/v1/accounts/{account}/close": ("path.account", "closing"),
    "POST /admin/v1/accounts/{account}/holds/{call}/release": ("path.call", "holds"),
    "POST /admin/v1/keys/{key}/revoke": ("path.key", "ending_keys"),
    "POST /admin/v1/grants/{grant}/revoke": ("path.grant", "ending_grants"),
    "POST /admin/v1/codes/{code}/revoke": ("path.code", "ending_codes"),
}


@dataclass(frozen=True)
class Asked:
    """What came of a run: how many requests, whether every answer was as described, and what was said."""

    cases: int
    good: bool
    said: str


def prepare(made: Things, folder: Path) -> Path:
    """The configuration of the runs: who asks, and what there is to ask about."""
    described = yaml.load(DOCUMENT.read_bytes(), yaml.CSafeLoader)
    (folder / "openapi.json").write_text(json.dumps(described), encoding="ascii")  # read in a tenth of the time
    path = folder / "schemathesis.toml"
    path.write_text(
        _CONFIG.format(
            hooks=_HOOKS,
            token=ADMIN_TOKEN,
            user=made.user,
            manager=made.manager,
            dictionaries="\n".join(
                f"[dictionaries.{name}]\nvalues = {json.dumps(made.values[name])}" for name in made.values
            ),
            parameters="\n".join(_bound(where, name, often) for where, (name, often) in _FOUND.items()),
            operations="\n".join(
                f'[[operations]]\ninclude-name = "{operation}"\n[operations.parameters]\n{_bound(where, name, 0.6)}'
                for operation, (where, name) in _ENDED.items()
            ),
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


def _bound(where: str, name: str, often: float) -> str:
    return f'"{where}" = {{ dictionary = "{name}", probability = {often} }}'

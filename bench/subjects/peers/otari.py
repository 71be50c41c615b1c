"""Otari as far as a package of it exists: the gateway of any-llm, which became Otari; its last version there, with SQLite.

It meters: each call is authenticated by a key, checked against a budget, and written to its database with its cost.
"""

import contextlib
import http.client
import json
from collections.abc import Iterator
from dataclasses import replace

from bench.generator import Manner
from bench.processes import free_port
from bench.subjects.base import Place, Running
from bench.subjects.peers.common import MODELS, Launch, launched
from bench.subjects.peers.install import Recipe, installed

RECIPE = Recipe("otari", "python", "any-llm-sdk[gateway,openai]", "1.14.0", "2026-05-02")
_MASTER_KEY = "bench-of-no-value"
_CALLER = "bench"


@contextlib.contextmanager
def run(place: Place) -> Iterator[Running]:
    """Run the gateway for the length of the block."""
    port = free_port()
    settings = {"api_key": "none", "api_base": f"http://127.0.0.1:{place.upstream_port}/v1"}
    prices = {f"openai:{model}": {"input_price_per_million": 1.0, "output_price_per_million": 2.0} for model in MODELS}
    configuration = place.directory / "otari.yaml"
    configuration.write_text(
        json.dumps(  # which is YAML too
            {
                "database_url": f"sqlite:///{place.directory}/otari.db",
                "master_key": _MASTER_KEY,
                "providers": {"openai": settings},
                "pricing": prices,
            }
        )
    )
    programs = installed(RECIPE) / "bin"
    options = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1", "--log-level", "40"]
    launch = Launch(
        name="otari",
        version=f"{RECIPE.version} of any-llm-sdk",
        command=[programs / "python", programs / "any-llm-gateway", "serve", "--config", configuration, *options],
        port=port,
        manner=Manner(model_prefix="openai:", exact=False),
        notes=("keys, budgets and cost of each call in SQLite; what came after this version has no package",),
    )
    with launched(place, launch, prepare=_key) as running:
        yield running


def _key(launch: Launch) -> Launch:
    """Make a key by the master key; raises OSError while nothing listens."""
    connection = http.client.HTTPConnection("127.0.0.1", launch.port, timeout=30)
    headers = {"content-type": "application/json", "X-AnyLLM-Key": f"Bearer {_MASTER_KEY}"}
    try:
        connection.request("POST", "/v1/keys", json.dumps({"key_name": _CALLER}), headers)
        key = json.loads(connection.getresponse().read())["key"]
    finally:
        connection.close()
    return replace(launch, authorization=f"Bearer {key}")

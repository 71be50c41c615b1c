"""LiteLLM's proxy, one worker, a master key and no database: keys, budgets and spend would need one.

Version 1.107.0 was compromised, and so were two of March 2026: the pinned one is older than the former by weeks.
"""

import contextlib
import json
from collections.abc import Iterator

from bench.generator import Manner
from bench.processes import free_port
from bench.subjects.base import Place, Running
from bench.subjects.peers.common import MODELS, Launch, launched
from bench.subjects.peers.install import Recipe, installed

RECIPE = Recipe("litellm", "python", "litellm[proxy]", "1.105.1", "2026-10-15")
_KEY = "sk-bench-of-no-value"


@contextlib.contextmanager
def run(place: Place) -> Iterator[Running]:
    """Run the proxy for the length of the block."""
    port = free_port()
    upstream = f"http://127.0.0.1:{place.upstream_port}/v1"
    configuration = place.directory / "litellm.yaml"
    configuration.write_text(
        json.dumps(  # which is YAML too
            {
                "model_list": [
                    {
                        "model_name": model,
                        "litellm_params": {"model": f"openai/{model}", "api_base": upstream, "api_key": "none"},
                    }
                    for model in MODELS
                ],
                "litellm_settings": {"telemetry": False, "set_verbose": False},
                "general_settings": {"master_key": _KEY, "disable_spend_logs": True},
            }
        )
    )
    programs = installed(RECIPE) / "bin"
    options = ["--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    launch = Launch(
        name="litellm",
        version=RECIPE.version,
        command=[programs / "python", programs / "litellm", "--config", configuration, *options],
        port=port,
        manner=Manner(exact=False),
        authorization=f"Bearer {_KEY}",
        notes=("one master key, nothing metered: no database",),
        # Its table of prices is read from the package instead of being fetched.
        environment={"LITELLM_MODE": "PRODUCTION", "LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
    )
    with launched(place, launch) as running:
        yield running

"""MLflow's gateway as it is started from a file of endpoints: one worker, no database, no authentication."""

import contextlib
import json
from collections.abc import Iterator

from bench.generator import Manner
from bench.processes import free_port
from bench.subjects.base import Place, Running
from bench.subjects.peers.common import MODELS, Launch, launched
from bench.subjects.peers.install import Recipe, installed

RECIPE = Recipe("mlflow", "python", "mlflow[gateway]", "3.17.1", "2026-10-15")


@contextlib.contextmanager
def run(place: Place) -> Iterator[Running]:
    """Run the gateway for the length of the block."""
    port = free_port()
    settings = {"openai_api_key": "none", "openai_api_base": f"http://127.0.0.1:{place.upstream_port}/v1"}
    configuration = place.directory / "mlflow.yaml"
    configuration.write_text(
        json.dumps(  # which is YAML too
            {
                "endpoints": [
                    {
                        "name": model,
                        "endpoint_type": "llm/v1/chat",
                        "model": {"provider": "openai", "name": model, "config": settings},
                    }
                    for model in MODELS
                ]
            }
        )
    )
    programs = installed(RECIPE) / "bin"
    options = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    launch = Launch(
        name="mlflow",
        version=RECIPE.version,
        command=[
            programs / "python",
            programs / "mlflow",
            "gateway",
            "start",
            "--config-path",
            configuration,
            *options,
        ],
        port=port,
        manner=Manner(exact=False),
        notes=("no keys, nothing metered",),
        environment={"MLFLOW_DISABLE_TELEMETRY": "true"},
    )
    with launched(place, launch) as running:
        yield running

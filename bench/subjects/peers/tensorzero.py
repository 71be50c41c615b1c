"""TensorZero's gateway as its Python package carries it: the same Rust code, started in a process of nothing else."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from bench.generator import Manner
from bench.subjects.base import Place, Running
from bench.subjects.peers.common import MODELS, Launch, launched
from bench.subjects.peers.install import Recipe, installed

RECIPE = Recipe("tensorzero", "python", "tensorzero", "2026.6.0", "2026-10-15")

# It takes a port of its own choice and tells it.
_PROGRAM = """
import pathlib, signal, sys
from tensorzero.tensorzero import _start_http_gateway
gateway = _start_http_gateway(config_file=sys.argv[1], clickhouse_url=None, postgres_url=None, valkey_url=None, async_setup=False)
pathlib.Path(sys.argv[2]).write_text(gateway.base_url)
signal.pause()
"""
_GATEWAY = """
[gateway]
observability.enabled = false
disable_pseudonymous_usage_analytics = true
"""
_MODEL = """
[models.{model}]
routing = ["mock"]
[models.{model}.providers.mock]
type = "openai"
model_name = "{model}"
api_base = "http://127.0.0.1:{upstream_port}/v1/"
api_key_location = "none"
"""


@contextlib.contextmanager
def run(place: Place) -> Iterator[Running]:
    """Run the gateway for the length of the block."""
    configuration, address = place.directory / "tensorzero.toml", place.directory / "address"
    models = (_MODEL.format(model=model, upstream_port=place.upstream_port) for model in MODELS)
    configuration.write_text(_GATEWAY + "".join(models))
    launch = Launch(
        name="tensorzero",
        version=RECIPE.version,
        command=[installed(RECIPE) / "bin" / "python", "-c", _PROGRAM, configuration, address],
        port=0,
        manner=Manner(path="/openai/v1/chat/completions", model_prefix="tensorzero::model_name::", exact=False),
        notes=("no keys, nothing recorded: no database; one process, as many threads as it starts, all on one core",),
    )
    with launched(place, launch, prepare=lambda asked: replace(asked, port=_port(address))) as running:
        yield running


def _port(address: Path) -> int:
    """The port that the program told; raises OSError while it has not."""
    return int(address.read_text().split(":")[2].partition("/")[0])

"""Portkey's gateway on Node: one process, the provider named by headers, nothing stored."""

import contextlib
from collections.abc import Iterator

from bench.generator import Manner
from bench.processes import find_program, free_port
from bench.subjects.base import Place, Running
from bench.subjects.peers.common import Launch, launched
from bench.subjects.peers.install import Recipe, installed

# With the newest server of Hono that it admits, every stream is answered with status 500 (its headers cannot be changed).
RECIPE = Recipe(
    "portkey", "node", "@portkey-ai/gateway", "1.15.2", "2026-08-24", overrides={"@hono/node-server": "1.13.8"}
)


@contextlib.contextmanager
def run(place: Place) -> Iterator[Running]:
    """Run the gateway for the length of the block."""
    port = free_port()
    program = installed(RECIPE) / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    launch = Launch(
        name="portkey",
        version=RECIPE.version,
        command=[find_program("node"), program, "--headless", f"--port={port}"],
        port=port,
        manner=Manner(
            headers=(
                "x-portkey-provider: openai",
                f"x-portkey-custom-host: http://127.0.0.1:{place.upstream_port}/v1",
            )
        ),
        authorization="Bearer none",
        notes=("no keys of its own, nothing metered",),
        environment={"NODE_ENV": "production"},
    )
    with launched(place, launch) as running:
        yield running

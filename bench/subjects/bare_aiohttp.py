"""A proxy as one writes it with aiohttp in an afternoon (bare_aiohttp_proxy.py), to show what that alone costs."""

import contextlib
import importlib.metadata
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from bench.processes import free_port, pin, started, wait_for_port
from bench.subjects.base import Place, Running

_PROGRAM = Path(__file__).with_name("bare_aiohttp_proxy.py")


@contextlib.contextmanager
def bare_aiohttp(place: Place) -> Iterator[Running]:
    """Run the proxy for the length of the block, and a second one before the upstream behind TLS, where that is there."""
    with contextlib.ExitStack() as stack:
        running = stack.enter_context(_one(place, "aiohttp", [str(place.upstream_port)]))
        if place.secure:
            upstream = [str(place.secure.port), str(place.secure.authority)]
            over_tls = stack.enter_context(_one(place, "aiohttp-tls", upstream))
            running = replace(running, over_tls=over_tls)
        yield running


@contextlib.contextmanager
def _one(place: Place, name: str, upstream: list[str]) -> Iterator[Running]:
    port = free_port()
    log = place.directory / f"{name}.log"
    with started([sys.executable, "-P", _PROGRAM, str(port), *upstream], log) as process:
        wait_for_port(port, process, log)
        pin(process.pid, place.cores.subject)
        yield Running(port=port, workers=(process.pid,), versions={"aiohttp": importlib.metadata.version("aiohttp")})

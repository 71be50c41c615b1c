"""Proxies that meter nothing: what the plain way costs by itself, and what Farebox's own connections do."""

import contextlib
import importlib.metadata
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from bench.processes import free_port, pin, started, wait_for_port
from bench.subjects.base import Place, Running

_ROOT = Path(__file__).parents[2]
_AIOHTTP = Path(__file__).with_name("bare_aiohttp_proxy.py")


def bare_aiohttp(place: Place) -> AbstractContextManager[Running]:
    """Run the proxy that one writes with aiohttp in an afternoon (bare_aiohttp_proxy.py)."""
    versions = {"aiohttp": importlib.metadata.version("aiohttp")}
    return _both(place, "aiohttp", [str(_AIOHTTP)], versions)


def unmetered(place: Place) -> AbstractContextManager[Running]:
    """Run Farebox's listener and its client for providers with nothing between them (unmetered_proxy.py)."""
    return _both(place, "unmetered", ["-m", "bench.subjects.unmetered_proxy"], {})


@contextlib.contextmanager
def _both(place: Place, name: str, program: Sequence[str], versions: dict[str, str]) -> Iterator[Running]:
    """Run a program before the upstream, and a second time before the upstream behind TLS, where that is there."""
    with contextlib.ExitStack() as stack:
        running = stack.enter_context(_one(place, name, [*program], [str(place.upstream_port)]))
        if place.secure:
            upstream = [str(place.secure.port), str(place.secure.authority)]
            running = replace(running, over_tls=stack.enter_context(_one(place, f"{name}-tls", [*program], upstream)))
        yield replace(running, versions=versions)


@contextlib.contextmanager
def _one(place: Place, name: str, program: list[str], upstream: list[str]) -> Iterator[Running]:
    port = free_port()
    log = place.directory / f"{name}.log"
    # This checkout is measured, whatever is installed.
    with started([sys.executable, "-P", *program, str(port), *upstream], log, {"PYTHONPATH": str(_ROOT)}) as process:
        wait_for_port(port, process, log)
        pin(process.pid, place.cores.subject)
        yield Running(port=port, workers=(process.pid,))

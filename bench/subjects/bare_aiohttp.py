"""A proxy as one writes it with aiohttp in an afternoon (bare_aiohttp_proxy.py), to show what that alone costs."""

import contextlib
import importlib.metadata
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.processes import free_port, pin, started, wait_for_port
from bench.subjects.base import Place, Running

_PROGRAM = Path(__file__).with_name("bare_aiohttp_proxy.py")


@contextlib.contextmanager
def bare_aiohttp(place: Place) -> Iterator[Running]:
    """Run the proxy for the length of the block."""
    port = free_port()
    log = place.directory / "aiohttp.log"
    with started([sys.executable, "-P", _PROGRAM, str(port), str(place.upstream_port)], log) as process:
        wait_for_port(port, process, log)
        pin(process.pid, place.cores.subject)
        yield Running(port=port, workers=(process.pid,), versions={"aiohttp": importlib.metadata.version("aiohttp")})

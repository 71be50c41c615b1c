"""No proxy at all: the load generator asks the mock upstream. What a proxy adds is the difference to this."""

import contextlib
from collections.abc import Iterator

from bench.subjects.base import Place, Running


@contextlib.contextmanager
def direct(place: Place) -> Iterator[Running]:
    """Point the load at the upstream."""
    yield Running(port=place.upstream_port)

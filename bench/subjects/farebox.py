"""Farebox with full metering: not startable yet."""

import contextlib
from collections.abc import Iterator

from bench.processes import SubjectUnavailableError
from bench.subjects.base import Place, Running


@contextlib.contextmanager
def farebox(place: Place) -> Iterator[Running]:
    """Run Farebox for the length of the block."""
    if place.upstream_port:
        raise SubjectUnavailableError("this checkout cannot serve yet")
    yield Running(port=0)

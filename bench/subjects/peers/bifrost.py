"""Bifrost, which cannot be had from a registry: said in the table instead of being left out."""

import contextlib
from collections.abc import Iterator

from bench.processes import SubjectUnavailableError
from bench.subjects.base import Place, Running

RECIPE = (
    "Go's module proxy refuses github.com/maximhq/bifrost (403, this module version is not available), and its npm package "
    "fetches the program from elsewhere when it runs"
)


@contextlib.contextmanager
def run(_: Place) -> Iterator[Running]:
    """Raise SubjectUnavailableError."""
    raise SubjectUnavailableError(RECIPE)
    yield  # what makes this a context manager

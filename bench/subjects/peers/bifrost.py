"""Bifrost, which cannot be had from a registry: said in the table instead of being left out."""

from contextlib import AbstractContextManager

from bench.processes import SubjectUnavailableError
from bench.subjects.base import Place, Running

RECIPE = (
    "Go's module proxy refuses github.com/maximhq/bifrost (403, this module version is not available), and its npm package "
    "fetches the program from elsewhere when it runs"
)


def run(_: Place) -> AbstractContextManager[Running]:
    """Raise SubjectUnavailableError."""
    raise SubjectUnavailableError(RECIPE)

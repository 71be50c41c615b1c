"""What is kept of an error that ended a call."""

import gc
import weakref

import pytest

from proxy.core.errors import UpstreamFailed
from proxy.pipeline.ended import CreditsExhausted, forget_trace
from proxy.pipeline.exchange import ClientLeft


class Answer:
    """Holds the error that its reader gets, as the exchange with a provider does."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def read(self) -> None:
        raise self.error


def ended_by(error: Exception) -> tuple[BaseException, weakref.ref[Answer]]:
    answer = Answer(error)
    try:
        answer.read()
    except (ClientLeft, CreditsExhausted, UpstreamFailed, LookupError) as caught:
        return caught, weakref.ref(answer)
    raise AssertionError


@pytest.mark.parametrize("kind", [ClientLeft, CreditsExhausted, UpstreamFailed])
def test_an_error_that_is_none_of_ours_keeps_nothing_of_its_call(kind: type[Exception]) -> None:
    gc.disable()
    try:
        error, answer = ended_by(kind())
        assert answer() is not None  # a cycle, which only the collector would end
        forget_trace(error)
        assert answer() is None
    finally:
        gc.enable()


def test_a_defect_keeps_its_trace() -> None:
    error, _ = ended_by(LookupError())
    forget_trace(error)
    assert error.__traceback__ is not None

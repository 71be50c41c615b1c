import pytest

from proxy.core.errors import InvalidRequest
from proxy.providers.dialect import FREE, Ask, Head
from proxy.providers.openai_stored_responses import CancelResponse, DeleteResponse, ListInputItems, RetrieveResponse
from tests.support.answers import event, plain, streamed

RETRIEVE, CANCEL = RetrieveResponse(), CancelResponse()
EVERY = pytest.mark.parametrize("operation", [RETRIEVE, CANCEL, DeleteResponse(), ListInputItems()])
USED = {"input_tokens": 20, "output_tokens": 8}
HEAD = Head(params={"response_id": "resp_1"})


def test_methods_and_paths_and_that_their_own_calls_cost_nothing() -> None:
    rules = [
        (one.method, one.paths[0].suffix, one.billing) for one in (RETRIEVE, CANCEL, DeleteResponse(), ListInputItems())
    ]
    assert rules == [
        ("GET", "/responses/{response_id}", FREE),
        ("POST", "/responses/{response_id}/cancel", FREE),
        ("DELETE", "/responses/{response_id}", FREE),
        ("GET", "/responses/{response_id}/input_items", FREE),
    ]


@EVERY
def test_the_path_names_the_response_and_nothing_names_a_model(operation: RetrieveResponse) -> None:
    ask = operation.read(b"", HEAD)
    assert (ask.model, ask.resources, ask.output_limit, ask.stream) == ("", ("resp_1",), 0, False)
    assert operation.outgoing(b"", ask, "other") == b""
    assert operation.prompt_text(b"") == ""
    for params in ({}, {"response_id": ".."}, {"response_id": "a/b"}):
        with pytest.raises(InvalidRequest):
            operation.read(b"", Head(params=params))


@pytest.mark.parametrize(
    ("query", "stream"),
    [
        ("stream=true", True),
        ("starting_after=0&stream=true", True),
        ("stream=false", False),
        ("", False),
        ("stream=1", False),
    ],
)
def test_a_stream_is_asked_for_in_the_query(query: str, stream: bool) -> None:
    assert RETRIEVE.read(b"", Head(params=HEAD.params, query=query)).stream is stream


def test_what_is_fetched_tells_the_usage_of_its_response() -> None:
    ask = Ask(model="", resources=("resp_1",))
    finished = {"id": "resp_1", "object": "response", "status": "completed", "background": True, "usage": USED}
    for meter in (
        plain(RETRIEVE, finished, ask),
        plain(CANCEL, finished, ask),
        streamed(RETRIEVE, event("response.completed", response=finished), ask=ask),
    ):
        assert meter.usage is not None
        assert meter.usage.counters == {"input": 20, "output": 8}
        assert (meter.resource, meter.pending) == ("resp_1", False)
    waiting = plain(RETRIEVE, {**finished, "status": "in_progress", "usage": None}, ask)
    assert (waiting.resource, waiting.pending, waiting.usage) == ("resp_1", True, None)
    stopped = plain(CANCEL, {**finished, "status": "cancelled", "usage": None}, ask)
    assert (stopped.resource, stopped.pending, stopped.usage) == ("resp_1", False, None)
    assert stopped.flag is not None


def test_deleting_and_listing_say_nothing_of_usage() -> None:
    gone = plain(DeleteResponse(), {"id": "resp_1", "object": "response.deleted", "deleted": True})
    assert (gone.usage, gone.flag, gone.resource) == (None, None, None)
    listed = plain(ListInputItems(), {"object": "list", "data": [{"type": "message"}], "first_id": "msg_1"})
    assert (listed.usage, listed.flag, listed.resource) == (None, None, None)

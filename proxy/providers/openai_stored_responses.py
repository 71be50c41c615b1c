"""Responses that OpenAI keeps: fetched, cancelled, deleted, their input listed.
https://platform.openai.com/docs/api-reference/responses/get and the pages after it.

Fetching and cancelling are how the usage of a background response becomes known: their meters tell it with the `resource`
that it belongs to, and whoever keeps the hold of that response charges it once, under the id of the call that made it. So
the calls here cost nothing themselves.
"""

from urllib.parse import parse_qs

from proxy.providers.dialect import FREE, NO_HEAD, Ask, Head, Meter, Path, is_sse
from proxy.providers.openai_request import resource_of
from proxy.providers.openai_response_meters import ResponseDocument, ResponseStream


class RetrieveResponse:
    """`GET /responses/{response_id}`, plain or, with `stream=true`, as the stream of its events."""

    dialect = "openai"
    method = "GET"
    paths: tuple[Path, ...] = (Path("/responses/{response_id}", "/v1/responses/{response_id}"),)
    billing = FREE

    def read(self, body: bytes, head: Head = NO_HEAD) -> Ask:  # noqa: ARG002 - there is none
        """Which response is meant; its model is not said."""
        stream = parse_qs(head.query).get("stream", [""])[-1] == "true"
        return Ask(model="", stream=stream, output_limit=0, resources=(resource_of(head, "response_id"),))

    def outgoing(self, body: bytes, ask: Ask, model: str | None = None) -> bytes:  # noqa: ARG002 - nothing names a model
        """The same bytes."""
        return body

    def meter(self, ask: Ask, content_type: bytes) -> Meter:  # noqa: ARG002 - everything is in the answer
        """A meter for a stream or for one document."""
        return ResponseStream() if is_sse(content_type) else ResponseDocument()

    def prompt_text(self, body: bytes) -> str:  # noqa: ARG002 - it was sent with the response's own request
        """Nothing."""
        return ""


class CancelResponse(RetrieveResponse):
    """`POST /responses/{response_id}/cancel`: the answer is the response as far as it came."""

    method = "POST"
    paths: tuple[Path, ...] = (Path("/responses/{response_id}/cancel", "/v1/responses/{response_id}/cancel"),)


class DeleteResponse(RetrieveResponse):
    """`DELETE /responses/{response_id}`."""

    method = "DELETE"


class ListInputItems(RetrieveResponse):
    """`GET /responses/{response_id}/input_items`."""

    paths: tuple[Path, ...] = (Path("/responses/{response_id}/input_items", "/v1/responses/{response_id}/input_items"),)

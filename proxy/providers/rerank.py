"""Reranking in the shape that Jina, Voyage, Together, vLLM and Cohere's first version share: `POST /rerank`.

Sources: https://docs.voyageai.com/reference/reranker-api (`usage.total_tokens`: the query counts once for each document),
https://docs.together.ai/reference/rerank (`usage.prompt_tokens`), https://docs.cohere.com/v1/reference/rerank
(`meta.billed_units.search_units`: a query with up to 100 documents, longer ones split into pieces of 500 tokens),
https://openrouter.ai/docs (`usage.search_units`). Where search units are told, they are what is billed.
"""

from typing import Any

import msgspec

from proxy.core.errors import InvalidRequest
from proxy.core.usage import Usage
from proxy.providers.dialect import BILLED, NO_HEAD, Ask, Head, Meter, Path
from proxy.providers.meters import PlainMeter
from proxy.providers.openai_request import model_of
from proxy.providers.passing import AsItCame
from proxy.providers.prompts import texts_of
from proxy.providers.reading import decode, top_level
from proxy.providers.usage_reading import UNREADABLE, Count

METERED = frozenset(("model", "query", "documents"))
_DOCUMENTS_A_UNIT = 100
_TOKENS_A_PIECE = 500
_DOCUMENTS = msgspec.json.Decoder(list[msgspec.Raw])


class _Used(msgspec.Struct, gc=False):
    total_tokens: Count = None
    prompt_tokens: Count = None
    input_tokens: Count = None
    search_units: Count = None


class _Meta(msgspec.Struct, gc=False):
    billed_units: _Used | None = None
    tokens: _Used | None = None


class _Answer(msgspec.Struct, gc=False):
    usage: _Used | None = None
    meta: _Meta | None = None
    error: Any = None


_decode = msgspec.json.Decoder(_Answer).decode


class Rerank(AsItCame):
    """`POST /rerank`."""

    dialect = "openai"
    method = "POST"
    paths: tuple[Path, ...] = (Path("/rerank", "/v1/rerank"),)
    billing = BILLED

    def read(self, body: bytes, head: Head = NO_HEAD) -> Ask:
        """What the request asks for; its input is the query once for each document, and the documents."""
        members = top_level(body, METERED)
        if "query" not in members or "documents" not in members:
            raise InvalidRequest("The members `query` and `documents` are required.", param="documents")
        documents = decode(members["documents"], _DOCUMENTS, "documents", "`documents` must be an array.")
        pieces = len(documents) + len(body) // _TOKENS_A_PIECE
        return Ask(
            model=model_of(members, head),
            output_limit=0,
            input_bound=len(body) + memoryview(members["query"]).nbytes * max(len(documents) - 1, 0),
            units={"search_units": max(1, -(-pieces // _DOCUMENTS_A_UNIT))},
        )

    def meter(self, ask: Ask, content_type: bytes) -> Meter:  # noqa: ARG002 - one kind of answer
        """A meter for one document."""
        return _Document()

    def prompt_text(self, body: bytes) -> str:
        """Query and documents, the query once."""
        return texts_of(body, ("query", "documents"))


class _Document(PlainMeter):
    """A plain answer. Without a usage it is charged at its hold: what was read of how many documents cannot be counted."""

    __slots__ = ()

    def _read(self, document: bytearray) -> None:
        try:
            answer = _decode(document)
        except UNREADABLE as error:
            self.unread_events = 1
            self.flag = f"usage not believed: {error}"
            return
        self.complete = True
        self.error = answer.error is not None
        counters = _counters(answer)
        if counters is not None:
            self.usage = Usage(counters)
        elif not self.error:
            self.flag = "the answer does not tell its usage"


def _counters(answer: _Answer) -> dict[str, int] | None:
    meta = answer.meta or _Meta()
    holders = [used for used in (meta.billed_units, answer.usage, meta.tokens) if used is not None]
    for used in holders:
        if used.search_units is not None:
            return {"search_units": used.search_units}
    for used in holders:
        for tokens in (used.total_tokens, used.prompt_tokens, used.input_tokens):
            if tokens is not None:
                return {"input": tokens}
    return None

"""Cohere's embed and rerank, versions 1 and 2, which differ in what they take but not in how they bill.

Embeddings are billed by input tokens, reranking by search units: one query with up to 100 documents, where a document that
is longer than 500 tokens, the query included, counts as several. Both are in `meta.billed_units`. `/v1/rerank` without a
provider belongs to the OpenAI dialect, so here it stands behind the provider's name only.

Sources: https://docs.cohere.com/reference/embed, https://docs.cohere.com/reference/rerank, https://cohere.com/pricing (FAQ).
"""

from collections.abc import Iterable

import msgspec

from proxy.core.errors import InvalidRequest
from proxy.providers.cohere_usage import EMBED, RERANK, read_report
from proxy.providers.dialect import BILLED, NO_HEAD, Ask, Head, Meter, Operation, Path
from proxy.providers.meters import PlainMeter
from proxy.providers.passing import AsItCame
from proxy.providers.prompts import texts_of
from proxy.providers.reading import decode, read_model, top_level
from proxy.providers.usage_reading import NOTHING, is_given

_DOCUMENTS_A_SEARCH = 100
_TOKENS_A_DOCUMENT = 500


class _Input(msgspec.Struct, gc=False):
    content: list["_Part"] | None = None


class _Part(msgspec.Struct, gc=False):
    type: str = "text"


class _Document(msgspec.Struct, gc=False):
    meta: msgspec.Raw = NOTHING


_LIST = msgspec.json.Decoder(list[msgspec.Raw] | None)
_INPUTS = msgspec.json.Decoder(list[_Input] | None)
_decode_document = msgspec.json.Decoder(_Document).decode

UNTOLD = "the answer has no search units"


class Embed(AsItCame):
    """`POST /v2/embed` and `/v1/embed`."""

    dialect = "cohere"
    method = "POST"
    paths: tuple[Path, ...] = (Path("/v2/embed", "/v2/embed"), Path("/v1/embed", "/v1/embed"))
    billing = BILLED

    def read(self, body: bytes, head: Head = NO_HEAD) -> Ask:  # noqa: ARG002 - everything is in the body
        """What the request asks for: nothing is generated."""
        members = top_level(body, ("model", "texts", "images", "inputs"))
        images = _array(members, "images")
        raw = members.get("inputs", msgspec.Raw(b"null"))
        inputs = decode(raw, _INPUTS, "inputs", "`inputs` must be an array of objects with `content`.") or []
        pictures = sum(part.type != "text" for given in inputs for part in given.content or ())
        return Ask(model=read_model(members), output_limit=0, media_parts=len(images) + pictures)

    def meter(self, ask: Ask, content_type: bytes) -> Meter:  # noqa: ARG002 - always a document
        """A meter for one document."""
        return EmbedMeter()

    def prompt_text(self, body: bytes) -> str:
        """The texts to be embedded."""
        return texts_of(body, ("texts", "inputs"))


class Rerank(AsItCame):
    """`POST /v2/rerank` and `/v1/rerank`."""

    dialect = "cohere"
    method = "POST"
    paths: tuple[Path, ...] = (Path("/v2/rerank", "/v2/rerank"), Path("/v1/rerank", None))
    billing = BILLED

    def read(self, body: bytes, head: Head = NO_HEAD) -> Ask:  # noqa: ARG002 - everything is in the body
        """What the request asks for, in search units; a token is at least a byte, so there are hardly more than these."""
        members = top_level(body, ("model", "query", "documents"))
        query = memoryview(members.get("query", msgspec.Raw(b""))).nbytes
        documents = _array(members, "documents")
        if not documents:
            raise InvalidRequest("`documents` must be an array that is not empty.", param="documents")
        counted = sum(1 + (memoryview(document).nbytes + query) // (_TOKENS_A_DOCUMENT + 1) for document in documents)
        searches = -(-counted // _DOCUMENTS_A_SEARCH)
        return Ask(
            model=read_model(members),
            # For a price that knows tokens only: then they are what is held.
            input_bound=len(body) + query * (len(documents) - 1),
            output_limit=0,
            units={"search_units": searches},
        )

    def meter(self, ask: Ask, content_type: bytes) -> Meter:  # noqa: ARG002 - always a document
        """A meter for one document."""
        return RerankMeter()

    def prompt_text(self, body: bytes) -> str:  # noqa: ARG002 - tokens are not what is billed
        """Nothing: a search is not billed by its tokens."""
        return ""


class EmbedMeter(PlainMeter):
    """Embeddings."""

    __slots__ = ()
    _whole: Iterable[frozenset[str]] = EMBED

    def _read(self, document: bytearray) -> None:
        answer = _decode_document(document)
        self.complete = True
        if is_given(answer.meta):
            self.usage, self.partial, self.flag = read_report(answer.meta, self._whole)


class RerankMeter(EmbedMeter):
    """An order of documents. Without its search units there is nothing to count it by."""

    __slots__ = ()
    _whole = RERANK

    def __init__(self) -> None:
        super().__init__()
        self.flag = UNTOLD

    def _read(self, document: bytearray) -> None:
        super()._read(document)
        if self.usage is None and self.flag is None:
            self.flag = UNTOLD


def _array(members: dict[str, msgspec.Raw], name: str) -> list[msgspec.Raw]:
    raw = members.get(name, msgspec.Raw(b"null"))
    return decode(raw, _LIST, name, f"`{name}` must be an array.") or []


OPERATIONS: tuple[Operation, ...] = (Embed(), Rerank())

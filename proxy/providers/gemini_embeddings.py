"""Gemini's `embedContent` and `batchEmbedContents`, and the `predict` of Vertex AI's embedding models.

Only input is billed. The older models of the Gemini API report no usage at all: theirs is counted, where all of the input is
text. `predict` reports tokens for each text. It serves every kind of model under one path: what is no text to embed (images,
film, speech) is not metered here, and refused.

Sources: https://ai.google.dev/api/embeddings,
https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api.
"""

import msgspec

from proxy.core.errors import InvalidRequest
from proxy.core.usage import MAX_COUNT, Usage
from proxy.providers.dialect import BILLED, NO_HEAD, Ask, Head, Meter, Path
from proxy.providers.gemini_requests import (
    Media,
    Members,
    bound_input,
    given,
    is_object,
    model_of,
    read_media,
    require_json_answer,
    require_model,
    texts_of,
    with_model,
)
from proxy.providers.gemini_usage import decode_usage, read_embedding
from proxy.providers.meters import PlainMeter
from proxy.providers.reading import decode, is_array
from proxy.providers.usage_reading import NOTHING, UNREADABLE, Count, Unbelievable, is_given

_SINGLE = Members(("content", "model"))
_BATCH = Members(("requests",))
_PREDICT = Members(("instances", "parameters"))
_ARRAY: msgspec.json.Decoder[list[msgspec.Raw]] = msgspec.json.Decoder(list[msgspec.Raw])


class _Instance(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """A text to embed; other instances (a prompt for an image, an image to embed) have other members."""

    content: str
    title: str | None = None
    task_type: str | None = None
    mime_type: str | None = None
    camel_task: str | None = msgspec.field(default=None, name="taskType")
    camel_mime: str | None = msgspec.field(default=None, name="mimeType")


_INSTANCES: msgspec.json.Decoder[list[_Instance]] = msgspec.json.Decoder(list[_Instance])


class _Answer(msgspec.Struct, gc=False, rename="camel"):
    usage_metadata: msgspec.Raw = NOTHING
    error: msgspec.Raw = NOTHING


class _Statistics(msgspec.Struct, gc=False):
    token_count: Count = None


class _Embeddings(msgspec.Struct, gc=False):
    statistics: _Statistics | None = None


class _Prediction(msgspec.Struct, gc=False):
    embeddings: _Embeddings | None = None


class _Predictions(msgspec.Struct, gc=False):
    predictions: list[_Prediction] | None = None
    error: msgspec.Raw = NOTHING


_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_predictions = msgspec.json.Decoder(_Predictions).decode


class EmbedContent:
    """`POST .../models/{model}:embedContent`."""

    method = "POST"
    billing = BILLED
    _texts: tuple[str, ...] = ("content",)

    def __init__(self, dialect: str, paths: tuple[Path, ...]) -> None:
        self.dialect = dialect
        self.paths = paths

    def read(self, body: bytes, head: Head = NO_HEAD) -> Ask:
        """What the request asks for; nothing is written, so the output's limit is none at all."""
        require_json_answer(head)
        model = model_of(head)
        media = self._media(body, model)
        return Ask(
            model=model,
            input_bound=bound_input(len(body), media),
            output_limit=0,
            media_parts=media.parts,
        )

    def outgoing(self, body: bytes, ask: Ask, model: str | None = None) -> bytes:  # noqa: ARG002 - nothing has to be asked for
        """The same bytes; where the body names its model too, it gets the provider's own name for it."""
        return body if model is None else with_model(body, model)

    def meter(self, ask: Ask, content_type: bytes) -> Meter:  # noqa: ARG002 - always a document
        """A meter for one document."""
        return EmbeddingMeter(ask)

    def prompt_text(self, body: bytes) -> str:
        """The texts to embed."""
        return texts_of(body, self._texts)

    def _media(self, body: bytes, model: str) -> Media:
        return _read_one(body, model)


class BatchEmbedContents(EmbedContent):
    """`POST .../models/{model}:batchEmbedContents`: requests of `embedContent`, each of which names the model again."""

    _texts = ("requests",)

    def _media(self, body: bytes, model: str) -> Media:
        raw = given(_BATCH.read(body), "requests")
        if raw is None or not is_array(raw):
            raise InvalidRequest("`requests` must be an array.", param="requests")
        requests = decode(raw, _ARRAY, "requests", "`requests` must be an array.")
        return Media(
            *(sum(figures) for figures in zip(*(_read_one(request, model) for request in requests), strict=True))
        )


class Predict(EmbedContent):
    """`POST .../models/{model}:predict`, for models that embed texts."""

    _texts = ("instances",)

    def meter(self, ask: Ask, content_type: bytes) -> Meter:  # noqa: ARG002 - always a document
        """A meter for one document."""
        return PredictMeter()

    def _media(self, body: bytes, model: str) -> Media:  # noqa: ARG002 - nothing but the path names it
        raw = given(_PREDICT.read(body), "instances")
        if raw is None:
            raise InvalidRequest("The member `instances` is required.", param="instances")
        decode(raw, _INSTANCES, "instances", "Only texts to embed are metered here: each instance must have `content`.")
        return Media()


class EmbeddingMeter(PlainMeter):
    """An answer of vectors."""

    __slots__ = ("_countable",)

    def __init__(self, ask: Ask) -> None:
        super().__init__()
        self._countable = not ask.media_parts

    def _read(self, document: bytearray) -> None:
        try:
            answer = _decode_answer(document)
            if is_given(answer.usage_metadata):
                reported = decode_usage(answer.usage_metadata)
                self.usage, self.service_tier = read_embedding(reported), reported.tier
        except Unbelievable as error:
            self.flag = f"usage not believed: {error}"
        self.complete = True
        self.error = is_given(answer.error)
        if self.usage is None and self.flag is None and not self._countable and not self.error:
            self.flag = "the request holds media, and no usage says what they cost"


class PredictMeter(PlainMeter):
    """An answer of vectors, each with its own count of tokens."""

    __slots__ = ()

    def _read(self, document: bytearray) -> None:
        try:
            answer = _decode_predictions(document)
        except UNREADABLE as error:
            self.unread_events = 1
            self.flag = f"the answer cannot be read: {error}"
            return
        self.complete = True
        self.error = is_given(answer.error)
        counts = [_tokens(prediction) for prediction in answer.predictions or ()]
        told = [count for count in counts if count is not None]
        if told and len(told) == len(counts):
            self.usage = Usage({"input": sum(told)})
            if sum(told) > MAX_COUNT:
                self.usage, self.flag = None, "usage not believed: more tokens than any call has"


def _tokens(prediction: _Prediction) -> int | None:
    embeddings = prediction.embeddings
    return None if embeddings is None or embeddings.statistics is None else embeddings.statistics.token_count


def _read_one(request: bytes | msgspec.Raw, model: str) -> Media:
    members = _SINGLE.read(request)
    require_model(members, model)
    content = given(members, "content")
    if content is None or not (is_object(content) or is_array(content)):
        raise InvalidRequest("`content` must be an object with its parts.", param="content")
    return read_media(content, "content")

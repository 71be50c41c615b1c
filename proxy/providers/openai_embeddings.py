"""OpenAI's embeddings: https://platform.openai.com/docs/api-reference/embeddings.

Only input is billed. `usage` follows the vectors, and 2,048 of these are more than is worth keeping: of a long answer the meter
keeps its end only. Voyage names no more than `total_tokens` (https://docs.voyageai.com/reference/embeddings-api).
"""

import json

import msgspec

from proxy.core.usage import Usage
from proxy.providers.dialect import BILLED, NO_HEAD, Ask, Head, Meter, Path
from proxy.providers.meters import BaseMeter
from proxy.providers.openai_request import model_of, read_inputs, read_tier
from proxy.providers.passing import AsItCame
from proxy.providers.reading import top_level
from proxy.providers.usage_reading import NOTHING, UNREADABLE, Count, is_given

METERED = frozenset(("model", "input", "service_tier"))

# Up to here an answer is read whole; of a longer one its last bytes are kept, which hold the usage and a piece of a vector.
_WHOLE_BYTES = 1024 * 1024
_END_BYTES = 16 * 1024
_NO_USAGE = "the answer does not tell its usage"


class _Used(msgspec.Struct, gc=False):
    prompt_tokens: Count = None
    total_tokens: Count = None
    completion_tokens: Count = None


class _Answer(msgspec.Struct, gc=False):
    usage: msgspec.Raw = NOTHING
    error: msgspec.Raw = NOTHING


_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_used = msgspec.json.Decoder(_Used).decode
_END = json.JSONDecoder()


class Embeddings(AsItCame):
    """`POST /embeddings`."""

    dialect = "openai"
    method = "POST"
    paths: tuple[Path, ...] = (Path("/embeddings", "/v1/embeddings"),)
    billing = BILLED

    def read(self, body: bytes, head: Head = NO_HEAD) -> Ask:
        """What the request asks for; nothing is written, so the output's limit is none at all."""
        members = top_level(body, METERED)
        return Ask(
            model=model_of(members, head),
            output_limit=0,
            media_parts=read_inputs(members.get("input"), "input").media,
            service_tier=read_tier(members),
        )

    def meter(self, ask: Ask, content_type: bytes) -> Meter:  # noqa: ARG002 - one kind of answer
        """A meter that reads the usage behind the vectors."""
        return EmbeddingsMeter()

    def prompt_text(self, body: bytes) -> str:
        """The inputs; of token ids, a text of as many tokens."""
        return read_inputs(top_level(body, METERED).get("input"), "input").text


class EmbeddingsMeter(BaseMeter):
    """An answer of vectors, passed on as it comes. Without a usage it is charged at its hold: nothing in it can be counted."""

    __slots__ = ("_kept", "_size")

    def __init__(self) -> None:
        super().__init__()
        self._kept = bytearray()
        self._size = 0

    @property
    def between_events(self) -> bool:
        """Nothing of ours may follow the provider's document."""
        return False

    def feed(self, piece: bytes) -> bytes:
        """Keep the piece, or the end of it; relay it as it is."""
        self._size += len(piece)
        self._kept += piece
        if self._size > _WHOLE_BYTES and len(self._kept) > _END_BYTES:
            del self._kept[:-_END_BYTES]
        return piece

    def cut(self) -> bytes:
        """Nothing could make an event of ours readable inside a document."""
        return b""

    def finish(self) -> bytes:
        """Read the usage."""
        if not self._size:
            return b""
        try:
            usage = self._usage()
        except (*UNREADABLE, ValueError):
            self.unread_events = 1
            self.flag = "the answer is not a JSON object"
            return b""
        finally:
            self._kept = bytearray()
        self.complete = True
        if usage is not None:
            self._read(usage)
        elif not self.error:
            self.flag = _NO_USAGE
        return b""

    def _usage(self) -> msgspec.Raw | bytes | None:
        if self._size <= _WHOLE_BYTES:
            answer = _decode_answer(self._kept)
            self.error = is_given(answer.error)
            return answer.usage if is_given(answer.usage) else None
        # Numbers and base64 cannot spell the name, so its last place is the member itself.
        _, name, after = bytes(self._kept).rpartition(b'"usage"')
        if not name:
            return None
        start = after.index(b"{")
        _, length = _END.raw_decode(after[start:].decode("ascii"))
        if not after[start + length :].rstrip().endswith(b"}"):
            raise ValueError("the answer was torn behind its usage")
        return after[start : start + length]

    def _read(self, raw: msgspec.Raw | bytes) -> None:
        try:
            used = _decode_used(raw)
        except UNREADABLE as error:
            self.flag = f"usage not believed: {error}"
            return
        tokens = used.prompt_tokens if used.prompt_tokens is not None else used.total_tokens
        if tokens is None:
            self.flag = _NO_USAGE
            return
        counters = {"input": tokens}
        if used.completion_tokens is not None:
            counters["output"] = used.completion_tokens
        self.usage = Usage(counters)

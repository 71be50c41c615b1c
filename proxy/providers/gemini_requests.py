"""Reading a request of Gemini's: members by either of their two spellings, the bounds of what it can cost, and its texts.

Protocol buffers accept a member in camelCase and in snake_case; both at once, or any third spelling, could be read in two ways
and is refused. So is what would have the provider bill what no counter here counts: another model than the one in the
path, and retrieval tools that are billed by the query.

Bounds, in tokens: text is at most its bytes. An image is at most what every media part is allowed (`Ask.media_parts`), so that
its bytes do not count; documents, sound and film that come inline are at most that and their bytes. What is only named
(cached content, a file behind a URI) can fill the context, as nothing can beyond it. What server-side tools feed back is
not bounded by the request at all: `TOOL_TOKENS` are allowed for it.

Sources: https://protobuf.dev/programming-guides/json/, https://ai.google.dev/api/generate-content#request-body,
https://ai.google.dev/gemini-api/docs/tokens (media), https://ai.google.dev/gemini-api/docs/models (contexts).
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import msgspec

from proxy.core.errors import InvalidRequest
from proxy.providers.dialect import Head
from proxy.providers.reading import MAX_MODEL_CHARS, decode, is_array, top_level

CONTEXT_TOKENS = 1_048_576
TOOL_TOKENS = 65_536

# Models, their versions on Vertex AI (`claude-sonnet-4@20250514`), and ids of endpoints. Neither `/` nor a name of dots only.
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]*")
# Part of a path -> what stands in front of the name there.
_COLLECTIONS = {"model": "", "tuned_model": "tunedModels/", "endpoint": "endpoints/"}
_HUMP = re.compile(r"([A-Z])")
# How the names of all parts that are media end, in either spelling; a search for this is quick in a large prompt.
_MEDIA_END = b'ata"'
# What stands in a request and is no text for the model.
_SILENT = frozenset(
    ("inlineData", "inline_data", "fileData", "file_data", "thoughtSignature", "thought_signature", "role"),
)


class _Medium(msgspec.Struct, gc=False):
    """A medium in the request itself (`data`), or behind a URI."""

    camel: str | None = msgspec.field(default=None, name="mimeType")
    snake: str | None = msgspec.field(default=None, name="mime_type")
    data: msgspec.Raw = msgspec.Raw()

    @property
    def is_image(self) -> bool:
        return (self.camel or self.snake or "").lower().startswith("image/")


class _Part(msgspec.Struct, gc=False):
    camel_blob: _Medium | None = msgspec.field(default=None, name="inlineData")
    snake_blob: _Medium | None = msgspec.field(default=None, name="inline_data")
    camel_file: _Medium | None = msgspec.field(default=None, name="fileData")
    snake_file: _Medium | None = msgspec.field(default=None, name="file_data")
    camel_response: "_Content | None" = msgspec.field(default=None, name="functionResponse")
    snake_response: "_Content | None" = msgspec.field(default=None, name="function_response")


class _Content(msgspec.Struct, gc=False):
    """A turn, or what a function returned: both have parts. One alone may stand without its array."""

    parts: list[_Part] | _Part | None = None


class Media(NamedTuple):
    """What the parts of a request hold beside text: how many, how many bytes of images, how many only named by a URI."""

    parts: int = 0
    image_bytes: int = 0
    named: int = 0


_CONTENTS: msgspec.json.Decoder[list[_Content] | _Content | None] = msgspec.json.Decoder(
    list[_Content] | _Content | None
)
_STRING = msgspec.json.Decoder(str)
_decode_any = msgspec.json.Decoder().decode
_decode_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def snake(name: str) -> str:
    """The other spelling of a member."""
    return _HUMP.sub(lambda match: f"_{match[1].lower()}", name)


class Members:
    """The metered members of one object, by their camelCase names whichever way they were spelled."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = {spelling: name for name in names for spelling in (name, snake(name))}
        self._folded = {spelling.replace("_", "").casefold(): name for spelling, name in self._names.items()}
        self._metered = frozenset(self._names)

    def read(self, body: bytes | msgspec.Raw) -> dict[str, msgspec.Raw]:
        """The members as raw JSON; raises InvalidRequest for what is not clean JSON, or could be read in two ways."""
        found: dict[str, msgspec.Raw] = {}
        for spelling, raw in top_level(bytes(body), self._metered).items():
            name = self._names.get(spelling)
            if name is None:
                name = self._folded.get(spelling.replace("_", "").casefold())
                if name is not None:
                    raise InvalidRequest(f"Spell this member `{name}`.", param=spelling[:64])
            elif name in found:
                raise InvalidRequest(f"`{name}` must be given once, in one spelling.", param=name)
            else:
                found[name] = raw
        return found


def is_object(raw: msgspec.Raw) -> bool:
    """Whether a member is a JSON object."""
    return bytes(memoryview(raw)[:1]) == b"{"


def given(members: Mapping[str, msgspec.Raw], name: str) -> msgspec.Raw | None:
    """A member that is there and not null: protocol buffers take null for an absent one."""
    raw = members.get(name)
    return None if raw is None or bytes(memoryview(raw)[:5]) == b"null" else raw


def model_of(head: Head) -> str:
    """The model that the path names; a tuned one or an endpoint with its collection in front. Raises InvalidRequest."""
    named = [(prefix, head.params[part]) for part, prefix in _COLLECTIONS.items() if part in head.params]
    collection, model = named[0] if named else ("", "")
    if len(model) > MAX_MODEL_CHARS or not _MODEL.fullmatch(model):
        raise InvalidRequest("The path must name a model.", param="model")
    return collection + model


def require_json_answer(head: Head, *, events: bool = False) -> None:
    """Refuses `alt` but for JSON and, where an answer can be a stream of them, `sse`: others could not be metered."""
    if not head.query:
        return
    asked = [value for name, value in parse_qsl(head.query, keep_blank_values=True) if name in {"alt", "$alt"}]
    if len(asked) > 1 or any(value not in ({"json", "sse"} if events else {"json"}) for value in asked):
        allowed = "`json` or `sse`" if events else "`json`"
        raise InvalidRequest(f"`alt` must be {allowed}, and given once.", param="alt")


def require_model(members: Mapping[str, msgspec.Raw], model: str) -> None:
    """Refuses a body that names another model than its path."""
    raw = given(members, "model")
    if raw is None:
        return
    named = decode(raw, _STRING, "model", "`model` must be a string.")
    if named != model and not named.endswith(f"/{model}"):
        raise InvalidRequest("`model` must be the model that the path names.", param="model")


def with_model(body: bytes, model: str) -> bytes:
    """The body with another model's name wherever it names its own, in itself and in the requests of a batch; else the same object."""
    if b'"model"' not in body:
        return body
    members = _decode_members(body)
    if "model" in members:
        members["model"] = _encode_raw(f"models/{model}")
    if "requests" in members and is_array(members["requests"]):
        requests = [_renamed(request, model) for request in _decode_array(members["requests"])]
        members["requests"] = msgspec.Raw(msgspec.json.encode(requests))
    return msgspec.json.encode(members)


def _renamed(request: msgspec.Raw, model: str) -> msgspec.Raw:
    """One request of a batch; what is none stays as it is, for the provider to refuse."""
    if not is_object(request):
        return request
    members = _decode_members(request)
    if "model" not in members:
        return request
    return msgspec.Raw(msgspec.json.encode({**members, "model": _encode_raw(f"models/{model}")}))


def _encode_raw(value: str) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def read_media(contents: msgspec.Raw, param: str) -> Media:
    """What of a request's contents is no text; raises InvalidRequest where parts cannot be told apart."""
    raw = bytes(contents)
    if _MEDIA_END not in raw and not (b"\\" in raw and b"\\u00" in raw):
        return Media()
    message = "Each content must be an object with its parts."
    decoded = decode(contents, _CONTENTS, param, message)
    parts = list(_parts([decoded] if isinstance(decoded, _Content) else decoded or ()))
    inline = [blob for part in parts for blob in (part.camel_blob, part.snake_blob) if blob is not None]
    named = [file for part in parts for file in (part.camel_file, part.snake_file) if file is not None]
    return Media(
        parts=len(inline) + len(named),
        image_bytes=sum([memoryview(blob.data).nbytes for blob in inline if blob.is_image]),
        named=sum([not file.is_image for file in named]),
    )


def _parts(contents: Iterable[_Content]) -> Iterator[_Part]:
    """Every part, those of function responses too; without recursion, for depth is the caller's choice."""
    waiting = list(contents)
    while waiting:
        parts = waiting.pop().parts
        for part in [parts] if isinstance(parts, _Part) else parts or ():
            waiting += [content for content in (part.camel_response, part.snake_response) if content is not None]
            yield part


def bound_input(body_bytes: int, media: Media, *, cached: bool = False, tools: bool = False) -> int | None:
    """The most input tokens of a request beside the allowance for its media parts; None where its bytes say it.

    `cached`: it refers to cached content. `tools`: the provider runs some of its tools.
    """
    if not media.parts and not cached and not tools:
        return None
    tokens = CONTEXT_TOKENS if cached or media.named else min(body_bytes - media.image_bytes, CONTEXT_TOKENS)
    return tokens + (TOOL_TOKENS if tools else 0)


def texts_of(body: bytes, names: Iterable[str]) -> str:
    """The texts in some members of a request, one a line; for counting only, of a body that was read."""
    try:
        members = _decode_any(body)
    except msgspec.DecodeError:  # a number that no machine holds, somewhere in it: every byte is counted then
        return body.decode()
    return "\n".join(
        text
        for name in names
        for spelling in dict.fromkeys((name, snake(name)))
        for text in _texts(members.get(spelling))
    )


def _texts(value: Any) -> Iterator[str]:
    """Every string that the model gets to read, in order."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, list):
            waiting += reversed(item)
        elif isinstance(item, dict):
            waiting += [member for name, member in reversed(item.items()) if name not in _SILENT]

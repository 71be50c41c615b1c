"""What of a request becomes input tokens: its texts, to be counted, and its media, which bytes say nothing about."""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from proxy.core.errors import InvalidRequest
from proxy.providers.reading import is_array

# Parts whose tokens follow from their text. Every other kind (image_url, input_audio, file, image, document, ...) is media.
_TEXT_PARTS = frozenset(
    ("text", "refusal", "thinking", "redacted_thinking", "tool_use", "tool_result", "server_tool_use", "input_text"),
)
# Members that are no text for the model, in any dialect: names of kinds, ids, roles (part of a message's overhead), what
# media are made of, and reasoning that only the provider can read.
_KINDS_AND_IDS = (
    "type",
    "role",
    "id",
    "tool_call_id",
    "tool_use_id",
    "toolUseId",
    "call_id",
    "item_id",
    "status",
    "cache_control",
)
_MEDIA = (
    "image_url",
    "document_url",
    "input_audio",
    "file",
    "file_id",
    "file_data",
    "fileData",
    "inlineData",
    "inline_data",
    "source",
)
_SEALED = (
    "signature",
    "thoughtSignature",
    "thought_signature",
    "encrypted_content",
    "redactedContent",
    "reasoning_details",
)
_SILENT = frozenset(
    (*_KINDS_AND_IDS, *_MEDIA, *_SEALED, "bytes", "data", "mimeType", "annotations", "logprobs", "summary")
)
# Objects that the model reads as JSON, names and all: arguments and results of tools.
_DOCUMENTS = frozenset(("input", "args", "arguments", "response", "json", "output"))


class _Part(msgspec.Struct, gc=False):
    type: str = "text"
    content: Any = None


class _Message(msgspec.Struct, gc=False):
    content: msgspec.Raw = msgspec.Raw(b"null")


_LARGE_BYTES = 64 * 1024

_decode_messages = msgspec.json.Decoder(list[_Message]).decode
_decode_parts = msgspec.json.Decoder(list[_Part]).decode
_decode_any = msgspec.json.Decoder().decode


def count_media(messages: bytes) -> int:
    """How many parts of an array of messages are media; raises InvalidRequest where messages or parts cannot be told apart."""
    try:
        has_parts = messages.rfind(b"[") > 0
        if not has_parts and len(messages) > _LARGE_BYTES:
            return 0  # a second pass over a large prompt would find nothing
        decoded = _decode_messages(messages)
        if not has_parts:
            return 0
        return sum([_media_in(_decode_parts(one.content)) for one in decoded if is_array(one.content)])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        message = "Each message must be an object with its content as text or as parts."
        raise InvalidRequest(message, param="messages") from None


def _media_in(parts: Iterable[_Part]) -> int:
    count = 0
    for part in parts:
        if part.type not in _TEXT_PARTS:
            count += 1
        elif isinstance(part.content, list):  # a tool's result may hold images
            kinds = (str(inner.get("type")) for inner in part.content if isinstance(inner, dict))
            count += sum(kind not in _TEXT_PARTS for kind in kinds)
    return count


def texts_of(body: bytes, names: Iterable[str]) -> str:
    """The texts in some members of a request, one a line; for counting only."""
    try:
        members = _decode_any(body)
    except msgspec.DecodeError:  # a number that no machine holds, somewhere in it: every byte is counted then
        return body.decode()
    return "\n".join(text for name in names for text in texts_in(members.get(name)))


def texts_in(value: Any) -> Iterator[str]:
    """Every string in a JSON value that the model gets to read, in order; without recursion, for depth is the caller's choice."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, list):
            waiting += reversed(item)
        elif isinstance(item, dict):
            for name, member in reversed(item.items()):
                if name in _DOCUMENTS and isinstance(member, dict):
                    waiting.append(as_json(member))
                elif name not in _SILENT:
                    waiting.append(member)


def as_json(value: Any) -> str:
    """A value as compact JSON; of one that is nested too deeply for that, its texts."""
    try:
        return msgspec.json.encode(value).decode()
    except (RecursionError, UnicodeEncodeError):
        return "\n".join(_every_text(value))


def _every_text(value: Any) -> Iterator[str]:
    """Names and texts at any depth, in no order."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, list):
            waiting += item
        elif isinstance(item, dict):
            yield from item
            waiting += item.values()

"""What OpenAI's request bodies have in common: the model, the tier, the limits of the output, prompts in any of their forms.

Sources: https://platform.openai.com/docs/api-reference/chat/create, and for members that other servers know as well
https://github.com/ggml-org/llama.cpp/tree/master/tools/server (`n_predict`: -1 is no limit, and it wins over `max_tokens`),
https://openrouter.ai/docs/features/model-routing (`models`).
"""

import re

import msgspec

from proxy.core.errors import InvalidRequest
from proxy.providers.dialect import Head
from proxy.providers.reading import MAX_OUTPUT_LIMIT, checked_model, decode, other_models, read_count, read_model
from proxy.providers.usage_reading import is_given

# Above OpenAI's own bounds (2,048 inputs of embeddings): more would only be refused there.
MAX_PROMPTS = 10_000
MAX_TIER_CHARS = 64
LIMIT_NAMES = ("max_tokens", "max_completion_tokens", "n_predict", "num_predict")
# Below what a price assumes of a call without a limit, llama.cpp's names alone would only lower the hold.
_LEAST_LONE_LIMIT = 4096
ENDLESS = frozenset(("n_predict", "num_predict"))

_ASK_USAGE = b'"stream_options":{"include_usage":true},'
_RESOURCE = re.compile(r"(?=.*[\w~-])[\w.:~-]{1,256}", re.ASCII)
# What ends a name or a path for somebody who decodes it.
_DEPLOYMENT = re.compile(r"[^/\\?#;]+")

_TEXT: msgspec.json.Decoder[str | None] = msgspec.json.Decoder(str | None)
_NAMES: msgspec.json.Decoder[list[str] | None] = msgspec.json.Decoder(list[str] | None)


class _StreamOptions(msgspec.Struct, gc=False):
    include_usage: bool | None = None


_OPTIONS: msgspec.json.Decoder[_StreamOptions | None] = msgspec.json.Decoder(_StreamOptions | None)

Prompts = str | list[str] | list[int] | list[list[int]] | list[dict[str, msgspec.Raw]]
_PROMPTS = msgspec.json.Decoder(str | list[str | int | list[int] | dict[str, msgspec.Raw]])


def model_of(members: dict[str, msgspec.Raw], head: Head) -> str:
    """The model that the path names (a deployment), else the body's."""
    if not head.params:
        return read_model(members)
    return deployment_of(head) if "model" in head.params else read_model(members)


def deployment_of(head: Head) -> str:
    """The deployment that the path names: nothing that whoever decodes it could take for more of the path."""
    model = checked_model(head.params["model"])
    if not _DEPLOYMENT.fullmatch(model):
        raise InvalidRequest("The path must name a deployment.", param="model")
    return model


def resource_of(head: Head, name: str) -> str:
    """The id of a stored object that the path names; raises InvalidRequest for what could lead elsewhere."""
    resource = head.params.get(name, "")
    if not _RESOURCE.fullmatch(resource):
        raise InvalidRequest(f"`{name}` must be an id.", param=name)
    return resource


def read_text_member(members: dict[str, msgspec.Raw], name: str, most: int = 256) -> str | None:
    """A string member of bounded length; None where it is absent or null."""
    raw = members.get(name)
    if raw is None:
        return None
    message = f"`{name}` must be a string of at most {most} characters."
    text = decode(raw, _TEXT, name, message)
    if text is not None and len(text) > most:
        raise InvalidRequest(message, param=name)
    return text


def read_tier(members: dict[str, msgspec.Raw]) -> str | None:
    """The service tier that is asked for."""
    return read_text_member(members, "service_tier", MAX_TIER_CHARS) if "service_tier" in members else None


def read_output_limit(members: dict[str, msgspec.Raw]) -> int | None:
    """The larger of the output limits that are given; None where there is none, or where one says that there is none.

    llama.cpp's own names only raise it: servers that do not know them pass over them and write as much as they like, so a
    small one alone is no limit.
    """
    largest = read_count(members, "max_tokens", 0, MAX_OUTPUT_LIMIT) if "max_tokens" in members else None
    if "max_completion_tokens" in members:
        limit = read_count(members, "max_completion_tokens", 0, MAX_OUTPUT_LIMIT)
        if limit is not None and (largest is None or limit > largest):
            largest = limit
    return largest if ENDLESS.isdisjoint(members) else _with_endless(members, largest)


def _with_endless(members: dict[str, msgspec.Raw], known: int | None) -> int | None:
    """The output limit of a request that has one of llama.cpp's names too; `known` is the one under OpenAI's names."""
    limits = [read_count(members, name, -2, MAX_OUTPUT_LIMIT) for name in LIMIT_NAMES if name in ENDLESS]
    given = [limit for limit in limits if limit is not None]
    if any(limit < 0 for limit in given):
        return None
    largest = max(given, default=0)
    if known is not None:
        return max(known, largest)
    return largest if largest >= _LEAST_LONE_LIMIT else None


def read_others(members: dict[str, msgspec.Raw], model: str) -> tuple[str, ...]:
    """The models that may answer in the place of the one that is asked for, as OpenRouter knows them."""
    raw = members.get("models")
    if raw is None or not is_given(raw):
        return ()
    names = decode(raw, _NAMES, "models", "`models` must be an array of strings.")
    return other_models(names or (), model, "models")


def usage_asked(members: dict[str, msgspec.Raw]) -> bool:
    """Whether the caller wants the stream's usage chunk for itself."""
    raw = members.get("stream_options")
    if raw is None:
        return False
    message = "`stream_options` must be an object whose `include_usage` is true or false."
    options = decode(raw, _OPTIONS, "stream_options", message)
    return options is not None and options.include_usage is True


def with_usage_asked(body: bytes) -> bytes:
    """The body with `include_usage` set, all other members as they were written."""
    if b'"stream_options"' not in body:
        brace = body.index(b"{") + 1
        return b"".join((body[:brace], _ASK_USAGE, body[brace:]))
    # The caller's options are kept. The name may also be that of something nested: then there is nothing to merge with.
    members: dict[str, msgspec.Raw] = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    given = members.get("stream_options", msgspec.Raw(b"null"))
    options: dict[str, msgspec.Raw] | None = msgspec.json.decode(given, type=dict[str, msgspec.Raw] | None)
    merged = (options or {}) | {"include_usage": msgspec.Raw(b"true")}
    return msgspec.json.encode(members | {"stream_options": merged})


class Inputs(msgspec.Struct, frozen=True, gc=False):
    """One or more inputs as text or as tokens: how many there are, their texts, their tokens, and how many are media."""

    count: int
    texts: list[str]
    tokens: int
    media: int

    @property
    def text(self) -> str:
        """A text of as many tokens as the inputs have, to be counted: what came as token ids stands as that many words."""
        return "\n".join([*self.texts, " x" * self.tokens] if self.tokens else self.texts)


def read_inputs(raw: msgspec.Raw | None, name: str) -> Inputs:
    """A string, an array of strings, of token ids, of arrays of token ids, or of objects (media, as some servers take them).

    An array of token ids is one input. Raises InvalidRequest.
    """
    message = f"`{name}` must be a string, or an array of strings, of token ids or of arrays of token ids."
    if raw is None:
        raise InvalidRequest(f"The member `{name}` is required.", param=name)
    value = decode(raw, _PROMPTS, name, message)
    if isinstance(value, str):
        return Inputs(1, [value], 0, 0)
    texts = [item for item in value if isinstance(item, str)]
    ids = sum(isinstance(item, int) for item in value)
    lists = [item for item in value if isinstance(item, list)]
    media = len(value) - len(texts) - ids - len(lists)
    if not value or (ids and ids != len(value)) or len(value) - ids > MAX_PROMPTS:
        raise InvalidRequest(message, param=name)
    return Inputs(1 if ids else len(value), texts, ids + sum(len(item) for item in lists), media)

"""Every operation's requests: read, sent on, clamped; whatever the body is."""

import json
from collections.abc import Coroutine, Mapping
from functools import cache, lru_cache, partial
from itertools import pairwise
from typing import Any

from msgspec.structs import replace

from proxy.core.errors import FareboxError, InvalidRequest
from proxy.providers import estimates, reading, shortening
from proxy.providers.clamping import Clamps
from proxy.providers.dialect import BILLED, Ask, Head, Operation
from proxy.providers.multipart import Form, is_multipart, read_form, with_field
from proxy.providers.openai_moderations import DEFAULT_MODEL
from proxy.providers.openai_request import LIMIT_NAMES
from proxy.providers.rows import Names
from proxy.providers.token_limits import given_names
from tests.fuzz.answers import DIALECTS, operations
from tests.fuzz.control import Control
from tests.fuzz.expect import sound_ask
from tests.fuzz.hostile import Template
from tests.fuzz.requests import REQUESTS
from tests.support.forms import BOUNDARY, FORM

_PARAMS = {
    "model": "anthropic.claude-3-haiku-20240307-v1:0",
    "tuned_model": "t",
    "endpoint": "1",
    "response_id": "resp_1",
    "project": "p",
    "location": "l",
}
_MODELS = (
    "m",
    "claude-opus-4-6",
    "amazon.titan-text-express-v1",
    "meta.llama3-8b-instruct-v1:0",
    "gpt-image-1",
    "../x",
    "",
)
_QUERIES = ("", "alt=sse", "$alt=json&alt=json", "stream=true", "api-version=1", "%61lt=x")
_OBEYED = (None, ("max_tokens",), ("max_completion_tokens", "max_tokens"), ("max_completion_tokens",))
_NAMED_IN_BODY = frozenset(("openai", "anthropic", "cohere"))
OTHER = "omni-moderation-other"  # of a family that every operation serves


@cache
def _templates(dialect: str) -> tuple[Template, ...]:
    return tuple(Template(text) for text in REQUESTS[dialect])


def _request(dialect: str, data: bytes) -> None:
    control = Control(data)
    operation = control.pick(operations(dialect))
    model, query, kind = control.pick(_MODELS), control.pick(_QUERIES), control.byte()
    limit = 1 + control.short()
    body = control.rest() if kind % 3 == 0 else control.pick(_templates(dialect)).changed(control)
    head = head_of(operation, body, model, query, control)
    ask = read(operation, body, head)
    if ask is None:
        return
    sound_ask(ask)
    assert read(operation, bytearray(body), head) == ask
    _agrees(operation, body, head, ask)
    _sent(operation, body, head, ask)
    if _clamps(operation):
        _clamped(operation, body, head, ask, limit)  # type: ignore[arg-type]
    assert isinstance(operation.prompt_text(body), str)
    _estimated(operation, body, _COUNTED[limit % len(_COUNTED)])


@cache
def _clamps(operation: Operation) -> bool:
    return isinstance(operation, Clamps) and operation.billing == BILLED


def head_of(operation: Operation, body: bytes, model: str, query: str, control: Control) -> Head:
    """What the request says outside its body, as its path has it."""
    params = dict(_params_of(operation.paths[control.byte() % len(operation.paths)].suffix))
    if "model" in params and control.byte() % 2:
        params["model"] = model
    content_type = FORM.content_type if body.startswith(b"--" + BOUNDARY.encode()) else b"application/json"
    return Head(params=params, query=query, content_type=content_type)


@cache
def _params_of(suffix: str) -> Mapping[str, str]:
    return {name: value for name, value in _PARAMS.items() if f"{{{name}}}" in suffix}


def read(operation: Operation, body: bytes, head: Head) -> Ask | None:
    """The ask; None where the request is refused, which is said in words that quote none of it."""
    try:
        return operation.read(body, head)
    except FareboxError as error:
        assert 400 <= error.status < 500
        assert error.message.isprintable()
        assert len(error.message) < 400
        return None


def _pairs(body: bytes) -> list[tuple[str, Any]] | None:
    """The outermost members as another reader sees them, each as often as it is there."""
    outermost: list[tuple[str, Any]] = []

    def remember(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        outermost[:] = pairs
        return dict(pairs)

    try:
        json.loads(body.decode(), object_pairs_hook=remember, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return None
    return outermost


def _agrees(operation: Operation, body: bytes, head: Head, ask: Ask) -> None:
    """Whichever of two members of a name a provider believes, and whether or not it knows cases: it reads what we read."""
    if is_multipart(head.content_type) or "response_id" in head.params:
        return
    pairs = _pairs(body)
    assert pairs is not None, "what was read is JSON to others, too"
    assert not ask.stream or sum(key.casefold() == "stream" for key, _ in pairs) <= 1
    if operation.dialect in _NAMED_IN_BODY and ask.model:
        named = [value for key, value in pairs if key.casefold() == "model"]
        # Moderations have a default, which null asks for as well.
        assert named == [ask.model] or (named in ([], [None]) and ask.model == DEFAULT_MODEL), (named, ask.model)


def _sent(operation: Operation, body: bytes, head: Head, ask: Ask) -> None:
    """What is sent asks for the same; under the provider's own name for the model too."""
    out = operation.outgoing(body, ask)
    if out is not body:
        assert ask.stream
        assert not ask.usage_asked
        again = operation.read(out, head)
        assert again == replace(ask, usage_asked=True, **_moved(again))
        before, after = dict(_pairs(body) or ()), dict(_pairs(out) or ())
        assert before.keys() | {"stream_options"} == after.keys()
        assert all(after[name] == value for name, value in before.items() if name != "stream_options")
    renamed = operation.outgoing(body, ask, OTHER)
    if "response_id" in head.params or operation.dialect == "bedrock":  # whose path alone names the model
        assert renamed is body
        return
    again = operation.read(bytes(renamed), renamed_head(head))
    assert again.stream == ask.stream
    assert again.choices == ask.choices
    assert again.output_limit == ask.output_limit
    assert again.model in {OTHER, f"tunedModels/{OTHER}", f"endpoints/{OTHER}"} or not ask.model, again.model


def _moved(ask: Ask) -> dict[str, Any]:
    """What follows from the length of the body, and may grow with it."""
    return {"input_bound": ask.input_bound}


def renamed_head(head: Head) -> Head:
    """The same with another model in its path."""
    return replace(head, params={name: OTHER if name in _MODEL_PARTS else value for name, value in head.params.items()})


_MODEL_PARTS = frozenset(("model", "tuned_model", "endpoint"))


def _clamped(operation: Clamps, body: bytes, head: Head, ask: Ask, limit: int) -> None:
    names: Names = _OBEYED[limit % len(_OBEYED)] if operation.dialect == "openai" else None  # type: ignore[attr-defined]
    again = operation.read(operation.clamp(body, limit, names), head)  # type: ignore[attr-defined]
    assert again.output_limit is not None
    assert again.output_limit <= limit
    if names is None or _given(body) <= set(names):  # what is asked for under another name bounds nothing
        assert ask.output_limit is None or again.output_limit <= max(ask.output_limit, 1)
    assert (again.model, again.stream, again.choices) == (ask.model, ask.stream, ask.choices)


def _given(body: bytes) -> frozenset[str]:
    """The names under which the body says a limit; all of them where one that the operation does not read stands twice."""
    try:
        return given_names(body)
    except InvalidRequest:
        return frozenset(LIMIT_NAMES)


_COUNTED = ("gpt-4o-mini", "gpt-5", "claude-sonnet-4-5", "gemini-2.5-flash", "mistral-large", "gpt-4")


class _Counter:
    """A quick tokenizer."""

    async def count(self, text: str, model: str) -> int:
        """A token is four characters here."""
        return -(-len(text) // 4)


_COUNTER = _Counter()
_read_once = lru_cache(maxsize=1)(estimates.read_prompt)  # what it finds is immutable, and three times asked for


def _estimated(operation: Operation, body: bytes, model: str) -> None:
    """The input can be counted, and a finer bound of it is one below the bytes."""
    usual, estimates.read_prompt = estimates.read_prompt, _read_once
    try:
        if _read_once(body) is None:
            return
        assert _awaited(estimates.count_input(_COUNTER, operation, body, model)) >= 0
        bound = _awaited(estimates.refined_input_bound(_COUNTER, body, model))
        assert bound is None or 0 <= bound < len(body)
    finally:
        estimates.read_prompt = usual


def _awaited(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine comes to that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits")


openai, anthropic, gemini, bedrock, cohere = (partial(_request, dialect) for dialect in DIALECTS)

_NAMES = ("model", "n", "size", "stream", "image")
_TYPES = (
    FORM.content_type,
    b'multipart/form-data; boundary="4f2-AbC"',
    b"multipart/form-data; charset=utf-8; boundary=4f2-AbC; x=y",
    b"multipart/form-data; boundary=a; boundary=b",
    b"multipart/form-data; boundary=",
)


def forms(data: bytes) -> None:
    """multipart/form-data: what is read is there, once, and can be replaced without touching anything else."""
    control = Control(data)
    content_type = control.pick(_TYPES)
    raw = control.rest()
    # Most inputs are parts alone, and get their boundaries here: `\x01` begins a part.
    body = raw if raw.startswith(b"--") else _bounded(raw)
    try:
        form = read_form(body, content_type, _NAMES)
    except InvalidRequest as error:
        assert error.message.isprintable()
        return
    assert form.text_bytes + sum(file.size for file in form.files) == len(body)
    assert form.text_bytes >= 0
    _in_place(body, form)
    for name, field in form.fields.items():
        changed = read_form(with_field(body, field, "other"), content_type, _NAMES)
        assert changed.text(name) == "other"
        assert [file.size for file in changed.files] == [file.size for file in form.files]
        assert {key: one.text for key, one in changed.fields.items() if key != name} == {
            key: one.text for key, one in form.fields.items() if key != name
        }


def _bounded(raw: bytes) -> bytes:
    mark = b"--" + BOUNDARY.encode()
    parts = [b'Content-Disposition: form-data; name="' + part for part in raw.split(b"\x01")]
    return b"".join(mark + b"\r\n" + part + b"\r\n" for part in parts) + mark + b"--\r\n"


def _in_place(body: bytes, form: Form) -> None:
    places = sorted(
        [*[(one.start, one.end) for one in form.fields.values()], *[(one.start, one.end) for one in form.files]]
    )
    for (_, end), (start, _) in pairwise(places):
        assert end < start
    for field in form.fields.values():
        assert body[field.start : field.end].decode() == field.text
    assert all(b"\r\n--" + BOUNDARY.encode() not in body[file.start : file.end] for file in form.files)


_RUN = 1100  # longer than a model's name can be
_CONTROLS = bytes(32)
_TO_SPACES = bytes.maketrans(bytes(range(32)), b" " * 32)


def large_bodies(data: bytes) -> None:
    """A large body is read without the insides of its long strings: what is read of it is what the whole body says.

    At a small scale: runs of `_RUN` bytes are long here, and `~` stands for one of twice that.
    """
    control = Control(data)
    dialect = control.pick(("openai", "anthropic", "cohere"))
    operation = control.pick(operations(dialect))
    kind = control.byte()
    text = control.rest() if kind % 3 == 0 else control.pick(_templates(dialect)).changed(control)
    body = text.replace(b"hi", b"~").replace(b"~", b"a" * (2 * _RUN + kind))
    head = head_of(operation, body, "m", "", control)
    whole = read(operation, body, head)
    with _small_scale():
        short = read(operation, body, head)
    if whole is not None:
        assert short == whole
    elif short is not None:
        # Control characters inside of a long string are the provider's to refuse.
        assert read(operation, body.translate(_TO_SPACES), head) == short


class _small_scale:  # noqa: N801 - reads as the block that it makes
    def __enter__(self) -> None:
        self._usual = (reading._LARGE_BYTES, shortening.RUN_BYTES)
        reading._LARGE_BYTES, shortening.RUN_BYTES = 0, _RUN

    def __exit__(self, *_: object) -> None:
        reading._LARGE_BYTES, shortening.RUN_BYTES = self._usual

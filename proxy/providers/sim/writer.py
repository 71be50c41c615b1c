"""What a simulated model writes: sentences made of the prompt's own words, the same for the same prompt, cut into real tokens."""

import hashlib
import random
import re
from dataclasses import dataclass
from typing import Any

import msgspec

from proxy.providers.encodings import DEFAULT_ENCODING, load_encoding

_WORD = re.compile(r"[A-Za-z]{2,12}")
_COMMON_WORDS = (
    "about after answer because before between call clear every first given good later light long made many more most "
    "never number often other place point question read right same second simple small some step still that then there "
    "these thing think three through time token under until water when where which while with word work write year"
)
_VOCABULARY = _COMMON_WORDS.split()
_SENTENCE_WORDS = (5, 12)
_USUAL_TOKENS = (40, 60)
_PROMPT_WORDS = 400


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that a call offers."""

    name: str
    schema: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reply:
    """One finished answer: its tokens as text, why it ended (stop, length, stop_sequence, tool), and the tool that it calls."""

    pieces: tuple[str, ...]
    ending: str
    tool: Tool | None = None
    stop_sequence: str | None = None

    @property
    def tokens(self) -> int:
        """Output tokens, the tool's name included."""
        return len(self.pieces) + (len(_cut(self.tool.name)) if self.tool else 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What one answer is written from; `choice` tells the answers of one call apart."""

    prompt: str
    model: str
    choice: int = 0
    tokens: int | None = None
    limit: int | None = None
    stop: tuple[str, ...] = ()
    tool: Tool | None = None


def write(task: Task) -> Reply:
    """The answer; deterministic."""
    dice = random.Random(_seed(task))  # noqa: S311 - sameness is the point
    if task.tool is not None:
        arguments = msgspec.json.encode(_value(task.tool.schema, dice)).decode()
        reply = Reply(_cut(arguments), "tool", task.tool)
        return reply if task.limit is None or len(reply.pieces) <= task.limit else _shortened(reply, task.limit)
    natural = dice.randint(*_USUAL_TOKENS) if task.tokens is None else task.tokens
    wanted = natural if task.limit is None else min(natural, task.limit)
    text = _prose(task.prompt, wanted, dice)
    for sequence in task.stop:
        if (at := text.find(sequence)) >= 0:
            return Reply(_cut(text[:at]), "stop_sequence", stop_sequence=sequence)
    pieces = _cut(text)[:wanted]
    return Reply(pieces, "length" if wanted < natural else "stop")


def identity(task: Task) -> str:
    """24 hexadecimal digits that stand for this task, for the ids of answers."""
    return f"{_seed(task):064x}"[:24]


def _seed(task: Task) -> int:
    basis = f"{task.model}\0{task.choice}\0{task.prompt}"
    return int.from_bytes(hashlib.sha256(basis.encode("utf-8", "replace")).digest())


def _shortened(reply: Reply, limit: int) -> Reply:
    return Reply(reply.pieces[:limit], "length", reply.tool)


def _prose(prompt: str, tokens: int, dice: random.Random) -> str:
    """At least so many tokens of sentences."""
    words = _WORD.findall(prompt)[-_PROMPT_WORDS:] + _VOCABULARY
    sentences: list[str] = []
    made = 0
    while made < tokens:  # a word is at least one token
        sentence = [dice.choice(words).lower() for _ in range(dice.randint(*_SENTENCE_WORDS))]
        sentences.append(" ".join(sentence).capitalize() + ".")
        made += len(sentence)
    return " ".join(sentences)


def _cut(text: str) -> tuple[str, ...]:
    """The text as its tokens; where a token ends within a character, together with the next one."""
    pieces: list[str] = []
    pending = b""
    encoding = load_encoding(DEFAULT_ENCODING)
    for token in encoding.encode_ordinary(text):
        pending += encoding.decode_single_token_bytes(token)
        try:
            pieces.append(pending.decode())
        except UnicodeDecodeError:
            continue
        pending = b""
    return tuple(pieces)


def _value(schema: Any, dice: random.Random) -> Any:
    """Something that fits a JSON schema, as far as a toy needs to."""
    if not isinstance(schema, dict):
        return {}
    if isinstance(options := schema.get("enum"), list) and options:
        return options[0]
    kind = str(schema.get("type")).lower()  # Gemini writes its types in capitals
    if kind == "string":
        return dice.choice(_VOCABULARY)
    if kind in {"integer", "number"}:
        return dice.randint(1, 9)
    if kind == "boolean":
        return True
    if kind == "array":
        return [_value(schema.get("items", {"type": "string"}), dice)]
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return {}
    return {name: _value(inner, dice) for name, inner in properties.items()}

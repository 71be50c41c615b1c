"""What the simulated model reads of a request, in every dialect: what was asked for, and what is to be written.

Conversations are read by Farebox's own rules. Counts are tokens.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from proxy.core.errors import InvalidRequest
from proxy.providers.anthropic_messages import Messages
from proxy.providers.dialect import Ask, Operation
from proxy.providers.openai_chat import ChatCompletions
from proxy.providers.openai_responses import Responses
from proxy.providers.reading import MAX_OUTPUT_LIMIT, read_count, read_model, read_switch, top_level
from proxy.providers.sim.models import Behaviour, behaviour
from proxy.providers.sim.tools import chosen_tool, last_words, tools_in
from proxy.providers.sim.writer import Task, Tool

CHAT: Operation = ChatCompletions()
MESSAGES: Operation = Messages()
RESPONSES: Operation = Responses()

MAX_CHOICES = 128
# https://cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken: each message costs three and its role, the answer's
# start another three.
_TOKENS_A_MESSAGE = 4
_TOKENS_OF_THE_START = 3
_LEGACY_LIMIT = 16  # https://platform.openai.com/docs/api-reference/completions/create: max_tokens defaults to 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A readable request. `overhead_tokens` are what the input costs beside its text."""

    ask: Ask
    members: dict[str, Any]
    prompt: str
    behaviour: Behaviour
    overhead_tokens: int = 0
    stop: tuple[str, ...] = ()
    tool: Tool | None = field(default=None)

    def task(self, choice: int, prompt: str | None = None) -> Task:
        """What to write for one of the choices, or for one of several prompts."""
        return Task(
            prompt=self.prompt if prompt is None else prompt,
            model=self.ask.model,
            choice=choice,
            tokens=self.behaviour.tokens,
            limit=self.ask.output_limit,
            stop=self.stop,
            tool=self.tool,
        )


def read_conversation(operation: Operation, body: bytes) -> Request:
    """A request for chat completions or messages. Raises InvalidRequest and NotFound, as all of these do."""
    ask = operation.read(body)
    members = msgspec.json.decode(body)
    return Request(
        ask=ask,
        members=members,
        prompt=operation.prompt_text(body),
        behaviour=_behaviour(ask.model, body),
        overhead_tokens=message_tokens(members["messages"]),
        stop=_sequences(members.get("stop") or members.get("stop_sequences")),
        tool=chosen_tool(tools_in(members), members.get("tool_choice"), last_words(members["messages"])),
    )


def read_responses(body: bytes) -> Request:
    """A request for a response: https://platform.openai.com/docs/api-reference/responses/create."""
    ask = RESPONSES.read(body)
    members = msgspec.json.decode(body)
    given = members.get("input") or []
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    if not isinstance(items, list):
        raise InvalidRequest("`input` must be a string or an array.", param="input")
    return Request(
        ask=ask,
        members=members,
        prompt=RESPONSES.prompt_text(body),
        behaviour=_behaviour(ask.model, body),
        overhead_tokens=message_tokens(items) + (_TOKENS_A_MESSAGE if members.get("instructions") else 0),
        tool=chosen_tool(tools_in(members), members.get("tool_choice"), last_words(items)),
    )


def read_completions(body: bytes) -> tuple[Request, list[str]]:
    """A request for legacy completions, and its prompts; token ids of a prompt stand for themselves."""
    raw = top_level(body, ("model", "prompt", "stream", "max_tokens", "n"))
    members = msgspec.json.decode(body)
    prompts = inputs_of(members.get("prompt", "<|endoftext|>"), "prompt")
    model = read_model(raw)
    options = members.get("stream_options")
    asked = isinstance(options, dict) and options.get("include_usage") is True
    limit = read_count(raw, "max_tokens", 0, MAX_OUTPUT_LIMIT)
    request = Request(
        ask=Ask(
            model=model,
            stream=read_switch(raw, "stream"),
            output_limit=_LEGACY_LIMIT if limit is None else limit,
            choices=read_count(raw, "n", 1, MAX_CHOICES) or 1,
            usage_asked=asked,
        ),
        members=members,
        prompt="\n".join(prompts),
        behaviour=_behaviour(model, body),
        stop=_sequences(members.get("stop")),
    )
    return request, prompts


def read_embeddings(body: bytes) -> tuple[Request, list[str]]:
    """A request for embeddings, and its inputs."""
    raw = top_level(body, ("model", "input"))
    members = msgspec.json.decode(body)
    inputs = inputs_of(members.get("input"), "input")
    model = read_model(raw)
    request = Request(
        ask=Ask(model=model), members=members, prompt="\n".join(inputs), behaviour=_behaviour(model, body)
    )
    return request, inputs


def read_any(model: str, body: bytes) -> tuple[dict[str, Any], Behaviour]:
    """The members of a body whose model stands in the path, and how to answer it."""
    top_level(body, ())
    return msgspec.json.decode(body), _behaviour(model, body)


def message_tokens(items: Sequence[Any]) -> int:
    """What messages cost beside their text."""
    return _TOKENS_A_MESSAGE * len(items) + _TOKENS_OF_THE_START


def inputs_of(value: Any, name: str) -> list[str]:
    """Text, texts, token ids or lists of those, as texts; ids are written out. Raises InvalidRequest."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and value:
        if all(isinstance(item, str) for item in value):
            return value
        if all(isinstance(item, int) for item in value):
            return [_ids(value)]
        if all(isinstance(item, list) for item in value):
            return [_ids(item) for item in value]
    raise InvalidRequest(f"`{name}` must be a string or an array of strings or tokens.", param=name)


def _ids(tokens: Iterable[Any]) -> str:
    # Each number of up to three digits and the space before it is a token or two; close enough for a toy.
    return " ".join(str(token) for token in tokens)


def _behaviour(model: str, body: bytes) -> Behaviour:
    return behaviour(model, msgspec.json.decode(body, type=dict[str, msgspec.Raw]).get("sim"))


def _sequences(stop: Any) -> tuple[str, ...]:
    return (stop,) if isinstance(stop, str) else tuple(str(sequence) for sequence in stop or ())

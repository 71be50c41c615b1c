"""What the simulated model reads of a request, in either dialect: the same checks as Farebox, then what to write."""

from typing import Any

import msgspec

from proxy.providers.anthropic_messages import Messages
from proxy.providers.dialect import Ask, Operation
from proxy.providers.openai_chat import ChatCompletions
from proxy.providers.sim.models import Behaviour, behaviour
from proxy.providers.sim.writer import Task, Tool

CHAT: Operation = ChatCompletions()
MESSAGES: Operation = Messages()

# https://cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken: each message costs three, and so does the answer's start.
_TOKENS_A_MESSAGE = 3


class Request:
    """A readable request for one answer. Raises InvalidRequest and NotFound while it is made."""

    def __init__(self, operation: Operation, body: bytes) -> None:
        self.ask: Ask = operation.read(body)
        self.members: dict[str, Any] = msgspec.json.decode(body)
        self.prompt = operation.prompt_text(body)
        raw = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        self.behaviour: Behaviour = behaviour(self.ask.model, raw.get("sim"))
        self.overhead_tokens = _TOKENS_A_MESSAGE * (len(self.members["messages"]) + 1)

    def task(self, choice: int) -> Task:
        """What to write for one of the choices."""
        stop = self.members.get("stop") or self.members.get("stop_sequences") or ()
        return Task(
            prompt=self.prompt,
            model=self.ask.model,
            choice=choice,
            tokens=self.behaviour.tokens,
            limit=self.ask.output_limit,
            stop=(stop,) if isinstance(stop, str) else tuple(str(sequence) for sequence in stop),
            tool=chosen_tool(self.members),
        )


def chosen_tool(members: dict[str, Any]) -> Tool | None:
    """The tool to call: where the choice demands one, or where the last message of the user names one of them or says `tool`."""
    tools = [_tool(item) for item in members.get("tools") or () if isinstance(item, dict)]
    if not tools:
        return None
    choice = members.get("tool_choice")
    if isinstance(choice, dict):
        named = choice.get("name") or (choice.get("function") or {}).get("name")
        if named:
            return next((tool for tool in tools if tool.name == named), None)
        choice = choice.get("type")
    if choice in {"required", "any"}:
        return tools[0]
    if choice == "none":
        return None
    words = _last_words(members["messages"])
    return next((tool for tool in tools if tool.name in words), tools[0] if "tool" in words else None)


def _tool(item: dict[str, Any]) -> Tool:
    function = item.get("function") if isinstance(item.get("function"), dict) else item
    schema = function.get("parameters") or function.get("input_schema") or {}  # type: ignore[union-attr]
    return Tool(str(function.get("name", "")), schema)  # type: ignore[union-attr]


def _last_words(messages: list[Any]) -> str:
    """The text of the last message, if a user wrote it; a tool's result is to be answered in prose."""
    last = messages[-1] if messages else None
    if not isinstance(last, dict) or last.get("role") != "user":
        return ""
    content = last.get("content")
    if isinstance(content, str):
        return content
    parts = [part for part in content or () if isinstance(part, dict)]
    if any(part.get("type") == "tool_result" for part in parts):
        return ""
    return " ".join(str(part.get("text", "")) for part in parts)

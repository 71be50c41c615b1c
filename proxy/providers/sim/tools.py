"""Which tool the simulated model calls: the one that the choice demands, else one that the user's last words name."""

from collections.abc import Sequence
from typing import Any

from proxy.providers.sim.writer import Tool

# Tools that the provider would run itself (web search and its like) are never called here.
_CALLABLE = (None, "function", "custom")


def tools_in(members: dict[str, Any]) -> list[Tool]:
    """The functions that a request in OpenAI's or Anthropic's dialects offers."""
    items = [item for item in members.get("tools") or () if isinstance(item, dict)]
    return [tool for item in items if item.get("type") in _CALLABLE if (tool := _tool(item)).name]


def chosen_tool(tools: Sequence[Tool], choice: Any, words: str) -> Tool | None:
    """The tool to call: where the choice demands one, or where the words name one of them or say `tool`."""
    if not tools:
        return None
    if isinstance(choice, dict):
        named = choice.get("name") or (choice.get("function") or {}).get("name")
        if named:
            return next((tool for tool in tools if tool.name == named), None)
        choice = choice.get("type")
    if choice in {"required", "any"}:
        return tools[0]
    if choice == "none":
        return None
    return next((tool for tool in tools if tool.name in words), tools[0] if "tool" in words else None)


def last_words(messages: Sequence[Any]) -> str:
    """The text of the last message, if a user wrote it; a tool's result is to be answered in prose."""
    last = messages[-1] if messages else None
    if not isinstance(last, dict) or last.get("role") != "user":
        return ""
    content = last.get("content")
    if isinstance(content, str):
        return content
    parts = [part for part in content or () if isinstance(part, dict)]
    if any(part.get("type") == "tool_result" or "functionResponse" in part for part in parts):
        return ""
    return " ".join(str(part.get("text", "")) for part in parts)


def _tool(item: dict[str, Any]) -> Tool:
    function = item.get("function")
    described = function if isinstance(function, dict) else item
    schema = described.get("parameters") or described.get("input_schema")
    return Tool(str(described.get("name") or ""), schema if isinstance(schema, dict) else {})

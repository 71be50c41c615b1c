"""What tool definitions cost as input: OpenAI's documented sum, and for other providers the definitions as JSON. Pure.

Source: https://cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken, section 7, which counts flat parameters;
nested ones are counted by the same rule here. All counts are tokens.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from proxy.providers.prompts import as_json

_FUNCTION = 7
_FUNCTION_BEFORE_4O = 10
_PROPERTIES = 3
_PROPERTY = 3
_ENUM = -3
_ENUM_ITEM = 3
_END = 12
_OLD_MODELS = ("gpt-3.5", "gpt-4-", "gpt-4")
_NEW_MODELS = ("gpt-4o", "gpt-4.")

_MEMBERS = ("name", "description", "parameters", "input_schema", "parametersJsonSchema", "parameters_json_schema")
_SCHEMAS = _MEMBERS[2:]

Definition = dict[str, Any]


def definition_of(item: Definition) -> Definition:
    """What of a function's definition the model gets to read."""
    return {name: item[name] for name in _MEMBERS if item.get(name) is not None}


def openai_tools(definitions: Sequence[Definition], model: str) -> tuple[int, list[str]]:
    """The tokens around the definitions, and the lines whose tokens are to be counted."""
    if not definitions:
        return 0, []
    old = model.startswith(_OLD_MODELS) and not model.startswith(_NEW_MODELS)
    fixed, lines = _END, []
    for definition in definitions:
        fixed += _FUNCTION_BEFORE_4O if old else _FUNCTION
        lines.append(f"{_said(definition.get('name') or '')}:{_plain(definition.get('description'))}")
        schema = next((definition[name] for name in _SCHEMAS if definition.get(name)), None)
        for tokens, line in _properties(schema):
            fixed += tokens
            if line:
                lines.append(line)
    return fixed, lines


def _properties(schema: Any) -> Iterator[tuple[int, str]]:
    """Tokens and lines of every property, at any depth; without recursion, for depth is the caller's choice."""
    waiting = [schema]
    while waiting:
        inner = waiting.pop()
        if not isinstance(inner, dict):
            continue
        if isinstance(inner.get("items"), dict):
            waiting.append(inner["items"])
        for name in ("$defs", "definitions"):
            if isinstance(inner.get(name), dict):
                waiting += inner[name].values()
        properties = inner.get("properties")
        if not isinstance(properties, dict) or not properties:
            continue
        yield _PROPERTIES, ""
        for name, value in properties.items():
            if isinstance(value, dict):
                yield from _property(name, value)
                waiting.append(value)


def _property(name: str, value: dict[str, Any]) -> Iterator[tuple[int, str]]:
    options = value.get("enum")
    if isinstance(options, list):
        yield _ENUM, ""
        for option in options:
            yield _ENUM_ITEM, _said(option)
    yield _PROPERTY, f"{name}:{_said(value.get('type') or '')}:{_plain(value.get('description'))}"


def _plain(description: Any) -> str:
    return description.rstrip(".") if isinstance(description, str) else ""


def _said(value: Any) -> str:
    return value if isinstance(value, str) else as_json(value)

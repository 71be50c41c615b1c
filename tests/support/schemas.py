"""The part of JSON Schema that openapi.yaml uses, for holding answers against it: fails with the place that does not fit."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, Decimal),
    "boolean": (bool,),
    "null": (type(None),),
}


def conforms(value: Any, schema: Mapping[str, Any], components: Mapping[str, Any], where: str = "$") -> None:
    """`components` are the document's schemas by name. Raises AssertionError; an unknown keyword is one too."""
    known = {"$ref", "type", "const", "enum", "required", "properties", "additionalProperties", "items", "description"}
    assert set(schema) <= known, f"{where}: {set(schema) - known}"
    if "$ref" in schema:
        conforms(value, components[schema["$ref"].rsplit("/", 1)[1]], components, where)
        return
    if "type" in schema:
        names = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        assert any(type(value) in _TYPES[name] for name in names), f"{where}: {value!r} is no {names}"
    assert "const" not in schema or value == schema["const"], where
    assert "enum" not in schema or value in schema["enum"], where
    if isinstance(value, dict):
        _members(value, schema, components, where)
    for number, one in enumerate(value if isinstance(value, list) else ()):
        conforms(one, schema["items"], components, f"{where}[{number}]")


def _members(value: Mapping[str, Any], schema: Mapping[str, Any], components: Mapping[str, Any], where: str) -> None:
    properties = schema.get("properties", {})
    assert set(schema.get("required", ())) <= set(value), f"{where}: {set(schema['required']) - set(value)}"
    more = schema.get("additionalProperties", True)
    for name, one in value.items():
        inner = properties.get(name, more)
        assert inner is not False, f"{where}.{name} is not described"
        if inner is not True:
            conforms(one, inner, components, f"{where}.{name}")

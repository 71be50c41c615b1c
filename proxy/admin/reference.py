"""The reference page: the OpenAPI document as one HTML page without a script, made when openapi.yaml is."""

import html
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from proxy.admin.document import Document

_METHODS = ("get", "post", "put", "patch", "delete")


def reference_page(document: Document) -> str:
    """The page; everything from the document is escaped."""
    body = "".join(_body(document))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Farebox: API reference</title>'
        f'<link rel="stylesheet" href="/style.css"></head><body>\n{body}</body></html>\n'
    )


def _body(document: Document) -> Iterator[str]:
    info = document["info"]
    yield f"<h1>{_text(info['title'])} {_text(info['version'])}: API reference</h1>\n<p>{_text(info['description'])}</p>\n"
    yield '<p><a href="/admin/v1/openapi.yaml">openapi.yaml</a></p>\n<ul>'
    for tag in document["tags"]:
        yield f'<li><a href="#{_anchor(tag["name"])}">{_text(tag["name"])}</a></li>'
    yield '<li><a href="#schemas">Schemas</a></li></ul>\n'
    for tag in document["tags"]:
        yield f'<h2 id="{_anchor(tag["name"])}">{_text(tag["name"])}</h2>\n'
        for path, item in document["paths"].items():
            for method in _METHODS:
                if method in item and tag["name"] in item[method].get("tags", ()):
                    yield from _operation(method, path, item[method])
    yield '<h2 id="schemas">Schemas</h2>\n'
    for name, schema in document["components"]["schemas"].items():
        yield f'<h3 id="schema-{_anchor(name)}">{_text(name)}</h3>\n<p>{_text(schema.get("description", ""))}</p>\n'
        yield _members(schema)


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"<h3><code>{method.upper()} {_text(path)}</code></h3>\n<p>{_text(operation.get('summary', ''))} "
    yield f"{_text(operation.get('description', ''))}</p>\n"
    parameters = operation.get("parameters", ())
    if parameters:
        cells = [
            (_text(one["name"]), one["in"], _type(one.get("schema", {})), _text(_notes(one))) for one in parameters
        ]
        yield _table(("Parameter", "In", "Type", ""), cells)
    body = operation.get("requestBody")
    if body is not None:
        yield f"<p>Body: {_type(next(iter(body['content'].values()))['schema'])}</p>\n"
    rows = []
    for status, answer in operation["responses"].items():
        content = next(iter(answer.get("content", {}).items()), None)
        shape = "" if content is None else _type(content[1].get("schema", {})) or _text(content[0])
        rows.append((_text(status), shape, _text(answer["description"])))
    yield _table(("Status", "Answer", ""), rows)


def _members(schema: Mapping[str, Any]) -> str:
    required = schema.get("required", ())
    rows = []
    for name, member in schema.get("properties", {}).items():
        must = "required" if name in required else ""
        rows.append((_text(name), _type(member), must, _text(member.get("description", ""))))
    return _table(("Member", "Type", "", ""), rows) if rows else ""


def _notes(parameter: Mapping[str, Any]) -> str:
    said = parameter.get("description") or parameter.get("schema", {}).get("description", "")
    return ("Required. " if parameter.get("required") else "") + str(said)


def _type(schema: Mapping[str, Any]) -> str:
    """A schema in a few words, as HTML; schemas that have a name are linked."""
    if "$ref" in schema:
        name = str(schema["$ref"]).rsplit("/", 1)[-1]
        return f'<a href="#schema-{_anchor(name)}">{_text(name)}</a>'
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return " or ".join(_type(one) for one in schema[several])
    if "enum" in schema:
        return _text(", ".join(map(str, schema["enum"])))
    if schema.get("type") == "array":
        return f"array of {_type(schema.get('items', {}))}"
    extra = schema.get("additionalProperties")
    if schema.get("type") == "object" and isinstance(extra, Mapping) and extra:
        return f"object of {_type(extra)}"
    kind = schema.get("type", "")
    return _text(" or ".join(kind) if isinstance(kind, list) else kind) + _bounds(schema)


def _bounds(schema: Mapping[str, Any]) -> str:
    low = schema.get("minimum", schema.get("minLength"))
    high = schema.get("maximum", schema.get("maxLength"))
    if low is None and high is None:
        return ""
    return _text(f" ({'' if low is None else low}..{'' if high is None else high})")


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """`rows` are HTML already."""
    head = "".join(f"<th>{_text(column)}</th>" for column in columns)
    lines = ["<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows]
    return f"<table><tr>{head}</tr>{''.join(lines)}</table>\n"


def _anchor(name: str) -> str:
    return html.escape(name.lower().replace(" ", "-"), quote=True)


def _text(value: object) -> str:
    return html.escape(str(value), quote=True)

"""The OpenAPI 3.1 document of the admin API, made of the rows of its endpoints and the Structs that they name.

What a row does not say is the same for all: who asks, the errors in our shape, the request id. `merged` adds the parts that are written by
hand for what other listeners and surfaces answer (proxy/admin/openapi_parts/*.yaml).
"""

import inspect
import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from proxy.admin.api import PREFIX
from proxy.admin.call import Endpoint

_REF = "#/components/schemas/{name}"
_PART = re.compile(r"\{(\w+)\}")
_PARTS = {
    "account": "The account's id or name.",
    "key": "The API key's id (not the key).",
    "administrator": "The administrator's id or name.",
    "call": "The call's id.",
    "grant": "The grant's id.",
    "code": "The redemption code's id (not the code).",
    "delivery": "The delivery's id.",
}
_ALWAYS = ((401, "invalid_credential"), (403, "forbidden_role"), (503, "unavailable"))
_RIGHTS = {"read": "any role", "operate": "the role operate", "finance": "the role finance", "root": "the root token"}
_SAID = {
    400: "The request is not valid.",
    401: "No credential, or one that is not valid.",
    402: "The credits do not suffice.",
    403: "Not allowed: an account's API key, or a role that may not.",
    404: "There is no such thing.",
    408: "The body took too long to arrive.",
    409: "It stands against what is there.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    503: "A store is away. Repeat it.",
}

Document = dict[str, Any]


class ErrorDetail(msgspec.Struct, kw_only=True):
    """What was wrong: a stable code, a sentence, and the member that is meant, if one is."""

    code: str
    message: str
    param: str | None


class Error(msgspec.Struct, kw_only=True):
    """Every refusal of the admin API."""

    error: ErrorDetail
    request_id: str


def document(endpoints: Iterable[Endpoint], version: str) -> Document:
    """The whole document of these endpoints."""
    rows = tuple(endpoints)
    shapes = {shape for row in rows for shape in (row.body, row.answer) if isinstance(shape, type)} | {Error}
    _, schemas = msgspec.json.schema_components(sorted(shapes, key=lambda shape: shape.__name__), ref_template=_REF)
    for schema in schemas.values():
        if "description" in schema:  # a docstring, which only newer Pythons compile without its indentation
            schema["description"] = inspect.cleandoc(schema["description"])
    paths: dict[str, dict[str, Any]] = {}
    for row in rows:
        paths.setdefault(PREFIX + row.path, {})[row.method.lower()] = _operation(row)
    tags = dict.fromkeys(row.tag for row in rows)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Farebox",
            "version": version,
            "description": "Accounts, API keys, prices, holds and everything else that administrators do, on the operators' listener.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [
            {"url": "http://127.0.0.1:9090", "description": "The operators' listener, where it listens by default."}
        ],
        "tags": [{"name": tag} for tag in tags],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "securitySchemes": {
                "administrator": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An administrator's credential (sk_adm_...), or the configured root token.",
                }
            },
        },
    }


def merged(whole: Document, parts: Iterable[Mapping[str, Any]]) -> Document:
    """The document with the paths, tags and components of the parts. Raises ValueError where two say the same."""
    for part in parts:
        whole["tags"] += part.get("tags", [])
        _add(whole["paths"], part.get("paths", {}))
        for kind, entries in part.get("components", {}).items():
            _add(whole["components"].setdefault(kind, {}), entries)
    return whole


def _add(into: dict[str, Any], more: Mapping[str, Any]) -> None:
    for name, value in more.items():
        if name in into:
            raise ValueError(f"{name} is described twice")
        into[name] = value


def _operation(row: Endpoint) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": row.handler.__name__,
        "summary": row.summary,
        "description": f"Needs {_RIGHTS[row.right]}.",
        "tags": [row.tag],
        "security": [{"administrator": []}],
    }
    parameters = [_part(name) for name in _PART.findall(row.path)] + _query(row) + _headers(row)
    if parameters:
        found["parameters"] = parameters
    if row.body is not None:
        # No body is the empty object, which some shapes allow.
        needed = any(field.required for field in msgspec.structs.fields(row.body))
        found["requestBody"] = {"required": needed, "content": {"application/json": {"schema": _reference(row.body)}}}
    found["responses"] = _responses(row)
    return found


def _part(name: str) -> dict[str, Any]:
    schema = {"type": "string", "minLength": 1}
    return {"name": name, "in": "path", "required": True, "description": _PARTS[name], "schema": schema}


def _query(row: Endpoint) -> list[dict[str, Any]]:
    if row.query is None:
        return []
    _, found = msgspec.json.schema_components([row.query], ref_template=_REF)
    shape = found[row.query.__name__]
    parameters = []
    for name, schema in shape["properties"].items():
        parameter = {"name": name, "in": "query", "required": name in shape["required"], "schema": _plain(schema)}
        parameters.append(parameter)
    return parameters


def _plain(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A parameter is there or not, and never null."""
    kept = {name: value for name, value in schema.items() if name != "anyOf" and (name, value) != ("default", None)}
    choices = [one for one in schema.get("anyOf", ()) if one != {"type": "null"}]
    return {**kept, **choices[0]} if choices else kept


def _headers(row: Endpoint) -> list[dict[str, Any]]:
    if not (row.makes or row.takes_idempotency_key):
        return []
    schema = {"type": "string", "minLength": 1, "maxLength": 255}
    description = "The same key with the same request is carried out once, and answered alike for ever; with another one it is 409."
    return [
        {"name": "Idempotency-Key", "in": "header", "required": False, "description": description, "schema": schema}
    ]


def _responses(row: Endpoint) -> dict[str, Any]:
    media, schema = ("application/json", _reference(row.answer)) if isinstance(row.answer, type) else (row.answer, {})
    header = {"x-request-id": {"description": "Names this request in the log.", "schema": {"type": "string"}}}
    responses: dict[str, Any] = {
        str(row.status): {"description": row.summary, "headers": header, "content": {media: {"schema": schema}}}
    }
    for status, codes in sorted(_refusals(row).items()):
        said = f"{_SAID[status]} Codes: {', '.join(codes)}."
        responses[str(status)] = {"description": said, "content": {"application/json": {"schema": _reference(Error)}}}
    return responses


def _refusals(row: Endpoint) -> dict[int, list[str]]:
    codes: dict[int, list[str]] = {}
    more = [(400, "invalid_request")]
    if row.body is not None:
        more += [
            (400, "invalid_json"),
            (408, "request_timeout"),
            (413, "request_too_large"),
            (415, "unsupported_media_type"),
        ]
    if row.makes or row.takes_idempotency_key:
        more += [(409, "idempotency_conflict")]
    for status, code in (*_ALWAYS, *more, *row.refusals):
        if code not in codes.setdefault(status, []):
            codes[status].append(code)
    return codes


def _reference(shape: type) -> dict[str, str]:
    return {"$ref": _REF.format(name=shape.__name__)}

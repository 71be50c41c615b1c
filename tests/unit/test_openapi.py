"""openapi.yaml, the reference page and the endpoints say the same."""

import runpy
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from proxy.accounts.administrators import MAY, ROOT
from proxy.admin.api import PREFIX
from proxy.admin.document import merged
from proxy.admin.reference import reference_page
from proxy.admin.resources import ENDPOINTS

ROOT_FOLDER = Path(__file__).parents[2]
ADMIN = ROOT_FOLDER / "proxy" / "admin"
DOCUMENT: dict[str, Any] = yaml.safe_load((ADMIN / "openapi.yaml").read_text(encoding="utf-8"))
SCRIPT = runpy.run_path(str(ROOT_FOLDER / "scripts" / "openapi"))


def test_the_files_are_what_the_endpoints_and_the_parts_make() -> None:
    """Both directions: what is in one and not in the other shows here. `make openapi` writes them."""
    for name, text in SCRIPT["written"](SCRIPT["whole"]()).items():
        assert (ADMIN / name).read_text(encoding="utf-8") == text, f"{name} is not up to date: make openapi"


def test_every_endpoint_is_in_the_document_and_nothing_else_is() -> None:
    described = {
        (method.upper(), path.removeprefix(PREFIX))
        for path, item in DOCUMENT["paths"].items()
        if path.startswith(f"{PREFIX}/")
        for method in item
    }
    assert described == {(endpoint.method, endpoint.path) for endpoint in ENDPOINTS}
    assert len(described) == len(ENDPOINTS)


def test_endpoints_have_known_rights_and_their_own_names() -> None:
    assert {endpoint.right for endpoint in ENDPOINTS} <= MAY[ROOT]
    names = [endpoint.handler.__name__ for endpoint in ENDPOINTS]
    assert len(set(names)) == len(names)
    for endpoint in ENDPOINTS:
        assert endpoint.method != "GET" or (endpoint.right == "read" and endpoint.body is None), endpoint.path
        assert endpoint.method == "GET" or endpoint.right != "read", endpoint.path


def test_what_comes_in_is_bounded_and_refuses_unknown_members() -> None:
    def check(schema: dict[str, Any], where: str) -> None:
        if schema.get("type") == "object" and "properties" in schema:
            assert schema["additionalProperties"] is False, where
        if schema.get("type") == "string" and "enum" not in schema:
            assert "maxLength" in schema, f"{where} has no bound"
        if schema.get("type") == "array":
            assert "maxItems" in schema, f"{where} has no bound"
            check(schema["items"], f"{where}[]")
        for name, member in schema.get("properties", {}).items():
            check(member, f"{where}.{name}")
        for one in schema.get("anyOf", ()):
            check(one, where)

    for endpoint in ENDPOINTS:
        for shape in (endpoint.body, endpoint.query):
            if shape is not None:
                _, found = msgspec.json.schema_components([shape], ref_template="{name}")
                for name, schema in found.items():
                    check(schema, name)


def test_every_reference_leads_somewhere() -> None:
    known = {name for kind in ("schemas", "responses") for name in DOCUMENT["components"].get(kind, {})}
    used: set[str] = set()

    def walk(value: object) -> None:
        if isinstance(value, dict):
            if "$ref" in value:
                used.add(value["$ref"].rsplit("/", 1)[-1])
            for one in value.values():
                walk(one)
        elif isinstance(value, list):
            for one in value:
                walk(one)

    walk(DOCUMENT)
    assert used <= known


def test_what_is_said_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        merged({"tags": [], "paths": {"/a": {}}, "components": {}}, [{"paths": {"/a": {}}}])


def test_the_reference_escapes_what_it_shows() -> None:
    evil = "<script>alert(1)</script>"
    operation = {"summary": evil, "tags": [evil], "responses": {"200": {"description": evil}}}
    document = {
        "info": {"title": evil, "version": evil, "description": evil},
        "tags": [{"name": evil}],
        "paths": {f"/{evil}": {"get": operation}},
        "components": {"schemas": {evil: {"description": evil, "properties": {evil: {"type": evil}}}}},
    }
    page = reference_page(document)
    assert "&lt;script&gt;" in page
    assert "<script" not in page

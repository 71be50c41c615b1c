"""The hand-written part of the API's description names calls of models that exist, under their own methods."""

from pathlib import Path

import yaml

from proxy.providers.registry import OPERATIONS

PART = Path(__file__).parents[2] / "proxy" / "admin" / "openapi_parts" / "models.yaml"


def test_every_call_that_is_described_is_metered() -> None:
    metered = {(operation.method.lower(), path.shared) for operation in OPERATIONS for path in operation.paths}
    items = yaml.safe_load(PART.read_text(encoding="utf-8"))["paths"]
    described = {(method, path) for path, item in items.items() for method in item if method != "servers"}
    assert described
    assert described - metered == set()

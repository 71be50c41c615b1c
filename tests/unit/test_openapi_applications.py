"""The hand-written part of the API's description has every path of mountsea's and credits.dev's surfaces, and none that is not there."""

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from proxy.accounts.keys import KeyHasher
from proxy.surfaces.credits_dev.surface import credits_dev
from proxy.surfaces.house import House
from proxy.surfaces.mountsea import mountsea

PART = Path(__file__).parents[2] / "proxy" / "admin" / "openapi_parts" / "applications.yaml"
DESCRIBED = yaml.safe_load(PART.read_text(encoding="utf-8"))


def test_every_path_is_described() -> None:
    nothing: dict[str, Any] = {field.name: None for field in fields(House)}
    house = House(**{**nothing, "hasher": KeyHasher("a pepper for the tests")})
    endpoints = {(one.method.lower(), one.path) for make in (mountsea, credits_dev) for one in make(house).endpoints}
    described = {(method, path) for path, item in DESCRIBED["paths"].items() for method in item if method != "servers"}
    assert described == endpoints


def test_what_is_referred_to_is_there() -> None:
    used = set(re.findall(r"#/components/(\w+)/(\w+)", PART.read_text(encoding="utf-8")))
    there = {(kind, name) for kind in ("schemas", "responses") for name in DESCRIBED["components"][kind]}
    assert used == there
    securities = {
        name
        for item in DESCRIBED["paths"].values()
        for method, operation in item.items()
        if method != "servers"
        for one in operation["security"]
        for name in one
    }
    assert securities == set(DESCRIBED["components"]["securitySchemes"])

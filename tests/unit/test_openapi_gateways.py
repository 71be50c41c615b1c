"""The hand-written part of the API's description has every path of the gateways' surfaces, and none that is not there."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.config import Config, Keys
from proxy.surfaces.apikley import apikley, kie
from proxy.surfaces.deepseek import deepseek
from proxy.surfaces.house import House
from proxy.surfaces.litellm import litellm
from proxy.surfaces.new_api import new_api
from proxy.surfaces.openai_billing import openai_billing
from proxy.surfaces.openai_organization import openai_organization
from proxy.surfaces.openrouter import openrouter
from proxy.surfaces.r9s import r9s

PART = Path(__file__).parents[2] / "proxy" / "admin" / "openapi_parts" / "gateways.yaml"
VENDORS = (apikley, kie, r9s, openai_billing, openrouter, litellm, new_api, deepseek, openai_organization)
# Beside credits.dev's on /v1/usage, sub2api's is described under its prefix; Apikley's and kie's on both.
UNDER_COMPAT = {
    "/compat/sub2api/v1/usage",
    "/compat/apikley/api/v1/chat/credit",
    "/compat/kie/api/v1/chat/credit",
}


@pytest.fixture(scope="module")
def part() -> dict[str, Any]:
    return dict(yaml.safe_load(PART.read_text(encoding="utf-8")))


def test_every_path_is_described(part: dict[str, Any]) -> None:
    nothing: dict[str, Any] = {field.name: None for field in fields(House)}
    house = House(**{**nothing, "config": Config(keys=Keys(pepper="a pepper for the tests"))})
    endpoints = {(one.method.lower(), one.path) for make in VENDORS for one in make(house).endpoints}
    described = {(method, path) for path, item in part["paths"].items() for method in item if method != "servers"}
    assert described - endpoints == {("get", path) for path in UNDER_COMPAT}
    assert endpoints - described == set()


def test_what_is_referred_to_is_there(part: dict[str, Any]) -> None:
    schemas = set(part["components"]["schemas"])
    used = {
        line.split("/")[-1].strip("'} \n") for line in PART.read_text().splitlines() if "#/components/schemas/" in line
    }
    assert used == schemas
    securities = {name for item in part["paths"].values() for one in item["get"]["security"] for name in one}
    assert securities == {"user_key", "manager_key", "administrator"}

"""Gateways of others, each as its documentation runs it in production, installed once into an environment of its own."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from bench.names import PEERS as NAMES
from bench.subjects.base import Place, Running
from bench.subjects.peers import bifrost, envoy, litellm, mlflow, otari, portkey, tensorzero
from bench.subjects.peers.install import Recipe

_MODULES = (envoy, litellm, otari, portkey, mlflow, tensorzero, bifrost)

PEERS: dict[str, Callable[[Place], AbstractContextManager[Running]]] = {
    name: module.run for name, module in zip(NAMES, _MODULES, strict=True)
}
RECIPES: dict[str, Recipe | str] = {name: module.RECIPE for name, module in zip(NAMES, _MODULES, strict=True)}
"""How each is installed, or in words why it cannot be."""

"""Limits as they are written and stored: a JSON object on an account or a key.

    {"requests_per_minute": 60, "tokens_per_minute": 100000, "concurrent": 4, "budget_day": "12.5", "budget_week": ...,
     "budget_month": ..., "budget_total": ..., "models": {"a-model": {...the same...}}, "on_client_left": "drain"}

Speeds are integers, budgets credits as decimal strings. `models` stands on accounts only: such a ceiling is shared by all
keys of the account. So does `on_client_left`, what is charged when the account's clients hang up (cancel, drain, free). What is
absent is not limited, or left to the configuration.
"""

import json
from collections.abc import Mapping
from typing import Literal

from proxy.core.errors import InvalidRequest
from proxy.core.limits import BUDGET_KINDS, CONCURRENT, REQUESTS, TOKENS, Limit
from proxy.core.money import parse_credits
from proxy.core.outcomes import MAX_SPEED

Parting = Literal["cancel", "drain", "free"]
PARTINGS: tuple[Parting, ...] = ("cancel", "drain", "free")
SPEEDS = {"requests_per_minute": REQUESTS, "tokens_per_minute": TOKENS, "concurrent": CONCURRENT}
MAX_MODELS = 200
MAX_MODEL_NAME = 120  # characters; the ledger takes scopes of at most 512 bytes


def dump_limits(raw: object, *, for_account: bool) -> str:
    """Checked limits as the JSON text that is stored. Raises InvalidRequest, with the member as `param`."""
    if raw is None:
        return "{}"
    if not isinstance(raw, Mapping):
        raise InvalidRequest("limits must be an object", param="limits")
    members = dict(raw)
    models = members.pop("models", None) if for_account else None
    parting = members.pop("on_client_left", None) if for_account else None
    if parting not in {None, *PARTINGS}:
        raise InvalidRequest(
            f"limits.on_client_left must be one of {', '.join(PARTINGS)}", param="limits.on_client_left"
        )
    ceilings(members, "limits")
    if models is not None:
        if not isinstance(models, Mapping) or len(models) > MAX_MODELS:
            raise InvalidRequest(
                f"limits.models must be an object of at most {MAX_MODELS} models", param="limits.models"
            )
        for model, limits in models.items():
            if not 1 <= len(model) <= MAX_MODEL_NAME or not model.isprintable():
                raise InvalidRequest("limits.models must be named after models", param="limits.models")
            ceilings(limits, f"limits.models.{model}")
        members["models"] = models
    if parting is not None:
        members["on_client_left"] = parting
    return json.dumps(members, ensure_ascii=True, sort_keys=True, separators=(",", ":"))


def load_limits(stored: str, scope: str, defaults: Mapping[str, int] | None = None) -> tuple[Limit, ...]:
    """The ceilings of one stored object under `scope`; `defaults` (kind -> ceiling) fill the kinds that it leaves open."""
    members = json.loads(stored)
    members.pop("models", None)
    members.pop("on_client_left", None)
    found = {**(defaults or {}), **ceilings(members, "limits")}
    return tuple(Limit(scope, kind, ceiling) for kind, ceiling in found.items())


def load_parting(stored: str) -> Parting | None:
    """What an account wants done when its clients leave; None where the configuration decides."""
    parting: Parting | None = json.loads(stored).get("on_client_left")
    return parting


def load_model_limits(stored: str) -> dict[str, tuple[Limit, ...]]:
    """Model -> the ceilings that an account has for it."""
    models = json.loads(stored).get("models", {})
    return {model: load_limits(json.dumps(limits), f"model:{model}") for model, limits in models.items()}


def ceilings(members: object, where: str) -> dict[str, int]:
    """Kind -> ceiling (budgets in microcredits). Raises InvalidRequest on unknown names and bad values."""
    if not isinstance(members, Mapping):
        raise InvalidRequest(f"{where} must be an object", param=where)
    found = {}
    for name, value in members.items():
        if name in SPEEDS:
            found[SPEEDS[name]] = _speed(value, f"{where}.{name}")
        elif name in BUDGET_KINDS:
            found[name] = _budget(value, f"{where}.{name}")
        else:
            raise InvalidRequest(f"{where}.{name} is not a limit", param=f"{where}.{name}")
    return found


def _speed(value: object, where: str) -> int:
    if type(value) is not int or not 1 <= value <= MAX_SPEED:
        raise InvalidRequest(f"{where} must be a whole number from 1 to {MAX_SPEED}", param=where)
    return value


def _budget(value: object, where: str) -> int:
    if not isinstance(value, str):
        raise InvalidRequest(f'{where} must be credits as a decimal in a string, like "12.5"', param=where)
    try:
        microcredits = parse_credits(value)
    except ValueError as error:
        raise InvalidRequest(f"{where}: {error}", param=where) from error
    if microcredits <= 0:
        raise InvalidRequest(f"{where} must be above zero", param=where)
    return microcredits

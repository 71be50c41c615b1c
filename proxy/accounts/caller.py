"""Who is calling: everything that a call needs to know of its key and account, from one row of SQL."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from proxy.accounts.limits import Parting, load_limits, load_model_limits, load_parting
from proxy.accounts.reach import Reach, load_reach
from proxy.core.limits import Limit
from proxy.sql.database import Row, integer, optional_integer, optional_text, text


@dataclass(frozen=True, slots=True)
class Caller:
    """A key that may be used. `version` is the account's, and goes into every hold; instants in Unix milliseconds.

    `limits` are those of the key and of the account, in this order; `model_limits` the account's for single models;
    `models` the names that the key may use (a trailing * matches the rest), None for all; `markup_ppm` None: the
    configured one. `digest` finds the cache entry again. `on_client_left` None: the provider's. `reach` None: the key may be
    used on every path and from everywhere.
    """

    account_id: str
    account_name: str
    key_id: str
    kind: str
    version: int
    limits: tuple[Limit, ...]
    model_limits: Mapping[str, tuple[Limit, ...]]
    models: tuple[str, ...] | None
    scopes: tuple[str, ...]
    markup_ppm: int | None
    expires_at: int | None
    digest: str = field(repr=False)
    on_client_left: Parting | None = None
    reach: Reach | None = None

    def limits_for(self, model: str) -> tuple[Limit, ...]:
        """Every ceiling that a call of this model meets."""
        return self.limits + self.model_limits.get(model, ())

    def may_use(self, model: str) -> bool:
        """Whether the key's list of models allows this one."""
        if self.models is None:
            return True
        return any(model.startswith(name[:-1]) if name.endswith("*") else model == name for name in self.models)


def caller_from(row: Row, digest: str, defaults: Mapping[str, int]) -> Caller:
    """A row of the query `key_by_digest`; `defaults` (kind -> ceiling) apply where the key has no limit of its own."""
    account_limits = text(row, "account_limits")
    key_id = text(row, "key_id")
    models = optional_text(row, "models")
    return Caller(
        account_id=text(row, "account_id"),
        account_name=text(row, "account_name"),
        key_id=key_id,
        kind=text(row, "kind"),
        version=integer(row, "version"),
        limits=load_limits(text(row, "key_limits"), f"key:{key_id}", defaults) + load_limits(account_limits, "account"),
        model_limits=load_model_limits(account_limits),
        models=None if models is None else tuple(json.loads(models)),
        scopes=tuple(json.loads(text(row, "scopes"))),
        markup_ppm=optional_integer(row, "markup_ppm"),
        expires_at=optional_integer(row, "expires_at"),
        digest=digest,
        on_client_left=load_parting(account_limits),
        reach=load_reach(optional_text(row, "paths"), optional_text(row, "networks")),
    )

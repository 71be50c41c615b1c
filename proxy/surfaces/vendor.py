"""What a vendor's surface is made of: its endpoints, where its callers put their credential, and the shape of its errors.

A handler gets a `Query` and returns what its answer's JSON holds (status 200), or an `Answer` of another status. It raises
FareboxError, which the vendor's `refuse` puts into the vendor's shape. Handlers await stores and nothing else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from proxy.accounts.administrators import Administrator
from proxy.accounts.keys import USER
from proxy.core.errors import FareboxError, Forbidden, InvalidRequest, NotFound, Unavailable

if TYPE_CHECKING:
    from proxy.accounts.caller import Caller
    from proxy.pipeline.exchange import Exchange


class Maintenance(Unavailable):
    """503: an operator has put the query surfaces into maintenance."""

    code = "maintenance"
    default_message = "Under maintenance. Try again later."


class SurfaceDisabled(NotFound):
    """404: the configuration has switched this vendor's surface off."""

    code = "feature_disabled"
    default_message = "This API is switched off here."


class Invalid(InvalidRequest):
    """400 with everything that is wrong with a request, for vendors who list it."""

    def __init__(self, messages: list[str]) -> None:
        super().__init__("; ".join(messages))
        self.messages = messages


@dataclass(slots=True, kw_only=True)
class Query:
    """One authenticated request. `params` are the query's members, each with all of its values; `body` the JSON object."""

    exchange: Exchange
    call_id: str
    at_ms: int
    who: Caller | Administrator
    params: Mapping[str, list[str]] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)

    def param(self, name: str) -> str | None:
        """A member of the query, the last value where it has several; None where it is absent."""
        values = self.params.get(name)
        return values[-1] if values else None

    @property
    def caller(self) -> Caller:
        """The account's key. Raises Forbidden where an administrator asks."""
        if isinstance(self.who, Administrator):
            raise Forbidden("This needs an account's API key.", code="wrong_key_kind")
        return self.who

    @property
    def actor(self) -> str:
        """Who asks, as ledger entries and the audit log call them."""
        return self.who.actor if isinstance(self.who, Administrator) else f"key:{self.who.key_id}"

    def administrator(self, right: str) -> Administrator:
        """The administrator, who must have this right. Raises Forbidden, also where an account's key asks."""
        if not isinstance(self.who, Administrator):
            raise Forbidden("This needs an administrator's key.", code="forbidden")
        self.who.require(right)
        return self.who


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with a status of its own; `content` becomes JSON (`msgspec.Raw` as it is, in pieces where it is long)."""

    status: int
    content: object
    headers: tuple[tuple[bytes, bytes], ...] = ()


Handler = Callable[[Query], Awaitable[object]]
Claims = Callable[["Exchange"], bool]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one exact path.

    `claims` stands where the path is another API's too: a request that it does not hold for goes on to the next endpoint of
    the path, and at last to the pipeline. Under `/compat/<vendor>` it is not asked.
    """

    method: str
    path: str
    handler: Handler
    claims: Claims | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendor:
    """A surface: `name` is its word in `[surfaces] disabled` and its prefix under `/compat/`.

    `credential` finds the API key in a request (`proxy.surfaces.credentials`), whose kind must be `kind`; `administrators`
    lets an administrator's credential in too. `refuse` makes an error the vendor's own; it gets the call id.
    """

    name: str
    endpoints: tuple[Endpoint, ...]
    credential: Callable[[Exchange], bytes]
    refuse: Callable[[FareboxError, str], Answer]
    kind: str = USER
    administrators: bool = False

"""/admin/v1/prices and /admin/v1/price-overrides: what models cost, and the configuration's own prices over the shipped book.

An override is a table `[prices."NAME"]` of the configuration's file: NAME is a model, provider/model, or either with a trailing *. It is
written there and taken up at once; calls in progress keep the price that they began with.
"""

import asyncio
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from proxy.accounts.administrators import FINANCE, READ
from proxy.accounts.audit_log import Change, note
from proxy.admin.call import Call, Endpoint, PageQuery
from proxy.admin.shapes import Instant
from proxy.core.errors import Conflict, InvalidRequest, NotFound
from proxy.core.usage import COUNTERS
from proxy.prices import edit
from proxy.prices.in_force import in_force, priced_at
from proxy.prices.sheet import parse_usd
from proxy.prices.view import as_json

TAG = "Prices"
Usd = Annotated[
    dict[str, Annotated[str, Meta(pattern=r"^[0-9]+(\.[0-9]+)?$", max_length=40)]],
    Meta(
        min_length=1,
        max_length=100,
        description="Counter to USD per million units.",
        examples=[{"input": "2.50", "output": "10"}],
    ),
]
ModelName = Annotated[str, Meta(min_length=1, max_length=300)]


class PriceTier(msgspec.Struct, kw_only=True):
    """Rates of calls with more input tokens than `above`."""

    above: int
    usd: dict[str, str]


class ServiceTierPrice(msgspec.Struct, kw_only=True):
    """Rates of one of the provider's service tiers."""

    usd: dict[str, str]
    tiers: list[PriceTier] = []


class PriceView(msgspec.Struct, kw_only=True):
    """A price in force. `usd` are USD per million units, by counter, as exact decimals."""

    provider: str
    model: str
    version: str
    source: str
    usd: dict[str, str]
    tiers: list[PriceTier] = []
    service_tiers: dict[str, ServiceTierPrice] = {}
    minimums: dict[str, int] = {}
    markup_ppm: int


class PricePage(msgspec.Struct, kw_only=True):
    """Prices by provider and model, and the cursor of the next page."""

    items: list[PriceView]
    next_cursor: str | None


class PriceQuery(PageQuery, kw_only=True, forbid_unknown_fields=True):
    """Which prices: `q` is part of the model's name; with `all` those of the shipped book too."""

    provider: ModelName | None = None
    q: ModelName | None = None
    all: bool = False


class QuoteQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Which model, at which provider (all), at which instant (now)."""

    model: ModelName
    provider: ModelName | None = None
    at: Instant | None = None


class Quotes(msgspec.Struct, kw_only=True):
    """What a model costs at every provider that has a price for it."""

    model: str
    items: list[PriceView]


class OverrideView(msgspec.Struct, kw_only=True):
    """One table of the configuration's prices, as it stands there."""

    name: str
    settings: dict[str, Any]


class Overrides(msgspec.Struct, kw_only=True):
    """The configuration's own prices."""

    items: list[OverrideView]


class OverrideBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Rates to be set; with `extends` the shipped book's rates stay for what is not named."""

    name: ModelName
    usd: Usd
    extends: bool = False


class OverrideName(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Which override."""

    name: ModelName


class OverrideChanged(msgspec.Struct, kw_only=True):
    """What was written; `reloaded` false: this operator runs alone, and the workers take it up on SIGHUP."""

    name: str
    settings: dict[str, Any] | None
    reloaded: bool


async def list_prices(call: Call) -> PricePage:
    """A page of prices in force."""
    query: PriceQuery = call.query
    last = call.after()
    settings, now_ms = call.office.settings, call.office.clock.now_ms()

    def find() -> list[PriceView]:
        found = in_force(settings.config, settings.prices, now_ms, query.provider, everything=query.all)
        wanted = (query.q or "").lower()
        shown = {(name, one.model): one for name, one in found if wanted in one.model.lower()}
        after = ("", "") if last is None else (str(last[0]), str(last[1]))
        keys = sorted(key for key in shown if key > after)[: query.limit + 1]
        return [_shown(call, provider, model, shown[provider, model]) for provider, model in keys]

    page, next_cursor = call.page(await asyncio.to_thread(find), lambda one: [one.provider, one.model])
    return PricePage(items=list(page), next_cursor=next_cursor)


async def quote(call: Call) -> Quotes:
    """A model's prices."""
    query: QuoteQuery = call.query
    settings = call.office.settings
    at_ms = call.office.clock.now_ms() if query.at is None else query.at
    found = await asyncio.to_thread(
        priced_at, settings.config, settings.prices, query.model, at_ms, provider=query.provider
    )
    if not found:
        raise NotFound(f"{query.model[:200]!r} has no price; calls to it are refused.", code="price_not_found")
    return Quotes(model=query.model, items=[_shown(call, name, query.model, one) for name, one in found.items()])


async def list_overrides(call: Call) -> Overrides:
    """The configuration's own prices."""
    prices = call.office.settings.config.prices
    return Overrides(items=[OverrideView(name=name, settings=dict(table)) for name, table in prices.items()])


async def set_override(call: Call) -> OverrideChanged:
    """The override as it is then."""
    body: OverrideBody = call.body
    for counter, usd in body.usd.items():
        if counter not in COUNTERS:
            raise InvalidRequest(f"usd.{counter[:100]} is no counter; they are {', '.join(COUNTERS)}", param="usd")
        try:
            parse_usd(usd)
        except ValueError as error:
            raise InvalidRequest(f"usd.{counter}: {error}", param=f"usd.{counter}") from error
    check_override_name(body.name)
    values = {**body.usd, **({"extends": "true"} if body.extends else {})}
    return await _change(call, "price.set", body.name, values)


async def remove_override(call: Call) -> OverrideChanged:
    """The override is gone; the shipped book's price, if there is one, is in force again."""
    query: OverrideName = call.query
    if query.name not in call.office.settings.config.prices:
        raise NotFound(f"There is no override {query.name[:200]!r}.", code="override_not_found")
    return await _change(call, "price.remove", query.name, None)


async def _change(call: Call, action: str, name: str, values: dict[str, str] | None) -> OverrideChanged:
    settings = call.office.settings
    before = settings.config.prices.get(name)
    shown_before = None if before is None else dict(before)
    await note(call.office.database, Change(call.actor, action, name, shown_before, values), call.office.clock.now_ms())
    if values is None:
        await settings.edit(lambda text: edit.remove_price(text, name))
    else:
        await settings.edit(lambda text: edit.set_price(text, name, values))
    reloaded = True
    try:
        config = await settings.reload()
    except Conflict:
        reloaded, config = False, settings.config
    after = config.prices.get(name)
    return OverrideChanged(name=name, settings=None if after is None else dict(after), reloaded=reloaded)


def check_override_name(name: str) -> None:
    """Raises InvalidRequest for what cannot be the name of a table."""
    if not name.isprintable() or "*" in name[:-1]:
        raise InvalidRequest("a price is named after a model; * may stand at its end", param="name")


def _shown(call: Call, provider: str, model: str, price: Any) -> PriceView:
    markup = call.office.settings.prices.markup_ppm(provider, model)
    return msgspec.convert({**as_json(provider, price), "markup_ppm": markup}, PriceView)


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/prices",
        right=READ,
        handler=list_prices,
        summary="Prices in force, by provider and model.",
        tag=TAG,
        query=PriceQuery,
        answer=PricePage,
        refusals=((400, "invalid_cursor"),),
    ),
    Endpoint(
        method="GET",
        path="/prices/quote",
        right=READ,
        handler=quote,
        summary="What a model costs, at every provider that has a price for it.",
        tag=TAG,
        query=QuoteQuery,
        answer=Quotes,
        refusals=((404, "price_not_found"),),
    ),
    Endpoint(
        method="GET",
        path="/price-overrides",
        right=READ,
        handler=list_overrides,
        summary="The configuration's own prices, over the shipped book.",
        tag=TAG,
        answer=Overrides,
    ),
    Endpoint(
        method="PUT",
        path="/price-overrides",
        right=FINANCE,
        handler=set_override,
        summary="Write a price into the configuration; it holds for the next calls.",
        tag=TAG,
        body=OverrideBody,
        answer=OverrideChanged,
        refusals=((400, "config_error"),),
    ),
    Endpoint(
        method="DELETE",
        path="/price-overrides",
        right=FINANCE,
        handler=remove_override,
        summary="Take a price out of the configuration.",
        tag=TAG,
        query=OverrideName,
        answer=OverrideChanged,
        refusals=((404, "override_not_found"), (400, "config_error")),
    ),
)

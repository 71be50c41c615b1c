"""The surfaces of one worker, put together: their stores, their vendors, and the paths that the data listener gives them."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from proxy.accounts.administrators import Administrators
from proxy.accounts.desk import Desk
from proxy.accounts.directory import Directory
from proxy.accounts.keys import KeyHasher
from proxy.accounts.model_prices import ModelPrices
from proxy.core.clock import SystemClock
from proxy.ledger.glance import Glance
from proxy.ledger.scripts import RedisScripts
from proxy.sql.database import open_database
from proxy.surfaces.apikley import apikley, kie
from proxy.surfaces.credits_dev.surface import credits_dev
from proxy.surfaces.deepseek import deepseek
from proxy.surfaces.house import House
from proxy.surfaces.litellm import litellm
from proxy.surfaces.mountsea import mountsea
from proxy.surfaces.new_api import new_api
from proxy.surfaces.openai_billing import openai_billing
from proxy.surfaces.openai_organization import openai_organization
from proxy.surfaces.openrouter import openrouter
from proxy.surfaces.r9s import r9s
from proxy.surfaces.serving import Surfaces
from proxy.surfaces.sub2api import sub2api

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from proxy.accounts.authenticator import Authenticator
    from proxy.config import Config
    from proxy.ledger.connection import RedisConnection
    from proxy.ledger.ledger import Ledger
    from proxy.pipeline.handle import Pipeline
    from proxy.surfaces.vendor import Vendor

VENDORS: tuple[Callable[[House], Vendor], ...] = (
    mountsea,
    credits_dev,
    apikley,
    kie,
    r9s,
    openai_billing,
    openrouter,
    litellm,
    new_api,
    deepseek,
    sub2api,
    openai_organization,
)
"""Where two claim one request, the first one answers it."""


@asynccontextmanager
async def open_surfaces(
    config: Config, redis: RedisConnection, ledger: Ledger, authenticator: Authenticator, pipeline: Pipeline
) -> AsyncIterator[Surfaces]:
    """The surfaces, hung into the pipeline; their database is closed at the end."""
    database = open_database(config.database.url, longest_read_s=config.surfaces.longest_query_s)
    hasher, clock = KeyHasher(config.keys.pepper), SystemClock()
    house = House(
        config=config,
        database=database,
        ledger=ledger,
        glance=Glance(redis, ledger),
        authenticator=authenticator,
        administrators=Administrators(database, hasher, clock, config.admin.token),
        directory=Directory(database, ledger, hasher, clock),
        desk=Desk(database, ledger, RedisScripts(redis), clock, hasher=hasher, prices=ModelPrices.of(config)),
        hasher=hasher,
        clock=clock,
        router=lambda: pipeline.router,
    )
    surfaces = Surfaces(house, [make(house) for make in VENDORS], pipeline.serve)
    pipeline.hang_in(surfaces.paths(), surfaces.refused_stray)
    try:
        yield surfaces
    finally:
        await database.close()

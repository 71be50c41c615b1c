"""A reload: what takes long is no matter of the event loop, what is wrong changes nothing, the last one asked for counts."""

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

from proxy.config import Config, parse_config
from proxy.core.errors import ConfigError
from proxy.pipeline.routes import Prepared, Reloader, Routes
from proxy.providers.registry import known_providers
from proxy.tasks import Tasks


def config(model: str) -> Config:
    text = f"[providers.a]\nbase_url = 'https://127.0.0.1:9/v1'\napi_key = 'k'\nmodels = ['{model}']\n[prices.'{model}']\ninput = 1\noutput = 2\n"
    return parse_config(text, known_providers=known_providers())


class Told:
    """What a reload tells the others; each is told in the event loop."""

    def __init__(self) -> None:
        self.routers: list[Any] = []
        self.prices: list[Any] = []
        self.threads: set[int] = set()

    def reroute(self, _paths: Any, router: Any, _models: Any) -> None:
        self.routers.append(router)
        self.threads.add(threading.get_ident())

    def use_default_limits(self, _limits: Any) -> None:
        self.threads.add(threading.get_ident())

    def follow(self, _config: Config, prices: Any) -> None:
        self.prices.append(prices)
        self.threads.add(threading.get_ident())


async def reloaded(*answers: Config | ConfigError) -> tuple[Told, Reloader, Routes, list[int]]:
    told, tasks, left, readers = Told(), Tasks(), list(answers), []

    def read_again() -> Config:
        readers.append(threading.get_ident())
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    first: Any = SimpleNamespace(retire=lambda: None, close=lambda: None)
    pipeline: Any = told
    reloader = Reloader(read_again, first, pipeline, pipeline, tasks, told.follow)
    for _ in answers:
        reloader.reload()
        assert await tasks.wait(10)
    return told, reloader, first, readers


async def test_the_file_is_read_in_another_thread_and_taken_up_in_this_one() -> None:
    told, reloader, first, readers = await reloaded(config("m"))
    assert readers
    assert threading.get_ident() not in readers
    assert told.threads == {threading.get_ident()}
    assert reloader.routes is not first
    assert told.prices[0].find("a", "m", 1_760_000_000_000) is not None
    await reloader.routes.close()


async def test_what_is_wrong_changes_nothing() -> None:
    told, reloader, first, _ = await reloaded(ConfigError("no"))
    assert reloader.routes is first
    assert not told.routers


async def test_the_last_of_several_counts_and_a_wrong_one_stops_none_behind_it() -> None:
    told, reloader, _, readers = await reloaded(config("m"), ConfigError("no"), config("n"))
    assert len(readers) == 3
    assert len(told.routers) == 2
    assert reloader.routes.router is told.routers[-1]
    assert told.prices[-1].find("a", "n", 1_760_000_000_000) is not None
    assert told.prices[-1].find("a", "m", 1_760_000_000_000) is None
    await reloader.routes.close()


async def test_a_burst_is_one_reload_and_one_behind_it() -> None:
    told, tasks, readings = Told(), Tasks(), []
    begun, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def read_again() -> Config:
        readings.append(len(readings))
        loop.call_soon_threadsafe(begun.set)
        assert go_on.wait(10)
        return config("m" if len(readings) == 1 else "n")

    first: Any = SimpleNamespace(retire=lambda: None)
    pipeline: Any = told
    reloader = Reloader(read_again, first, pipeline, pipeline, tasks, told.follow)
    reloader.reload()
    await begun.wait()
    for _ in range(20):
        reloader.reload()
    go_on.set()
    assert await tasks.wait(10)
    assert len(readings) == 2
    assert told.prices[-1].find("a", "n", 1_760_000_000_000) is not None, "the file as it was after the last signal"
    await reloader.routes.close()


async def test_a_defect_in_one_reload_is_no_end_of_reloads() -> None:
    defect: Any = RuntimeError("not an error of the configuration")
    told, _, _, _ = await reloaded(defect, config("m"))
    assert len(told.routers) == 1


async def test_providers_with_the_same_authorities_share_them() -> None:
    text = "".join(f"[providers.p{n}]\nbase_url='https://127.0.0.1:{n + 1}/v1'\napi_key='k'\n" for n in range(5))
    prepared = Prepared.of(parse_config(text, known_providers=known_providers()))
    assert list(prepared.tls) == [None]

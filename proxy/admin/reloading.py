"""The configuration as the operator's process knows it, how it is edited, and how everybody is made to take it up anew.

Workers reload on SIGHUP, which their supervisor passes on, to this process too; the supervisor says who it is in `FAREBOX_SUPERVISOR`,
and which file people edit in `FAREBOX_EDITED_CONFIG`. An operator that runs alone (one process a container) has nobody to tell: the
answer says so, and whoever runs the workers sends them SIGHUP.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from proxy.config import load_config
from proxy.core.errors import ConfigError, Conflict, InvalidRequest
from proxy.prices import edit
from proxy.providers.registry import known_providers

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.config import Config
    from proxy.prices.book import PriceBook

log = logging.getLogger("farebox.operator")

SUPERVISOR = "FAREBOX_SUPERVISOR"
EDITED_CONFIG = "FAREBOX_EDITED_CONFIG"


class Settings:
    """`config` and `prices` as they were last taken up."""

    def __init__(self, config: Config, read_again: Callable[[], Config]) -> None:
        self.config = config
        self.prices: PriceBook = config.price_book()
        self._read_again = read_again
        self._editing = asyncio.Lock()
        self._rereading = asyncio.Lock()  # what was read last is what counts

    async def reread(self) -> None:
        """Answers SIGHUP: takes the configuration up in this process; one that is wrong changes nothing."""
        try:
            async with self._rereading:
                self.config, self.prices = await asyncio.to_thread(self._read_with_prices)
        except ConfigError as error:
            log.error("not reloaded: %s", error.message)  # noqa: TRY400 - the message says it all

    async def reload(self) -> Config:
        """Has every process of this host take the file up; the configuration as it will be.

        Raises InvalidRequest (the file is wrong: nothing changed), Conflict (`not_supervised`: there is nobody to tell).
        """
        try:
            config = await asyncio.to_thread(self._read_edited)
        except ConfigError as error:
            raise InvalidRequest(f"Nothing was reloaded: {error.message}", code="config_error") from error
        supervisor = os.environ.get(SUPERVISOR, "")
        if supervisor != str(os.getppid()):
            await self.reread()
            raise Conflict("This operator runs alone: send SIGHUP to the workers.", code="not_supervised")
        os.kill(int(supervisor), signal.SIGHUP)
        return config

    async def edit(self, change: Callable[[str], str]) -> None:
        """Changes the text of the configuration's file; what would not load is not written.

        Raises InvalidRequest (`config_error`: it cannot be changed so, or not be written).
        """
        async with self._editing:
            try:
                await asyncio.to_thread(self._edit, change)
            except (ConfigError, OSError) as error:
                message = error.message if isinstance(error, ConfigError) else f"cannot read the file: {error.strerror}"
                raise InvalidRequest(f"Nothing was changed: {message}", code="config_error") from error

    def _edit(self, change: Callable[[str], str]) -> None:
        path = self._edited()
        if path is None:
            raise ConfigError("this process does not know which file is edited")
        changed = change(path.read_text(encoding="utf-8"))
        edit.write(path, changed, check=lambda fresh: load_config(fresh, known_providers()).price_book())

    def _read_with_prices(self) -> tuple[Config, PriceBook]:
        """Some tens of milliseconds for a few hundred prices."""
        config = self._read_again()
        return config, config.price_book()

    def _read_edited(self) -> Config:
        path = self._edited()
        return self._read_again() if path is None else load_config(path, known_providers())

    def _edited(self) -> Path | None:
        named = os.environ.get(EDITED_CONFIG) or os.environ.get("FAREBOX_CONFIG")
        return Path(named) if named else None

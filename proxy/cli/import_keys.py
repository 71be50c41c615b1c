"""API keys from a CSV file: given keys, digests of keys, or keys that are made here and written to a file of their own.

A given key or digest is known by itself, a key that is made by its account and name: what is there already is kept, its settings too.
A key that is made is in the file, and on disk, before it is good for anything: no crash makes a key that nobody has.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from proxy.accounts.given_keys import GivenKey, bring_key, owner_of
from proxy.accounts.keys import MANAGER, USER, new_key
from proxy.accounts.rows import CLOSED, Account, KeySettings, settings_row
from proxy.cli.context import instant_from
from proxy.cli.csv_rows import CsvRow, Plan, Planned, needed
from proxy.cli.settings import KINDS, changed_limits
from proxy.cli.stores import Stores, actor_here
from proxy.core.errors import Conflict, InvalidRequest, NotFound
from proxy.records.exports import csv_line

_LISTS = ("models", "paths", "networks", "scopes")
COLUMNS = ("account", "name", "kind", "key", "digest", "prefix", "expires", *_LISTS, *KINDS)
REQUIRED = ("account",)
_SHOWN = {USER: "sk-fb-...", MANAGER: "sk_mg_..."}


class KeyImport:
    """Plans the rows of one file; `output` is where keys that are made are written."""

    def __init__(self, stores: Stores, output: Path | None) -> None:
        self._stores = stores
        self._output = output
        self._makes = False
        self._made: TextIO | None = None
        self._seen: dict[object, int] = {}
        self._names: dict[str, set[str]] = {}

    async def plan(self, rows: list[CsvRow], plan: Plan) -> None:
        """Reads every row; nothing is changed."""
        for row in rows:
            await plan.add(row, self._planned)
        if self._makes and self._output is None:
            plan.mistakes.append("keys are to be made: say with --output FILE where to write them")
        if self._makes and self._output is not None and self._output.exists():
            plan.mistakes.append(f"{self._output} is there already: name another file with --output")

    def close(self) -> None:
        """Closes the file of the keys that were made."""
        if self._made is not None:
            self._made.close()

    async def _planned(self, row: CsvRow) -> Planned:
        account = await self._account(needed(row, "account"))
        settings = _settings(row.cells)
        settings_row(settings)
        subject = f"{account.name}: {settings.name or '(no name)'}"
        given = self._given(row.cells, settings.kind)
        if given is None:
            return await self._making(row, account, settings, subject)
        self._once(row, given.digest)
        owner = await owner_of(self._stores.database, given.digest)
        if owner == account.id:
            return Planned(row.line, "keep", subject, f"{given.prefix}...")
        if owner is not None:
            raise Conflict("this key belongs to another account")
        _check_open(account)

        async def bring() -> None:
            await self._bring(account, settings, given)

        return Planned(row.line, "create", subject, f"the given key {given.prefix}...", bring)

    async def _making(self, row: CsvRow, account: Account, settings: KeySettings, subject: str) -> Planned:
        if not settings.name:
            raise InvalidRequest("a key that is made needs a name, by which a second run knows it")
        self._once(row, (account.id, settings.name))
        if account.id not in self._names:
            self._names[account.id] = {key.name for key in await self._stores.directory.keys(account.id)}
        if settings.name in self._names[account.id]:
            return Planned(row.line, "keep", subject)
        _check_open(account)
        self._makes = True

        async def make() -> None:
            key = new_key(settings.kind)
            self._write(account, settings, key)
            await self._bring(account, settings, GivenKey.of_key(key, settings.kind, self._stores.hasher))

        return Planned(row.line, "create", subject, f"a new key {_SHOWN[settings.kind]}", make)

    async def _bring(self, account: Account, settings: KeySettings, given: GivenKey) -> None:
        now_ms = self._stores.journal.clock.now_ms()
        await bring_key(self._stores.database, account.id, settings, given, actor=actor_here(), now_ms=now_ms)

    async def _account(self, reference: str) -> Account:
        try:
            return await self._stores.directory.account(reference)
        except NotFound as error:
            raise NotFound(f"there is no account {reference!r}: import accounts first") from error

    def _given(self, cells: Mapping[str, str], kind: str) -> GivenKey | None:
        if "key" in cells and "digest" in cells:
            raise InvalidRequest("a key or a digest, not both")
        if "key" in cells:
            return GivenKey.of_key(cells["key"], kind, self._stores.hasher)
        if "digest" in cells:
            return GivenKey.of_digest(cells["digest"], cells.get("prefix", _SHOWN[kind].rstrip(".")))
        return None

    def _once(self, row: CsvRow, identity: object) -> None:
        if (before := self._seen.setdefault(identity, row.line)) != row.line:
            raise InvalidRequest(f"this key stands in line {before} already")

    def _write(self, account: Account, settings: KeySettings, key: str) -> None:
        if self._made is None:
            assert self._output is not None  # the plan says so
            handle = os.open(self._output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            self._made = os.fdopen(handle, "w", encoding="utf-8", newline="")
            self._made.write(csv_line(("account", "name", "kind", "key")).decode())
        self._made.write(csv_line((account.id, settings.name, settings.kind, key)).decode())
        self._made.flush()
        os.fsync(self._made.fileno())


def _check_open(account: Account) -> None:
    if account.status == CLOSED:
        raise Conflict(f"the account {account.name!r} is closed")


def _settings(cells: Mapping[str, str]) -> KeySettings:
    """Lists are separated by semicolons. Raises InvalidRequest, click's UsageError."""
    kind = cells.get("kind", USER)
    if kind not in _SHOWN:
        raise InvalidRequest(f"kind is {USER} or {MANAGER}")
    lists = {name: [one.strip() for one in cells[name].split(";")] for name in _LISTS if name in cells}
    return KeySettings(
        kind=kind,
        name=cells.get("name", ""),
        limits=changed_limits({}, (f"{name}={cells[name]}" for name in KINDS if name in cells)),
        models=lists.get("models"),
        scopes=lists.get("scopes", []),
        expires_at=instant_from(cells["expires"]) if "expires" in cells else None,
        paths=lists.get("paths"),
        networks=lists.get("networks"),
    )

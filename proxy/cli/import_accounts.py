"""Accounts from a CSV file: an account that is there already is changed where the file says something else, and kept otherwise."""

from collections.abc import Mapping
from dataclasses import replace

from proxy.accounts.limits import PARTINGS
from proxy.accounts.rows import CLOSED, Account, account_row
from proxy.accounts.topups import amount_from
from proxy.cli.csv_rows import CsvRow, Plan, Planned, needed
from proxy.cli.settings import KINDS, NONE, changed_limits, unless_none
from proxy.cli.stores import Stores
from proxy.core.errors import Conflict, InvalidRequest, NotFound
from proxy.core.ids import new_account_id
from proxy.core.money import parse_scaled
from proxy.core.pricing import MARKUP_ONE_PPM

METADATA = "metadata."
COLUMNS = ("id", "name", "markup", "on_client_left", "low_balance", *KINDS)
REQUIRED = ("name",)


class AccountImport:
    """Plans the rows of one file."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._seen: dict[str, int] = {}

    async def plan(self, rows: list[CsvRow], plan: Plan) -> None:
        """Reads every row; nothing is changed."""
        for row in rows:
            await plan.add(row, self._planned)

    async def _planned(self, row: CsvRow) -> Planned:
        name = needed(row, "name")
        if (before := self._seen.setdefault(name, row.line)) != row.line:
            raise InvalidRequest(f"the account {name!r} stands in line {before} already")
        account = await self._known(row.cells.get("id"), name)
        if account is None:
            return self._creation(row, name)
        wanted = _settings(row.cells, account)
        account_row(replace(account, **wanted))  # type: ignore[arg-type]  # this is the check
        changes = {key: value for key, value in wanted.items() if getattr(account, key) != value}
        if not changes:
            return Planned(row.line, "keep", name)
        if account.status == CLOSED:
            raise Conflict(f"the account {name!r} is closed")

        async def change() -> None:
            await self._stores.directory.update_account(account.id, changes)

        return Planned(row.line, "change", name, ", ".join(changes), change)

    async def _known(self, account_id: str | None, name: str) -> Account | None:
        by_name = await self._found(name)
        if account_id is None:
            return by_name
        if not account_id.startswith("acct_"):
            raise InvalidRequest("an account's id begins with acct_")
        by_id = await self._found(account_id)
        if by_name is not None and by_name.id != account_id:
            raise Conflict(f"there is an account {name!r} already; its id is {by_name.id}")
        return by_id

    async def _found(self, reference: str) -> Account | None:
        try:
            return await self._stores.directory.account(reference)
        except NotFound:
            return None

    def _creation(self, row: CsvRow, name: str) -> Planned:
        made = Account(row.cells.get("id") or new_account_id(), name, "active", 1, {}, None, 0)
        made = replace(made, **_settings(row.cells, made))  # type: ignore[arg-type]  # checked in the next line
        account_row(made)

        async def create() -> None:
            await self._stores.directory.create_account(
                name, limits=made.limits, markup_ppm=made.markup_ppm, metadata=made.metadata, new=made.id
            )
            if made.low_balance_microcredits is not None:
                threshold = {"low_balance_microcredits": made.low_balance_microcredits}
                await self._stores.directory.update_account(made.id, threshold)

        return Planned(row.line, "create", name, row.cells.get("id", ""), create)


def _settings(cells: Mapping[str, str], account: Account) -> dict[str, object]:
    """What the row says of an account; the word none removes what is there. Raises InvalidRequest, click's UsageError."""
    found: dict[str, object] = {"name": cells["name"]}
    limits = changed_limits(account.limits, (f"{kind}={cells[kind]}" for kind in KINDS if kind in cells))
    if (parting := cells.get("on_client_left")) is not None:
        if parting not in {NONE, *PARTINGS}:
            raise InvalidRequest(f"on_client_left is one of {', '.join(PARTINGS)}, or {NONE}")
        limits.pop("on_client_left", None)
        limits |= {} if parting == NONE else {"on_client_left": parting}
    found["limits"] = limits
    if "markup" in cells:
        found["markup_ppm"] = unless_none(cells["markup"], _markup)
    if "low_balance" in cells:
        found["low_balance_microcredits"] = unless_none(cells["low_balance"], amount_from)
    notes = {name.removeprefix(METADATA): text for name, text in cells.items() if name.startswith(METADATA)}
    if notes:
        found["metadata"] = {**account.metadata, **notes}
    return found


def _markup(text: str) -> int:
    try:
        return parse_scaled(text, MARKUP_ONE_PPM)
    except ValueError as error:
        raise InvalidRequest(f"markup: {error}") from error

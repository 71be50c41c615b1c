"""Maintenance mode: a switch in SQL that every process reads. While it is on, the query surfaces answer that they are being maintained.

Calls are not concerned: they go on. A reader keeps what it read for as long as it likes; a second is soon enough.
"""

from proxy.accounts.audit_log import STEP, Change, row_of
from proxy.sql.database import Database

KEY = "maintenance"
ON, OFF = "on", "off"


async def is_on(database: Database) -> bool:
    """Whether it is on; it never was, where nobody has switched it."""
    row = await database.fetch_one("meta", key=KEY)
    return row is not None and row["value"] == ON


async def switch(database: Database, *, on: bool, actor: str, now_ms: int) -> None:
    """Switches it, and says in the log who did."""
    before, after = await is_on(database), on
    change = Change(actor, "maintenance.switch", KEY, {"on": before}, {"on": after})
    await database.transaction(
        ("set_meta", [{"key": KEY, "value": ON if on else OFF}]), (STEP, [row_of(change, now_ms)])
    )

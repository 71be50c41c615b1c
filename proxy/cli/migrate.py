"""`farebox migrate`: the database's schema."""

import click

from proxy.cli.context import json_option, print_json, run_async, with_config
from proxy.config import Config
from proxy.sql.database import open_database


@click.command()
@json_option
@with_config
def migrate(config: Config, *, as_json: bool) -> None:
    """Bring the schema up to this version; safe to repeat, and while Farebox runs."""

    async def work() -> list[str]:
        database = open_database(config.database.url)
        try:
            return await database.migrate()
        finally:
            await database.close()

    applied = run_async(work())
    if as_json:
        print_json({"applied": applied})
        return
    for name in applied:
        click.echo(f"applied {name}")
    if not applied:
        click.echo("The schema is up to date.")

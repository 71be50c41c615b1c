"""`farebox dev`: everything built in, from nothing to the first answered call. What `make run` starts."""

import json
import os
import shlex
import shutil
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import click
import msgspec

from proxy import logs
from proxy.accounts.topups import Credit
from proxy.cli.context import run_async
from proxy.cli.dev_files import DevFiles
from proxy.cli.serve import address, core_roles, embedded_redis, migrate_database, prepare_state, role_argv
from proxy.cli.stores import Stores, open_stores
from proxy.config import Config
from proxy.core.errors import InvalidKey, NotFound
from proxy.core.money import MICROCREDITS_PER_CREDIT
from proxy.providers.registry import known_providers
from proxy.providers.sim.models import SIM_MODELS
from proxy.roles import load
from proxy.supervisor import Role, Supervisor, bind_shared

DEMO = "demo"
DEMO_CREDITS = 10_000
DEMO_KEY = "demo_api_key"


@click.command()
@click.option("--data", default="./farebox-data", metavar="DIR", show_default=True, help="Where everything is kept.")
@click.option("--port", type=click.IntRange(0, 65535), help="Of the proxy; 0: any free one. [first start: 8080]")
@click.option("--admin-port", type=click.IntRange(0, 65535), help="Of metrics and console; 0: any. [first start: 9090]")
@click.option("--workers", type=click.IntRange(1, 64), help="Processes that serve calls. [first start: 1]")
def dev(data: str, port: int | None, admin_port: int | None, workers: int | None) -> int:
    """Farebox with an embedded Redis, SQLite, a demo account and a simulated model; a second start finds all as it was."""
    files = DevFiles(Path(data).absolute())
    files.prepare(
        listen=f"127.0.0.1:{8080 if port is None else port}",
        admin_listen=f"127.0.0.1:{9090 if admin_port is None else admin_port}",
        workers=workers or 1,
        sim_models=SIM_MODELS,
    )
    config = _overridden(load(files.config), port, admin_port, workers)
    logs.set_up(config.logs.level, config.logs.format, "farebox")
    with embedded_redis(config) as redis:  # its lock also keeps a second start out of this folder
        prepare_state(config)
        sim = bind_shared("127.0.0.1", 0, 1)[0]
        files.write_effective(_providers(sim))
        run_async(migrate_database(config))
        account = run_async(_demo_account(config, files))
        roles = [
            Role("sim", role_argv("sim", files.effective, 0, sim.fileno()), sim),
            *core_roles(config, files.effective, edited=files.config),
        ]
        run = _Run(files, config, account, roles)
        return Supervisor(roles, redis, on_ready=run.announce, on_reload=lambda: run.reload(sim)).run()


def _overridden(config: Config, port: int | None, admin_port: int | None, workers: int | None) -> Config:
    """The kept configuration with what this start was asked for."""
    server, admin = config.server, config.admin
    if port is not None:
        server = msgspec.structs.replace(server, listen=f"127.0.0.1:{port}")
    if workers is not None:
        server = msgspec.structs.replace(server, workers=workers)
    if admin_port is not None:
        admin = msgspec.structs.replace(admin, listen=f"127.0.0.1:{admin_port}")
    return msgspec.structs.replace(config, server=server, admin=admin)


def _providers(sim: socket.socket) -> dict[str, Mapping[str, object]]:
    """The simulated provider, and every known one whose API key is in the environment."""
    origin = f"http://127.0.0.1:{sim.getsockname()[1]}"
    endpoints = {"openai": f"{origin}/v1", "anthropic": origin, "gemini": origin}
    wired: dict[str, Mapping[str, object]] = {
        "sim": {"base_url": endpoints, "api_key": "sim", "models": ["sim", "sim-*"]}
    }
    for name, known in known_providers().items():
        variable = f"{name.upper()}_API_KEY"
        if known["base_url"] and os.environ.get(variable):
            wired[name] = {"api_key": f"env:{variable}"}
    return wired


async def _demo_account(config: Config, files: DevFiles) -> str:
    """The demo account's id; made, credited and given a key once."""
    async with open_stores(config) as stores:
        try:
            account = await stores.directory.account(DEMO)
        except NotFound:
            account = await stores.directory.create_account(DEMO)
        gift = Credit(
            DEMO_CREDITS * MICROCREDITS_PER_CREDIT, "farebox-dev-first-credits", actor="dev", reason="to try things out"
        )
        await stores.topups.top_up(account.id, gift)
        if not await _key_is_good(stores, files.secret(DEMO_KEY)):
            files.keep_secret(DEMO_KEY, (await stores.directory.create_key(account.id)).key)
        return account.id


async def _key_is_good(stores: Stores, key: str | None) -> bool:
    """Whether the kept key still opens the account: it may have been revoked, or the database begun anew."""
    if key is None:
        return False
    try:
        await stores.authenticator.identify(key.encode())
    except InvalidKey:
        return False
    return True


@dataclass(frozen=True)
class _Run:
    """What is said of a run once it serves."""

    files: DevFiles
    config: Config
    account: str
    roles: list[Role]

    def announce(self) -> None:
        """Writes dev.json and prints the banner."""
        addresses = {role.name: address(role) for role in self.roles if role.listen is not None}
        origin, admin_url = f"http://{addresses['worker 0']}", f"http://{addresses['operator']}"
        key = self.files.secret(DEMO_KEY) or ""
        report = {
            "base_url": f"{origin}/v1",
            "admin_url": admin_url,
            "api_key": key,
            "admin_token": self.config.admin.token,
            "account": self.account,
        }
        self.files.write_report(report)
        for line in _banner(report, origin, self.files.folder):
            click.echo(line)

    def reload(self, sim: socket.socket) -> None:
        """Takes up what was changed in farebox.toml, before SIGHUP reaches the roles. Raises ConfigError."""
        load(self.files.config)
        self.files.write_effective(_providers(sim))


def _banner(report: Mapping[str, str], origin: str, folder: Path) -> list[str]:
    body = json.dumps({"model": "sim", "messages": [{"role": "user", "content": "Hello"}]})
    headers = f"-H 'Authorization: Bearer {report['api_key']}' -H 'Content-Type: application/json'"
    return [
        "",
        click.style("  Farebox is running.", bold=True),
        "",
        f"  Base URL   {report['base_url']}   (Anthropic and Gemini SDKs: {origin})",
        f"  API key    {report['api_key']}",
        f"  Console    {report['admin_url']}/",
        f"  Login      admin, with the password {report['admin_token']}",
        f"  Data       {folder}",
        "",
        "  Try it:",
        "",
        f"curl {report['base_url']}/chat/completions {headers} -d '{body}'",
        "",
        f"  Then: {_command('balance', folder)}   {_command('usage', folder)}",
        "  Ctrl-C stops; the next start finds everything as it was left.",
        "",
    ]


def _command(name: str, folder: Path) -> str:
    """A command line that works as pasted, here and now."""
    program = "farebox" if shutil.which("farebox") else os.path.relpath(sys.argv[0])
    config = (
        "" if folder == Path("farebox-data").absolute() else f" --config {shlex.quote(str(folder / 'farebox.toml'))}"
    )
    return f"{program} {name} {DEMO}{config}"

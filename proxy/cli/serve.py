"""`farebox serve`, and each of its roles alone."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import click

from proxy import logs
from proxy.cli.context import run_async, with_path
from proxy.config import Config, parse_listen
from proxy.core.errors import ConfigError
from proxy.embedded import EmbeddedRedis, redis_directory
from proxy.roles import EMBEDDED, load, run_role_process
from proxy.sql.database import open_database
from proxy.supervisor import Role, Supervisor, bind_shared

OPERATOR_GRACE_S = 2.0
RECORDER_GRACE_S = 10.0


@click.command()
@click.option(
    "--allow-embedded", is_flag=True, help='Serve with redis.url = "embedded": one host, one point of failure.'
)
@with_path
def serve(path: Path, *, allow_embedded: bool) -> int:
    """The proxy: workers, a recorder, a reaper and the operators' listener, until SIGTERM; SIGHUP reloads."""
    config = load(path)
    if config.redis.url == EMBEDDED and not allow_embedded:
        raise ConfigError(
            'redis.url is "embedded", which is for trying things out: name a Redis or Valkey server, '
            "or say --allow-embedded if one host is enough"
        )
    logs.set_up(config.logs.level, config.logs.format, "farebox")
    prepare_state(config)
    with embedded_redis(config) as redis:
        run_async(migrate_database(config))
        roles = core_roles(config, path)
        return Supervisor(roles, redis, on_ready=lambda: _say_ready(config, roles)).run()


def _say_ready(config: Config, roles: Sequence[Role]) -> None:
    addresses = {role.name: address(role) for role in roles if role.listen is not None}
    click.echo(f"Farebox serves on http://{addresses['worker 0']} with {config.server.workers} worker(s)", err=True)
    click.echo(f"Metrics and administration on http://{addresses['operator']}", err=True)


# What `serve` and `dev` share.


@contextlib.contextmanager
def embedded_redis(config: Config) -> Iterator[EmbeddedRedis | None]:
    """The embedded server while the block runs, or None where the configuration names another one."""
    if config.redis.url != EMBEDDED:
        yield None
        return
    redis = EmbeddedRedis(redis_directory(Path(config.server.state_dir)), appendfsync=config.redis.appendfsync)
    redis.start()
    try:
        yield redis
    finally:
        redis.stop()


def prepare_state(config: Config) -> None:
    """The state directory, without the metrics of processes that are gone."""
    state = Path(config.server.state_dir)
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    for file in (state / "metrics").glob("*.db"):
        file.unlink(missing_ok=True)


async def migrate_database(config: Config) -> list[str]:
    """Brings the schema up to this version; the names of what was applied."""
    database = open_database(config.database.url)
    try:
        return await database.migrate()
    finally:
        await database.close()


def core_roles(
    config: Config,
    path: Path,
    *,
    listen: str | None = None,
    admin_listen: str | None = None,
    edited: Path | None = None,
) -> list[Role]:
    """Workers, recorder, reaper and operator on freshly bound sockets; the addresses default to the configuration's.

    `edited` is the file that people edit, where `path` is made of it.
    """
    host, port = parse_listen(listen or config.server.listen)
    admin_host, admin_port = parse_listen(admin_listen or config.admin.listen)
    admin = bind_shared(admin_host, admin_port, 1)[0]
    workers = [
        Role(
            f"worker {index}",
            role_argv("worker", path, index, socket.fileno()),
            socket,
            grace_s=config.server.drain_s,
            stops_first=True,
        )
        for index, socket in enumerate(bind_shared(host, port, config.server.workers))
    ]
    known = {"FAREBOX_SUPERVISOR": str(os.getpid()), "FAREBOX_EDITED_CONFIG": str((edited or path).absolute())}
    operator_argv = role_argv("operator", path, 0, admin.fileno())
    return [
        Role("recorder", role_argv("recorder", path), grace_s=RECORDER_GRACE_S),
        Role("reaper", role_argv("reaper", path)),
        Role("operator", operator_argv, admin, grace_s=OPERATOR_GRACE_S, env=known),
        *workers,
    ]


def role_argv(name: str, path: Path, index: int = 0, listen_fd: int = -1) -> tuple[str, ...]:
    """The command of one role's process; the working directory is kept out of its import path."""
    return (sys.executable, "-P", "-m", "proxy", "role", name, str(path.absolute()), str(index), str(listen_fd))


def address(role: Role) -> str:
    """`host:port` that a role's socket listens on."""
    assert role.listen is not None
    host, port = role.listen.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


# Each role alone.


def _alone(name: str, text: str) -> click.Command:
    def command(path: Path) -> int:
        os.environ["FAREBOX_CONFIG"] = str(path.absolute())
        return run_role_process(name, path, 0, None)

    command.__doc__ = text
    wrapped: Callable[..., int] = with_path(command)
    return click.command(name)(wrapped)


worker = _alone("worker", "One worker alone; it listens on server.listen, which others may share.")
recorder = _alone("recorder", "One recorder alone; any number may run.")
reaper = _alone("reaper", "The reaper alone; several do no harm.")
operator = _alone("operator", "The operators' listener alone.")

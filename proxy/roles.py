"""One role's process: worker, recorder, reaper, operator or sim, with the configuration that it runs on."""

from pathlib import Path

import msgspec

from proxy.config import Config, load_config
from proxy.embedded import redis_directory, socket_path
from proxy.providers.registry import known_providers

ROLES = ("worker", "recorder", "reaper", "operator")
EMBEDDED = "embedded"


def load(path: Path) -> Config:
    """The configuration with the defaults of the known providers. Raises ConfigError."""
    return load_config(path, known_providers())


def with_redis_address(config: Config) -> Config:
    """`redis.url = "embedded"` as the address of the server that runs on this state directory."""
    if config.redis.url != EMBEDDED:
        return config
    url = f"unix://{socket_path(redis_directory(Path(config.server.state_dir)))}"
    return msgspec.structs.replace(config, redis=msgspec.structs.replace(config.redis, url=url))


def run_role_process(name: str, path: Path, index: int, listen_fd: int | None) -> int:
    """Runs one role until it is told to stop and returns its exit code. Raises ConfigError."""
    config = with_redis_address(load(path))
    if name == "sim":
        from proxy.providers.sim.app import run_sim  # noqa: PLC0415 - no other role carries the simulated model

        return run_sim(listen_fd)
    from proxy.app import run_role  # noqa: PLC0415 - the simulated model carries none of the proxy

    return run_role(name, config, index, listen_fd, lambda: with_redis_address(load(path)))

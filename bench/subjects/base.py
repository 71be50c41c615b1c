"""What every subject is given, and what it gives back."""

from dataclasses import dataclass, field
from pathlib import Path

from bench.processes import Cores


@dataclass(frozen=True)
class Place:
    """Where a subject runs: the upstream that it forwards to, a directory of its own, the CPUs it may use."""

    upstream_port: int
    directory: Path
    cores: Cores


@dataclass(frozen=True)
class Running:
    """A subject that answers. `workers` are the processes under test; `beside` are its helpers, by role."""

    port: int
    workers: tuple[int, ...] = ()
    beside: dict[str, int] = field(default_factory=dict)
    authorization: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

"""What every subject is given, and what it gives back."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench.generator import Manner
from bench.processes import Cores, tail
from bench.subjects.insight import Insight


@dataclass(frozen=True)
class Secure:
    """The upstream behind TLS: its port, and the authority (PEM) that vouches for it by the names 127.0.0.1 and localhost."""

    port: int
    authority: Path


@dataclass(frozen=True)
class Place:
    """Where a subject runs: the upstream that it forwards to, a directory of its own, the CPUs it may use.

    `database` is a file that Farebox shall work on, None for a new one; `secure` is the same upstream behind TLS, where it is there.
    """

    upstream_port: int
    directory: Path
    cores: Cores
    database: Path | None = None
    secure: Secure | None = None


@dataclass(frozen=True)
class Running:
    """A subject that answers. `workers` are the processes under test; `beside` are its helpers, by role.

    `insight` reads what it counts itself, where it does; `configuration` is Farebox's, for its commands; `over_tls` is the
    same subject where it forwards to the upstream behind TLS.
    """

    port: int
    workers: tuple[int, ...] = ()
    beside: dict[str, int] = field(default_factory=dict)
    authorization: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    log: Path | None = None
    insight: Callable[[], Insight] | None = None
    configuration: Path | None = None
    manner: Manner = field(default_factory=Manner)
    over_tls: "Running | None" = None

    def gone(self) -> str | None:
        """Return which of its processes have ended, with the end of its log; None while all live."""
        roles = dict.fromkeys(self.workers, "worker") | {pid: role for role, pid in self.beside.items()}
        ended = [role for pid, role in roles.items() if not Path(f"/proc/{pid}").exists()]
        if not ended:
            return None
        return f"its {' and '.join(ended)} ended: {tail(self.log) if self.log else 'no log'}"

"""`farebox` and `python -m proxy`: the command line, and below it the processes that the supervisor starts.

A role (`python -m proxy role NAME ...`) is told apart before the command line is imported: a worker's memory is paid for
by every worker, and click and rich have no place in it.
"""

import os
import sys
from pathlib import Path


def main() -> int:
    """Runs the command in sys.argv and returns its exit code."""
    if sys.argv[1:2] == ["role"]:
        return _role(sys.argv[2:])
    from proxy.cli.root import run  # noqa: PLC0415 - see above

    return run(sys.argv[1:])


def _role(words: list[str]) -> int:
    """`role NAME CONFIG INDEX LISTEN_FD` (-1: it listens by itself, if at all); only the supervisor says this."""
    from proxy.core.errors import ConfigError  # noqa: PLC0415 - a role imports what it needs and no more
    from proxy.roles import run_role_process  # noqa: PLC0415

    name, config, index, listen_fd = words
    os.environ["FAREBOX_CONFIG"] = config
    try:
        return run_role_process(name, Path(config), int(index), int(listen_fd) if int(listen_fd) >= 0 else None)
    except ConfigError as error:
        sys.stderr.write(f"farebox {name}: {error.message}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())

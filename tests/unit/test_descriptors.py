"""Open files: as many as the hard limit allows, and a table that need not grow while calls wait."""

import subprocess
import sys

_PROGRAM = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (256, {hard}))
from proxy import descriptors
descriptors.make_room()
size = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("FDSize"))
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0], size, len(descriptors.os.listdir("/proc/self/fd")))
"""


def told(hard: int) -> list[int]:
    """The soft limit, the size of the table, and how many files are open, of a process that made room."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(hard=hard)], check=True, capture_output=True, text=True
    )
    return [int(word) for word in done.stdout.split()]


def test_the_hard_limit_is_used_and_the_table_is_made_for_it() -> None:
    limit, size, open_files = told(5000)
    assert limit == 5000
    assert size >= 5000
    assert open_files < 10

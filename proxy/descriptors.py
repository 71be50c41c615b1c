"""Open files of a process that serves: as many as the system lets it have, in a table that is large enough from the start.

Linux doubles a process's table of open files when it is full, and where the process has threads the caller of `accept` sleeps meanwhile
until every core was seen to be elsewhere (expand_fdtable in the kernel's fs/file.c, synchronize_rcu): the event loop stood for 7 to 16 ms
at the 256th, 512th, 1,024th ... connection.
"""

import fcntl
import logging
import os
import resource

log = logging.getLogger("farebox.descriptors")

# The kernel takes 8 bytes for each. Beyond that many the table grows as it always did.
_ROOM = 65_536


def make_room() -> None:
    """Raises the soft limit of open files to the hard one, and has the table made. Before the first connection, or it costs what it saves."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as error:  # not everywhere may a process have what its hard limit says
        log.warning("the limit of open files stays at %d: %s", soft, error)
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    room = _ROOM if limit == resource.RLIM_INFINITY else min(limit, _ROOM)
    something = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.close(fcntl.fcntl(something, fcntl.F_DUPFD_CLOEXEC, room - 1))
    finally:
        os.close(something)

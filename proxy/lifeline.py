"""Child processes that die with their parent, even when the parent is killed with SIGKILL.

On Linux the kernel does it (PR_SET_PDEATHSIG, set between fork and exec by a tiny script, so that no Python code runs in
a forked copy of us). Elsewhere a watcher beside the child reads from a pipe whose other end only the parent holds: the
end of the file is the end of the parent. Both arrive as SIGKILL: what a child has promised by then is on disk already.

The kernel's way is bound to the thread that forked: start children from a thread that lives as long as they should.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import IO

PR_SET_PDEATHSIG = 1
USE_KERNEL = sys.platform == "linux"
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 3.0
HEALTHY_AFTER_S = 2.0


class Backoff:
    """When a child that died may be started again: 0.1 s after its start, doubling up to 3 s while it keeps dying young."""

    def __init__(self) -> None:
        self._started_at = 0.0
        self._pause_s = FIRST_PAUSE_S

    def started(self) -> None:
        """The child was started now."""
        young = time.monotonic() - self._started_at < HEALTHY_AFTER_S
        self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S) if young else FIRST_PAUSE_S
        self._started_at = time.monotonic()

    def over(self) -> bool:
        """Whether the pause since its last start is over."""
        return time.monotonic() - self._started_at >= self._pause_s


class Child:
    """A started process and the parent's end of its lifeline."""

    def __init__(self, process: subprocess.Popen[bytes], lifeline: int | None) -> None:
        self._process = process
        self._lifeline = lifeline

    @property
    def pid(self) -> int:
        """The process id; it is the program's own, not that of a wrapper."""
        return self._process.pid

    def poll(self) -> int | None:
        """The exit code (negative: the signal that ended it), or None while it runs. Reaps."""
        code = self._process.poll()
        if code is not None:
            self._let_go()
        return code

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Waits for the end; None where it has not come after `timeout_s` seconds."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None
        return self.poll()

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal; one that has already ended is left alone."""
        self._process.send_signal(number)

    def _let_go(self) -> None:
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None


def spawn(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
    stdout: int | IO[bytes] | None = None,
    stderr: int | IO[bytes] | None = None,
    use_kernel: bool = USE_KERNEL,
) -> Child:
    """Starts `argv` (its first word an absolute path) in a session of its own; raises OSError.

    The session keeps a terminal's Ctrl-C from reaching it: in which order things stop is the parent's decision.
    """
    reading = writing = None
    if not use_kernel:
        reading, writing = os.pipe()
    lifeline = "kernel" if reading is None else str(reading)
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", __file__, str(os.getpid()), lifeline, *argv],
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        pass_fds=[*pass_fds, *([] if reading is None else [reading])],
        start_new_session=True,
    )
    if reading is not None:
        os.close(reading)
    return Child(process, writing)


def become(parent: int, lifeline: str, argv: list[str]) -> None:
    """The child's side: ties our life to the parent's and turns into the program."""
    if lifeline == "kernel":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    elif os.fork() == 0:
        _watch(int(lifeline), os.getppid())
    else:
        os.close(int(lifeline))
    if os.getppid() != parent:  # it died before the tie was made
        os._exit(1)
    os.execv(argv[0], argv)  # noqa: S606 - this is the point


def _watch(lifeline: int, program: int) -> None:
    """Waits for the end of the pipe, then ends the program. Holds nothing else open that others wait on."""
    os.setsid()
    devnull = os.open(os.devnull, os.O_RDWR)
    for fd in range(256):
        if fd in {0, 1, 2}:
            os.dup2(devnull, fd)
        elif fd not in {lifeline, devnull}:
            _close(fd)
    while os.read(lifeline, 1):
        pass
    # The parent closes its end when it has seen the program end, and a process id is not given out anew at once.
    if os.getppid() == program:
        os.kill(program, signal.SIGKILL)
    os._exit(0)


def _close(fd: int) -> None:
    try:
        os.close(fd)
    except OSError:
        return


if __name__ == "__main__":
    become(int(sys.argv[1]), sys.argv[2], sys.argv[3:])

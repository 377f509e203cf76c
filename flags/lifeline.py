"""A child process that does not outlive us, whatever ends us. Knows not what the child does.

Linux sends the child SIGTERM when the thread that forked it ends (prctl PR_SET_PDEATHSIG). Elsewhere, and in
threads that may end before the process, a shell waits on a pipe that only we hold open: when it closes,
it sends the SIGTERM.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence

# <linux/prctl.h>
PR_SET_PDEATHSIG = 1


class Child:
    """A running child in a session of its own, so that Ctrl-C reaches only us."""

    __slots__ = ("_process", "_watch")

    def __init__(self, command: Sequence[str], *, death_signal: bool | None = None) -> None:
        """Start `command`. `death_signal` False takes the pipe where the death signal would do, too."""
        if death_signal is None:
            death_signal = sys.platform == "linux" and threading.current_thread() is threading.main_thread()
        self._process = subprocess.Popen(  # noqa: S603 - the caller's command, no shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_bound_to_us() if death_signal else None,  # noqa: PLW1509 - no lock is taken in it
        )
        self._watch = None if death_signal else _watch(self._process.pid)

    def __repr__(self) -> str:
        return f"Child(pid={self.pid}, exit_code={self.exit_code})"

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs. Asking also reaps it."""
        code = self._process.poll()
        if code is not None:
            self._let_go()
        return code

    def terminate(self) -> None:
        """Ask it to end (SIGTERM)."""
        self._process.terminate()

    def kill(self) -> None:
        """End it (SIGKILL) and reap it."""
        self._process.kill()
        self._process.wait()
        self._let_go()

    def _let_go(self) -> None:
        """End the watch before the child's pid can belong to somebody else."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.kill()
            watch.wait()
            if watch.stdin is not None:
                watch.stdin.close()


def _bound_to_us() -> Callable[[], None]:
    libc = ctypes.CDLL(None, use_errno=True)
    us = os.getpid()

    def bind() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != us:  # we ended before the line above
            os._exit(1)

    return bind


def _watch(pid: int) -> subprocess.Popen[bytes]:
    script = 'cat >/dev/null; kill -TERM "$1"'
    return subprocess.Popen(  # noqa: S603 - a fixed script
        ["/bin/sh", "-c", script, "pointsman-lifeline", str(pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )

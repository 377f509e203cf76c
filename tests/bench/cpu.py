"""What a process and its children cost, as the kernel counts it: CPU time and memory.

Linux only. Knows no gateway.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> list[int]:
    """`pid` and all its living descendants."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir(PROC):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                children.setdefault(_parent(int(entry)), []).append(int(entry))
    found = [pid]
    for one in found:
        found.extend(children.get(one, ()))
    return found


def _parent(pid: int) -> int:
    # The command's name stands in parentheses and may hold spaces, so fields are counted from the last one.
    return int((PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU time up to a moment: nanoseconds of every living thread, by process, and 10 ms ticks of whole processes."""

    threads: Mapping[int, Mapping[str, int]]
    ticks: Mapping[int, int]

    @classmethod
    def of(cls, pids: Sequence[int]) -> Usage:
        """What `pids` have used until now."""
        return cls({pid: _threads(pid) for pid in pids}, {pid: _ticks(pid) for pid in pids})

    def since(self, before: Usage) -> float:
        """Seconds of user and system time between the two.

        The scheduler's nanoseconds, but ticks for a process that lost a thread meanwhile (its time went with it) or
        whose kernel counts no nanoseconds. What was born and died in between, a whole process too, is not seen.
        """
        return sum(self._since(before, pid) for pid in self.threads)

    def _since(self, before: Usage, pid: int) -> float:
        now, then = self.threads[pid], before.threads.get(pid, {})
        if now and then.keys() <= now.keys():
            return (sum(now.values()) - sum(then.values())) / 1e9
        return (self.ticks[pid] - before.ticks.get(pid, 0)) / TICKS_PER_SECOND


def core_busy_seconds(core: int) -> float:
    """What one core has spent on anything but idling, whoever it was for (10 ms ticks)."""
    for line in (PROC / "stat").read_text().splitlines():
        name, *fields = line.split()
        if name == f"cpu{core}":
            user, nice, system, _idle, _iowait, *rest = (int(field) for field in fields[:8])
            return (user + nice + system + sum(rest)) / TICKS_PER_SECOND
    return 0.0


def _threads(pid: int) -> dict[str, int]:
    tasks = PROC / str(pid) / "task"
    try:
        return {t: int((tasks / t / "schedstat").read_text().split()[0]) for t in os.listdir(tasks)}
    except OSError:
        return {}


def _ticks(pid: int) -> int:
    try:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0  # it has ended
    return int(fields[11]) + int(fields[12])


@dataclass(frozen=True, slots=True)
class Memory:
    """MiB of some processes. PSS counts a shared page once; RSS counts it in each."""

    pss: float
    rss: float


def memory(pids: Sequence[int]) -> Memory:
    """What `pids` hold now."""
    pss = rss = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    pss += int(line.split()[1])
                elif line.startswith("Rss:"):
                    rss += int(line.split()[1])
    return Memory(pss / 1024, rss / 1024)


def command_of(pid: int) -> str:
    """The command line, for telling a worker from its supervisor; empty when the process has ended."""
    try:
        return (
            (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        )
    except OSError:
        return ""


@contextlib.contextmanager
def pinned_to(*cpus: int) -> Iterator[None]:
    """Children started meanwhile run on `cpus` only (where the machine has them; else anywhere)."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(cpus) & before or before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)

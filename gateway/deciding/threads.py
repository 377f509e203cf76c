"""A few threads beside the loop, for calls that may wait or never return. Knows not what is called.

They are daemons: one that hangs keeps no process from ending, which the standard library's pool would.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")
_Job = Callable[[], None]


class Busy(Exception):
    """Raised when every thread has something to do: to wait behind a call that hangs would be to hang."""


class Threads:
    """At most `most` threads, begun when they are needed. What changes here: how many there are, and how many work."""

    def __init__(self, most: int, name: str) -> None:
        self._most, self._name = most, name
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._begun = self._working = 0

    def __repr__(self) -> str:
        return f"<Threads {self._name}: {self._working} of {self._most} at work>"

    async def run(self, work: Callable[[], T], seconds: float) -> T:
        """What `work` returns, or raises. Raises TimeoutError after `seconds` (the thread works on), Busy."""
        if self._working >= self._most:
            raise Busy(self._name)
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        self._working += 1
        if self._begun < self._working:
            self._begun += 1
            threading.Thread(target=self._work_on, name=self._name, daemon=True).start()
        self._jobs.put(lambda: self._do(work, answer, loop))
        async with asyncio.timeout(seconds):
            return await answer

    def close(self) -> None:
        """Let those that have nothing to do end; the others end with what they do."""
        for _ in range(self._begun):
            self._jobs.put(None)

    def _work_on(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _do(self, work: Callable[[], T], answer: asyncio.Future[T], loop: asyncio.AbstractEventLoop) -> None:
        found: T | None = None
        failure: Exception | None = None
        try:
            found = work()
        except Exception as error:  # noqa: BLE001  # the thread's edge: it is handed to whoever waits
            failure = error
        except BaseException as error:  # noqa: BLE001  # as it is, a SystemExit would end the loop that it is handed to
            failure = RuntimeError(f"{type(error).__name__}: {error}")

        def settle() -> None:
            self._working -= 1
            if answer.done():
                return  # nobody waits any more
            if failure is not None:
                answer.set_exception(failure)
            else:
                answer.set_result(found)  # type: ignore[arg-type]  # a T, where nothing was raised

        # The loop may be closed by now: then nobody waits.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle)

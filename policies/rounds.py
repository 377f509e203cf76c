"""A background loop: the same look, taken again and again until somebody closes it. Knows not what is looked at."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from flags.edge import Edge

log = logging.getLogger(__name__)


class Rounds:
    """Takes `look` every `seconds`, the first time after that. What changes here: its task.

    `away` tells that Redis is known not to answer: then nothing is looked at. A look that fails is taken again next time.
    """

    def __init__(
        self,
        name: str,
        look: Callable[[], Awaitable[object]],
        seconds: float,
        *,
        away: Callable[[], bool] = lambda: False,
    ) -> None:
        self._name, self._look, self._seconds, self._away = name, look, seconds, away
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Rounds of {self._name}, {'under way' if self._task else 'not begun'}>"

    def start(self) -> None:
        """Begin. Call it in the running loop."""
        self._task = asyncio.create_task(self._run(), name=self._name)

    async def aclose(self) -> None:
        """Stop, and wait until a look that is under way has ended. Idempotent."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._seconds)
            if self._away():
                continue
            with Edge(log, "%s", self._name):
                await self._look()

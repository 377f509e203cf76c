"""Long work on the event loop, cut so that requests need not wait for it. Knows not what the work is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

T = TypeVar("T")

# No request is to wait longer than 1 ms for a new snapshot; a slice ends at the first step past this.
SLICE_SECONDS = 0.0005


async def in_slices(steps: Iterable[T]) -> AsyncIterator[T]:
    """`steps`, one after the other, with a pause for others after each slice of work."""
    now = asyncio.get_running_loop().time
    until = now() + SLICE_SECONDS
    for step in steps:
        yield step
        if now() >= until:
            await asyncio.sleep(0)
            until = now() + SLICE_SECONDS

"""A door that also keeps what goes through it, for a request whose answer is to be judged. Knows no wire and no judge.

Only sampled requests have one, so that all others pay nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.exchange import Door

# Some 60,000 tokens of stream; an answer that is longer is not judged.
KEPT_BYTES = 4 * 1024 * 1024


class Overheard:
    """What changes here: the parts kept, and whether they are all of the answer."""

    __slots__ = ("_door", "_parts", "_size", "whole")

    def __init__(self, door: Door, most: int = KEPT_BYTES) -> None:
        self._door, self._size = door, -most
        self._parts: list[bytes] = []
        # False where the answer grew too long, or was broken off.
        self.whole = True

    def __repr__(self) -> str:
        return f"<Overheard {len(self._parts)} parts, whole={self.whole}>"

    @property
    def body(self) -> bytes:
        """All that went through."""
        return b"".join(self._parts)

    async def start(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Let the head through."""
        await self._door.start(status, headers)

    async def write(self, data: bytes) -> None:
        """Let a part through, and keep it."""
        self._keep(data)
        await self._door.write(data)

    async def end(self, data: bytes = b"") -> None:
        """Let the last part through, and keep it."""
        self._keep(data)
        await self._door.end(data)

    def abort(self) -> None:
        """Break the answer off: nobody judges half of one."""
        self.whole = False
        self._door.abort()

    def _keep(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > 0:
            self.whole, self._parts = False, []
        elif self.whole:
            self._parts.append(data)

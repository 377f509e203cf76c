"""A door that also keeps what goes through it, for a request whose answer is looked at afterwards. Knows no wire and no judge.

Only such requests have one, so that all others pay nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.exchange import Door

# Some 60,000 tokens of stream; an answer that is longer is not judged.
KEPT_BYTES = 4 * 1024 * 1024


class Overheard:
    """A door that keeps up to `most` bytes. What changes here: the parts kept, how much went by, whether it broke off."""

    __slots__ = ("_broken_off", "_door", "_kept", "_most", "_parts", "size")

    def __init__(self, door: Door, most: int = KEPT_BYTES) -> None:
        self._door, self._most = door, most
        self._parts: list[bytes] = []
        self._kept, self._broken_off = 0, False
        # Bytes that went through.
        self.size = 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._kept} of {self.size} bytes kept, whole={self.whole}>"

    @property
    def body(self) -> bytes:
        """The answer's beginning: all of it where it is `whole`."""
        return b"".join(self._parts)

    @property
    def whole(self) -> bool:
        """Whether all of the answer went through, and was kept."""
        return self.size == self._kept and not self._broken_off

    async def start(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Let the head through."""
        await self._door.start(status, headers)

    async def write(self, data: bytes) -> None:
        """Let a part through, and keep it while there is room."""
        self._keep(data)
        await self._door.write(data)

    async def end(self, data: bytes = b"") -> None:
        """Let the last part through, and keep it while there is room."""
        self._keep(data)
        await self._door.end(data)

    def abort(self) -> None:
        """Break the answer off."""
        self._broken_off = True
        self._door.abort()

    def _keep(self, data: bytes) -> None:
        self.size += len(data)
        part = bytes(data[: self._most - self._kept])
        if part:
            self._parts.append(part)
            self._kept += len(part)

"""Flags' answers as they are sent, encoded once for all who get the same. Knows no caller and no request."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from flags.compiled import CompiledFlag
from flags.model import Json, Resolution
from flags.ofrep import answer, encode

# Of one listing: as much as 200 prompts of 20 KB. What comes beyond is encoded for each request.
MOST_BYTES = 4 * 1024 * 1024


class Encoded:
    """The answers of one snapshot's flags. What changes here: those that are kept, and their size.

    A flag gives the same few Resolutions again and again (flags.compiled), so an answer is found by its Resolution's
    identity; that one is kept beside it, so that the identity stays its own.
    """

    __slots__ = ("_kept", "_room", "_stamp")

    def __init__(self, stamp: Mapping[str, Json], room: int = MOST_BYTES) -> None:
        self._stamp, self._room = stamp, room
        self._kept: dict[int, tuple[Resolution, msgspec.Raw]] = {}

    def __repr__(self) -> str:
        return f"<Encoded: {len(self._kept)} answers, room for {self._room:,} bytes>"

    def of(self, flag: CompiledFlag, resolution: Resolution) -> msgspec.Raw:
        """The answer of `flag` that `resolution` is."""
        found = self._kept.get(id(resolution))
        if found is not None:
            return found[1]
        made = encode(answer(flag, resolution, self._stamp))
        # An error is made anew for each request, and so never met again.
        if resolution.error is None and len(made) <= self._room:
            self._room -= len(made)
            self._kept[id(resolution)] = (resolution, msgspec.Raw(made))
        return msgspec.Raw(made)

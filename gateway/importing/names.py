"""Names that others chose become names of ours: what our pattern refuses is mended, and no two are alike."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from flags.model import NAME

# A flag's key is its route's name and the layer's, so that 128 characters hold both.
MAX_LENGTH = 120
_UNFIT = re.compile(r"[^A-Za-z0-9._-]+")


def mended(name: str) -> str:
    """`name` as our pattern has it: `anthropic/claude-3` → anthropic-claude-3."""
    found = _UNFIT.sub("-", name).strip("-").lstrip("._-")[:MAX_LENGTH]
    return found if NAME.fullmatch(found) else "model"


@dataclass(slots=True)
class Names:
    """The names given so far. What changes here: `_used`."""

    _used: set[str] = field(default_factory=set)

    def free(self, wanted: str) -> str:
        """`wanted` mended, with a number where it was given already."""
        base = found = mended(wanted)
        number = 2
        while found in self._used:
            found, number = f"{base[: MAX_LENGTH - 6]}-{number}", number + 1
        self._used.add(found)
        return found

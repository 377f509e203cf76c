"""What a version answered to a case. Knows no gateway: who asks fills it in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

NO_VERSIONS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. `seconds` is the whole time of the call; `cost_usd` is None where it is unknown, which is not zero.

    `versions` are those that answered, by layer or flag: they must hold what was pinned. `error` says why there is no
    answer. `retrieved` are the passages that the version was given, for context-faithfulness.
    """

    text: str
    seconds: float
    cost_usd: float | None = None
    versions: Mapping[str, str] = field(default_factory=lambda: NO_VERSIONS)
    error: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    retrieved: tuple[str, ...] = ()

    def lacks(self, pinned: Mapping[str, str]) -> str | None:
        """Why nothing can be said of it: it is an error, or another version than the pinned one answered; else None."""
        if self.error is not None:
            return self.error or "the call failed"
        for layer, variant in pinned.items():
            found = self.versions.get(layer)
            if found != variant:
                what = f"{found!r} answered" if found else "the answer does not say which version it is of"
                return f"{layer}: {what}; pinned was {variant!r}"
        return None

"""Flags and sightings in words, for tests of likenesses."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from flags.model import Flag, Layer, Rollout
from gateway.deciding.sightings import Sighting
from policies.outcome import How
from tests.gateway.builders import flag

# When the flag last changed, in the tests' own seconds.
BEGAN = 1_800_000_000


def at(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat()


def bot(**state: Any) -> Flag:
    """`bot.prompt` with four versions; v6 serves and is safe."""
    contents = {
        name: {"messages": [{"role": "system", "content": name}]} for name in ("v6", "v7", "v8", "v5")
    }
    made, _ = flag("bot.prompt", Layer.PROMPT, contents, **{"changed_at": at(BEGAN), **state})
    return made


def trial(percent: float, variant: str = "v7", **state: Any) -> Flag:
    return bot(rollout=Rollout(variant, percent), **state)


def saw(second: int, how: How = How.COIN, route: str = "bot", **counts: Any) -> list[Sighting]:
    """What was given in one second, counted from BEGAN."""
    return [Sighting(BEGAN + second, route, name, how, times) for name, times in counts.items() if times]


def seconds(span: Iterable[int], how: How = How.COIN, route: str = "bot", **counts: Any) -> list[Sighting]:
    """The same in each of these seconds."""
    return [each for second in span for each in saw(second, how=how, route=route, **counts)]


def tossed(draw: random.Random, span: Iterable[int], shares: Mapping[str, float], of: int) -> list[Sighting]:
    """What a coin gives to `of` users in each of these seconds."""
    found = []
    for second in span:
        names = draw.choices([*shares], [*shares.values()], k=of)
        found += [
            Sighting(BEGAN + second, "bot", name, How.COIN, n) for name in shares if (n := names.count(name))
        ]
    return found

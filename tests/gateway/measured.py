"""Traffic for tests: outcomes with sensible defaults, measured into an office's store as a gauge would."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from policies.counts import Batch, ScoreGain
from policies.measures import Flushed
from policies.observe import observe
from policies.outcome import Blame, CostSource, Ending, Outcome, Release, Score
from policies.series import series_of, series_of_score
from tests.gateway.office import Office

PROMPT, MODEL = "support-bot.prompt", "support-bot.model"
V6, V7 = Release(PROMPT, "v6", 1), Release(PROMPT, "v7", 2)
GPT = Release(MODEL, "gpt-4.1", 1)
NUMBERS: Iterator[int] = itertools.count(1)


def outcome(*releases: Release, **given: Any) -> Outcome:
    """A good answer after a quarter of a second, of a cent's price."""
    number = next(NUMBERS)
    made: dict[str, Any] = {
        "request_id": f"req-{number}",
        "route": "support-bot",
        "releases": releases or (V6, GPT),
        "how": "c" * len(releases or (V6, GPT)),
        "ending": Ending.OK,
        "blame": Blame.NONE,
        "status": 200,
        "seconds": 0.25,
        "first_content_seconds": 0.125,
        "input_tokens": 100,
        "output_tokens": 20,
        "cost_usd": 0.01,
        "cost_source": CostSource.TABLE,
        "revision": 1_000,
        "unit": f"user-{number}",
        "overhead_seconds": 0.0001,
    }
    return Outcome(**{**made, **given})


def failed(*releases: Release, **given: Any) -> Outcome:
    """An upstream that answered 500."""
    return outcome(
        *releases,
        **{
            "ending": Ending.FAILED,
            "blame": Blame.UPSTREAM,
            "status": 500,
            "first_content_seconds": None,
            "cost_usd": None,
            "cost_source": CostSource.UNKNOWN,
            **given,
        },
    )


def score(metric: str, value: float, *releases: Release) -> Score:
    """What somebody thought."""
    key = f"{next(NUMBERS)}:{metric}"
    return Score(key, "support-bot", releases or (V6, GPT), "cc", "somebody", metric, value)


async def measure(office: Office, outcomes: Sequence[Outcome], scores: Sequence[Score] = ()) -> Flushed:
    """One flush of it all, for people and for the cases of the office's docket."""
    docket = office.docket()
    batch = Batch(
        "w1",
        next(NUMBERS),
        series=series_of(outcomes),
        cases=observe(outcomes, docket, lambda case, policy: ()),
        scores=[ScoreGain(each.key, series_of_score(each)) for each in scores],
    )
    return await office.measures.flush(batch)

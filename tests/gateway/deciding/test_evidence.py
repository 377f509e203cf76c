"""What a policy finds in a trial whose coin is a provider's: the whole of likeness, evidence and hold, simulated."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from flags.model import Flag, Layer
from gateway.deciding.likeness import has_risen, next_likeness
from gateway.deciding.likening import HOLD_DOUBT
from gateway.deciding.sightings import Sighting
from policies import verbs
from policies.case import docket_of
from policies.judge import judge
from policies.observe import observe
from policies.outcome import Blame, Ending, How, Outcome, Release
from policies.policy import ERROR_RATE, Policy
from policies.tally import Tally
from policies.verdict import Standing
from tests.gateway.deciding.likenesses import BEGAN, at, bot

# Errors relative to the control alone: no absolute limit stands beside it that a good release could not pass.
WORSE = Policy("worse", ERROR_RATE, times_safe=1.0)


def outcome(release: Release, revision: int, *, bad: bool) -> Outcome:
    return Outcome(
        "r",
        "bot",
        (release,),
        Ending.FAILED if bad else Ending.OK,
        Blame.UPSTREAM if bad else Blame.NONE,
        500 if bad else 200,
        1.0,
        how=How.COIN.value,
        revision=revision,
    )


def acted(
    seed: int, share: Callable[[int], float], errors: tuple[float, float], seconds: int, users: int = 20
) -> int | None:
    """The second in which a policy rolled v7 back; None where it never did.

    Every second `users` come; a worker looks once a second, and a breach acts when it stands three seconds later and
    nothing speaks against the share by which it was judged.
    """
    draw = random.Random(seed)
    flag, seen, tally, breached = bot(), list[Sighting](), Tally(""), None
    wrote = -10
    for second in range(seconds):
        docket = docket_of({"bot.prompt": flag}, {"bot": {Layer.PROMPT: "bot.prompt"}}, {"worse": WORSE})
        names = ["v7" if draw.random() < share(second) else "v6" for _ in range(users)]
        outcomes = [
            outcome(
                Release("bot.prompt", name, flag.variants[name].generation),
                flag.revision,
                bad=draw.random() < errors[name == "v7"],
            )
            for name in names
        ]
        seen += [
            Sighting(BEGAN + second, "bot", n, How.COIN, names.count(n)) for n in ("v6", "v7") if n in names
        ]
        case = docket.of_flag.get("bot.prompt")
        if case is not None and case.key != tally.case_key:
            tally, breached = Tally(case.key), None
        for gain in observe(outcomes, docket, lambda *_: ()):
            tally.add(gain, (BEGAN + second) * 1000)
        if case is not None and case.control is not None:
            found = judge(case, WORSE, tally.counts, (BEGAN + second) * 1000)
            stands = found is not None and found.standing is Standing.BREACHED
            breached = (second if breached is None else breached) if stands else None
            if breached is not None and second - breached >= 3:
                if not has_risen(flag, seen, HOLD_DOUBT):
                    return second
                flag, wrote = _next(flag, seen, second, HOLD_DOUBT), second
        risen = has_risen(flag, seen, 1e-4)
        if risen or second - wrote >= 5:
            after = _next(flag, seen, second, 1e-4)
            wrote = second if after is not flag else wrote
            flag = after
    return None


def _next(flag: Flag, seen: Sequence[Sighting], second: int, doubt: float) -> Flag:
    found = next_likeness(flag, seen[-1_500:], BEGAN + second, doubt=doubt)
    if found is None:
        return flag
    return replace(verbs.stamped(flag, found.flag, at(BEGAN + second)), revision=flag.revision + 1)


def rises(second: int) -> float:
    return 0.1 if second < 150 else 0.5


def climbs(second: int) -> float:
    return (0.05, 0.2, 0.5, 0.9)[min(3, second // 80)]


@pytest.mark.parametrize("share", [rises, climbs])
def test_a_share_that_the_provider_raises_condemns_no_version_that_is_as_good(
    share: Callable[[int], float],
) -> None:
    """With three requests of ten failing on both sides a share that is taken for too small would soon show."""
    assert [acted(seed, share, (0.3, 0.3), 240) for seed in range(4)] == [None] * 4


def test_a_bad_version_is_caught_however_the_provider_moves_its_share() -> None:
    caught = [acted(seed, share, (0.01, 0.5), 240) for seed in range(3) for share in (rises, climbs)]

    assert None not in caught

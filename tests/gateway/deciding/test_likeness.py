from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flags.model import Flag, Rollout, RolloutState
from gateway.deciding.likeness import GONE_SECONDS, has_risen, lands, next_likeness
from gateway.deciding.sightings import Sighting
from policies import verbs
from policies.case import trial_of
from policies.outcome import How
from tests.gateway.deciding.likenesses import BEGAN, at, bot, saw, seconds, tossed, trial


def step(flag: Flag, seen: Sequence[Sighting], second: int) -> Flag | None:
    found = next_likeness(flag, sorted(seen), BEGAN + second)
    return None if found is None else found.flag


def standing(flag: Flag | None) -> tuple[str | None, str | None, float | None]:
    assert flag is not None
    rollout = flag.rollout
    if rollout is None:
        return flag.served, None, None
    return flag.served, rollout.variant, rollout.percent


def test_nothing_is_written_where_all_get_what_is_served() -> None:
    assert step(bot(), seconds(range(60), v6=5), 60) is None


def test_nothing_is_written_where_nothing_was_given() -> None:
    assert step(bot(), [], 60) is None


def test_a_second_version_begins_a_trial_at_fifty_percent_where_few_were_seen() -> None:
    after = step(bot(), seconds(range(6), v6=18, v7=2), 6)

    assert standing(after) == ("v6", "v7", 50.0)


def test_a_trial_begins_with_no_less_than_what_the_answers_allow() -> None:
    assert standing(step(bot(), seconds(range(6), v6=2, v7=18), 6)) == ("v6", "v7", 99.99)
    assert standing(step(bot(), seconds(range(6), v6=10, v7=10), 6)) == ("v6", "v7", 99.99)


def test_what_was_given_before_the_candidate_came_does_not_hide_its_share() -> None:
    seen = [*seconds(range(50), v6=100), *seconds(range(50, 60), v6=4, v7=16)]

    after = step(bot(), seen, 60)

    assert after is not None
    assert after.rollout is not None
    assert after.rollout.percent >= 90


def test_a_version_that_has_just_come_is_looked_at_first() -> None:
    assert step(bot(), [*seconds(range(10), v6=9), *saw(9, v7=1)], 10) is None


def test_a_flip_of_all_users_is_no_trial() -> None:
    seen = [*seconds(range(60), How.PLAIN, v6=10), *seconds(range(60, 64), How.PLAIN, v7=10)]

    after = step(bot(), seen, 64)

    assert standing(after) == ("v7", None, None)
    assert after is not None
    assert after.safe == "v6"
    assert after.variants["v7"].generation == 2


def test_a_candidate_that_gets_everybody_is_promoted_and_safe_stays() -> None:
    seen = [*seconds(range(60), v6=5, v7=5), *seconds(range(60, 64), v7=10)]

    after = step(trial(75.0), seen, 64)

    assert standing(after) == ("v7", None, None)
    assert after is not None
    assert after.safe == "v6"
    assert after.variants["v7"].generation == 1


def test_a_candidate_that_is_given_no_more_ends_its_trial() -> None:
    seen = [*seconds(range(60), v6=18, v7=2), *seconds(range(60, 70), v6=20)]

    assert standing(step(trial(50.0), seen, 70)) == ("v6", None, None)


def test_a_small_share_is_not_gone_because_a_few_others_came() -> None:
    seen = [*seconds(range(60), v6=99, v7=1), *seconds(range(60, 64), v6=50)]

    assert step(trial(2.0), seen, 64) is None


def test_what_nobody_got_for_five_minutes_is_gone() -> None:
    seen = [*saw(0, v6=1, v7=1), *(each for s in range(60, 60 + GONE_SECONDS, 60) for each in saw(s, v6=1))]

    assert step(trial(99.99), seen, GONE_SECONDS - 1) is None
    assert standing(step(trial(99.99), seen, GONE_SECONDS)) == ("v6", None, None)


def test_silence_changes_nothing() -> None:
    assert step(trial(50.0), seconds(range(5), v6=5, v7=5), 500) is None


def test_one_stray_answer_moves_nobody() -> None:
    assert step(bot(), saw(0, How.TARGETED, v7=1), 60) is None


def test_a_bound_that_is_far_too_large_is_lowered_once() -> None:
    before = trial(50.0)
    after = step(before, seconds(range(120), v6=27, v7=3), 120)

    assert standing(after) == ("v6", "v7", 20.0)
    assert after is not None
    assert after.variants["v7"].generation == before.variants["v7"].generation


def test_a_bound_is_not_lowered_for_little() -> None:
    assert step(trial(35.0), seconds(range(300), v6=24, v7=6), 300) is None


def test_a_bound_is_not_lowered_by_few_answers_nor_early() -> None:
    assert step(trial(50.0), seconds(range(0, 300, 3), v6=3), 300) is not None  # it is gone
    assert step(trial(50.0), [*seconds(range(100), v6=2), *saw(50, v7=1), *saw(98, v7=1)], 100) is None
    assert step(trial(50.0), seconds(range(30), v6=99, v7=1), 30) is None


def test_above_fifty_the_bound_falls_to_it_as_soon_as_the_answers_allow() -> None:
    assert standing(step(trial(99.99), seconds(range(10), v6=9, v7=1), 10)) == ("v6", "v7", 50.0)


def test_a_share_that_passes_its_bound_is_judged_anew() -> None:
    before = trial(20.0)
    seen = [*seconds(range(300), v6=18, v7=2), *seconds(range(300, 304), v6=10, v7=10)]

    after = step(before, seen, 304)

    assert after is not None
    assert after.rollout is not None
    assert after.rollout.percent >= 50
    # What was counted took its share for smaller than it was.
    assert after.variants["v7"].generation == before.variants["v7"].generation + 1


def test_a_paused_trial_stays_paused_under_another_bound() -> None:
    before = bot(rollout=Rollout("v7", 50.0, state=RolloutState.PAUSED))

    after = step(before, seconds(range(120), v6=27, v7=3), 120)

    assert after is not None
    assert after.rollout == Rollout("v7", 20.0, state=RolloutState.PAUSED)


def test_a_route_with_a_larger_share_sets_the_bound() -> None:
    seen = [
        *seconds(range(120), route="large", v6=95, v7=5),
        *seconds(range(120), route="small", v6=2, v7=2),
    ]

    assert step(trial(75.0), sorted(seen), 120) is None
    assert has_risen(trial(20.0), sorted(seen), 1e-4)


def test_of_a_coin_safe_is_what_the_others_are_compared_with() -> None:
    after = step(bot(serve="v7"), seconds(range(60), v6=10, v7=10), 60)

    assert standing(after)[:2] == ("v6", "v7")


def test_a_candidate_beside_a_newer_one_stays_the_candidate() -> None:
    assert step(trial(50.0), seconds(range(40), v6=5, v7=2, v8=6), 40) is None


def test_without_a_coin_what_is_given_by_default_serves_and_is_watched() -> None:
    seen = [*seconds(range(60), How.PLAIN, v7=9), *seconds(range(60), How.TARGETED, v6=1)]

    assert standing(step(bot(), seen, 60)) == ("v7", None, None)


def test_what_a_rule_gives_to_some_is_tried() -> None:
    seen = [*seconds(range(60), How.PLAIN, v6=9), *seconds(range(60), How.TARGETED, v7=1)]

    assert standing(step(bot(), seen, 60)) == ("v6", "v7", 50.0)


def test_rules_alone_need_no_coin() -> None:
    seen = seconds(range(60), How.TARGETED, v6=9, v7=1)

    assert standing(step(bot(), seen, 60)) == ("v6", "v7", 50.0)
    assert step(trial(50.0), seen, 60) is None


def test_a_rollout_from_before_becomes_a_likeness() -> None:
    before = bot(rollout=Rollout("v7", 10.0, 0, steps=(10.0, 100.0), hold_seconds=1.0))

    after = step(before, seconds(range(60), v6=9, v7=1), 60)

    assert after is not None
    assert after.rollout is not None
    assert (after.rollout.variant, after.rollout.steps) == ("v7", ())
    assert after.variants["v7"].generation == 2


def test_what_is_withdrawn_counts_as_what_users_get_instead() -> None:
    flag = bot(serve="v7", withdrawn=frozenset({"v7"}))

    assert lands(flag, "v7") == "v6"
    assert step(flag, seconds(range(60), v7=9, v6=1), 60) is None


def test_what_was_rolled_back_is_not_tried_again_however_often_it_is_given() -> None:
    flag = bot(withdrawn=frozenset({"v7"}), quarantined=frozenset({bot().variants["v7"].hash}))

    assert step(flag, seconds(range(300), v6=5, v7=5), 300) is None


def test_what_is_in_quarantine_alone_is_not_tried_either() -> None:
    flag = bot(quarantined=frozenset({bot().variants["v7"].hash}))

    assert step(flag, seconds(range(300), v6=5, v7=5), 300) is None


def test_a_disabled_flag_stays_as_it_is() -> None:
    assert step(bot(enabled=False), seconds(range(60), v7=5), 60) is None


@given(
    st.lists(
        st.tuples(
            st.integers(0, 400),
            st.sampled_from([How.COIN, How.PLAIN, How.TARGETED]),
            st.sampled_from(["v5", "v6", "v7", "v8", "unknown"]),
            st.integers(1, 60),
        ),
        max_size=40,
    ),
    st.sampled_from(["v6", "v7", "v8"]),
    st.frozensets(st.sampled_from(["v5", "v7", "v8"])),
    st.sampled_from([None, ("v7", 5.0), ("v8", 50.0), ("v5", 99.99), ("v7", 100.0)]),
)
def test_whatever_is_given_no_human_decision_is_moved_past(
    given_: list[tuple[int, How, str, int]],
    serve: str,
    withdrawn: frozenset[str],
    rollout: tuple[str, float] | None,
) -> None:
    flag = bot(serve=serve, withdrawn=withdrawn)
    if rollout and rollout[0] not in (*withdrawn, flag.served):
        flag = replace(flag, rollout=Rollout(*rollout))
    seen = sorted(Sighting(BEGAN + second, "bot", name, how, n) for second, how, name, n in given_)

    found = next_likeness(flag, seen, BEGAN + 401)

    after = flag if found is None else found.flag
    assert (after.safe, after.withdrawn, after.quarantined) == (flag.safe, flag.withdrawn, flag.quarantined)
    assert after.served not in withdrawn
    assert after.rollout is None or after.rollout.variant not in (*withdrawn, after.served, after.safe)
    assert all(after.variants[n].generation >= v.generation for n, v in flag.variants.items())
    # A likeness is at rest: what follows from the same answers has been done.
    again = next_likeness(verbs.stamped(flag, after, at(BEGAN)), seen, BEGAN + 401)
    assert found is None or again is None or again.flag.rollout is not None


@pytest.mark.parametrize("of", [2, 20])
@pytest.mark.parametrize("path", [(0.1, 0.1), (0.1, 0.5), (0.5, 0.1), (0.02, 0.9), (0.3, 0.0)])
def test_the_percentage_is_above_the_share_whenever_evidence_is_kept(
    path: tuple[float, float], of: int
) -> None:
    """Seconds in which the share was passed belong to lives that are over, but for the few until that is seen."""
    draw = random.Random(f"{path}{of}")
    flag, seen, passed, changes = bot(), list[Sighting](), 0, 0
    for second in range(600):
        share = path[second >= 300]
        seen += tossed(draw, [second], {"v6": 1 - share, "v7": share}, of)
        found = next_likeness(flag, seen, BEGAN + second)
        if found is not None:
            changes += 1
            flag = verbs.stamped(flag, found.flag, at(BEGAN + second))
        if trial_of(flag) is not None and flag.rollout is not None:
            passed += share > flag.rollout.percent / 100

    assert passed <= 20
    assert changes <= 9

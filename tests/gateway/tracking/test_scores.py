"""A track judges each version that its user got once, on a route that uses it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flags.compiled import CompiledFlag, compile_flag
from flags.model import Layer, Reason
from flags.tracking import Got, Track
from gateway.token import VALID_SECONDS
from gateway.tracking.scores import by_route, scores_of
from policies.outcome import Release, Score
from policies.policy import ACCURACY
from tests.gateway.builders import NOW, flag

USERS: Mapping[str, Mapping[str, str]] = {
    "chat.prompt": {"chat": "chat"},
    "chat.model": {"chat": "chat"},
    "kb.index": {"chat": "chat", "agent": "agent"},
    "lonely.prompt": {},
}


def got(key: str = "chat.prompt", variant: str = "v7", **changes: Any) -> Got:
    given = {"generation": 1, "reason": Reason.SPLIT, "at": NOW, **changes}
    return Got(key, variant, **given)


def known(key: str, generation: int = 3) -> CompiledFlag:
    """A flag with v6, and with v7 in a life of its."""
    made, held = flag(key, Layer.PROMPT, {"v6": "six", "v7": "seven"})
    v7 = replace(made.variants["v7"], generation=generation)
    return compile_flag(replace(made, variants={**made.variants, "v7": v7}), held)


def scores(*seen: Got, **changes: Any) -> list[Score]:
    track = Track("t1", "accuracy", 0.5, "unit", seen, **changes)
    flags = {key: known(key) for key in USERS}
    return scores_of(track, ACCURACY, 0.5, flags=flags, users=USERS, now=NOW + 60.0)


def test_what_a_user_got_on_a_route_is_one_score() -> None:
    (score,) = scores(got(at=NOW + 3), got("chat.model", "v6", reason=Reason.STATIC))

    releases = (Release("chat.prompt", "v7", 1), Release("chat.model", "v6", 1))
    assert score.releases in {releases, releases[::-1]}
    assert dict(zip(score.releases, score.how, strict=True)) == dict(zip(releases, "cd", strict=True))
    assert (score.route, score.unit, score.metric, score.value) == ("chat", "unit", "accuracy", 0.5)
    assert score.key == "t1/chat/accuracy"


def test_it_was_decided_when_the_oldest_of_it_was() -> None:
    (score,) = scores(got(at=NOW + 3), got("chat.model", "v6", at=NOW + 1))

    assert score.decided_at == NOW + 1


@pytest.mark.parametrize(
    ("reason", "how"),
    [
        (Reason.SPLIT, "c"),
        (Reason.TARGETING_MATCH, "t"),
        (Reason.STATIC, "d"),
        (Reason.DEFAULT, "d"),
        (Reason.STALE, "d"),
    ],
)
def test_how_it_was_chosen_is_told_by_its_reason(reason: Reason, how: str) -> None:
    (score,) = scores(got(reason=reason))

    assert score.how == how


def test_a_shared_flag_is_counted_where_its_user_used_the_others() -> None:
    (score,) = scores(got("kb.index"), got("chat.model"))

    assert score.route == "chat"
    assert {release.flag for release in score.releases} == {"kb.index", "chat.model"}


def test_a_shared_flag_alone_is_counted_once_for_the_first_route_by_name() -> None:
    (score,) = scores(got("kb.index"))

    assert score.route == "agent"


def test_a_route_that_is_named_narrows_it() -> None:
    (agents,) = scores(got("kb.index"), got("chat.model"), route="agent")

    assert (agents.route, [release.flag for release in agents.releases]) == ("agent", ["kb.index"])
    assert scores(got("chat.model"), route="agent") == []
    assert scores(got("chat.model"), route="nowhere") == []


@pytest.mark.parametrize(
    "seen",
    [
        got("unheard.prompt"),
        got("lonely.prompt"),
        got(variant="v8"),
        got(generation=4),
        got(generation=0),
        got(at=NOW + 60 - VALID_SECONDS - 1),
    ],
)
def test_what_no_flag_can_have_given_lately_judges_nothing(seen: Got) -> None:
    assert scores(seen) == []
    assert len(scores(seen, got("chat.model"))) == 1


def test_a_life_before_and_a_week_are_within_the_bounds() -> None:
    (score,) = scores(got(generation=2, at=NOW + 60 - VALID_SECONDS))

    assert score.releases == (Release("chat.prompt", "v7", 2),)


def test_no_future_decision_is_taken_for_evidence_on_what_is_to_come() -> None:
    (score,) = scores(got(at=NOW + 10_000))

    assert score.decided_at == NOW + 60


NAMES = st.sampled_from(["a", "b", "c", "d", "e"])


@given(st.dictionaries(NAMES, st.sets(NAMES), max_size=5), st.sets(NAMES))
def test_each_version_is_judged_once_and_only_where_it_is_used(
    routes: dict[str, set[str]], seen: set[str]
) -> None:
    """Whichever routes share flags: no version counts twice, none that a route uses is lost, no route comes twice."""
    users = {key: {route: route for route in used} for key, used in routes.items()}

    found = list(by_route([got(key) for key in sorted(seen)], users))

    judged = [each.flag for _, together in found for each in together]
    assert sorted(judged) == sorted(key for key in seen if routes.get(key))
    assert len({route for route, _ in found}) == len(found)
    assert all(route in routes[each.flag] for route, together in found for each in together)

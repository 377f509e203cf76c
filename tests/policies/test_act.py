"""What a verdict becomes when it is written: decided anew on the objects as they are then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from flags.change import Draft, View
from flags.codec import document_of, flag_from
from flags.model import Document, Flag, Kind, ObjectKey, Position, Rollout, RolloutState, StoredObject
from policies import verbs
from policies.act import Breach, advanced, deed, elapsed, leads_nowhere, settled, told
from policies.case import docket_of, layer_flags
from policies.policy import ERROR_RATE, Action, Policy
from policies.schedule import Schedule
from policies.verdict import Standing, Verdict
from tests.policies.working import PROMPT, a_flag

TIME, BEFORE = "2030-01-01T12:00:00.000Z", "2030-01-01T11:00:00.000Z"
ERRORS = Policy("errors", ERROR_RATE, limit=0.05)
ROLLED_OUT = a_flag(rollout=Rollout("v7", 10), changed_at=BEFORE)


def view(flag: Flag, policy: Document | None = None) -> View:
    """The store with one flag, its route, and what may be a declared policy."""
    documents: Mapping[ObjectKey, Document | None] = {
        ObjectKey(Kind.FLAG, PROMPT): document_of(flag),
        ObjectKey(Kind.ROUTE, "bot"): {"spec": {}},
        ObjectKey(Kind.POLICY, "errors"): policy,
    }
    objects = {key: StoredObject(key, found, 3) for key, found in documents.items() if found is not None}
    return View(Position(3, "h"), TIME, objects)


def breach(flag: Flag = ROLLED_OUT, policy: Policy = ERRORS, declared: StoredObject | None = None) -> Breach:
    """What a judge found of the case of `flag`, or of its route."""
    docket = docket_of({PROMPT: flag}, {"bot": layer_flags("bot", {})}, {"errors": policy})
    case = docket.of_flag.get(PROMPT) or docket.cases["route/bot"]
    verdict = Verdict("errors", case.key, Standing.BREACHED, 1.2, "it failed", evidence={"n": 6})
    return Breach(case, policy, verdict, declared, nowhere=leads_nowhere(case, policy, flag))


def after(drafts: list[Draft] | tuple[Draft, ...]) -> Flag:
    (draft,) = drafts
    assert draft.after is not None
    return flag_from(PROMPT, draft.after, 4)


def test_a_rollback_withdraws_quarantines_and_notes_the_time() -> None:
    (draft,) = deed(breach(), view(ROLLED_OUT))

    flag = after([draft])
    assert draft.action == "rollback"
    assert (flag.rollout, flag.withdrawn, flag.served) == (None, {"v7"}, "v6")
    assert flag.quarantined == {flag.variants["v7"].hash}
    assert (flag.braked_at, flag.changed_at) == (TIME, TIME)


@pytest.mark.parametrize(
    "now",
    [
        verbs.withdraw(ROLLED_OUT, "v7").flag,
        verbs.promote(ROLLED_OUT).flag,
        verbs.abort(ROLLED_OUT).flag,
        verbs.start(verbs.restore(verbs.withdraw(ROLLED_OUT, "v7").flag, "v7").flag, "v7", 10).flag,
        replace(ROLLED_OUT, enabled=False),
        replace(ROLLED_OUT, braked_at="2030-01-01T11:59:30.000Z"),
    ],
    ids=["withdrawn", "promoted", "aborted", "reborn", "disabled", "cooling down"],
)
def test_nothing_is_done_where_it_is_not_so_any_more(now: Flag) -> None:
    assert deed(breach(), view(now)) == []


def test_nothing_is_done_by_a_policy_that_was_changed() -> None:
    assert deed(breach(), view(ROLLED_OUT, {"spec": {"metric": "error_rate", "limit": 0.5}})) == []


def test_a_percentage_that_moved_meanwhile_does_not_save_the_candidate() -> None:
    assert deed(breach(), view(verbs.start(ROLLED_OUT, "v7", 50).flag))


def test_pausing_pauses_once() -> None:
    pausing = breach(policy=replace(ERRORS, action=Action.PAUSE))

    (draft,) = deed(pausing, view(ROLLED_OUT))
    paused = after([draft])

    assert draft.action == "rollout.pause"
    assert paused.rollout is not None
    assert paused.rollout.state is RolloutState.PAUSED
    assert deed(pausing, view(paused)) == []


@pytest.mark.parametrize(
    ("flag", "policy", "says"),
    [
        (ROLLED_OUT, replace(ERRORS, dry_run=True), "would have done: rollback (dry run): it failed"),
        (ROLLED_OUT, replace(ERRORS, action=Action.ALERT), "it failed"),
        (a_flag(), ERRORS, "nothing to roll back: it failed"),
        (a_flag(serve="v7", rollout=Rollout("v6", 10)), ERRORS, "nothing to roll back: it failed"),
        (a_flag(serve="v7"), replace(ERRORS, action=Action.PAUSE), "nothing to pause: it failed"),
    ],
    ids=["dry run", "alert", "only a route", "candidate is safe", "nothing to pause"],
)
def test_some_breaches_are_only_told(flag: Flag, policy: Policy, says: str) -> None:
    found = breach(flag, policy)

    (note,) = told(found, view(flag))

    assert (found.alerts, found.author.reason) == (True, says)
    assert (note.action, note.after, note.affects) == ("alert", None, False)
    assert deed(found, view(flag)) == []


class TestMovingOn:
    STEPPED = replace(verbs.start(a_flag(), "v7", Schedule([5, 50], 3600, 0)).flag, changed_at=BEFORE)

    def test_a_step_is_taken_when_its_hold_is_over_by_redis_clock(self) -> None:
        flag = after(list(advanced(self.STEPPED, view(self.STEPPED))))
        young = replace(self.STEPPED, changed_at="2030-01-01T11:00:00.001Z")

        assert flag.rollout is not None
        assert (flag.rollout.percent, flag.changed_at) == (50, TIME)
        assert advanced(young, view(young)) == []

    def test_a_flag_that_moved_since_it_was_judged_is_left_alone(self) -> None:
        for now in (verbs.pause(self.STEPPED).flag, replace(self.STEPPED, changed_at=TIME)):
            assert advanced(self.STEPPED, view(now)) == []

    def test_a_version_is_safe_after_its_soak(self) -> None:
        day = a_flag(serve="v7", changed_at="2029-12-31T12:00:00.000Z")

        assert after(list(settled(day, view(day)))).safe == "v7"
        for young in (replace(day, changed_at="2029-12-31T12:00:00.001Z"), replace(day, changed_at="")):
            assert settled(young, view(young)) == []


def test_time_passes_between_two_times_and_endlessly_from_none() -> None:
    assert elapsed(BEFORE, TIME) == 3600
    assert elapsed("", TIME) == float("inf")

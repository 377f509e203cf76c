"""The verbs of automation, and what they leave for people: quarantine, steps, safe versions, times."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flags.errors import Invalid, Refused
from flags.model import Rollout, RolloutState, Variant
from policies import verbs
from policies.reverting import revive
from policies.schedule import Schedule
from tests.policies.test_verbs import a_flag, generations, rolled_out

HASHES = {name: variant.hash for name, variant in a_flag().variants.items()}


class TestQuarantine:
    def test_refuses_to_serve_the_content_under_any_name(self) -> None:
        twin = {**a_flag().variants, "v8": Variant("v8", HASHES["v7"])}
        flag = a_flag(variants=twin, quarantined=frozenset({HASHES["v7"]}))

        for illegal in (
            lambda: verbs.switch(flag, "v8"),
            lambda: verbs.start(flag, "v8", 5),
            lambda: verbs.rollback(flag, to="v8"),
        ):
            with pytest.raises(Refused, match="as v7") as refused:
                illegal()
            assert refused.value.rule == "quarantined"
            assert "pointsman restore support-bot.prompt v8" in (refused.value.mend or "")

    def test_never_keeps_a_brake_from_braking(self) -> None:
        flag = rolled_out(quarantined=frozenset({HASHES["v6"], HASHES["v7"]}))

        assert verbs.rollback(flag).reached == "v6"

    def test_ends_when_a_person_restores_the_version(self) -> None:
        flag = a_flag(withdrawn=frozenset({"v7"}), quarantined=frozenset({HASHES["v7"]}))

        step = verbs.restore(flag, "v7")

        assert (step.released, step.flag.quarantined, step.flag.withdrawn) == (True, frozenset(), frozenset())
        assert generations(step.flag)["v7"] == 2

    def test_ends_also_where_the_version_was_not_withdrawn(self) -> None:
        step = verbs.restore(a_flag(quarantined=frozenset({HASHES["v7"]})), "v7")

        assert (step.changed, step.released, generations(step.flag)["v7"]) == (True, True, 1)

    def test_ends_for_what_a_revert_puts_back_in_service_and_for_nothing_else(self) -> None:
        both = frozenset({HASHES["v5"], HASHES["v7"]})
        now = a_flag(withdrawn=frozenset({"v7"}), quarantined=both, braked_at="2030-01-01T00:00:00Z")

        after = revive(now, a_flag(serve="v7"))

        assert after.quarantined == {HASHES["v5"]}
        assert after.braked_at == now.braked_at


class TestSteps:
    STEPS = Schedule([1, 5.5, 100], 60, 20)

    def test_begin_at_the_first(self) -> None:
        step = verbs.start(a_flag(), "v7", self.STEPS)

        assert step.flag.rollout == Rollout("v7", 1, 0, steps=(1, 5.5, 100), hold_seconds=60, min_requests=20)
        assert generations(step.flag)["v7"] == 2

    def test_of_the_present_candidate_keep_its_life_and_its_pause(self) -> None:
        paused = verbs.pause(rolled_out()).flag

        step = verbs.start(paused, "v7", self.STEPS)

        assert step.flag.rollout is not None
        assert (step.flag.rollout.percent, step.flag.rollout.state) == (1, RolloutState.PAUSED)
        assert generations(step.flag) == generations(paused)

    def test_go_up_one_by_one_and_end_in_promotion(self) -> None:
        first = verbs.start(a_flag(), "v7", self.STEPS).flag

        second = verbs.advance(first).flag
        last = verbs.advance(second).flag

        assert second.rollout is not None
        assert (second.rollout.percent, second.rollout.step) == (5.5, 1)
        assert (last.serve, last.rollout, last.safe) == ("v7", None, "v6")
        assert generations(last) == generations(first)

    def test_are_none_of_a_rollout_by_hand(self) -> None:
        with pytest.raises(Refused) as refused:
            verbs.advance(rolled_out())
        assert refused.value.rule == "no_steps"

    @pytest.mark.parametrize("steps", [[], [5, 5], [5, 4], [0, 5], [5, 100.5], [1.005, 5], [1] * 101])
    def test_that_do_not_rise_are_refused(self, steps: list[float]) -> None:
        with pytest.raises(Invalid, match="steps"):
            Schedule(steps)

    def test_last_some_time_and_requests(self) -> None:
        with pytest.raises(Invalid, match="hold_seconds"):
            Schedule([5], hold_seconds=-1)
        with pytest.raises(Invalid, match="min_requests"):
            Schedule([5], min_requests=-1)


class TestStamp:
    TIME = "2030-01-01T00:00:00.000Z"

    @pytest.mark.parametrize(
        "change",
        [
            {"serve": "v7"},
            {"safe": "v5"},
            {"rollout": Rollout("v7", 5)},
            {"withdrawn": frozenset({"v7"})},
            {"enabled": False},
        ],
    )
    def test_is_the_time_of_what_changes_the_serving(self, change: dict[str, object]) -> None:
        before = a_flag(changed_at="2029-01-01T00:00:00.000Z")

        assert verbs.stamped(before, replace(before, **change), self.TIME).changed_at == self.TIME

    def test_stays_for_all_else(self) -> None:
        before = a_flag(changed_at="2029-01-01T00:00:00.000Z")

        after = replace(
            before, metadata={"team": "search"}, quarantined=frozenset({HASHES["v7"]}), changed_at=""
        )

        assert verbs.stamped(before, after, self.TIME).changed_at == before.changed_at

    def test_of_a_new_flag_is_its_beginning(self) -> None:
        assert verbs.stamped(None, a_flag(), self.TIME).changed_at == self.TIME


def test_what_is_served_becomes_safe() -> None:
    step = verbs.settle(a_flag(serve="v7"))

    assert (step.left, step.reached, step.changed) == ("v6", "v7", True)
    assert (step.flag.safe, step.flag.serve) == ("v7", "v7")
    assert not verbs.settle(a_flag()).changed

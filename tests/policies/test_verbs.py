"""The verbs: what each moves, what it leaves alone, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from flags.errors import Invalid, NotFound, Refused
from flags.model import Flag, Layer, Rollout, RolloutState, Variant
from policies import verbs
from policies.reverting import bring_back, revive
from policies.wayback import brake_of


def a_flag(key: str = "support-bot.prompt", **fields: object) -> Flag:
    """v5, v6 and v7, of which v6 is served and safe."""
    variants = {name: Variant(name, f"{index}" * 64) for index, name in enumerate(("v5", "v6", "v7"))}
    usual = {"variants": variants, "serve": "v6", "safe": "v6", "layer": Layer.PROMPT}
    return Flag(key, **(usual | fields))


def generations(flag: Flag) -> dict[str, int]:
    return {name: variant.generation for name, variant in flag.variants.items()}


def rolled_out(percent: float = 10, **fields: object) -> Flag:
    return a_flag(rollout=Rollout("v7", percent), **fields)


class TestSwitch:
    def test_serves_the_variant_and_leaves_safe_where_it_was(self) -> None:
        step = verbs.switch(a_flag(), "v7")

        assert (step.left, step.reached, step.changed) == ("v6", "v7", True)
        assert (step.flag.serve, step.flag.safe) == ("v7", "v6")

    def test_begins_a_new_generation_only_where_the_variant_was_not_served(self) -> None:
        assert generations(verbs.switch(a_flag(), "v7").flag) == {"v5": 1, "v6": 1, "v7": 2}
        assert verbs.switch(a_flag(), "v6").changed is False

    def test_moves_safe_where_it_is_named(self) -> None:
        after = verbs.switch(a_flag(), "v7", safe="v7").flag

        assert (after.serve, after.safe) == ("v7", "v7")

    def test_ends_the_rollout_of_its_candidate_and_of_any_other(self) -> None:
        assert verbs.switch(rolled_out(), "v7").flag.rollout is None
        assert verbs.switch(rolled_out(), "v5").flag.rollout is None
        assert verbs.switch(rolled_out(), "v6").changed

    def test_refuses_a_withdrawn_variant_and_a_withdrawn_safe_one(self) -> None:
        flag = a_flag(withdrawn=frozenset({"v7"}))

        for illegal in (lambda: verbs.switch(flag, "v7"), lambda: verbs.switch(flag, "v5", safe="v7")):
            with pytest.raises(Refused, match=r"v7.*withdrawn") as refused:
                illegal()
            assert refused.value.rule == "variant_withdrawn"
            assert "restore" in (refused.value.mend or "")

    def test_names_the_variants_where_it_does_not_know_one(self) -> None:
        with pytest.raises(NotFound, match="v5, v6, v7") as unknown:
            verbs.switch(a_flag(), "v8")
        assert "apply -f" in (unknown.value.mend or "")

    def test_gives_a_flag_without_a_safe_version_its_first_one(self) -> None:
        after = verbs.switch(a_flag(serve=None, safe=None, layer=None), "v7").flag

        assert (after.serve, after.safe) == ("v7", "v7")


class TestRollout:
    def test_starts_a_new_generation_of_the_candidate(self) -> None:
        step = verbs.start(a_flag(), "v7", 10)

        assert step.flag.rollout == Rollout("v7", 10)
        assert generations(step.flag)["v7"] == 2

    def test_moves_the_percentage_and_nothing_else(self) -> None:
        paused = rolled_out()
        paused = replace(paused, rollout=replace(paused.rollout, state=RolloutState.PAUSED))

        after = verbs.start(paused, "v7", 25).flag

        assert after == replace(paused, rollout=replace(paused.rollout, percent=25))
        assert verbs.start(after, "v7", 25).changed is False

    @pytest.mark.parametrize("percent", [0, 0.01, 99.99, 100])
    def test_takes_shares_up_to_the_limits(self, percent: float) -> None:
        assert verbs.start(a_flag(), "v7", percent).flag.rollout == Rollout("v7", percent)

    def test_takes_what_a_float_makes_of_two_decimals(self) -> None:
        assert verbs.start(a_flag(), "v7", 57 * 0.01).flag.rollout == Rollout("v7", 0.57)

    @pytest.mark.parametrize("percent", [-0.01, 100.01, 12.345, float("nan")])
    def test_refuses_other_shares(self, percent: float) -> None:
        with pytest.raises(Invalid) as invalid:
            verbs.start(a_flag(), "v7", percent)
        assert invalid.value.path == "percent"

    def test_refuses_what_is_served_already_and_what_is_withdrawn(self) -> None:
        with pytest.raises(Refused, match="is what is served"):
            verbs.start(a_flag(), "v6", 10)
        with pytest.raises(Refused, match="withdrawn"):
            verbs.start(a_flag(withdrawn=frozenset({"v7"})), "v7", 10)

    def test_refuses_a_flag_that_serves_nothing(self) -> None:
        with pytest.raises(Refused, match="serves no variant"):
            verbs.start(a_flag(serve=None, safe=None), "v7", 10)

    def test_pauses_and_resumes_without_a_new_generation(self) -> None:
        paused = verbs.pause(rolled_out()).flag

        assert paused.rollout == Rollout("v7", 10, state=RolloutState.PAUSED)
        assert verbs.pause(paused).changed is False
        assert verbs.resume(paused).flag == rolled_out()

    def test_promotes_the_candidate_to_all_without_moving_safe(self) -> None:
        step = verbs.promote(rolled_out())

        assert (step.flag.serve, step.flag.safe, step.flag.rollout) == ("v7", "v6", None)
        assert generations(step.flag) == generations(rolled_out())

    def test_aborts_without_withdrawing(self) -> None:
        assert verbs.abort(rolled_out()).flag == a_flag()

    @pytest.mark.parametrize("steer", [verbs.pause, verbs.resume, verbs.promote, verbs.abort])
    def test_refuses_to_steer_what_does_not_run(self, steer: object) -> None:
        with pytest.raises(Refused) as refused:
            steer(a_flag())
        assert refused.value.rule == "no_rollout"


class TestRollback:
    def test_withdraws_the_candidate_and_moves_nobody_else(self) -> None:
        step = verbs.rollback(rolled_out())

        assert (step.left, step.reached) == ("v7", "v6")
        assert step.flag == a_flag(withdrawn=frozenset({"v7"}))

    def test_withdraws_what_is_served_and_keeps_the_name_in_serve(self) -> None:
        step = verbs.rollback(a_flag(serve="v7"))

        assert (step.left, step.reached) == ("v7", "v6")
        assert (step.flag.serve, step.flag.served, step.flag.withdrawn) == ("v7", "v6", {"v7"})

    def test_withdraws_both_where_a_candidate_runs_over_a_version_that_is_not_safe(self) -> None:
        after = verbs.rollback(a_flag(serve="v7", rollout=Rollout("v5", 10))).flag

        assert after.withdrawn == {"v5", "v7"}
        assert after.served == "v6"

    def test_spares_a_candidate_that_is_the_safe_version(self) -> None:
        after = verbs.rollback(a_flag(serve="v7", rollout=Rollout("v6", 50))).flag

        assert after.withdrawn == {"v7"}

    def test_is_done_where_it_was_done(self) -> None:
        once = verbs.rollback(a_flag(serve="v7")).flag

        again = verbs.rollback(once)

        assert (again.changed, again.flag) == (False, once)

    def test_refuses_where_safe_alone_is_served_and_names_the_others(self) -> None:
        with pytest.raises(
            Refused, match=r"v7 is the safe version; name one with --to \(v6, v5\)"
        ) as refused:
            verbs.rollback(a_flag(serve="v7", safe="v7"))
        assert refused.value.rule == verbs.ALREADY_SAFE

    def test_does_not_offer_what_is_withdrawn(self) -> None:
        with pytest.raises(Refused, match=r"\(v5\)"):
            verbs.rollback(a_flag(serve="v7", safe="v7", withdrawn=frozenset({"v6"})))

    def test_offers_v10_before_v9(self) -> None:
        variants = {name: Variant(name, "0" * 64) for name in ("v10", "v2", "v9")}

        with pytest.raises(Refused, match=r"\(v10, v9\)"):
            verbs.rollback(a_flag(variants=variants, serve="v2", safe="v2"))

    def test_with_to_moves_safe_first_and_withdraws_what_was_served(self) -> None:
        step = verbs.rollback(a_flag(serve="v7", safe="v7"), to="v5")

        assert (step.left, step.reached) == ("v7", "v5")
        assert (step.flag.safe, step.flag.served, step.flag.withdrawn) == ("v5", "v5", {"v7"})

    def test_goes_one_step_further_back_after_a_rollback(self) -> None:
        once = verbs.rollback(a_flag(serve="v7")).flag

        step = verbs.rollback(once, to="v5")

        assert (step.left, step.reached) == ("v6", "v5")
        assert step.flag.withdrawn == {"v6", "v7"}

    def test_with_to_refuses_a_withdrawn_landing(self) -> None:
        with pytest.raises(Refused, match="withdrawn"):
            verbs.rollback(a_flag(withdrawn=frozenset({"v5"})), to="v5")

    def test_raises_no_generation(self) -> None:
        assert generations(verbs.rollback(rolled_out(), to="v5").flag) == generations(rolled_out())

    def test_works_for_a_plain_flag_without_a_default(self) -> None:
        after = verbs.rollback(a_flag(layer=None, serve=None, safe=None), to="v5").flag

        assert (after.serve, after.safe, after.served) == ("v5", "v5", "v5")


class TestWithdrawAndRestore:
    def test_hands_the_users_of_a_withdrawn_variant_to_safe(self) -> None:
        step = verbs.withdraw(a_flag(serve="v7"), "v7")

        assert (step.flag.served, step.flag.serve, step.flag.withdrawn) == ("v6", "v7", {"v7"})

    def test_ends_the_rollout_of_the_withdrawn_variant_only(self) -> None:
        assert verbs.withdraw(rolled_out(), "v7").flag.rollout is None
        assert verbs.withdraw(rolled_out(), "v5").flag.rollout == Rollout("v7", 10)

    def test_ends_a_rollout_of_safe_when_everybody_gets_safe_anyway(self) -> None:
        flag = a_flag(serve="v7", rollout=Rollout("v6", 50))

        assert verbs.withdraw(flag, "v7").flag.rollout is None

    def test_refuses_the_safe_variant_and_says_what_to_do(self) -> None:
        with pytest.raises(Refused, match="safe") as refused:
            verbs.withdraw(a_flag(serve="v7"), "v6")
        assert "rollback support-bot.prompt --to v7" in (refused.value.mend or "")

    def test_is_done_where_it_was_done(self) -> None:
        flag = a_flag(withdrawn=frozenset({"v7"}))

        assert verbs.withdraw(flag, "v7").changed is False
        assert verbs.restore(a_flag(), "v7").changed is False

    def test_restores_into_a_new_generation(self) -> None:
        rolled_back = verbs.rollback(a_flag(serve="v7")).flag

        step = verbs.restore(rolled_back, "v7")

        assert (step.flag.served, step.flag.withdrawn) == ("v7", frozenset())
        assert generations(step.flag)["v7"] == 2


class TestRevive:
    def test_never_lowers_a_generation_and_begins_a_new_life_for_what_serves_again(self) -> None:
        then = a_flag()
        now = verbs.switch(verbs.switch(then, "v7").flag, "v5").flag

        after = revive(now, then)

        assert (after.serve, after.safe) == ("v6", "v6")
        assert generations(after) == {"v5": 2, "v6": 2, "v7": 2}

    def test_keeps_variants_that_came_later_and_their_withdrawal(self) -> None:
        then = a_flag()
        newer = replace(then, variants={**then.variants, "v8": Variant("v8", "8" * 64)}, serve="v8")
        now = verbs.rollback(newer).flag

        after = revive(now, then)

        assert "v8" in after.variants
        assert after.withdrawn == {"v8"}

    def test_restores_in_a_new_generation_what_was_in_service_then(self) -> None:
        then = a_flag(serve="v7")
        now = verbs.rollback(then).flag

        after = revive(now, then)

        assert (after.served, after.withdrawn) == ("v7", frozenset())
        assert generations(after)["v7"] == 2


RULE = {"if": [{"==": [{"var": "v5"}, "pro"]}, "v7", {"var": ["plan", "v6"]}]}


class TestTargeted:
    def test_names_the_variants_that_a_rule_may_serve_and_that_are_neither_safe_nor_withdrawn(self) -> None:
        assert verbs.targeted(a_flag(), RULE) == ("v7",)
        assert verbs.targeted(a_flag(safe="v7"), RULE) == ()
        assert verbs.targeted(a_flag(withdrawn=frozenset({"v7"})), RULE) == ()

    def test_names_none_without_a_rule_and_for_a_disabled_flag(self) -> None:
        assert verbs.targeted(a_flag(), None) == ()
        assert verbs.targeted(a_flag(enabled=False), RULE) == ()

    def test_a_refused_rollback_names_them_with_the_mend(self) -> None:
        flag = a_flag(targeting="0" * 64)

        with pytest.raises(Refused) as refused:
            verbs.rollback(flag, rule=RULE)
        with pytest.raises(Refused) as of_route:
            brake_of("r", [flag], {}, rules={"0" * 64: RULE})

        for each in (refused, of_route):
            assert "(v7): pointsman withdraw support-bot.prompt v7 --reason" in (each.value.mend or "")


class TestBringBack:
    def test_lowers_no_generation_and_begins_a_new_life_for_what_serves_again(self) -> None:
        then = a_flag(rollout=Rollout("v5", 10))
        last = verbs.rollback(verbs.switch(then, "v7").flag).flag

        back = bring_back(then, last)

        assert (back.serve, back.rollout, back.withdrawn) == ("v6", then.rollout, frozenset())
        assert generations(last) == {"v5": 1, "v6": 1, "v7": 2}
        assert generations(back) == {"v5": 2, "v6": 2, "v7": 3}


NAMES = st.sampled_from(["v5", "v6", "v7", "v8", "absent"])
PERCENTS = st.integers(-100, 11_000).map(lambda hundredths: hundredths / 100)


class Operated(RuleBasedStateMachine):
    """Any verbs in any order."""

    @initialize(serve=st.sampled_from(["v5", "v6", None]), safe=st.sampled_from(["v6", "v7"]))
    def begin(self, serve: str | None, safe: str) -> None:
        variants = {name: Variant(name, "0" * 64) for name in ("v5", "v6", "v7", "v8")}
        self.flag = a_flag(variants=variants, serve=serve, safe=safe if serve else None)
        self.first = self.flag

    def try_to(self, verb: object) -> None:
        before = self.flag
        try:
            step = verb(before)
        except (Refused, NotFound, Invalid):
            assert self.flag is before
            return
        assert step.changed == (step.flag != before)
        assert all(step.flag.variants[n].generation >= v.generation for n, v in before.variants.items())
        self.flag = step.flag

    @rule(name=NAMES, safe=st.none() | NAMES)
    def switch(self, name: str, safe: str | None) -> None:
        self.try_to(lambda flag: verbs.switch(flag, name, safe=safe))

    @rule(name=NAMES, percent=PERCENTS)
    def start(self, name: str, percent: float) -> None:
        self.try_to(lambda flag: verbs.start(flag, name, percent))

    @rule(steer=st.sampled_from([verbs.pause, verbs.resume, verbs.promote, verbs.abort]))
    def steer(self, steer: object) -> None:
        self.try_to(steer)

    @rule(to=st.none() | NAMES)
    def rollback(self, to: str | None) -> None:
        self.try_to(lambda flag: verbs.rollback(flag, to=to))

    @rule(name=NAMES, percent=PERCENTS)
    def shadow(self, name: str, percent: float) -> None:
        self.try_to(lambda flag: verbs.shadow(flag, name, percent))

    @rule()
    def unshadow(self) -> None:
        self.try_to(verbs.unshadow)

    @rule(name=NAMES)
    def withdraw(self, name: str) -> None:
        self.try_to(lambda flag: verbs.withdraw(flag, name))

    @rule(name=NAMES)
    def restore(self, name: str) -> None:
        self.try_to(lambda flag: verbs.restore(flag, name))

    @rule()
    def revert_to_the_first(self) -> None:
        before, after = self.flag, revive(self.flag, self.first)
        assert all(after.variants[n].generation >= v.generation for n, v in before.variants.items())
        self.flag = after

    @invariant()
    def nothing_withdrawn_is_served(self) -> None:
        flag = getattr(self, "flag", None)
        if flag is None:
            return
        assert flag.safe not in flag.withdrawn
        assert flag.served not in flag.withdrawn
        assert flag.rollout is None or flag.rollout.variant not in flag.withdrawn
        assert flag.rollout is None or flag.rollout.variant != flag.served
        assert flag.shadow is None or flag.shadow.variant not in (*flag.withdrawn, flag.served)


TestOperated = Operated.TestCase
TestOperated.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)

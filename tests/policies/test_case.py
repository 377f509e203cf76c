"""What is on trial: cases as they follow from flags, routes and policies."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flags.model import Flag, Layer, Rollout, RolloutState, Variant
from policies.case import EMPTY, Docket, Making, docket_of, layer_flags
from policies.outcome import Release
from policies.policy import ERROR_RATE, LATENCY, Method, Policy

ERRORS = Policy("errors", ERROR_RATE, limit=0.05, times_safe=2)
SLOW = Policy("slow", LATENCY, limit=2.0, layer=Layer.MODEL)
SLOWER = Policy("slower", LATENCY, times_safe=1.5, layer=Layer.MODEL)
BOTH = {"errors": ERRORS, "slow": SLOW}


def a_flag(key: str = "bot.prompt", layer: Layer | None = Layer.PROMPT, **fields: object) -> Flag:
    """v5, v6 and v7, each in its third life, of which v6 is served and safe."""
    variants = {name: Variant(name, f"{index}" * 64, 3) for index, name in enumerate(("v5", "v6", "v7"))}
    usual: Mapping[str, object] = {
        "variants": variants,
        "serve": "v6",
        "safe": "v6",
        "layer": layer,
        "revision": 9,
    }
    return Flag(key, **{**usual, **fields})  # type: ignore[arg-type]  # fields by name


def pinning(flag: str, variant: str) -> Collection[Layer]:
    """Every pipeline's v7 pins the model, and its v5 the prompt."""
    pins = {"v7": [Layer.MODEL], "v5": [Layer.PROMPT]} if flag.endswith(".pipeline") else {}
    return pins.get(variant, [])


def docket(*flags: Flag, policies: Mapping[str, Policy] = BOTH, **routes: dict[str, str]) -> Docket:
    """Cases of `flags` and of the routes (their specs by name); `bot` where none is given."""
    specs = routes or {"bot": {}}
    return docket_of(
        {flag.key: flag for flag in flags},
        {name: layer_flags(name, spec) for name, spec in specs.items()},
        policies,
        pinning,
    )


class TestTrial:
    def test_pairs_the_candidate_with_what_the_same_coin_gives_to_the_others(self) -> None:
        found = docket(a_flag(rollout=Rollout("v7", 10)))

        case = found.cases["bot.prompt/v7/3"]
        assert (case.subject, case.control) == (
            Release("bot.prompt", "v7", 3),
            Release("bot.prompt", "v6", 3),
        )
        assert (case.weight, case.revision, case.routes) == (1000, 9, ("bot",))
        assert case.policies == (ERRORS, SLOW)
        assert found.routes["bot"].trials["bot.prompt"].case is case

    def test_takes_the_safe_version_as_control_where_the_served_one_is_withdrawn(self) -> None:
        flag = a_flag(serve="v5", withdrawn=frozenset({"v5"}), rollout=Rollout("v7", 10))

        case = docket(flag).cases["bot.prompt/v7/3"]

        assert case.control == Release("bot.prompt", "v6", 3)

    def test_runs_while_paused(self) -> None:
        assert docket(a_flag(rollout=Rollout("v7", 10, state=RolloutState.PAUSED))).routes["bot"].trials

    def test_is_none_where_the_coin_cannot_fall_both_ways(self) -> None:
        for flag in (
            a_flag(),
            a_flag(rollout=Rollout("v7", 0)),
            a_flag(rollout=Rollout("v7", 100)),
            a_flag(rollout=Rollout("v7", 10), enabled=False),
            a_flag(serve="v5", withdrawn=frozenset({"v5"}), rollout=Rollout("v6", 10)),
        ):
            assert not docket(flag).routes["bot"].trials

    def test_is_judged_by_every_policy_of_its_routes_whatever_layer_that_names(self) -> None:
        only_other = replace(SLOW, routes=frozenset({"other"}))
        flag = a_flag("kb.prompt", rollout=Rollout("v7", 1))
        shared = {"prompt": "kb.prompt"}

        found = docket(flag, policies={"errors": ERRORS, "slow": only_other}, bot=shared, other=shared)

        assert found.cases["kb.prompt/v7/3"].policies == (ERRORS, only_other)
        assert found.cases["kb.prompt/v7/3"].routes == ("bot", "other")
        assert found.routes["bot"].trials["kb.prompt"].policies == (ERRORS,)

    def test_that_no_route_uses_is_none(self) -> None:
        assert not docket(a_flag("free.prompt", rollout=Rollout("v7", 10))).of_flag


class TestWatch:
    def test_is_of_the_served_version_that_has_something_to_go_back_to(self) -> None:
        found = docket(a_flag(serve="v7"))

        case = found.cases["bot.prompt/v7/3/served"]
        assert (case.subject, case.control, case.weight) == (Release("bot.prompt", "v7", 3), None, 0)
        assert found.routes["bot"].watches == ((case, (ERRORS, SLOW)),)

    def test_is_of_the_candidate_that_everybody_gets(self) -> None:
        found = docket(a_flag(rollout=Rollout("v7", 100), safe="v5"))

        assert [case.key for case in found.cases.values()] == ["bot.prompt/v7/3/served"]

    def test_blames_errors_on_what_changed_last_and_slowness_on_the_model(self) -> None:
        prompt = a_flag(serve="v7", changed_at="2030-01-02T00:00:00.000Z")
        model = a_flag("bot.model", Layer.MODEL, serve="v7", changed_at="2030-01-01T00:00:00.000Z")

        found = docket(prompt, model)

        assert found.cases["bot.prompt/v7/3/served"].policies == (ERRORS,)
        assert found.cases["bot.model/v7/3/served"].policies == (SLOW,)

    def test_blames_slowness_on_what_changed_last_where_the_model_has_nothing_to_go_back_to(self) -> None:
        found = docket(a_flag(serve="v7"), a_flag("bot.model", Layer.MODEL))

        assert found.cases["bot.prompt/v7/3/served"].policies == (ERRORS, SLOW)

    def test_pools_the_routes_for_which_it_was_chosen(self) -> None:
        shared = {"prompt": "kb.prompt"}
        own = a_flag("bot.model", Layer.MODEL, serve="v7", changed_at="2030-01-01T00:00:00.000Z")

        found = docket(a_flag("kb.prompt", serve="v7"), own, bot=shared, other=shared, third=shared)

        assert found.cases["kb.prompt/v7/3/served"].routes == ("other", "third")

    def test_is_of_the_route_alone_where_nothing_can_go_back(self) -> None:
        found = docket(a_flag())

        case = found.cases["route/bot"]
        assert (case.subject, case.control, case.policies, case.routes) == (
            None,
            None,
            (ERRORS, SLOW),
            ("bot",),
        )
        assert found.routes["bot"].watches == ((case, (ERRORS, SLOW)),)

    def test_lists_only_policies_with_a_limit_and_counts_requests_without_any(self) -> None:
        """A soak asks for judged requests, also where nobody has a limit to judge them by."""
        found = docket(a_flag(serve="v7"), policies={"slower": SLOWER})

        case = found.cases["bot.prompt/v7/3/served"]
        assert (case.policies, case.routes) == ((), ("bot",))
        assert found.routes["bot"].watches == ((case, ()),)

    def test_counts_the_requests_of_what_is_not_blamed(self) -> None:
        prompt = a_flag(serve="v7", changed_at="2030-01-02T00:00:00.000Z")
        model = a_flag("bot.model", Layer.MODEL, serve="v7", changed_at="2030-01-01T00:00:00.000Z")

        found = docket(prompt, model, policies={"errors": ERRORS})

        assert found.cases["bot.model/v7/3/served"].policies == ()
        assert {judged.case.key for judged in found.routes["bot"].watches} == set(found.cases)

    def test_leaves_out_what_is_disabled_or_in_a_trial_of_its_own(self) -> None:
        for flag in (a_flag(serve="v7", enabled=False), a_flag(serve="v7", rollout=Rollout("v5", 1))):
            assert docket(flag).routes["bot"].watches[0].case.subject is None


def a_pipeline(**fields: object) -> Flag:
    return a_flag("bot.pipeline", Layer.PIPELINE, **fields)


def a_model(**fields: object) -> Flag:
    return a_flag("bot.model", Layer.MODEL, **{"serve": "v7", **fields})


class TestUnderAPipeline:
    """A layer that the served pipeline pins: what its own flag serves answers nobody, and so is to blame for nothing."""

    def test_the_pipeline_goes_back_in_place_of_the_layer_that_it_pins(self) -> None:
        found = docket(a_model(changed_at="2030-01-02T00:00:00.000Z"), a_pipeline(serve="v7"))

        assert found.cases["bot.pipeline/v7/3/served"].policies == (ERRORS, SLOW)
        assert found.cases["bot.model/v7/3/served"].policies == ()
        assert {judged.case.key: judged.policies for judged in found.routes["bot"].watches} == {
            "bot.pipeline/v7/3/served": (ERRORS, SLOW),
            "bot.model/v7/3/served": (),
        }

    def test_also_where_the_layers_own_flag_has_nothing_to_go_back_to(self) -> None:
        prompt = a_flag(serve="v7", changed_at="2030-01-02T00:00:00.000Z")

        found = docket(prompt, a_model(serve="v6"), a_pipeline(serve="v7"))

        assert found.cases["bot.pipeline/v7/3/served"].policies == (SLOW,)

    def test_the_next_goes_back_where_the_pipeline_cannot(self) -> None:
        model, pipeline = a_model(changed_at="2030-01-02T00:00:00.000Z"), a_pipeline(serve="v7", safe="v7")

        found = docket(a_flag(serve="v7"), model, pipeline)

        assert found.cases["bot.prompt/v7/3/served"].policies == (ERRORS, SLOW)
        assert found.cases["bot.model/v7/3/served"].policies == ()

    def test_nothing_goes_back_where_all_that_could_is_pinned(self) -> None:
        found = docket(a_model(), a_pipeline(serve="v7", safe="v7"))

        assert found.cases["route/bot"].policies == (ERRORS, SLOW)

    def test_its_watch_and_its_trial_rest(self) -> None:
        pipeline = a_pipeline(serve="v7")

        assert docket(a_model(), pipeline).of_flag["bot.model"].under == ("bot.pipeline",)
        trial = docket(a_model(serve="v6", rollout=Rollout("v5", 5)), pipeline).of_flag["bot.model"]
        assert (trial.control is not None, trial.under) == (True, ("bot.pipeline",))

    def test_what_only_a_candidate_pins_rests_for_its_requests_alone(self) -> None:
        found = docket(a_model(), a_pipeline(rollout=Rollout("v7", 10)))

        assert found.of_flag["bot.model"].under == ()
        assert found.cases["bot.model/v7/3/served"].policies == (ERRORS, SLOW)

    def test_a_candidate_that_everybody_gets_pins_as_what_is_served(self) -> None:
        assert docket(a_model(), a_pipeline(rollout=Rollout("v7", 100))).of_flag["bot.model"].under

    @pytest.mark.parametrize(
        "state",
        [{"serve": "v6"}, {"serve": "v7", "enabled": False}, {"serve": "v7", "withdrawn": frozenset({"v7"})}],
    )
    def test_a_pipeline_that_does_not_serve_it_pins_nothing(self, state: dict[str, Any]) -> None:
        found = docket(a_model(), a_pipeline(**state))

        assert found.of_flag["bot.model"].under == ()
        assert SLOW in found.cases["bot.model/v7/3/served"].policies

    def test_what_another_route_serves_freely_does_not_rest_and_is_judged_there(self) -> None:
        shared = {"model": "kb.model"}
        model = replace(a_model(), key="kb.model")

        found = docket(model, a_pipeline(serve="v7"), bot=shared, other=shared)

        case = found.cases["kb.model/v7/3/served"]
        assert (case.under, case.routes, case.policies) == ((), ("other",), (ERRORS, SLOW))


def test_policies_of_one_release_share_alpha_and_dry_runs_take_none_away() -> None:
    trying = replace(SLOWER, dry_run=True)

    case = docket(a_flag(rollout=Rollout("v7", 10)), policies={**BOTH, "slower": trying}).cases[
        "bot.prompt/v7/3"
    ]

    assert (case.share(ERRORS), case.share(SLOW), case.share(trying)) == (1 / 2, 1 / 2, 1 / 3)


def test_a_policy_for_a_route_that_vanished_judges_nothing() -> None:
    gone = replace(ERRORS, routes=frozenset({"gone"}))

    (case,) = docket(a_flag(rollout=Rollout("v7", 10)), policies={"errors": gone}).cases.values()

    assert case.policies == ()


KEYS = ("a.prompt", "a.model", "a.pipeline", "b.prompt", "b.model", "b.pipeline", "kb.prompt")
PLAIN = replace(ERRORS, name="plain", method=Method.THRESHOLD, layer=Layer.MODEL)
POLICIES = {**BOTH, "plain": PLAIN, "b": replace(SLOW, name="b", routes=frozenset({"b"}))}


@st.composite
def worlds(draw: st.DrawFn) -> tuple[dict[str, Flag], dict[str, dict[Layer, str]]]:
    flags = {}
    for key in draw(st.sets(st.sampled_from(KEYS))):
        flags[key] = a_flag(
            key,
            Layer(key.partition(".")[2]),
            serve=draw(st.sampled_from(["v6", "v7"])),
            rollout=draw(st.none() | st.builds(Rollout, st.just("v5"), st.sampled_from([0.0, 10.0, 100.0]))),
            enabled=draw(st.booleans()),
            changed_at=draw(st.sampled_from(["", "2030-01-01T00:00:00.000Z"])),
            revision=draw(st.integers(1, 3)),
        )
    specs = {
        route: layer_flags(route, draw(st.sampled_from([{}, {"prompt": "kb.prompt"}])))
        for route in draw(st.sets(st.sampled_from(["a", "b"])))
    }
    return flags, specs


@given(st.lists(worlds(), min_size=2, max_size=4))
def test_what_is_made_step_by_step_is_what_is_made_at_once(
    steps: list[tuple[dict[str, Flag], dict[str, dict[Layer, str]]]],
) -> None:
    made, flags, routes = EMPTY, dict[str, Flag](), dict[str, dict[Layer, str]]()
    for now, specs in steps:
        changed = {key for key in KEYS if flags.get(key) != now.get(key)}
        moved = {route for route in ("a", "b") if routes.get(route) != specs.get(route)}
        flags, routes = now, specs
        made = Making(
            made, now, specs, POLICIES, pinning=pinning, changed_flags=changed, changed_routes=moved
        ).docket()

        assert made == docket_of(now, specs, POLICIES, pinning)

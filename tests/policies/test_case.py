"""What is on trial: cases as they follow from flags, routes and policies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

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


def docket(*flags: Flag, policies: Mapping[str, Policy] = BOTH, **routes: dict[str, str]) -> Docket:
    """Cases of `flags` and of the routes (their specs by name); `bot` where none is given."""
    specs = routes or {"bot": {}}
    return docket_of(
        {flag.key: flag for flag in flags},
        {name: layer_flags(name, spec) for name, spec in specs.items()},
        policies,
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


KEYS = ("a.prompt", "a.model", "b.prompt", "b.model", "kb.prompt")
PLAIN = replace(ERRORS, name="plain", method=Method.THRESHOLD, layer=Layer.MODEL)
POLICIES = {**BOTH, "plain": PLAIN, "b": replace(SLOW, name="b", routes=frozenset({"b"}))}


@st.composite
def worlds(draw: st.DrawFn) -> tuple[dict[str, Flag], dict[str, dict[Layer, str]]]:
    flags = {}
    for key in draw(st.sets(st.sampled_from(KEYS))):
        flags[key] = a_flag(
            key,
            Layer.MODEL if key.endswith("model") else Layer.PROMPT,
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
        made = Making(made, now, specs, POLICIES, changed_flags=changed, changed_routes=moved).docket()

        assert made == docket_of(now, specs, POLICIES)

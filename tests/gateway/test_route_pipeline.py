"""A pipeline chooses the versions of the other layers, in one snapshot; going back moves them all."""

from __future__ import annotations

from collections.abc import Collection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flags.canonical import digest
from flags.model import Context, Layer, Rollout
from flags.snapshot import Snapshot
from gateway.compiling import compile_serving
from gateway.deciding.elsewhere import gather
from gateway.decision import EVERY_LAYER, Asked, Decision, Given, Serving
from gateway.errors import NotReady
from gateway.route import decide, stand_in
from policies.outcome import How
from tests.gateway.piped import PIPELINE, V4, V5, piped, said

ALL_BUT_NONE = 99.99


def decided(
    serving: Serving,
    pins: dict[str, str] | None = None,
    *,
    key: str = "u",
    applying: Collection[Layer] = EVERY_LAYER,
) -> Decision:
    return decide(serving, serving.routes["support-bot"], Asked(Context(key), pins or {}, 0, applying))


def test_a_pipeline_is_named_first_and_its_pins_after_it() -> None:
    decision = decided(piped(pipeline={"serve": "v5", "safe": "v4"}, searching=True))

    assert decision.versions == "pipeline=v5;prompt=v7;retriever=r2;index=i4;model=gpt-4o"
    assert decision.how == "dpppp"


def test_a_layer_that_is_not_pinned_resolves_by_itself() -> None:
    pipelines = {"v1": {"pins": {"prompt": "v7"}}}
    decision = decided(piped(pipelines, model={"serve": "gpt-4o"}))

    assert decision.versions == "pipeline=v1;prompt=v7;model=gpt-4o"
    assert decision.how == "dpd"


def test_the_pipelines_coin_is_the_only_one_and_pinned_rollouts_rest() -> None:
    serving = piped(
        pipeline={"rollout": Rollout("v5", ALL_BUT_NONE)}, prompt={"rollout": Rollout("v8", ALL_BUT_NONE)}
    )
    decision = decided(serving)

    assert decision.versions == "pipeline=v5;prompt=v7;model=gpt-4o"
    assert decision.how == "cpp"
    assert decision.on_trial


def test_a_pinned_version_that_is_withdrawn_falls_to_the_safe_one() -> None:
    serving = piped(
        pipeline={"serve": "v5"},
        prompt={"serve": "v8", "safe": "v6", "withdrawn": frozenset({"v7"})},
    )
    decision = decided(serving)

    assert decision.versions == "pipeline=v5;prompt=v6;model=gpt-4o"
    assert decision.layers[1].resolution.wanted == "v7"
    assert decision.layers[1].how is How.PINNED


def test_a_pin_to_a_version_that_is_there_no_more_falls_to_the_safe_one_and_judges_nothing() -> None:
    pipelines = {"v1": {"pins": {"prompt": "v99"}}}
    decision = decided(piped(pipelines, prompt={"serve": "v8", "safe": "v6"}))

    assert decision.versions == "pipeline=v1;prompt=v6;model=gpt-4.1"
    assert decision.how == "dpd"


def test_a_pin_to_what_automation_put_in_quarantine_falls_to_the_safe_one() -> None:
    bad = digest(said("You are v7."))
    decision = decided(piped(pipeline={"serve": "v5"}, prompt={"quarantined": frozenset({bad})}))

    assert decision.versions == "pipeline=v5;prompt=v6;model=gpt-4o"


def test_a_pin_to_a_version_whose_content_was_erased_falls_to_the_safe_one() -> None:
    snapshot = piped(pipeline={"serve": "v5"}, prompt={"serve": "v8", "safe": "v6"}).snapshot
    left = {name: each for name, each in snapshot.contents.items() if name != digest(said("You are v7."))}
    emptied = compile_serving(Snapshot.build("default", snapshot.position, 7, dict(snapshot.objects), left))

    decision = decided(emptied)
    assert decision.versions == "pipeline=v5;prompt=v6;model=gpt-4o"
    assert decision.layers[1].resolution.wanted == "v7"


def test_a_pin_to_a_disabled_flag_leaves_the_layer_out() -> None:
    assert decided(piped(prompt={"enabled": False})).versions == "pipeline=v4;model=gpt-4.1"


def test_a_disabled_pipeline_pins_nothing() -> None:
    decision = decided(piped(pipeline={"enabled": False}, prompt={"serve": "v8"}))

    assert decision.versions == "prompt=v8;model=gpt-4.1"
    assert decision.pipeline is None


def test_the_callers_own_pin_wins_over_the_pipelines() -> None:
    serving = piped(pipeline={"serve": "v5"})

    assert decided(serving, {"support-bot.prompt": "v8"}).versions == "pipeline=v5;prompt=v8;model=gpt-4o"
    assert decided(serving, {PIPELINE: "v4"}).versions == "pipeline=v4;prompt=v6;model=gpt-4.1"


def test_where_the_prompt_does_not_apply_the_pipeline_still_does() -> None:
    decision = decided(piped(pipeline={"serve": "v5"}), applying={Layer.PIPELINE, Layer.MODEL})

    assert decision.versions == "pipeline=v5;model=gpt-4o"


def test_a_pipeline_that_cannot_be_read_is_told_and_pins_nothing() -> None:
    decision = decided(piped({"v1": {"pins": {"prompt": 7}}}))

    assert decision.versions == "pipeline=v1;prompt=v6;model=gpt-4.1"
    with pytest.raises(NotReady, match=r"support-bot\.pipeline/v1"):
        _ = decision.pipeline


class TestStandIn:
    def test_every_layer_moves_with_the_control_pipeline(self) -> None:
        decision = decided(piped(pipeline={"rollout": Rollout("v5", ALL_BUT_NONE)}, searching=True))

        assert decision.versions == "pipeline=v5;prompt=v7;retriever=r2;index=i4;model=gpt-4o"
        control = stand_in(decision)
        assert control.versions == "pipeline=v4;prompt=v6;retriever=r1;index=i3;model=gpt-4.1"
        assert set(control.how) == {"p"}
        assert not control.on_trial

    def test_a_layer_that_neither_pins_goes_to_its_own_control_where_it_was_on_trial(self) -> None:
        pipelines = {"v1": {"pins": {"prompt": "v6"}}, "v2": {"pins": {"prompt": "v7"}}}
        trial = {"rollout": Rollout("gpt-4o", ALL_BUT_NONE)}
        decision = decided(piped(pipelines, pipeline={"rollout": Rollout("v2", ALL_BUT_NONE)}, model=trial))

        assert decision.versions == "pipeline=v2;prompt=v7;model=gpt-4o"
        assert stand_in(decision).versions == "pipeline=v1;prompt=v6;model=gpt-4.1"

    def test_a_layer_that_only_the_candidate_pins_resolves_anew_without_its_own_candidate(self) -> None:
        pipelines = {"v1": {"pins": {}}, "v2": {"pins": {"prompt": "v7"}}}
        state = {"serve": "v6", "rollout": Rollout("v8", ALL_BUT_NONE)}
        decision = decided(piped(pipelines, pipeline={"rollout": Rollout("v2", ALL_BUT_NONE)}, prompt=state))

        assert decision.versions == "pipeline=v2;prompt=v7;model=gpt-4.1"
        assert stand_in(decision).versions == "pipeline=v1;prompt=v6;model=gpt-4.1"

    def test_what_the_caller_pinned_stays(self) -> None:
        serving = piped(pipeline={"rollout": Rollout("v5", ALL_BUT_NONE)})
        decision = decided(serving, {"support-bot.prompt": "v8"})

        assert stand_in(decision).versions == "pipeline=v4;prompt=v8;model=gpt-4.1"

    def test_where_another_layer_is_on_trial_the_pipeline_and_its_pins_stay(self) -> None:
        pipelines = {"v1": {"pins": {"prompt": "v7"}}}
        decision = decided(piped(pipelines, model={"rollout": Rollout("gpt-4o", ALL_BUT_NONE)}))

        assert decision.asked is None
        assert stand_in(decision).versions == "pipeline=v1;prompt=v7;model=gpt-4.1"


PROMPTS = ("v6", "v7", "v8")
MODELS = ("gpt-4.1", "gpt-4o")


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Serving, dict[str, str]]:
    """A route in any state, and the caller's pins."""

    def state(names: tuple[str, ...]) -> dict[str, object]:
        serve, safe = draw(st.sampled_from(names)), draw(st.sampled_from(names))
        withdrawn = frozenset(draw(st.sets(st.sampled_from(names)))) - {safe}
        candidates = [name for name in names if name != serve and name not in withdrawn]
        rollout = None
        if candidates and draw(st.booleans()):
            rollout = Rollout(draw(st.sampled_from(candidates)), draw(st.sampled_from([0.0, 50.0, 100.0])))
        return {"serve": serve, "safe": safe, "withdrawn": withdrawn, "rollout": rollout}

    pins = st.fixed_dictionaries(
        {}, optional={"prompt": st.sampled_from(PROMPTS), "model": st.sampled_from(MODELS)}
    )
    pipelines = {name: {"pins": draw(pins)} for name in ("v1", "v2", "v3")}
    states = {
        "pipeline": state(("v1", "v2", "v3")),
        "prompt": state(PROMPTS) | {"enabled": draw(st.booleans())},
        "model": state(MODELS),
    }
    own = draw(st.fixed_dictionaries({}, optional={"support-bot.prompt": st.sampled_from(PROMPTS)}))
    return piped(pipelines, **states), own


@given(worlds(), st.text(min_size=1, max_size=8).filter(str.isascii))
def test_what_a_pipeline_pins_is_what_answers_or_the_safe_one_and_so_for_its_stand_in(
    world: tuple[Serving, dict[str, str]], user: str
) -> None:
    serving, own = world
    decision = decided(serving, own, key=user)
    for each in (decision, stand_in(decision)):
        versions = {chosen.layer: chosen.version.release.variant for chosen in each.layers}
        pins = serving.snapshot.flags[PIPELINE].values[versions[Layer.PIPELINE]]["pins"]
        for layer, pin in {**pins, **{name.rpartition(".")[2]: pin for name, pin in own.items()}}.items():
            flag = serving.snapshot.flags[f"support-bot.{layer}"].flag
            expected = flag.safe if pin in flag.withdrawn else pin
            assert versions.get(Layer(layer), expected) == expected
            assert (Layer(layer) in versions) == flag.enabled
        assert each.revision == serving.snapshot.revision
    control = stand_in(decision)
    assert not control.on_trial
    assert set(control.how) == {"p"}
    if not decision.on_trial:
        assert control.versions == decision.versions


def test_a_route_without_a_pipeline_keeps_nothing_to_decide_again_by() -> None:
    serving = piped({"v4": V4, "v5": V5}, pipeline={"rollout": Rollout("v5", ALL_BUT_NONE)})

    assert decided(serving).asked is not None
    assert decided(serving, {PIPELINE: "v5"}).asked is None


def past(serving: Serving, pins: dict[str, str]) -> Decision:
    """As an evaluation asks: its pins hold for withdrawn versions too."""
    asked = Asked(Context(None), pins, 0, EVERY_LAYER, past_withdrawn=True)
    return decide(serving, serving.routes["support-bot"], asked)


def test_an_evaluation_reaches_a_withdrawn_pipeline_with_all_that_it_pins() -> None:
    serving = piped(pipeline={"serve": "v4", "safe": "v4", "withdrawn": frozenset({"v5"})})

    decision = past(serving, {PIPELINE: "v5"})

    assert decision.versions == "pipeline=v5;prompt=v7;model=gpt-4o"
    assert decided(serving, {PIPELINE: "v5"}).versions.startswith("pipeline=v4")


def test_an_evaluation_reaches_a_withdrawn_version_past_the_pipelines_pin() -> None:
    serving = piped(prompt={"withdrawn": frozenset({"v8"})})

    decision = past(serving, {"support-bot.prompt": "v8"})

    assert "prompt=v8" in decision.versions
    assert "prompt=v8" not in decided(serving, {"support-bot.prompt": "v8"}).versions


def test_what_a_provider_gives_for_the_pipeline_holds_and_what_that_pins_is_not_asked() -> None:
    serving = piped()
    route = serving.routes["support-bot"]
    asked, found = Asked(Context("u"), {}, 0, EVERY_LAYER), dict[str, Given]()

    gather(route, asked, lambda flag: Given("v5" if flag.layer is Layer.PIPELINE else None), found)
    decision = decide(serving, route, asked._replace(given=found))

    pinned = {layer.flag.flag.key for layer in route.layers if layer.layer in route.pinned["v5"]}
    assert PIPELINE in found
    assert pinned
    assert pinned.isdisjoint(found)
    assert "pipeline=v5" in decision.versions
    assert [chosen.how for chosen in decision.layers if chosen.resolution.flag in pinned] == [
        How.PINNED for _ in pinned
    ]

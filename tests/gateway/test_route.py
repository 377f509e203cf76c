"""Which version of each layer answers a request, from one snapshot."""

from __future__ import annotations

from typing import Any

import pytest

from flags.model import Context, Reason
from flags.snapshot import Snapshot
from gateway.auth import Caller
from gateway.compiling import compile_serving
from gateway.decision import Asked, Decision, Serving
from gateway.errors import NotReady, UnknownRoute
from gateway.route import choose, decide, find_route, stand_in
from tests.gateway.builders import PROMPT, rollout, serving

APP = Caller("shop", may_pin=False)
V7 = {"messages": [{"role": "system", "content": "You are v7."}]}


def answered(served: Serving, key: str = "u", pins: dict[str, str] | None = None) -> Decision:
    return decide(served, served.routes["support-bot"], Asked(Context(key), pins or {}, 0))


def test_every_layer_is_named_in_the_order_in_which_a_request_meets_it() -> None:
    assert answered(serving()).versions == "prompt=v6;model=gpt-4.1"
    assert answered(serving({})).versions == "model=gpt-4.1"


def test_a_withdrawn_version_hands_its_users_to_the_safe_one() -> None:
    served = serving(
        {"v6": PROMPT, "v7": V7}, prompt_state={"serve": "v7", "safe": "v6", "withdrawn": frozenset({"v7"})}
    )

    assert answered(served).versions == "prompt=v6;model=gpt-4.1"


def test_releases_and_how_they_were_chosen_name_what_the_decision_is_evidence_for() -> None:
    decision = answered(serving({"v6": PROMPT, "v7": V7}, prompt_state=rollout("v7", 50)))

    assert [r.flag for r in decision.releases] == ["support-bot.prompt", "support-bot.model"]
    assert decision.how == "cd"


def test_a_rule_that_names_no_variant_falls_back_to_what_is_served() -> None:
    decision = answered(serving(prompt_state={"targeting": {"if": [True, "v99"]}}))

    assert decision.versions == "prompt=v6;model=gpt-4.1"
    assert decision.layers[0].resolution.reason is Reason.ERROR


def test_a_disabled_prompt_leaves_its_layer_out_and_a_disabled_model_is_told() -> None:
    assert answered(serving(prompt_state={"enabled": False})).versions == "model=gpt-4.1"
    with pytest.raises(NotReady, match="disabled"):
        _ = answered(serving(model_state={"enabled": False})).model


def test_a_version_that_cannot_be_served_is_told_and_stops_no_other() -> None:
    broken = {"messages": [{"role": "system", "content": "{% if %}"}]}
    served = serving({"v6": PROMPT, "v7": broken})

    assert answered(served).prompt is not None
    with pytest.raises(NotReady, match=r"support-bot\.prompt/v7"):
        _ = answered(served, pins={"support-bot.prompt": "v7"}).prompt


def test_an_unknown_route_lists_those_that_exist_and_that_the_caller_may_use() -> None:
    with pytest.raises(UnknownRoute, match="known: support-bot"):
        find_route(serving(), "gpt-5", APP)
    with pytest.raises(UnknownRoute, match="known: none"):
        find_route(serving(), "support-bot", Caller("x", may_pin=False, routes=frozenset({"other"})))


def test_a_version_whose_content_is_gone_is_told_and_is_no_bug_of_ours() -> None:
    served = serving()
    snapshot = served.snapshot
    emptied = compile_serving(Snapshot.build("default", snapshot.position, 7, dict(snapshot.objects), {}))

    with pytest.raises(NotReady, match="cannot be served"):
        _ = answered(emptied).model


def test_a_version_on_trial_knows_its_control_and_a_pinned_one_has_none() -> None:
    served = serving({"v6": PROMPT, "v7": V7}, prompt_state=rollout("v7", 99.99))
    tried, pinned = answered(served), answered(served, pins={"support-bot.prompt": "v7"})

    assert tried.on_trial
    assert not pinned.on_trial
    assert (tried.how, pinned.how) == ("cd", "pd")


def test_what_stands_in_for_a_candidate_is_evidence_for_nothing() -> None:
    decision = answered(serving({"v6": PROMPT, "v7": V7}, prompt_state=rollout("v7", 99.99)))
    control = stand_in(decision)

    assert (decision.versions, control.versions) == ("prompt=v7;model=gpt-4.1", "prompt=v6;model=gpt-4.1")
    assert (control.how, control.on_trial, control.revision) == ("pp", False, 7)
    assert control.layers[0].resolution.variant == "v6"
    assert control.layers[0].resolution.wanted == "v7"


@pytest.mark.parametrize(
    ("state", "control"),
    [
        ({"serve": "v7", "safe": "v6"}, "v6"),
        ({"serve": "v7", "safe": "v6", **rollout("v6", 0)}, "v6"),
        ({"serve": "v6", "safe": "v6", **rollout("v7", 100)}, "v6"),
        ({"serve": "v7", "safe": "v7"}, None),
        ({"serve": "v7", "safe": "v6", "withdrawn": frozenset({"v7"})}, None),
        ({"serve": "v6", "safe": "v6", "withdrawn": frozenset({"v7"}), **rollout("v7", 99.99)}, None),
    ],
)
def test_the_shield_stands_before_what_could_go_back(state: dict[str, Any], control: str | None) -> None:
    chosen = answered(serving({"v6": PROMPT, "v7": V7}, prompt_state=state)).layers[0]

    assert (chosen.control and chosen.control.release.variant) == control


def test_a_layer_whose_answer_hangs_on_no_request_has_it_ready() -> None:
    plain = serving().routes["support-bot"].layers[0]
    rolled = serving(
        prompts={"v6": PROMPT, "v7": {"messages": [{"role": "system", "content": "You are v7."}]}},
        prompt_state=rollout("v7", 10),
    )

    assert plain.always is not None
    assert choose(plain, Asked(Context("anyone"), {}, 0)) is plain.always
    assert rolled.routes["support-bot"].layers[0].always is None

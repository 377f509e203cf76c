"""Why a context gets what it gets: every step of the evaluation in its own words."""

from __future__ import annotations

from typing import Any

import pytest

from flags.errors import Invalid, NotFound
from flags.model import Context, Layer, Rollout
from gateway.explain import explain
from gateway.shapes import LayerExplained
from tests.gateway.builders import MODEL, PROMPT, flag, rollout, serving
from tests.gateway.piped import piped, served

PROMPTS = {v: {"messages": [{"role": "system", "content": f"You are {v}."}]} for v in ("v5", "v6", "v7")}
STATE = {"serve": "v6", "safe": "v6"}
RULE = {"if": [{"==": [{"var": "plan"}, "pro"]}, "v7", None]}


def told(
    key: str | None = "u1", attributes: dict[str, Any] | None = None, pins: Any = None, **state: Any
) -> LayerExplained:
    """What the prompt layer says for a flag in `state`."""
    snapshot = serving(PROMPTS, prompt_state=STATE | state).snapshot
    return explain(snapshot, "support-bot", Context(key, attributes or {}), pins or {}, 0).layers["prompt"]


def test_a_flag_without_anything_serves_by_default() -> None:
    layer = told()

    assert (layer.variant, layer.reason, layer.why) == (
        "v6",
        "STATIC",
        "nothing else applies: it is served by default",
    )


def test_a_targeting_rule_is_shown_whether_it_matches_or_not() -> None:
    match, miss = told(attributes={"plan": "pro"}, targeting=RULE), told(targeting=RULE)

    assert (match.variant, match.why, match.rule) == ("v7", "the targeting rule chose it", RULE)
    assert (miss.variant, miss.why) == ("v6", "no rule matched: it is served by default")


def test_a_coin_is_told_with_its_bucket_on_both_sides() -> None:
    sides = {(told(f"u{i}", **rollout("v7", 50)).variant) for i in range(20)}
    layer = told("u1", **rollout("v7", 50))

    assert sides == {"v6", "v7"}
    assert (layer.weight, layer.reason) == (5000, "SPLIT")
    side = "at or above" if layer.variant == "v7" else "below"
    assert layer.why.endswith(f"bucket {layer.bucket} of 10000 lies {side} 5000")


def test_without_a_key_no_coin_is_tossed() -> None:
    layer = told(None, **rollout("v7", 50))

    assert (layer.variant, layer.bucket) == ("v6", None)
    assert "no targeting key was given" in layer.why


def test_a_pin_is_told_and_so_is_one_to_a_withdrawn_version() -> None:
    pinned = told(pins={"support-bot.prompt": "v5"})
    diverted = told(pins={"support-bot.prompt": "v7"}, withdrawn=frozenset({"v7"}))

    assert (pinned.variant, pinned.pinned, pinned.why) == ("v5", True, "the caller's pin chose it")
    assert (diverted.variant, diverted.wanted) == ("v6", "v7")
    assert "v7 was chosen, but it is withdrawn, so the safe version v6 answers" in diverted.why


def test_a_disabled_flag_leaves_its_layer_out() -> None:
    layer = told(enabled=False)

    assert (layer.variant, layer.reason) == (None, "DISABLED")


def test_a_rule_that_fails_leaves_the_route_to_what_is_served() -> None:
    layer = told(targeting={"if": [True, "absent"]})

    assert (layer.variant, layer.reason) == ("v6", "ERROR")
    assert "absent" in (layer.error or "")


def test_what_does_not_exist_is_told() -> None:
    snapshot = serving({"v6": PROMPT}).snapshot

    with pytest.raises(NotFound, match="routes: support-bot"):
        explain(snapshot, "absent", Context("u"), {}, 0)
    for pins, path in (
        ({"absent": "v1"}, "pins.absent"),
        ({"support-bot.prompt": "v9"}, "pins.support-bot.prompt"),
    ):
        with pytest.raises(Invalid) as invalid:
            explain(snapshot, "support-bot", Context("u"), pins, 0)
        assert invalid.value.path == path


def test_headers_are_those_that_an_app_would_see() -> None:
    snapshot = serving(PROMPTS, prompt_state=STATE).snapshot

    headers = explain(snapshot, "support-bot", Context("u"), {}, 0).headers

    assert headers["x-pointsman-versions"] == "prompt=v6;model=gpt-4.1"


def test_a_layer_that_the_pipeline_pins_says_so_and_its_own_coin_rests() -> None:
    snapshot = piped(
        pipeline={"serve": "v5", "safe": "v4"}, prompt={"serve": "v6", "rollout": Rollout("v8", 50)}
    ).snapshot
    explained = explain(snapshot, "support-bot", Context("u1"), {}, 0)

    prompt = explained.layers["prompt"]
    assert (prompt.variant, prompt.why, prompt.pinned) == ("v7", "pinned by pipeline v5", True)
    assert (prompt.bucket, prompt.weight) == (None, None)
    assert explained.headers["x-pointsman-versions"] == "pipeline=v5;prompt=v7;model=gpt-4o"
    assert explained.layers["pipeline"].why == "nothing else applies: it is served by default"


def test_a_pinned_version_that_is_withdrawn_is_told_with_what_answers() -> None:
    state = {"serve": "v6", "withdrawn": frozenset({"v7"})}
    snapshot = piped(pipeline={"serve": "v5"}, prompt=state).snapshot
    prompt = explain(snapshot, "support-bot", Context("u1"), {}, 0).layers["prompt"]

    assert (prompt.variant, prompt.wanted) == ("v6", "v7")
    assert prompt.why.startswith("pinned by pipeline v5; v7 was chosen, but it is withdrawn")


def test_the_callers_own_pin_is_told_as_his_on_a_layer_that_the_pipeline_pins() -> None:
    snapshot = piped(pipeline={"serve": "v5"}).snapshot
    pins = {"support-bot.prompt": "v8"}

    assert explain(snapshot, "support-bot", Context("u1"), pins, 0).layers["prompt"].why == (
        "the caller's pin chose it"
    )


def test_a_name_that_is_no_route_is_explained_by_the_route_of_all_names() -> None:
    anything = flag("any.model", Layer.MODEL, {"m": {**MODEL, "model": "*"}})
    snapshot = served(anything, route="*", model="any.model").snapshot
    explained = explain(snapshot, "gpt-5", Context("u1"), {}, 0)

    assert explained.route == "*"
    assert explained.headers["x-pointsman-versions"] == "model=m"

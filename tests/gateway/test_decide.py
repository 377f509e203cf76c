"""Which version answers a request: context, pins, and one answer per layer from one snapshot."""

from __future__ import annotations

from typing import Any

import pytest

from flags.model import Context, Reason
from gateway.ask import read_ask
from gateway.auth import Caller
from gateway.decide import Decision, decide, find_route, read_context, read_pins
from gateway.errors import BadRequest, Forbidden, NotReady, UnknownRoute
from gateway.route import Serving, compile_serving
from tests.gateway.builders import MODEL, PROMPT, body, rollout, serving

APP = Caller("shop", may_pin=False, attributes={"plan": "gold"})
V7 = {"messages": [{"role": "system", "content": "You are v7."}]}


def answered(served: Serving, key: str = "u", pins: dict[str, str] | None = None) -> Decision:
    return decide(served, served.routes["support-bot"], Context(key), pins or {}, 0)


def context(
    headers: dict[str, str] | None = None, served: Serving | None = None, caller: Caller = APP, **fields: Any
) -> Context:
    raw = {name.encode(): value.encode() for name, value in (headers or {}).items()}
    held = served or serving(prompt_state={"targeting": {"var": "nothing"}})
    return read_context(read_ask(body(**fields)), held.routes["support-bot"], raw, caller, "req-9")


def test_every_layer_is_named_in_the_order_in_which_a_request_meets_it() -> None:
    assert answered(serving()).versions == "prompt=v6;model=gpt-4.1"
    assert answered(serving({})).versions == "model=gpt-4.1"


def test_a_withdrawn_version_hands_its_users_to_the_safe_one() -> None:
    served = serving(
        {"v6": PROMPT, "v7": V7}, prompt_state={"serve": "v7", "safe": "v6", "withdrawn": frozenset({"v7"})}
    )

    assert answered(served).versions == "prompt=v6;model=gpt-4.1"


def test_releases_and_coins_name_what_the_decision_is_evidence_for() -> None:
    decision = answered(serving({"v6": PROMPT, "v7": V7}, prompt_state=rollout("v7", 50)))

    assert [r.flag for r in decision.releases] == ["support-bot.prompt", "support-bot.model"]
    assert decision.coins == ("support-bot.prompt",)


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


@pytest.mark.parametrize(
    ("headers", "fields", "key"),
    [
        ({"x-pointsman-targeting-key": "h"}, {"user": "u"}, "h"),
        ({}, {"user": "u", "safety_identifier": "s"}, "u"),
        ({}, {"safety_identifier": "s", "metadata": {"user_id": "m"}}, "s"),
        ({}, {"metadata": {"user_id": "m"}}, "m"),
        ({}, {"metadata": {"user_id": 42}}, "42"),
        ({}, {"user": ""}, "req-9"),
        ({}, {"user": 7}, "req-9"),
        ({}, {}, "req-9"),
    ],
)
def test_the_targeting_key_is_the_first_that_is_given(
    headers: dict[str, str], fields: dict[str, Any], key: str
) -> None:
    assert context(headers, **fields).targeting_key == key


def test_a_route_may_stick_to_the_api_key() -> None:
    assert context(served=serving(sticky="api_key"), user="u").targeting_key == "key:shop"


def test_attributes_come_from_metadata_baggage_and_header_and_none_can_write_below_key() -> None:
    headers = {
        "baggage": "tier=free, region=eu%2Dwest;ttl=1, junk",
        "x-pointsman-context": '{"tier": "pro", "key": {"plan": "forged"}}',
    }

    found = context(headers, metadata={"tier": "none", "team": "a"}).attributes

    assert found == {"tier": "pro", "region": "eu-west", "team": "a", "key": {"plan": "gold"}}


@pytest.mark.parametrize("value", ["[]", "3", "{", "null", '"x"'])
def test_a_context_header_that_is_no_object_is_refused_even_where_no_rule_reads_it(value: str) -> None:
    with pytest.raises(BadRequest, match="x-pointsman-context"):
        context({"x-pointsman-context": value}, served=serving())


def test_pins_are_refused_for_who_may_not_and_for_names_that_do_not_exist() -> None:
    served, may = serving(), Caller("ops", may_pin=True)

    def pins(text: str, caller: Caller = may) -> Any:
        return read_pins({b"x-pointsman-pin": text.encode()}, served, caller)

    assert pins("support-bot.prompt=v6; support-bot.model=gpt-4.1") == {
        "support-bot.prompt": "v6",
        "support-bot.model": "gpt-4.1",
    }
    with pytest.raises(Forbidden):
        pins("support-bot.prompt=v6", APP)
    for text, says in [
        ("nope.prompt=v6", "does not exist"),
        ("support-bot.prompt=v9", "variants: v6"),
        ("support-bot.prompt", "flag=variant"),
    ]:
        with pytest.raises(BadRequest, match=says):
            pins(text)


def test_an_unknown_route_lists_those_that_exist_and_that_the_caller_may_use() -> None:
    with pytest.raises(UnknownRoute, match="known: support-bot"):
        find_route(serving(), "gpt-5", APP)
    with pytest.raises(UnknownRoute, match="known: none"):
        find_route(serving(), "support-bot", Caller("x", may_pin=False, routes=frozenset({"other"})))


def test_a_recompiled_snapshot_keeps_what_did_not_change() -> None:
    served = serving()
    again = compile_serving(served.snapshot, served, frozenset())

    assert again.routes["support-bot"] is served.routes["support-bot"]
    assert (
        MODEL["upstream"]
        == served.routes["support-bot"].layers[1].versions["gpt-4.1"].prepared.content.upstream
    )  # type: ignore[union-attr]

"""Who asks, and what they pin: read from body, headers and key."""

from __future__ import annotations

from typing import Any

import pytest

from flags.model import Context
from gateway.auth import KEYLESS, Caller
from gateway.context import read_context, read_pins
from gateway.decision import Serving
from gateway.errors import BadRequest, Forbidden
from gateway.wires.chat import Chat
from tests.gateway.builders import body, serving

APP = Caller("shop", may_pin=False, attributes={"plan": "gold"})


def context(
    headers: dict[str, str] | None = None, served: Serving | None = None, caller: Caller = APP, **fields: Any
) -> Context:
    raw = {name.encode(): value.encode() for name, value in (headers or {}).items()}
    held = served or serving(prompt_state={"targeting": {"var": "nothing"}})
    return read_context(Chat().read(body(**fields)), held.routes["support-bot"], raw, caller, "req-9")


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


def test_without_keys_nobody_sticks_to_a_key() -> None:
    """Everybody would be one user, on one side of every coin."""
    assert context(served=serving(sticky="api_key"), caller=KEYLESS, user="u").targeting_key == "u"

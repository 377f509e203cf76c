"""What apps tell other gateways of who asks is understood here too, and refused nowhere."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flags.model import Context
from gateway.ask import Ask
from gateway.attributes import MAX_ATTRIBUTES, MAX_BYTES, foreign_attributes, foreign_user
from gateway.auth import Caller
from gateway.context import read_context
from gateway.wires.chat import Chat
from tests.gateway.builders import body, serving

APP = Caller("shop", may_pin=False, attributes={"plan": "gold"})
READING = serving(prompt_state={"targeting": {"var": "nothing"}})
NAMES = (
    "x-litellm-tags", "x-litellm-end-user-id", "x-litellm-customer-id", "x-litellm-spend-logs-metadata",
    "x-litellm-trace-id", "x-portkey-metadata", "x-portkey-trace-id", "helicone-user-id", "helicone-property-x",
    "x-bf-dim-x", "x-bf-session-id", "x-aisix-routing-key", "helicone-property-", "x-bf-dim-",
)  # fmt: skip


def raw(headers: dict[str, str]) -> dict[bytes, bytes]:
    return {name.encode(): value.encode() for name, value in headers.items()}


def asked(**fields: Any) -> Ask:
    return Chat().read(body(**fields))


def context(headers: dict[str, str], **fields: Any) -> Context:
    return read_context(asked(**fields), READING.routes["support-bot"], raw(headers), APP, "req-9")


def attributes(headers: dict[str, str], **fields: Any) -> dict[str, Any]:
    found = dict(context(headers, **fields).attributes)
    assert found.pop("key") == {"plan": "gold"}
    return found


class TestUser:
    @pytest.mark.parametrize(
        ("headers", "key"),
        [
            ({"x-litellm-end-user-id": "e", "x-litellm-customer-id": "c"}, "e"),
            ({"x-litellm-customer-id": "c", "x-portkey-metadata": '{"_user": "p"}'}, "c"),
            ({"x-portkey-metadata": '{"_user": "p"}', "helicone-user-id": "h"}, "p"),
            ({"x-portkey-metadata": '{"_user": 7}'}, "7"),
            ({"helicone-user-id": "h", "x-aisix-routing-key": "a"}, "h"),
            ({"x-aisix-routing-key": "a"}, "a"),
            ({"x-litellm-end-user-id": " ", "helicone-user-id": "h"}, "h"),
            ({"x-portkey-metadata": '{"_user": true}'}, "req-9"),
            ({"x-portkey-metadata": "{", "x-aisix-routing-key": "a"}, "a"),
            ({"helicone-user-id": "u" * (MAX_BYTES + 1)}, "req-9"),
        ],
    )
    def test_is_the_first_that_another_gateways_header_names(self, headers: dict[str, str], key: str) -> None:
        assert context(headers).targeting_key == key

    @pytest.mark.parametrize(
        "fields", [{"user": "u"}, {"safety_identifier": "u"}, {"metadata": {"user_id": "u"}}]
    )
    def test_is_whom_the_body_names_first(self, fields: dict[str, Any]) -> None:
        assert context({"x-litellm-end-user-id": "e"}, **fields).targeting_key == "u"

    def test_is_known_on_a_route_that_reads_no_attributes(self) -> None:
        route = serving().routes["support-bot"]
        found = read_context(asked(), route, raw({"helicone-user-id": "h", "x-bf-dim-a": "b"}), APP, "req-9")

        assert (found.targeting_key, found.attributes) == ("h", {})


class TestAttributes:
    def test_come_from_the_headers_of_five_gateways(self) -> None:
        headers = {
            "x-litellm-tags": "beta, eu,,beta",
            "x-litellm-trace-id": "t1",
            "x-litellm-session-id": "s1",
            "x-litellm-spend-logs-metadata": '{"team": "shop", "cost": {"center": 4}}',
            "x-portkey-metadata": '{"_user": "ann", "env": "prod"}',
            "helicone-property-plan": "pro",
            "x-bf-dim-region": "west",
        }

        assert attributes(headers) == {
            "tags": ["beta", "eu"],
            "trace_id": "t1",
            "session_id": "s1",
            "team": "shop",
            "cost": {"center": 4},
            "env": "prod",
            "plan": "pro",
            "region": "west",
        }

    def test_tags_of_body_and_header_are_put_together(self) -> None:
        found = attributes({"x-litellm-tags": "b,c"}, metadata={"tags": ["a", "b", 3]})

        assert found["tags"] == ["a", "b", "c"]
        assert attributes({}, metadata={"tags": ["a", 3]})["tags"] == ["a", 3]

    def test_traces_and_sessions_of_others_stand_behind_litellms(self) -> None:
        headers = {"x-portkey-trace-id": "p", "x-bf-session-id": "b"}

        assert attributes(headers) == {"trace_id": "p", "session_id": "b"}
        assert attributes({**headers, "x-litellm-trace-id": "l"})["trace_id"] == "l"

    def test_baggage_stands_over_them_and_our_own_header_over_all(self) -> None:
        headers = {"helicone-property-a": "1", "helicone-property-b": "1", "helicone-property-c": "1"}
        ours = {"baggage": "b=2,c=2", "x-pointsman-context": '{"c": 3}'}

        assert attributes({**headers, **ours}, metadata={"a": 0, "d": 0}) == {
            "a": "1",
            "b": "2",
            "c": 3,
            "d": 0,
        }

    @pytest.mark.parametrize(
        "headers",
        [
            {"x-portkey-metadata": '{"key": {"plan": "forged"}}'},
            {"x-litellm-spend-logs-metadata": '{"key": {"plan": "forged"}}'},
            {"helicone-property-key": "forged"},
            {"x-bf-dim-key": "forged"},
            {"baggage": "key=forged"},
        ],
    )
    def test_none_can_write_what_the_key_says(self, headers: dict[str, str]) -> None:
        assert context(headers).attributes["key"] == {"plan": "gold"}

    @pytest.mark.parametrize("value", ["{", "[]", "3", '{"a": 1e999}', "[" * 2_000, "\x80", ""])
    def test_what_another_gateway_might_have_read_is_never_refused(self, value: str) -> None:
        headers = {"x-portkey-metadata": value, "x-litellm-spend-logs-metadata": value}

        assert attributes(headers) == {}

    def test_are_bounded(self) -> None:
        many = {f"x-bf-dim-a{n}": "1" for n in range(MAX_ATTRIBUTES + 50)}
        wide = {"x-portkey-metadata": "{" + ",".join(f'"a{n}":1' for n in range(MAX_ATTRIBUTES + 1)) + "}"}
        tags = {"x-litellm-tags": ",".join(f"t{n}" for n in range(500))}

        assert len(attributes(many)) == MAX_ATTRIBUTES
        assert attributes(wide) == {}
        assert len(attributes(tags)["tags"]) == MAX_ATTRIBUTES

    @given(st.dictionaries(st.sampled_from([name.encode() for name in NAMES]), st.binary(max_size=60)))
    def test_no_bytes_raise(self, headers: dict[bytes, bytes]) -> None:
        user = foreign_user(headers)

        assert user is None or user
        assert isinstance(foreign_attributes(headers, {"tags": 4}), dict)


def test_control_fields_of_other_gateways_stay_in_the_body() -> None:
    """They are the provider's to know or to refuse; nothing here takes them out."""
    sent = {"prompt_id": "p", "num_retries": 3, "mock_response": "hi", "tensorzero::tags": {"a": "b"}}

    ask = asked(prompt_variables={"x": 1}, **sent)
    ask.variables()

    assert sent.keys() <= ask.fields.keys()
    assert "prompt_variables" not in ask.fields

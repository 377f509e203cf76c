"""OFREP's documents, as its clients read them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flags.compiled import CompiledFlag
from flags.model import Context, ErrorCode, Json
from flags.ofrep import (
    MAX_ATTRIBUTES,
    MAX_DEPTH,
    MAX_VALUES,
    Problem,
    answer,
    config_tag,
    context_bytes,
    digest,
    encode,
    etag,
    matches,
    not_found,
    read_context,
    revision_of,
)
from flags.resolve import resolve
from tests.flags.making import KEY, compiled, user

STAMP = {"version": "12", "flagSetId": "shop"}
TAG = etag(12, "0123456789abcdef", "ff")


def read(text: str | bytes, own: dict[str, Json] | None = None) -> Context:
    found = read_context(text if isinstance(text, bytes) else text.encode(), own or {})
    assert isinstance(found, Context)
    return found


def problem(text: str | bytes) -> Problem:
    found = read_context(text if isinstance(text, bytes) else text.encode(), {})
    assert isinstance(found, Problem)
    return found


def told(flag: CompiledFlag, context: Context | None = None) -> dict[str, Any]:
    document: dict[str, Any] = msgspec.json.decode(
        encode(answer(flag, resolve(flag, context or user(), 0), STAMP))
    )
    return document


def nested(levels: int) -> str:
    return '{"context": ' + '{"a": ' * levels + "1" + "}" * levels + "}"


class TestContext:
    def test_the_targeting_key_is_no_attribute(self) -> None:
        context = read('{"context": {"targetingKey": "user-7", "plan": "gold"}}')

        assert (context.targeting_key, context.attributes) == ("user-7", {"plan": "gold", "key": {}})

    @pytest.mark.parametrize("text", ["", "{}", '{"context": null}', '{"context": {}}'])
    def test_nothing_is_the_empty_context(self, text: str) -> None:
        assert read(text, {"team": "web"}) == Context(None, {"key": {"team": "web"}})

    @pytest.mark.parametrize("key", ["null", '""'])
    def test_an_empty_targeting_key_is_none(self, key: str) -> None:
        assert read(f'{{"context": {{"targetingKey": {key}}}}}').targeting_key is None

    def test_nothing_sent_stands_where_the_caller_s_own_attributes_do(self) -> None:
        sent = '{"context": {"key": {"team": "root"}, "$flagd": {"timestamp": 1}}}'

        assert read(sent, {"team": "web"}).attributes == {"key": {"team": "web"}}

    def test_names_that_mean_something_in_other_languages_are_attributes_like_others(self) -> None:
        sent = (
            '{"context": {"__proto__": {"plan": "gold"}, "constructor": {"prototype": {}}, "__class__": "x"}}'
        )
        rule: Json = {"if": [{"==": [{"var": "plan"}, "gold"]}, "v7"]}

        context = read(sent)

        assert resolve(compiled(rule=rule), context, 0).variant == "v6"
        assert context.attributes["__proto__"] == {"plan": "gold"}

    @pytest.mark.parametrize(
        ("text", "code", "words"),
        [
            ("{", ErrorCode.PARSE_ERROR, "no JSON"),
            (b'{"a": "\xff"}', ErrorCode.PARSE_ERROR, "no JSON"),
            ('{"context": {"a": NaN}}', ErrorCode.PARSE_ERROR, "no JSON"),
            ("[]", ErrorCode.PARSE_ERROR, "found an array"),
            ("null", ErrorCode.PARSE_ERROR, "found null"),
            ('{"context": []}', ErrorCode.INVALID_CONTEXT, "found an array"),
            ('{"context": "u"}', ErrorCode.INVALID_CONTEXT, "found a string"),
            (
                '{"context": {"targetingKey": 7}}',
                ErrorCode.INVALID_CONTEXT,
                "expected a string, found a number",
            ),
            ('{"context": {"targetingKey": {}}}', ErrorCode.INVALID_CONTEXT, "found an object"),
            ('{"context": {"a": 1e999}}', ErrorCode.INVALID_CONTEXT, "out of range"),
            ('{"context": {"a": %s}}' % ("9" * 5000), ErrorCode.INVALID_CONTEXT, "out of range"),
            ("[" * 100_000, ErrorCode.INVALID_CONTEXT, "deeper than 64"),
        ],
        ids=lambda each: str(each)[:40],
    )
    def test_what_holds_no_context_is_told(self, text: str | bytes, code: ErrorCode, words: str) -> None:
        found = problem(text)

        assert found.code is code
        assert words in found.details

    def test_levels_are_taken_to_the_limit(self) -> None:
        assert read(nested(MAX_DEPTH)).attributes["a"]
        assert problem(nested(MAX_DEPTH + 1)).code is ErrorCode.INVALID_CONTEXT

    def test_brackets_in_texts_are_no_levels(self) -> None:
        assert read('{"context": {"a": "%s"}}' % ("{[" * 100)).attributes["a"] == "{[" * 100

    def test_attributes_are_taken_to_the_limit(self) -> None:
        names = [f"a{number}" for number in range(MAX_ATTRIBUTES + 1)]

        most = read(encode({"context": dict.fromkeys(names[1:], 1)}))

        assert len(most.attributes) == MAX_ATTRIBUTES + 1  # and `key`
        assert problem(encode({"context": dict.fromkeys(names, 1)})).code is ErrorCode.INVALID_CONTEXT

    def test_values_are_taken_to_the_limit(self) -> None:
        most: Any = {"a": [0] * (MAX_VALUES - 3), "b": "," * MAX_VALUES}

        assert read(encode({"context": most})).attributes["b"]
        assert "10,000 values" in problem(encode({"context": {**most, "c": 1}})).details
        assert "10,000 values" in problem(encode({"context": {"a": [[[]] * 50] * 250}})).details

    @given(st.binary(max_size=64))
    def test_no_body_raises(self, body: bytes) -> None:
        assert isinstance(read_context(body, {}), Context | Problem)


class TestAnswer:
    def test_a_success_has_all_that_clients_read_unguarded(self) -> None:
        assert told(compiled()) == {
            "key": KEY,
            "reason": "STATIC",
            "variant": "v6",
            "value": {"text": "six"},
            "metadata": {"version": "12", "flagSetId": "shop"},
        }

    def test_without_a_variant_the_value_is_left_out_and_the_variant_is_empty(self) -> None:
        document = told(compiled(enabled=False))

        assert (document["reason"], document["variant"]) == ("DISABLED", "")
        assert "value" not in document

    def test_a_flag_s_own_metadata_cannot_replace_ours(self) -> None:
        document = told(compiled(metadata={"team": "web", "version": "9", "flagSetId": "x"}))

        assert document["metadata"] == {"team": "web", "version": "12", "flagSetId": "shop"}

    def test_numbers_of_a_flag_with_a_fraction_are_all_sent_as_floats(self) -> None:
        flag = compiled(values={"low": 1, "high": 2.5}, serve="low", safe="low")

        assert b'"value":1.0' in encode(answer(flag, resolve(flag, user(), 0), STAMP))

    def test_whole_numbers_are_sent_as_such(self) -> None:
        flag = compiled(values={"low": 1, "high": 2}, serve="low", safe="low")

        assert b'"value":1}' in encode(answer(flag, resolve(flag, user(), 0), STAMP))

    @pytest.mark.parametrize("value", [False, "", 0])
    def test_a_value_that_counts_as_nothing_is_sent(self, value: Json) -> None:
        assert told(compiled(values={"a": value}, serve="a", safe="a"))["value"] == value

    def test_a_rule_that_fails_is_a_failure_with_its_reason(self) -> None:
        document = told(compiled(rule={"/": [1, 0]}))

        assert (document["key"], document["errorCode"]) == (KEY, "PARSE_ERROR")
        assert document["errorDetails"]

    def test_an_unknown_flag_is_a_failure_with_its_key(self) -> None:
        document = msgspec.json.decode(encode(not_found("nope", STAMP)))

        assert (document["key"], document["errorCode"]) == ("nope", "FLAG_NOT_FOUND")


class TestTags:
    @pytest.mark.parametrize(
        "header", [TAG, f"W/{TAG}", f'"x", {TAG}', f'{TAG},"x"', "*", TAG.strip('"'), f"  {TAG}  "]
    )
    def test_a_client_that_has_the_answer(self, header: str) -> None:
        assert matches(header, TAG)

    @pytest.mark.parametrize("header", ["", '"x"', config_tag(12, "0123456789abcdef"), TAG[:-3], "W/"])
    def test_a_client_that_has_it_not(self, header: str) -> None:
        assert not matches(header, TAG)

    @pytest.mark.parametrize("tag", [TAG, config_tag(12, "ab"), "12-ab", 'W/"12-ab"', "12"])
    def test_a_tag_tells_its_revision(self, tag: str) -> None:
        assert revision_of(tag) == 12

    @pytest.mark.parametrize("tag", ["", "abc", "-1", "9" * 16, "²", "1.5-x", '"'])
    def test_another_tag_tells_none(self, tag: str) -> None:
        assert revision_of(tag) is None

    def test_parts_are_told_apart(self) -> None:
        assert digest([b"ab", b"c"]) != digest([b"a", b"bc"])

    def test_a_context_has_one_spelling(self) -> None:
        first = read('{"context": {"a": {"x": 1, "y": 2}, "b": 1}}')
        second = read('{"context": {"b": 1, "a": {"y": 2, "x": 1}}}')

        assert context_bytes(first) == context_bytes(second)
        assert context_bytes(first) != context_bytes(read('{"context": {"b": 1}}'))

    def test_integers_beyond_64_bits_have_one_too(self) -> None:
        assert context_bytes(read('{"context": {"a": 100000000000000000000000}}'))

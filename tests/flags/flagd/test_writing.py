"""A flagd file imports unchanged, and what we export flagd answers as we do."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flags.compiled import compile_flag
from flags.errors import Invalid, NotFound
from flags.flagd.reading import declarations_from
from flags.flagd.writing import document_from
from flags.model import Context, ErrorCode, Reason, Resolution
from flags.resolve import resolve, typed
from tests.flags import oracle
from tests.flags.flagd.making import contents_from_declaration, flag_from_declaration
from tests.flags.making import KEY, a_flag, a_rollout, compiled, contents_of, user
from tests.flags.test_targeting_oracle import contexts, operations, typical
from tests.thorough import examples

# Written after the examples of flagd's documentation: one flag of each type, an evaluator, metadata on both
# levels.
FILE: dict[str, Any] = {
    "$schema": "https://flagd.dev/schema/v0/flags.json",
    "metadata": {"team": "core", "version": 3},
    "$evaluators": {"staff": {"ends_with": [{"var": "email"}, "@example.com"]}},
    "flags": {
        "banner": {
            "state": "ENABLED",
            "variants": {"on": True, "off": False},
            "defaultVariant": "off",
            "targeting": {"if": [{"$ref": "staff"}, "on", "off"]},
            "metadata": {"version": 4},
        },
        "colour": {
            "state": "ENABLED",
            "variants": {"red": "#f00", "blue": "#00f"},
            "defaultVariant": None,
            "targeting": {"fractional": [["red", 50], ["blue", 50]]},
        },
        "limit": {"state": "DISABLED", "variants": {"low": 1, "high": 9.5}, "defaultVariant": "low"},
        "theme": {"state": "ENABLED", "variants": {"dark": {"bg": "black"}}},
        "greeting": {"state": "ENABLED", "variants": {"true": "hi", "false": "-"}, "defaultVariant": True},
    },
}


def a_file(**flag: Any) -> dict[str, Any]:
    return {"flags": {"f": {"state": "ENABLED", "variants": {"a": 1, "b": 2}, "defaultVariant": "a"} | flag}}


def ours(declared: dict[str, Any], context: Context) -> Resolution:
    """What the imported flag answers."""
    flag = compile_flag(flag_from_declaration(declared), contents_from_declaration(declared))
    return resolve(flag, context, oracle.NOW)


def facts(resolution: Resolution) -> tuple[Any, ...]:
    """What must agree; flagd knows no SPLIT, and its messages are its own."""
    reason = Reason.TARGETING_MATCH if resolution.reason is Reason.SPLIT else resolution.reason
    return resolution.variant, resolution.value, reason, resolution.error


def same_answer(mine: Resolution, theirs: Resolution) -> bool:
    return facts(mine) == facts(theirs) and type(mine.value) is type(theirs.value)


# In


def test_a_file_becomes_declarations_in_the_shape_of_our_config() -> None:
    declared = {flag["key"]: flag for flag in declarations_from(FILE)}

    assert declared["banner"] == {
        "key": "banner",
        "variants": {"on": True, "off": False},
        "serve": "off",
        "targeting": {"if": [{"ends_with": [{"var": "email"}, "@example.com"]}, "on", "off"]},
        "metadata": {"team": "core", "version": 4},
        "flagd": {
            "targeting": {"if": [{"$ref": "staff"}, "on", "off"]},
            "evaluators": FILE["$evaluators"],
            "metadata": {"version": 4},
            "file_metadata": FILE["metadata"],
        },
    }
    assert declared["limit"]["state"] == "DISABLED"
    assert (declared["colour"]["serve"], declared["theme"]["serve"]) == (None, None)
    assert declared["greeting"]["serve"] == "true"


@pytest.mark.parametrize("email", [None, "ada@example.com", "eve@elsewhere.org"])
@pytest.mark.parametrize("name", [None, "", "user-1", "user-2"])
def test_an_imported_flag_answers_as_in_flagd(name: str | None, email: str | None) -> None:
    judge = oracle.Oracle(FILE)
    context = user(name, email=email)

    for declared in declarations_from(FILE):
        theirs = judge.resolve(str(declared["key"]), context)
        assert same_answer(ours(declared, context), theirs), declared["key"]


def test_flags_may_be_an_array_with_keys() -> None:
    listed = {**FILE, "flags": [{"key": key, **flag} for key, flag in FILE["flags"].items()]}

    assert declarations_from(listed) == declarations_from(FILE)


@settings(max_examples=examples(600), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(operations | typical, contexts, st.sampled_from(["v6", None]))
def test_any_flag_answers_as_in_flagd(rule: Any, context: Context, default: str | None) -> None:
    """Value, variant, reason and error code, for any rule as a flag's targeting."""
    values = {"v6": "six", "v7": "seven", "true": "yes", "1": "one", "1.0": "a float"}
    flag = compiled(KEY, values, rule, serve=default, safe=default)
    document = {
        "flags": {KEY: {"state": "ENABLED", "variants": values, "defaultVariant": default, "targeting": rule}}
    }

    assert same_answer(resolve(flag, context, oracle.NOW), oracle.Oracle(document).resolve(KEY, context))


@pytest.mark.parametrize(
    ("document", "path", "message"),
    [
        ([], "", "expected an object"),
        ({"flags": 1}, "flags", "expected an object (or an array)"),
        ({"flagz": {}}, "flagz", "unknown field"),
        ({"flags": {"f": 1}}, "flags.f", "expected an object"),
        ({"flags": [{}]}, "flags[0].key", "expected the flag's key"),
        ({"flags": [{"key": "f", **a_file()["flags"]["f"]}] * 2}, "flags[1].key", "defined twice"),
        ({"flags": {"a b": a_file()["flags"]["f"]}}, "flags.a b", "no name for a flag"),
        (a_file(state="on"), "flags.f.state", "expected ENABLED or DISABLED"),
        (a_file(variants={}), "flags.f.variants", "at least one variant"),
        (a_file(variants={"a": 1, "b": "x"}), "flags.f.variants.b", "found a value of type string"),
        (a_file(variants={"a": 1, "-b": 2}), "flags.f.variants.-b", "no name for a variant"),
        (a_file(defaultVariant="c"), "flags.f.defaultVariant", "variant 'c' is not defined (variants: a, b)"),
        (a_file(defaultVariant=7), "flags.f.defaultVariant", "variant '7' is not defined"),
        (a_file(targeting=["a"]), "flags.f.targeting", "a targeting rule is an object"),
        (a_file(targeting={"$ref": "x"}), "flags.f.targeting", "names no evaluator"),
        (a_file(metadata={"x": []}), "flags.f.metadata.x", "expected a boolean, number or string"),
        (a_file(varients={}), "flags.f.varients", "unknown field"),
        ({"$evaluators": [], "flags": {}}, "$evaluators", "expected an object"),
        ({"metadata": {"x": None}, "flags": {}}, "metadata.x", "expected a boolean, number or string"),
    ],
)
def test_what_is_wrong_in_a_file_is_told_with_its_path(document: Any, path: str, message: str) -> None:
    with pytest.raises(Invalid) as caught:
        declarations_from(document)

    assert caught.value.path == path
    assert message in caught.value.message


# Out


RULES: list[Any] = [
    None,
    {"if": [{"==": [{"var": "plan"}, "pro"]}, "v7", None]},
    {"if": [{"==": [{"var": "plan"}, "pro"]}, {"fractional": [["v5", 1], ["v6", 1], ["v7", 1]]}]},
    {"fractional": [{"var": "plan"}, ["v6", 60], ["v7", 40]]},
    {"var": "plan"},
    {"if": [{"in": [{"var": "plan"}, ["pro"]]}, "v9", {"/": [1, {"var": "n"}]}]},
]
CONTEXTS = [
    Context(name, attributes)
    for name in [None, "", *(f"user-{n}" for n in range(60))]
    for attributes in ({}, {"plan": "pro"}, {"plan": "v7", "n": 0}, {"plan": "v6", "n": 1}, {"plan": True})
]


@pytest.mark.parametrize("withdrawn", [[], ["v7"], ["v6"], ["v6", "v7"]])
@pytest.mark.parametrize("percent", [None, 0, 12.5, 100])
@pytest.mark.parametrize("rule", RULES)
def test_an_exported_flag_answers_alike(rule: Any, percent: float | None, withdrawn: list[str]) -> None:
    rollout = None if percent is None else a_rollout(percent)
    flag = a_flag(rule=rule, rollout=rollout, withdrawn=frozenset(withdrawn))
    contents = contents_of(rule=rule)
    judge, mine = oracle.Oracle(document_from([flag], contents)), compile_flag(flag, contents)

    for context in CONTEXTS:
        assert same_answer(resolve(mine, context, oracle.NOW), judge.resolve(KEY, context)), context


@settings(max_examples=examples(400), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    rule=operations | typical,
    context=contexts,
    percent=st.none() | st.integers(0, 100),
    withdrawn=st.sets(st.sampled_from(["v6", "v7", "true"])),
)
def test_any_exported_rule_answers_alike(
    rule: Any, context: Context, percent: int | None, withdrawn: set[str]
) -> None:
    values: dict[str, Any] = {"v5": "five", "v6": "six", "v7": "seven", "true": "yes", "1": "one"}
    rollout = None if percent is None else a_rollout(percent)
    flag = a_flag(KEY, values, rule, rollout=rollout, withdrawn=frozenset(withdrawn))
    contents = contents_of(values, rule)
    judge = oracle.Oracle(document_from([flag], contents))

    assert same_answer(
        resolve(compile_flag(flag, contents), context, oracle.NOW), judge.resolve(KEY, context)
    )


@pytest.mark.parametrize(
    "result", [True, False, 1, 0, 7, "true", "True", "1", ["true"], ["v7"], None, "7", {"cat": [True]}]
)
@pytest.mark.parametrize("withdrawn", [["true"], ["false"], ["1", "true"], ["7"], ["1"]])
def test_a_result_that_is_no_text_lands_where_ours_does(result: Any, withdrawn: list[str]) -> None:
    values: dict[str, Any] = {name: f"is {name}" for name in ("v5", "v6", "true", "false", "1", "7")}
    rule = {"if": [True, result]}
    flag = a_flag(KEY, values, rule, withdrawn=frozenset(withdrawn))
    contents = contents_of(values, rule)
    judge = oracle.Oracle(document_from([flag], contents))

    assert same_answer(resolve(compile_flag(flag, contents), user(), oracle.NOW), judge.resolve(KEY, user()))


def test_an_export_imports_again_and_answers_alike() -> None:
    flag = a_flag(
        rule=RULES[2], rollout=a_rollout(40), withdrawn=frozenset({"v6"}), metadata={"team": "core"}
    )
    contents = contents_of(rule=RULES[2])
    mine = compile_flag(flag, contents)

    (declared,) = declarations_from(json.loads(json.dumps(document_from([flag], contents))))

    assert declared["metadata"] == {"team": "core"}
    for context in CONTEXTS:
        assert same_answer(ours(declared, context), resolve(mine, context, oracle.NOW))


def test_a_flag_with_no_default_and_nowhere_to_land_exports_to_no_value() -> None:
    values: dict[str, Any] = {"a": 1, "b": 2}
    flag = a_flag(KEY, values, {"var": "plan"}, serve=None, safe=None, withdrawn=frozenset({"a"}))
    judge = oracle.Oracle(document_from([flag], contents_of(values, {"var": "plan"})))

    assert judge.resolve(KEY, user(plan="a")).variant is None
    assert judge.resolve(KEY, user(plan="b")).variant == "b"


def test_a_disabled_flag_exports_disabled() -> None:
    judge = oracle.Oracle(document_from([a_flag(enabled=False)], contents_of()))

    assert judge.resolve(KEY, user()).reason is Reason.DISABLED


def test_an_erased_content_is_left_out_and_a_flag_without_any_with_it() -> None:
    contents = contents_of({"v6": {"text": "six"}})
    document = document_from([a_flag(), a_flag("other", {"x": "gone"}, serve="x", safe="x")], contents)

    assert {key: list(flag["variants"]) for key, flag in document["flags"].items()} == {KEY: ["v6"]}


def test_a_rule_that_is_not_there_cannot_be_exported() -> None:
    with pytest.raises(NotFound):
        document_from([a_flag(rule=RULES[1])], contents_of())


# Types, as flagd checks them


@pytest.mark.parametrize("kind", ["boolean", "string", "integer", "float", "object"])
@pytest.mark.parametrize("value", [True, "text", 1, 1.5, {"a": 1}])
def test_a_type_is_a_mismatch_exactly_where_flagd_says_so(value: Any, kind: str) -> None:
    types = {"boolean": bool, "string": str, "integer": int, "float": float, "object": object}
    document = {"flags": {"f": {"state": "ENABLED", "variants": {"v": value}, "defaultVariant": "v"}}}
    theirs = oracle.Oracle(document).resolve("f", user(), kind)

    mine = typed(Resolution("f", "v", value, Reason.STATIC), types[kind])

    if value is True and kind == "float":  # passes there, and is then refused by OpenFeature's client
        assert (mine.error, theirs.value) == (ErrorCode.TYPE_MISMATCH, True)
        return
    assert (mine.error, mine.value) == (theirs.error, theirs.value)
    assert mine.error in (None, ErrorCode.TYPE_MISMATCH)

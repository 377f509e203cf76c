"""Every rule means to us what it means to flagd: random rules and contexts, and tables of the corners."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flags.model import Context
from flags.targeting import RULE_FAILURES, compile_rule, data_for
from tests.flags import oracle
from tests.thorough import examples

FLAG = "support-bot.prompt"

TEXTS = [
    "",
    "a",
    "b",
    "ab",
    "1",
    "-1",
    "1.5",
    "01",
    " 7 ",
    "inf",
    "nan",
    "1_0",
    "v7",
    "true",
    "null",
    "é☃",
    "2.0.0-rc.1",
]
VERSIONS = [
    "1",
    "v1.2",
    "1.2.3",
    "1.2.3-alpha.1",
    "1.2.3-alpha.beta",
    "1.2.3+b5",
    "2.0.0.0",
    "01.2.3",
    "V2",
    "1.2-x",
    "",
]
NAMES = [
    "plan",
    "age",
    "tags",
    "deep.a",
    "tags.0",
    "tags.length",
    "tags.01",
    "plan.0",
    "deep",
    "gone",
    "",
    "items",
]
NAMES += [
    "$flagd.flagKey",
    "$flagd.timestamp",
    "targetingKey",
    "accumulator",
    "current",
    "current.x",
    "x",
    "$flagd",
]

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 120),
    st.sampled_from([0.0, 1.0, -0.5, 1.5, 2.25, 1e20, 0.1]),
    st.sampled_from(TEXTS),
    st.sampled_from(VERSIONS),
)
variables = st.one_of(
    st.sampled_from(NAMES).map(lambda name: {"var": name}),
    st.tuples(st.sampled_from(NAMES), scalars).map(lambda pair: {"var": list(pair)}),
    st.sampled_from([{"var": 0}, {"var": [1, "d"]}, {"var": 1.5}, {"var": True}, {"var": None}, {"var": []}]),
)
PLAIN = [
    "==",
    "===",
    "!=",
    "!==",
    "<",
    "<=",
    ">",
    ">=",
    "!",
    "!!",
    "+",
    "-",
    "*",
    "/",
    "%",
    "min",
    "max",
    "cat",
    "merge",
]
PLAIN += ["in", "substr", "missing", "missing_some", "if", "?:", "and", "or", "var", "nonsense", "var.x"]
PLAIN += ["sem_ver", "starts_with", "ends_with", "fractional"]
EACH = ["map", "filter", "all", "some", "none", "reduce"]


def grown(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    arguments = st.lists(inner, max_size=4)
    items = st.one_of(st.just({"var": "items"}), st.just({"var": "tags"}), st.lists(inner, max_size=3), inner)
    fraction = st.one_of(
        st.tuples(st.sampled_from(["v6", "v7", True, None]), st.integers(-2, 60)).map(list),
        st.tuples(st.sampled_from(["v6", "v7"])).map(list),
        st.tuples(st.sampled_from(["v6", "v7"]), inner).map(list),
    )
    return st.one_of(
        st.tuples(st.sampled_from(PLAIN), arguments).map(lambda pair: {pair[0]: pair[1]}),
        st.tuples(st.sampled_from(PLAIN), inner).map(lambda pair: {pair[0]: pair[1]}),
        st.tuples(st.sampled_from(EACH), items, inner, inner).map(lambda t: {t[0]: list(t[1:])}),
        st.lists(fraction, min_size=1, max_size=4).map(lambda fractions: {"fractional": fractions}),
        st.tuples(inner, fraction, fraction).map(lambda t: {"fractional": list(t)}),
        st.tuples(inner, st.sampled_from(["=", "!=", "<", "<=", ">", ">=", "^", "~", "?"]), inner).map(
            lambda t: {"sem_ver": list(t)}
        ),
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["x", "y", "z"]), scalars, min_size=2, max_size=2),
    )


rules = st.recursive(st.one_of(scalars, variables), grown, max_leaves=14)
operations = grown(rules).filter(lambda rule: isinstance(rule, dict) and rule)
values = st.one_of(scalars, st.lists(scalars, max_size=3), st.fixed_dictionaries({"x": scalars}))
contexts = st.builds(
    Context,
    st.one_of(st.none(), st.sampled_from(["", "user-1", "user-2", "é☃", "\ud800"])),
    st.fixed_dictionaries(
        {},
        optional={
            "plan": values,
            "age": values,
            "tags": st.lists(scalars, max_size=3),
            "deep": st.fixed_dictionaries({"a": values}),
            "items": st.lists(values, max_size=3),
        },
    ),
)


# Rules as people write them: conditions on attributes, results that are variants, fractions or nothing.
attributes = st.sampled_from([{"var": name} for name in ("plan", "age", "deep.a", "targetingKey", "tags")])
conditions = st.one_of(
    st.tuples(st.sampled_from(["==", "!=", "<", ">=", "starts_with", "ends_with"]), attributes, scalars).map(
        lambda t: {t[0]: [t[1], t[2]]}
    ),
    st.tuples(attributes, st.lists(st.sampled_from(TEXTS), max_size=3)).map(lambda t: {"in": list(t)}),
    st.tuples(scalars, st.just({"var": "tags"})).map(lambda t: {"in": list(t)}),
    st.tuples(attributes, st.sampled_from(["<", "=", ">=", "^", "~"]), st.sampled_from(VERSIONS)).map(
        lambda t: {"sem_ver": list(t)}
    ),
)
combined = st.one_of(
    conditions,
    st.tuples(st.sampled_from(["and", "or"]), st.lists(conditions, min_size=1, max_size=3)).map(
        lambda t: {t[0]: t[1]}
    ),
    conditions.map(lambda condition: {"!": [condition]}),
)
weights = st.tuples(st.sampled_from(["v5", "v6", "v7", "v9", True]), st.integers(0, 100)).map(list)
fractions = st.one_of(
    st.lists(weights, min_size=2, max_size=3).map(lambda found: {"fractional": found}),
    st.tuples(attributes, weights, weights).map(lambda found: {"fractional": list(found)}),
)
results = st.one_of(st.sampled_from(["v5", "v6", "v7", "v9", None, True]), fractions)
typical = st.one_of(
    fractions,
    st.tuples(combined, results, results).map(lambda t: {"if": list(t)}),
    st.tuples(combined, results, combined, results).map(lambda t: {"if": list(t)}),
)


def spelled(evaluate: Any) -> str:
    """The value as text (so that 1, 1.0 and true differ, and NaN is itself), or that it failed."""
    try:
        return repr(evaluate())
    except (*RULE_FAILURES, ReferenceError):
        return "failed"


def ours(rule: Any, context: Context) -> Any:
    compiled = compile_rule(rule, FLAG)
    assert compiled is not None
    return compiled(data_for(FLAG, context, oracle.NOW))


@settings(max_examples=examples(1500), suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(operations, contexts)
def test_any_rule_gives_what_flagd_gives(rule: Any, context: Context) -> None:
    expected = spelled(lambda: oracle.ruled(FLAG, rule, context))

    assert spelled(lambda: ours(rule, context)) == expected


@settings(max_examples=examples(600), deadline=None)
@given(typical, contexts)
def test_a_rule_as_people_write_them_gives_what_flagd_gives(rule: Any, context: Context) -> None:
    expected = spelled(lambda: oracle.ruled(FLAG, rule, context))

    assert spelled(lambda: ours(rule, context)) == expected


@settings(max_examples=examples(800), deadline=None)
@given(
    st.sampled_from(["==", "===", "!=", "!==", "<", "<=", ">", ">=", "in", "cat", "-", "+", "substr", "max"]),
    st.lists(values, min_size=1, max_size=3),
)
def test_operators_coerce_as_flagd_does(name: str, arguments: list[Any]) -> None:
    rule = {name: arguments}
    context = Context("user-1")

    assert spelled(lambda: ours(rule, context)) == spelled(lambda: oracle.ruled(FLAG, rule, context))


@settings(max_examples=examples(800), deadline=None)
@given(values)
def test_the_specialised_and_the_general_operators_agree(value: Any) -> None:
    """`==` and `in` with constants take a short way; through a variable the constants take the long one."""
    context = Context("user-1", {"value": value, "a": "a", "list": ["a", "1", "true"]})

    for short, long in [
        ({"==": [{"var": "value"}, "a"]}, {"==": [{"var": "value"}, {"var": "a"}]}),
        ({"in": [{"var": "value"}, ["a", "1", "true"]]}, {"in": [{"var": "value"}, {"var": "list"}]}),
    ]:
        assert ours(short, context) == ours(long, context) == oracle.ruled(FLAG, short, context)


@settings(max_examples=examples(500), deadline=None)
@given(
    st.sampled_from(VERSIONS) | scalars,
    st.sampled_from(["=", "<", ">=", "^", "~", "=="]),
    st.sampled_from(VERSIONS),
)
def test_versions_compare_as_in_flagd(first: Any, sign: str, second: str) -> None:
    rule = {"sem_ver": [first, sign, second]}

    assert ours(rule, Context("u")) == oracle.ruled(FLAG, rule, Context("u"))


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"cat": [True, 1.0, None, [1, [2]]]}, "True1null1,2"),
        ({"===": [1, True]}, True),
        ({"==": [None, 0]}, True),
        ({"==": ["", 0]}, False),
        ({"<": [1, 5, 9]}, True),
        ({"<": [1, 9, 9]}, False),
        ({"if": [{}, "yes", "no"]}, "yes"),
        ({"if": [[], "yes", "no"]}, "no"),
        ({"if": [False, "a"]}, None),
        ({"all": [[], True]}, False),
        ({"reduce": [[1, 2, 3], {"+": [{"var": "accumulator"}, {"var": "current"}]}, 10]}, 16),
        ({"missing_some": [1, ["plan", "gone"]]}, []),
        ({"missing": ["plan", "gone"]}, ["gone"]),
        ({"substr": ["jsonlogic", -5, 2]}, "lo"),
        ({"var": "plan.1"}, "r"),
        ({"var": ["gone", 7]}, 7),
        ({"log": ["quiet"]}, "quiet"),
        ({"%": [-7, 3]}, 2),
        ({"starts_with": ["a"]}, None),
        ({"ends_with": ["abc", "bc"]}, True),
        ({"starts_with": ["abc", 1]}, None),
        ({"var": "$flagd.timestamp"}, oracle.NOW),
        ({"var": "$flagd.flagKey"}, FLAG),
    ],
)
def test_the_corners_stand_in_a_table(rule: Any, expected: Any) -> None:
    context = Context("user-1", {"plan": "pro"})

    assert ours(rule, context) == expected
    assert oracle.ruled(FLAG, rule, context) == expected

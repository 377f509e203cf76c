"""Rules are compiled once; what is surely a mistake is told when the rule is written."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from flags.errors import Invalid
from flags.logic import MAX_DEPTH
from flags.model import Context
from flags.steps import A_REDUCTION, MOST_ITEMS
from flags.targeting import MAX_NODES, RULE_FAILURES, compile_rule, data_for, expanded
from tests.flags.making import KEY, user


def nested(levels: int) -> Any:
    rule: Any = "v6"
    for _ in range(levels):
        rule = {"if": [True, rule, None]}
    return rule


def evaluate(rule: Any, context: Context) -> Any:
    compiled = compile_rule(rule, KEY)
    assert compiled is not None
    return compiled(data_for(KEY, context, 1))


def test_an_unknown_operator_fails_only_where_an_evaluation_reaches_it() -> None:
    rule = {"if": [{"==": [{"var": "plan"}, "pro"]}, {"vra": "x"}, "v6"]}

    assert evaluate(rule, user(plan="free")) == "v6"
    with pytest.raises(Invalid, match=r"if\.1\.vra: 'vra' is no operator"):
        evaluate(rule, user(plan="pro"))


def test_a_rule_about_to_be_written_is_refused_for_an_unknown_operator() -> None:
    with pytest.raises(Invalid) as refused:
        compile_rule({"if": [True, {"vra": "x"}]}, KEY, strict=True)

    assert refused.value.path == "if.1.vra"
    assert refused.value.mend == "did you mean 'var'?"


@pytest.mark.parametrize("rule", [[], "v6", None, 1, [{"if": []}]])
def test_a_rule_that_is_no_object_is_refused(rule: Any) -> None:
    with pytest.raises(Invalid, match="a targeting rule is an object"):
        compile_rule(rule, KEY)


def test_a_rule_of_two_operators_is_refused_when_written_and_plain_data_when_evaluated() -> None:
    rule = {"if": [True, "v6"], "else": ["v7"]}

    with pytest.raises(Invalid, match="one operator"):
        compile_rule(rule, KEY, strict=True)
    assert evaluate(rule, user()) == rule


def test_the_empty_rule_is_none() -> None:
    assert compile_rule({}, KEY) is None


def test_rules_nest_to_the_limit_and_no_further() -> None:
    assert evaluate(nested(MAX_DEPTH // 2), user()) == "v6"
    with pytest.raises(Invalid, match="nests deeper"):
        compile_rule(nested(MAX_DEPTH // 2 + 1), KEY)


def test_a_hostile_rule_is_refused_before_it_exhausts_the_stack() -> None:
    with pytest.raises(Invalid):
        compile_rule(nested(20_000), KEY)
    with pytest.raises(Invalid):
        expanded(nested(20_000), {})


def test_hostile_data_in_a_rule_is_refused_before_it_exhausts_the_stack() -> None:
    data: Any = []
    for _ in range(20_000):
        data = [data]

    with pytest.raises(Invalid, match="nests deeper"):
        compile_rule({"fractional": [["v6"], data]}, KEY)


def test_a_request_cannot_write_flagds_own_data() -> None:
    context = Context("user-1", {"$flagd": {"timestamp": 99}, "targetingKey": "other"})

    assert evaluate({"var": "$flagd.timestamp"}, context) == 1
    assert evaluate({"var": "targetingKey"}, context) == "user-1"


@pytest.mark.parametrize("rule", [{"/": [1, 0]}, {"%": [1, 0]}, {"*": [1e308, 10, {"var": "tags"}]}])
def test_a_rule_that_cannot_be_computed_raises_what_resolve_expects(rule: Any) -> None:
    try:
        evaluate(rule, user(tags=[]))
    except RULE_FAILURES:
        return
    assert rule == {"*": [1e308, 10, {"var": "tags"}]}


def test_references_are_expanded_in_rules_and_in_evaluators() -> None:
    evaluators = {
        "beta": {"or": [{"$ref": "staff"}, {"==": [{"var": "plan"}, "beta"]}]},
        "staff": {"ends_with": [{"var": "email"}, "@example.com"]},
    }

    rule = expanded({"if": [{"$ref": "beta"}, "v7"]}, evaluators)

    assert evaluate(rule, user(email="a@example.com")) == "v7"
    assert evaluate(rule, user(plan="beta")) == "v7"
    assert evaluate(rule, user()) is None


def test_an_unknown_reference_is_told_with_those_that_exist() -> None:
    with pytest.raises(Invalid, match=r"'betta' names no evaluator \(\$evaluators: beta\)"):
        expanded({"$ref": "betta"}, {"beta": True})


def test_references_in_a_circle_are_refused() -> None:
    evaluators = {"a": {"!": {"$ref": "b"}}, "b": {"or": [{"$ref": "a"}]}}

    with pytest.raises(Invalid, match="circle: a → b → a"):
        expanded({"if": [{"$ref": "a"}, "v6"]}, evaluators)


def test_references_that_multiply_are_refused() -> None:
    """Ten evaluators that each name the next one ten times would make 10¹⁰ nodes."""
    evaluators: dict[str, Any] = {f"e{n}": {"or": [{"$ref": f"e{n + 1}"}] * 10} for n in range(10)}
    evaluators["e10"] = True

    with pytest.raises(Invalid, match=f"past {MAX_NODES} nodes"):
        expanded({"$ref": "e0"}, evaluators)


STEP: Any = [{"var": "accumulator"}, {"var": "accumulator"}]
ITEMS: Any = {"var": "items"}


@pytest.mark.parametrize(
    ("rule", "items", "why"),
    [
        ({"some": [ITEMS, False]}, MOST_ITEMS + 1, "more than 5,000 items"),
        ({"map": [ITEMS, {"map": [[1, 2], 1]}]}, MOST_ITEMS // 3 + 1, "more than 5,000 items"),
        ({"reduce": [ITEMS, 1]}, MOST_ITEMS // A_REDUCTION + 1, "more than 5,000 items"),
        ({"reduce": [ITEMS, {"cat": STEP}, "ab"]}, 40, "`cat` makes a text of more than"),
        ({"reduce": [ITEMS, {"merge": STEP}, [1]]}, 40, "`merge` makes an array of more than"),
        ({"reduce": [ITEMS, {"*": STEP}, 3]}, 40, "`[*]` makes a number of more than"),
    ],
)
def test_a_rule_over_a_callers_data_goes_so_far_and_no_further(rule: Any, items: int, why: str) -> None:
    """Doubled with every item, a text of two letters would fill any memory after forty."""
    with pytest.raises(RULE_FAILURES, match=why):
        evaluate(rule, user(items=[1] * items))


def test_each_evaluation_has_all_its_steps_and_so_has_each_thread() -> None:
    rule = compile_rule({"some": [ITEMS, False]}, KEY)
    assert rule is not None
    data = data_for(KEY, user(items=[1] * MOST_ITEMS), 1)

    with ThreadPoolExecutor(4) as pool:
        assert [*pool.map(rule, [data] * 8)] == [False] * 8
    assert rule(data) is False

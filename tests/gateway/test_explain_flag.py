"""Why a context gets what it gets from a flag: as an app that evaluates it by OFREP or a provider is answered."""

from __future__ import annotations

from typing import Any

import pytest

from flags.canonical import digest
from flags.codec import document_of
from flags.errors import Invalid, NotFound
from flags.model import Context, Flag, Json, Kind, ObjectKey, Position, Rollout, StoredObject, Variant
from flags.snapshot import Snapshot
from gateway.explain_flag import explain_flag
from gateway.shapes import FlagExplained

VALUES: dict[str, Json] = {"few": 10, "many": 50, "most": 99}
CHAIN: dict[str, Any] = {
    "if": [{"==": [{"var": "plan"}, "gold"]}, "most", {"in": ["@", {"var": "email"}]}, "many", "few"]
}


def snapshot_of(rule: Json = None, values: dict[str, Json] | None = None, **state: Any) -> Snapshot:
    """One flag, `max-items`, that serves `few`."""
    contents = {digest(value): value for value in (*(values or VALUES).values(), rule) if value is not None}
    variants = {name: Variant(name, digest(value)) for name, value in (values or VALUES).items()}
    usual: dict[str, Any] = {"serve": "few", "safe": "few", "targeting": digest(rule) if rule else None}
    flag = Flag("max-items", variants, **{**usual, **state})
    key = ObjectKey(Kind.FLAG, flag.key)
    return Snapshot.build(
        "test", Position(3, ""), 3, {key: StoredObject(key, document_of(flag), 3)}, contents
    )


def told(
    key: str | None = "u1",
    pin: str | None = None,
    rule: Json = None,
    email: str = "",
    plan: str = "",
    **state: Any,
) -> FlagExplained:
    context = Context(key, {"email": email, "plan": plan})
    return explain_flag(snapshot_of(rule, **state), "max-items", context, pin, 0.5)


def test_a_flag_without_anything_serves_its_value_by_default() -> None:
    found = told()

    assert (found.value, found.variant, found.reason) == (10, "few", "STATIC")
    assert found.why == "nothing else applies: it is served by default"


@pytest.mark.parametrize(
    ("email", "plan", "value", "why"),
    [
        ("a@b", "gold", 99, "the targeting rule chose it: condition 1 of 2 held"),
        ("a@b", "", 50, "the targeting rule chose it: condition 2 of 2 held"),
        ("", "", 10, "the targeting rule chose it by its `else`: none of 2 conditions held"),
    ],
)
def test_the_condition_that_held_is_told(email: str, plan: str, value: int, why: str) -> None:
    found = told(rule=CHAIN, email=email, plan=plan)

    assert (found.value, found.why) == (value, why)
    number = {99: 0, 50: 2}.get(value)
    assert found.condition == (None if number is None else CHAIN["if"][number])


@pytest.mark.parametrize(
    "rule",
    [{"var": "plan"}, {"if": [{"fractional": [["few", 50], ["many", 50]]}]}, {"if": []}, {"if": [True]}],
)
def test_a_rule_that_is_no_chain_of_conditions_is_told_as_a_whole(rule: Json) -> None:
    found = told(rule=rule, plan="many")

    assert found.condition is None
    assert found.why.startswith(("the targeting rule chose it", "no rule matched", "an error"))


def test_a_rule_that_matches_nobody_leaves_the_default() -> None:
    found = told(rule={"if": [{"==": [{"var": "plan"}, "gold"]}, "most", None]})

    assert (found.value, found.why) == (10, "no rule matched: it is served by default")


def test_a_rule_that_fails_leaves_the_callers_own_default() -> None:
    found = told(rule={"if": [True, "absent"]})

    assert (found.variant, found.value, found.reason, found.error_code) == (None, None, "ERROR", "GENERAL")
    assert found.why.endswith("which is no variant (few, many, most)): the caller's own default applies")


def test_a_coin_is_told_with_its_bucket_on_both_sides() -> None:
    rollout = Rollout("many", 50)
    found = [told(f"u{number}", rollout=rollout) for number in range(20)]

    assert {each.value for each in found} == {10, 50}
    for each in found:
        side = "at or above" if each.value == 50 else "below"
        assert each.why.endswith(f"bucket {each.bucket} of 10000 lies {side} 5000")


def test_without_a_key_no_coin_is_tossed() -> None:
    found = told(None, rollout=Rollout("many", 50))

    assert (found.value, found.bucket) == (10, None)
    assert found.why.startswith("no targeting key was given, so the rollout of many at 50 % tossed no coin")


def test_what_is_disabled_or_serves_nothing_leaves_the_callers_own_default() -> None:
    disabled, nothing = told(enabled=False), told(serve=None, safe=None)

    assert (disabled.reason, disabled.why) == (
        "DISABLED",
        "the flag is disabled: the caller's own default applies",
    )
    assert (nothing.variant, nothing.reason) == (None, "DEFAULT")
    assert nothing.why == "nothing else applies: the caller's own default applies"


def test_a_withdrawn_variant_is_told_with_what_answers() -> None:
    found = told(serve="many", withdrawn=frozenset({"many"}))

    assert (found.value, found.wanted) == (10, "many")
    assert found.why.endswith("many was chosen, but it is withdrawn, so the safe version few answers")


def test_a_pin_asks_as_if_the_caller_had_named_the_variant() -> None:
    found = told(pin="most", rule=CHAIN, plan="x")

    assert (found.value, found.pinned, found.why, found.condition) == (99, True, "the pin chose it", None)


def test_a_value_that_is_false_is_a_value() -> None:
    found = told(values={"few": False, "many": True})

    assert (found.value, found.variant) == (False, "few")


def test_what_does_not_exist_is_told_with_what_is_near() -> None:
    with pytest.raises(NotFound, match=r'flag "max-item" does not exist \(near it: max-items\)'):
        explain_flag(snapshot_of(), "max-item", Context("u1"), None, 0)
    with pytest.raises(Invalid, match=r"variant 'all' is not defined \(variants: few, many, most\)"):
        told(pin="all")

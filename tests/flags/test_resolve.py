"""One flag, one context, one answer: the order of the rules, the coin, and *withdrawn → safe*."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flags.compiled import CompiledFlag, compile_flag
from flags.model import Context, ErrorCode, Reason, Resolution, Rollout, RolloutState
from flags.resolve import not_found, resolve, typed
from tests.flags import oracle
from tests.flags.making import KEY, VALUES, a_flag, a_rollout, compiled, contents_of, user

SOMEBODY = user()
USERS = [f"user-{n}" for n in range(2_000)]
PRO_GETS_V7 = {"if": [{"==": [{"var": "plan"}, "pro"]}, "v7", None]}


def answer(
    flag: CompiledFlag, context: Context = SOMEBODY, pin: str | None = None, **options: bool
) -> Resolution:
    return resolve(flag, context, oracle.NOW, pin, **options)


def variants_of(flag: CompiledFlag, users: list[str] = USERS) -> dict[str, str | None]:
    return {name: answer(flag, user(name)).variant for name in users}


# The order


def test_a_flag_without_rules_serves_its_variant_to_all() -> None:
    assert answer(compiled()) == Resolution(KEY, "v6", VALUES["v6"], Reason.STATIC, generation=3)


def test_a_disabled_flag_is_no_error_and_has_no_value_not_even_for_a_pin() -> None:
    flag = compiled(enabled=False, rule=PRO_GETS_V7, rollout=a_rollout(100))

    for pin in (None, "v7"):
        assert answer(flag, pin=pin) == Resolution(KEY, None, None, Reason.DISABLED)


def test_a_pin_comes_before_targeting_and_rollout() -> None:
    flag = compiled(rule=PRO_GETS_V7, rollout=a_rollout(100))

    pinned = answer(flag, user(plan="pro"), pin="v5")

    assert (pinned.variant, pinned.pinned, pinned.wanted, pinned.error) == ("v5", True, None, None)


def test_targeting_comes_before_the_rollout() -> None:
    flag = compiled(rule={"if": [{"==": [{"var": "plan"}, "pro"]}, "v5"]}, rollout=a_rollout(100))

    assert answer(flag, user(plan="pro")).variant == "v5"
    assert answer(flag, user(plan="pro")).reason is Reason.TARGETING_MATCH


def test_the_rollout_tosses_after_targeting_gave_null() -> None:
    flag = compiled(rule={"if": [{"==": [{"var": "plan"}, "pro"]}, "v5"]}, rollout=a_rollout(100))

    assert answer(flag).variant == "v7"
    assert answer(flag).reason is Reason.SPLIT


def test_targeting_that_gives_null_leaves_the_default() -> None:
    assert answer(compiled(rule=PRO_GETS_V7)) == Resolution(KEY, "v6", VALUES["v6"], Reason.DEFAULT, 3)


def test_an_empty_rule_is_no_rule() -> None:
    assert answer(compiled(rule={})).reason is Reason.STATIC


@pytest.mark.parametrize("rule", [None, {"if": [False, "v6"]}])
def test_a_null_default_leaves_the_value_to_the_caller(rule: Any) -> None:
    flag = compiled(values={"v6": 1}, rule=rule, serve=None, safe=None)

    assert answer(flag) == Resolution(KEY, None, None, Reason.DEFAULT)


@pytest.mark.parametrize(
    ("result", "variant"), [(True, "true"), (False, "false"), (1, "1"), ({"cat": ["tr", "ue"]}, "true")]
)
def test_a_result_that_is_no_text_names_a_variant_by_its_text(result: Any, variant: str) -> None:
    flag = compiled(
        values={"true": "a", "false": "b", "1": "c"}, rule={"if": [True, result]}, serve="true", safe="true"
    )

    assert answer(flag).variant == variant
    assert answer(flag).reason is Reason.TARGETING_MATCH


# Errors


@pytest.mark.parametrize("result", ["v9", "", [], 7, 1.5, {"a": 1, "b": 2}])
def test_a_result_that_names_no_variant_is_a_general_error(result: Any) -> None:
    found = answer(compiled(rule={"if": [True, result]}))

    assert (found.reason, found.error, found.variant, found.value) == (
        Reason.ERROR,
        ErrorCode.GENERAL,
        None,
        None,
    )
    assert found.message is not None
    assert "(v5, v6, v7)" in found.message


@pytest.mark.parametrize(
    "rule", [{"nonsense": []}, {"/": [1, 0]}, {"map": [["a"], {"fractional": [["v6"]]}]}]
)
def test_a_rule_that_fails_is_a_parse_error(rule: Any) -> None:
    found = answer(compiled(rule=rule))

    assert (found.reason, found.error, found.variant) == (Reason.ERROR, ErrorCode.PARSE_ERROR, None)


@pytest.mark.parametrize("rule", ["v6", [1], 7])
def test_a_rule_that_does_not_compile_is_a_parse_error_told_at_evaluation(rule: Any) -> None:
    flag = compiled(rule=rule)

    assert answer(flag).error is ErrorCode.PARSE_ERROR
    assert flag.rule_error is not None
    assert answer(flag, pin="v7").variant == "v7"


def test_a_rule_whose_text_is_not_there_is_a_parse_error() -> None:
    flag = compile_flag(a_flag(rule=PRO_GETS_V7), contents_of())

    assert answer(flag).error is ErrorCode.PARSE_ERROR


def test_an_erased_content_fails_its_own_variant_and_no_other() -> None:
    """An admin may erase a content; what else the flag serves goes on."""
    kept = contents_of({name: VALUES[name] for name in ("v5", "v6")}, PRO_GETS_V7)
    flag = compile_flag(a_flag(rule=PRO_GETS_V7), kept)

    assert answer(flag, user(plan="pro")).error is ErrorCode.GENERAL
    assert answer(flag).variant == "v6"


def test_a_pin_to_an_unknown_variant_is_an_error() -> None:
    assert answer(compiled(), pin="v9").error is ErrorCode.GENERAL


def test_a_flag_that_does_not_exist_is_said_so() -> None:
    assert not_found("f").error is ErrorCode.FLAG_NOT_FOUND


# Types


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, bool),
        ("a", str),
        (1, int),
        (1.5, float),
        (1, float),
        ({"a": 1}, object),
        ([1], object),
    ],
)
def test_a_value_of_the_expected_type_passes(value: Any, expected: type) -> None:
    resolution = Resolution("f", "v", value, Reason.STATIC)

    assert typed(resolution, expected).value == value
    assert expected is not float or type(typed(resolution, expected).value) is float


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, bool),
        (True, int),
        (True, float),
        (1.5, int),
        (1.0, int),
        ("a", bool),
        (1, str),
        ("a", object),
        (1, object),
    ],
)
def test_a_value_of_another_type_is_a_mismatch(value: Any, expected: type) -> None:
    found = typed(Resolution("f", "v", value, Reason.STATIC), expected)

    assert (found.error, found.value, found.variant) == (ErrorCode.TYPE_MISMATCH, None, None)


def test_an_answer_without_a_value_fits_every_type() -> None:
    disabled = Resolution("f", None, None, Reason.DISABLED)

    assert typed(disabled, bool) is disabled


# Rollout

# Parts of 10,000; frozen: a change here moves users of every running rollout in the world.
BUCKETS = {
    ("support-bot.prompt", "v7", "user-1"): 3028,
    ("support-bot.prompt", "v7", "user-2"): 771,
    ("support-bot.prompt", "v8", "user-1"): 5811,
    ("support-bot.model", "gpt-4o", "user-1"): 9431,
    ("kb.index", "i4", "é☃-9f2c"): 6206,
    ("f", "b", "x" * 300): 4380,
}


@pytest.mark.parametrize(
    ("flag", "candidate", "name", "part"), [(*key, part) for key, part in BUCKETS.items()]
)
def test_a_users_place_in_a_rollout_is_frozen(flag: str, candidate: str, name: str, part: int) -> None:
    """At a weight of 10,000 − part the candidate gets the user, with one part less not."""
    at, below = [
        compiled(flag, values={"serve": 0, candidate: 1}, serve="serve", safe="serve",
                 rollout=a_rollout((10_000 - part - less) / 100, candidate))
        for less in (0, 1)
    ]  # fmt: skip

    assert answer(at, user(name)).variant == candidate
    assert answer(below, user(name)).variant == "serve"


def test_both_sides_of_the_coin_say_split() -> None:
    flag = compiled(rollout=a_rollout(50))

    assert {answer(flag, user(name)).reason for name in USERS} == {Reason.SPLIT}


@pytest.mark.parametrize("key", [None, "", "\ud800"])
def test_who_has_no_usable_targeting_key_gets_what_is_served(key: str | None) -> None:
    found = answer(compiled(rollout=a_rollout(100)), user(key))

    assert (found.variant, found.reason) == ("v6", Reason.DEFAULT)


@pytest.mark.parametrize(("percent", "expected"), [(0, {"v6"}), (100, {"v7"})])
def test_none_and_all_are_exact(percent: float, expected: set[str]) -> None:
    assert set(variants_of(compiled(rollout=a_rollout(percent))).values()) == expected


def test_a_percentage_draws_its_share() -> None:
    drawn = list(variants_of(compiled(rollout=a_rollout(10))).values()).count("v7")

    # Four standard deviations around 200 of 2,000 users; the users are fixed, so this cannot flicker.
    assert 146 < drawn < 254


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_growing_a_percentage_moves_users_one_way_only(one: int, other: int) -> None:
    small, large = sorted((one, other))
    before = variants_of(compiled(rollout=a_rollout(small / 100)), USERS[:300])
    after = variants_of(compiled(rollout=a_rollout(large / 100)), USERS[:300])

    assert all(after[name] == "v7" for name, variant in before.items() if variant == "v7")


def test_a_paused_rollout_keeps_its_users() -> None:
    running = compiled(rollout=a_rollout(30))
    paused = compiled(rollout=Rollout("v7", 30, state=RolloutState.PAUSED))

    assert variants_of(paused) == variants_of(running)


def drawn_by(key: str, candidate: str) -> set[str]:
    flag = compiled(key, rollout=a_rollout(50, candidate))
    return {name for name, variant in variants_of(flag).items() if variant == candidate}


@pytest.mark.parametrize(
    "other",
    [("support-bot.prompt", "v5"), ("support-bot.model", "v7"), ("support-bot.index", "v7")],
)
def test_each_candidate_and_each_layer_tosses_a_coin_of_its_own(other: tuple[str, str]) -> None:
    """At 50 % two independent coins agree on about half of the users; one coin would agree on all."""
    both = drawn_by("support-bot.prompt", "v7") & drawn_by(*other)

    assert 400 < len(both) < 600


# Withdrawn → safe


def test_who_wanted_a_withdrawn_variant_gets_safe_and_the_answer_tells() -> None:
    found = answer(compiled(withdrawn=frozenset({"v6"})))

    assert found == Resolution(KEY, "v5", VALUES["v5"], Reason.STATIC, generation=3, wanted="v6")


def test_a_pin_to_a_withdrawn_variant_gets_safe_unless_it_pins_past_it() -> None:
    flag = compiled(withdrawn=frozenset({"v7"}))

    held, passed = answer(flag, pin="v7"), answer(flag, pin="v7", past_withdrawn=True)

    assert (held.variant, held.wanted, held.pinned) == ("v5", "v7", True)
    assert (passed.variant, passed.wanted, passed.pinned) == ("v7", None, True)


def test_a_flag_with_nowhere_to_land_leaves_it_to_the_caller() -> None:
    flag = compiled(
        values={"a": 1, "b": 2}, serve=None, safe=None, rule={"var": "pick"}, withdrawn=frozenset({"a"})
    )

    found = answer(flag, user(pick="a"))

    assert (found.variant, found.value, found.wanted, found.error) == (None, None, "a", None)


@settings(deadline=None, max_examples=50)
@given(
    gone=st.sampled_from(["v6", "v7"]),
    percent=st.integers(0, 100),
    rule=st.sampled_from([None, PRO_GETS_V7, {"fractional": [["v5", 1], ["v6", 1], ["v7", 1]]}]),
    pro=st.booleans(),
)
def test_withdrawing_hands_a_variants_users_to_safe_and_moves_nobody_else(
    gone: str, percent: int, rule: Any, pro: bool
) -> None:
    state: dict[str, Any] = {"rule": rule, "rollout": a_rollout(percent)}
    before, after = compiled(**state), compiled(**state, withdrawn=frozenset({gone}))

    for name in USERS[:200]:
        context = user(name, plan="pro" if pro else "free")
        was, now = answer(before, context), answer(after, context)
        expected = ("v5", gone) if was.variant == gone else (was.variant, None)
        assert (now.variant, now.wanted) == expected
        assert now.reason is was.reason

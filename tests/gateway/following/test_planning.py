"""What a changed flagd file writes, and what it may not undo."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flags.canonical import digest
from flags.errors import FlagError
from flags.model import Kind, ObjectKey, Rollout, RolloutState, StoredObject
from policies import verbs
from tests.gateway.following.making import FILE, World, a_flag
from tests.thorough import examples


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def keys(made: Any) -> list[str]:
    return [str(draft.key) for draft in made.drafts]


def test_a_new_flag_is_written_and_marked_as_the_files(world: World) -> None:
    made = world.follow(f=a_flag(metadata={"team": "core"}))

    flag = world.flag()
    assert (flag.serve, flag.safe, flag.metadata) == ("off", "off", {"team": "core"})
    assert flag.followed is not None
    assert flag.followed.file == FILE
    assert {each.created_by for each in flag.variants.values()} == {FILE}
    assert (made.told, made.drafts[0].affects) == ((), True)


def test_unchanged_text_writes_nothing_whatever_was_operated(world: World) -> None:
    world.follow(f=a_flag(), g=a_flag("on"))
    world.operate(verbs.switch(world.flag("f"), "on").flag)
    world.operate(verbs.rollback(world.flag("g"), to="off").flag)

    made = world.follow(f=a_flag(), g=a_flag("on"))

    assert (made.drafts, made.told) == ((), ())
    assert (world.flag("f").served, world.flag("g").served) == ("on", "off")


def test_a_changed_flag_alone_is_written(world: World) -> None:
    world.follow(f=a_flag(), g=a_flag())

    made = world.follow(f=a_flag("on"), g=a_flag())

    assert keys(made) == ["flag/f"]
    assert world.flag("f").served == "on"


def test_safe_is_kept_when_the_default_moves_and_the_new_one_begins_a_new_life(world: World) -> None:
    world.follow(f=a_flag())
    world.follow(f=a_flag("on"))

    flag = world.flag()
    assert (flag.serve, flag.safe, flag.variants["on"].generation) == ("on", "off", 2)


def test_state_targeting_metadata_and_new_variants_are_taken(world: World) -> None:
    world.follow(f=a_flag(variants={"a": 1}, serve="a"))
    rule = {"if": [{"var": "x"}, "b", None]}
    world.follow(f=a_flag("a", {"a": 1, "b": 2}, state="DISABLED", targeting=rule, metadata={"owner": "ann"}))

    flag = world.flag()
    assert (flag.enabled, flag.targeting, flag.metadata) == (False, digest(rule), {"owner": "ann"})
    assert set(flag.variants) == {"a", "b"}
    assert world.contents[digest(rule)] == rule


def test_a_spelling_alone_affects_no_evaluation(world: World) -> None:
    world.follow(f=a_flag(None))
    flag = a_flag(None)
    del flag["defaultVariant"]

    made = world.follow(f=flag)

    assert [draft.affects for draft in made.drafts] == [False]


def test_a_value_edited_in_place_is_the_next_generation(world: World) -> None:
    world.follow(f=a_flag("a", {"a": 1, "b": 2}))
    world.follow(f=a_flag("a", {"a": 10, "b": 2}))

    variants = world.flag().variants
    assert (variants["a"].hash, variants["a"].generation) == (digest(10), 2)
    assert variants["b"].generation == 1


def test_an_edit_undoes_no_rollback_and_says_so(world: World) -> None:
    world.follow(f=a_flag())
    world.follow(f=a_flag("on"))
    world.operate(verbs.rollback(world.flag()).flag)

    made = world.follow(f=a_flag("on", metadata={"a": 1}))

    flag = world.flag()
    assert (flag.served, flag.withdrawn, flag.metadata) == ("off", {"on"}, {"a": 1})
    assert "'f': the file serves on, which is withdrawn here: off is served" in made.told[0]
    assert "pointsman restore f on" in made.told[0]


def test_an_edited_value_of_a_withdrawn_name_stays_withdrawn(world: World) -> None:
    world.follow(f=a_flag("a", {"a": 1, "b": 2}))
    world.follow(f=a_flag("b", {"a": 1, "b": 2}))
    world.operate(verbs.rollback(world.flag()).flag)
    world.follow(f=a_flag("b", {"a": 1, "b": 3}))

    assert world.flag().withdrawn == {"b"}


def test_a_content_in_quarantine_under_a_new_name_comes_withdrawn(world: World) -> None:
    world.follow(f=a_flag("a", {"a": 1, "b": 2}))
    world.change(withdrawn=frozenset({"b"}), quarantined=frozenset({digest(2)}))
    world.follow(f=a_flag("c", {"a": 1, "c": 2}))

    flag = world.flag()
    assert (flag.served, flag.withdrawn) == ("a", {"b", "c"})


def test_a_variant_that_the_file_drops_goes_unless_it_is_safe_or_withdrawn(world: World) -> None:
    world.follow(f=a_flag("a", {"a": 1, "b": 2, "c": 3, "d": 4}))
    world.change(withdrawn=frozenset({"b"}))
    world.follow(f=a_flag("d", {"d": 4}))

    flag = world.flag()
    assert set(flag.variants) == {"a", "b", "d"}
    assert (flag.served, flag.safe) == ("d", "a")


def test_values_of_another_type_begin_anew(world: World) -> None:
    world.follow(f=a_flag())
    world.follow(f=a_flag("red", {"red": "#f00", "blue": "#00f"}))

    flag = world.flag()
    assert (set(flag.variants), flag.served, flag.safe) == ({"red", "blue"}, "red", "red")


def test_a_flag_that_the_file_removes_is_removed_and_no_other(world: World) -> None:
    world.follow("flagd/other.json", x=a_flag())
    world.follow(f=a_flag(), g=a_flag())
    key = ObjectKey(Kind.FLAG, "ours")
    world.objects[key] = StoredObject(key, {"variants": {"a": {"hash": digest(1)}}, "serve": "a"}, 1)

    made = world.follow(f=a_flag())

    assert keys(made) == ["flag/g"]
    assert {key.name for key in world.objects} == {"f", "x", "ours"}


def test_a_flag_that_a_route_uses_is_not_removed_and_that_is_told(world: World) -> None:
    world.follow(f=a_flag(), g=a_flag())
    key = ObjectKey(Kind.ROUTE, "bot")
    world.objects[key] = StoredObject(key, {"spec": {"prompt": "g"}}, 1)

    made = world.follow(f=a_flag())

    assert made.drafts == ()
    assert "used by route 'bot'" in made.told[0]


def test_a_flag_of_another_declaration_is_not_touched_and_that_is_told(world: World) -> None:
    key = ObjectKey(Kind.FLAG, "f")
    world.objects[key] = StoredObject(key, {"variants": {"a": {"hash": digest(1)}}, "serve": "a"}, 1)

    made = world.follow(f=a_flag(), g=a_flag())

    assert keys(made) == ["flag/g"]
    assert "it comes from another declaration" in made.told[0]


def test_two_files_do_not_share_a_flag(world: World) -> None:
    world.follow("flagd/other.json", f=a_flag())

    made = world.follow(f=a_flag("on"))

    assert made.drafts == ()
    assert "it comes from flagd/other.json" in made.told[0]


COIN: Any = {
    "if": [
        {"var": "targetingKey"},
        {
            "fractional": [
                {"cat": [{"var": "$flagd.flagKey"}, "/", "on", "/", {"var": "targetingKey"}]},
                ["off", 9000],
                ["on", 1000],
            ]
        },
        None,
    ]
}


def test_a_rollout_of_the_file_is_the_flags_and_ends_with_it(world: World) -> None:
    world.follow(f=a_flag(targeting=COIN))
    rollout, targeting = world.flag().rollout, world.flag().targeting
    world.follow(f=a_flag())

    assert (rollout, targeting) == (Rollout("on", 10.0), None)
    assert world.flag().rollout is None


def test_an_operators_rollout_goes_on_through_an_edit_until_another_is_served(world: World) -> None:
    world.follow(f=a_flag("a", {"a": 1, "b": 2, "c": 3}))
    world.operate(verbs.pause(verbs.start(world.flag(), "b", 20.0).flag).flag)
    world.follow(f=a_flag("a", {"a": 1, "b": 2, "c": 3}, metadata={"x": 1}))
    kept = world.flag().rollout
    world.follow(f=a_flag("c", {"a": 1, "b": 2, "c": 3}))

    assert kept == Rollout("b", 20.0, state=RolloutState.PAUSED)
    assert world.flag().rollout is None


def test_a_rollout_of_a_withdrawn_variant_does_not_begin(world: World) -> None:
    world.follow(f=a_flag())
    world.operate(verbs.withdraw(world.flag(), "on").flag)

    made = world.follow(f=a_flag(targeting=COIN))

    assert (world.flag().rollout, world.flag().withdrawn) == (None, {"on"})
    assert "rolls out on, which is withdrawn here" in made.told[0]


def test_a_flag_may_lose_its_default_and_get_one(world: World) -> None:
    world.follow(f=a_flag(None))
    first = world.flag()
    world.follow(f=a_flag("on"))

    assert (first.serve, first.safe) == (None, None)
    assert (world.flag().serve, world.flag().safe) == ("on", "on")


def test_a_flag_too_large_for_the_ledger_is_told_and_the_rest_written(world: World) -> None:
    many = {f"{'v' * 100}{number}": number for number in range(8000)}

    made = world.follow(big=a_flag(f"{'v' * 100}0", many), f=a_flag())

    assert keys(made) == ["flag/f"]
    assert "too large" in made.told[0]


names = st.sampled_from(["a", "b", "c"])
texts = st.builds(
    lambda kept, serve, values, kind: a_flag(
        serve if serve in kept else None, {name: kind(values[name]) for name in kept}
    ),
    st.sets(names, min_size=1),
    st.none() | names,
    st.fixed_dictionaries({name: st.integers(0, 3) for name in "abc"}),
    st.sampled_from([int, int, str]),
)
verb = st.sampled_from(["rollback", "withdraw", "start", "switch", "quarantine"])


@settings(
    max_examples=examples(200),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(texts | st.tuples(verb, names), min_size=2, max_size=10))
def test_whatever_the_file_says_nothing_withdrawn_comes_back_and_a_second_look_writes_nothing(
    tmp_path: Path, deeds: list[Any]
) -> None:
    world = World(tmp_path)
    world.follow(f=a_flag("a", {"a": 0, "b": 1, "c": 2}))
    for deed in deeds:
        before = world.flag()
        if isinstance(deed, tuple):
            operate(world, *deed)
            continue
        world.follow(f=deed)
        after = world.flag()
        again = world.follow(f=deed)

        assert before.withdrawn & after.variants.keys() <= after.withdrawn
        assert after.safe not in after.withdrawn or after.safe is None
        assert all(v.generation >= 1 for v in after.variants.values())
        assert again.drafts == ()


def operate(world: World, verb: str, name: str) -> None:
    """What an operator, or automation, does to the flag; what its rules refuse does nothing."""
    flag = world.flag()
    try:
        if verb == "quarantine":
            world.change(quarantined=flag.quarantined | {flag.variants[name].hash})
        elif verb == "rollback":
            world.operate(verbs.rollback(flag).flag)
        elif verb == "start":
            world.operate(verbs.start(flag, name, 10.0).flag)
        else:
            world.operate(getattr(verbs, verb)(flag, name).flag)
    except (FlagError, KeyError):
        return

"""Applying writes what is declared once, and never what is operated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flags.canonical import digest
from flags.codec import document_of, flag_from
from flags.errors import Refused
from flags.model import Json, Kind, Layer, ObjectKey, Rollout, Shadow, StoredObject
from gateway.config.declaration import Declaration, Known
from gateway.config.export import declared_of, differences, export, yaml_text
from gateway.config.loading import declaration_from, load_file
from gateway.config.patching import patch
from gateway.declaring.plan import Options, Plan, plan
from tests.gateway.config_files import EXAMPLE, write
from tests.gateway.shelf import TIME, Shelf

APPLY = Options("ada")


class World(Shelf):
    """What plans write, and operators change."""

    def plan(self, declaration: Declaration, options: Options = APPLY) -> Plan:
        return plan(declaration, self.view, options, contents=self.contents)

    def apply(self, declaration: Declaration, options: Options = APPLY) -> Plan:
        made = self.plan(declaration, options)
        self.take(made.drafts)
        return made


def declared(**sections: Json) -> Declaration:
    return declaration_from(sections)


def one_flag(**fields: Json) -> Declaration:
    flag = {"variants": {"a": 1, "b": 2}, "serve": "a"} | fields
    return declared(flags={"f": flag})


def keys(made: Plan) -> list[str]:
    return [str(draft.key) for draft in made.drafts]


@pytest.fixture
def example(tmp_path: Path) -> Declaration:
    return load_file(write(tmp_path))


def test_objects_come_before_what_names_them(example: Declaration) -> None:
    kinds = [draft.key.kind for draft in World().plan(example).drafts]

    order = [Kind.UPSTREAM, Kind.METRIC, Kind.FLAG, Kind.ROUTE, Kind.POLICY, Kind.NOTIFY]
    assert kinds == sorted(kinds, key=order.index)
    assert set(kinds) == set(order)


def test_a_created_flag_has_its_author_time_contents_and_state(example: Declaration) -> None:
    world = World()
    world.apply(example)

    flag = world.flag("support-bot.prompt")
    assert (flag.serve, flag.safe, flag.rollout) == ("v6", "v6", Rollout("v7", 10))
    assert {(each.generation, each.created_by, each.created_at) for each in flag.variants.values()} == {
        (1, "ada", TIME)
    }
    assert world.contents[flag.variants["v6"].hash]["variables"] == {"company": "Acme"}


def test_only_what_serves_affects_evaluation(example: Declaration) -> None:
    affecting = {draft.key.kind for draft in World().plan(example).drafts if draft.affects}

    assert affecting == {Kind.UPSTREAM, Kind.FLAG, Kind.ROUTE}


def test_applying_twice_writes_once(example: Declaration) -> None:
    world = World()
    world.apply(example)
    again = world.plan(example)

    assert again.drafts == ()
    assert len(again.unchanged) == len(world.objects)


def test_a_rollback_survives_a_restart_with_the_same_file_and_is_noted(example: Declaration) -> None:
    world = World()
    world.apply(example)
    world.change("support-bot.prompt", rollout=None, withdrawn=frozenset({"v7"}))
    made = world.plan(example)

    assert made.drafts == ()
    assert made.notes == (
        "flag 'support-bot.prompt': the file says rollout {'variant': 'v7', 'percent': 10.0}, operated None; not touched",
        "flag 'support-bot.prompt': the file says withdrawn [], operated ['v7']; not touched",
    )


def test_an_edited_state_writes_nothing_unless_told_to_reset() -> None:
    world = World()
    world.apply(one_flag())
    edited = one_flag(serve="b", safe="a")

    assert world.plan(edited).drafts == ()
    assert world.plan(edited).notes == ("flag 'f': the file says serve b, operated a; not touched",)
    assert world.apply(edited, replace(APPLY, reset_state=True)).notes == ()
    assert (world.flag("f").serve, world.flag("f").safe) == ("b", "a")


def test_an_edited_limit_takes_effect_and_a_revert_survives() -> None:
    def policy(limit: float) -> Declaration:
        return declared(policies={"p": {"metric": "cost", "limit": limit}})

    world, key = World(), ObjectKey(Kind.POLICY, "p")
    world.apply(policy(1))
    world.apply(policy(2))
    assert world.objects[key].document["spec"]["limit"] == 2

    reverted = {**world.objects[key].document, "spec": {"metric": "cost", "limit": 1}}
    world.objects[key] = StoredObject(key, reverted, 9)
    assert world.plan(policy(2)).drafts == ()
    assert keys(world.plan(policy(3))) == ["policy/p"]


def test_a_new_variant_is_added_and_moves_nothing() -> None:
    world = World()
    world.apply(one_flag())
    world.change("f", serve="b")
    made = world.apply(one_flag(variants={"a": 1, "b": 2, "c": 3}), Options("bob"))

    assert keys(made) == ["flag/f"]
    assert made.drafts[0].contents == {digest(value): value for value in (1, 2, 3)}
    flag = world.flag("f")
    assert (flag.serve, flag.safe) == ("b", "a")
    assert (flag.variants["a"].created_by, flag.variants["c"].created_by) == ("ada", "bob")


def test_generations_are_kept_by_apply() -> None:
    world = World()
    world.apply(one_flag())
    lived = {name: replace(each, generation=4) for name, each in world.flag("f").variants.items()}
    world.change("f", variants=lived)
    world.apply(one_flag(metadata={"team": "x"}))

    assert {each.generation for each in world.flag("f").variants.values()} == {4}


def test_an_edited_variant_is_refused_with_every_name_and_the_mend() -> None:
    world = World()
    world.apply(one_flag(variants={"v6": 1, "v7": 2}, serve="v6"))

    with pytest.raises(Refused) as refused:
        world.plan(one_flag(variants={"v6": 9, "v7": 8}, serve="v6"))
    assert refused.value.rule == "variant_immutable"
    assert "variant v6 is immutable; add v8" in refused.value.message
    assert "variant v7 is immutable; add v8" in refused.value.message


def test_a_flag_keeps_its_layer() -> None:
    world = World()
    world.apply(one_flag())
    prompt = {"messages": [{"role": "user", "content": "x"}]}

    with pytest.raises(Refused, match="keeps its layer"):
        world.plan(one_flag(layer="prompt", variants={"c": prompt}, serve="c"))


def test_what_is_missing_from_the_file_stays_without_prune(example: Declaration) -> None:
    world = World()
    world.apply(example)

    assert world.plan(one_flag()).drafts[0].key == ObjectKey(Kind.FLAG, "f")
    assert len(world.plan(one_flag()).drafts) == 1


def test_prune_deletes_in_reverse_order(example: Declaration) -> None:
    world = World()
    world.apply(example)
    made = world.apply(one_flag(), replace(APPLY, prune=True))

    deleted = [draft.key.kind for draft in made.drafts if draft.after is None]
    order = [Kind.NOTIFY, Kind.POLICY, Kind.ROUTE, Kind.FLAG, Kind.METRIC, Kind.UPSTREAM]
    assert deleted == sorted(deleted, key=order.index)
    assert all(draft.affects for draft in made.drafts if draft.after is None)
    assert set(map(str, world.objects)) == {"flag/f"}


def test_prune_keeps_variants_that_are_served_safe_candidate_or_withdrawn() -> None:
    world = World()
    values = {name: number for number, name in enumerate("abcdef")}
    world.apply(one_flag(variants=values))
    world.change("f", serve="b", safe="c", rollout=Rollout("d", 5), withdrawn=frozenset({"e"}))
    world.apply(one_flag(variants={"a": 0}), replace(APPLY, prune=True))

    assert set(world.flag("f").variants) == {"a", "b", "c", "d", "e"}


MODEL = {"layer": "model", "variants": {"m": {"upstream": "u", "model": "x"}}}


def test_prune_does_not_delete_an_upstream_or_a_flag_that_is_used() -> None:
    world = World()
    upstreams = {"u": {"kind": "simulated"}, "w": {"kind": "simulated"}}
    two = {
        "layer": "model",
        "serve": "m",
        "variants": {"m": {"upstream": "u", "model": "x"}, "n": {"upstream": "w", "model": "x"}},
    }
    world.apply(declared(upstreams=upstreams, flags={"r.model": two}, routes={"r": {}}))
    world.change("r.model", serve="n")
    prune = replace(APPLY, prune=True)

    with pytest.raises(Refused, match=r"upstream 'w' is used by flag 'r\.model', variant n") as refused:
        world.plan(
            declared(upstreams={"u": upstreams["u"]}, flags={"r.model": MODEL}, routes={"r": {}}), prune
        )
    assert refused.value.rule == "in_use"


def test_a_stored_model_flag_that_a_declared_route_needs_is_not_pruned() -> None:
    world = World()
    world.apply(declared(upstreams={"u": {"kind": "simulated"}}, flags={"r.model": MODEL}, routes={"r": {}}))
    known = Known(frozenset({"u"}), {"r.model": Layer.MODEL})
    without = declaration_from({"upstreams": {"u": {"kind": "simulated"}}, "routes": {"r": {}}}, known)

    with pytest.raises(Refused, match=r"flag 'r\.model' is used by route 'r'"):
        world.plan(without, replace(APPLY, prune=True))


def test_targeting_lies_under_its_hash() -> None:
    rule = {"if": [True, "b"]}
    world = World()
    world.apply(one_flag(targeting=rule))

    assert world.flag("f").targeting == digest(rule)
    assert world.contents[digest(rule)] == rule
    world.apply(one_flag())
    assert world.flag("f").targeting is None


def test_an_export_declares_what_is_there(example: Declaration, tmp_path: Path) -> None:
    world = World()
    world.apply(example)
    world.apply(one_flag(targeting={"if": [True, "b"]}, state="DISABLED", metadata={"x": 1.5}))
    world.change("support-bot.prompt", serve="v7", rollout=None)
    path = tmp_path / "export.yaml"
    path.write_text(yaml_text(export(world.view, world.contents)), encoding="utf-8")
    made = world.plan(load_file(path), replace(APPLY, prune=True, reset_state=True))

    assert made.drafts == ()
    assert made.notes == ()


NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,8}", fullmatch=True)
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=20)


@given(variants=st.dictionaries(NAMES, TEXTS, min_size=1, max_size=4), data=st.data())
def test_any_flag_round_trips_through_yaml(
    variants: dict[str, str], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    serve = data.draw(st.sampled_from(sorted(variants)))
    world = World()
    world.apply(declared(flags={data.draw(NAMES): {"variants": variants, "serve": serve}}))
    path = tmp_path_factory.mktemp("export") / "e.yaml"
    path.write_text(yaml_text(export(world.view, world.contents)), encoding="utf-8")

    assert world.plan(load_file(path), replace(APPLY, prune=True, reset_state=True)).drafts == ()


def test_a_flag_exported_is_the_flag_read(example: Declaration) -> None:
    world = World()
    world.apply(example)
    flag = world.flag("support-bot.prompt")

    assert declared_of(flag, world.contents, world.view) == example.flags["support-bot.prompt"]
    assert flag_from(flag.key, document_of(flag), 0) == replace(flag, revision=0)


def test_differences_name_content_and_operated_state(example: Declaration) -> None:
    world = World()
    world.apply(example)
    world.change("new-greeting", serve="on")
    del world.objects[ObjectKey(Kind.POLICY, "slow-brake")]
    world.apply(one_flag())

    found = {
        (each.object, each.path): (each.file, each.state)
        for each in differences(example, world.view, world.contents)
    }
    assert found[("flag/new-greeting", "serve")] == ("off", "on")
    assert found[("policy/slow-brake", "")][1] is None
    assert found[("flag/f", "")][0] is None
    assert len(found) == 3


def test_without_a_change_there_are_no_differences(example: Declaration) -> None:
    world = World()
    world.apply(example)

    assert differences(example, world.view, world.contents) == []
    assert patch(EXAMPLE, "config.yaml", example, world.view) == ""


def test_a_patch_changes_the_state_in_place_and_nothing_else(example: Declaration) -> None:
    world = World()
    world.apply(example)
    world.change("support-bot.prompt", serve="v7", rollout=None, withdrawn=frozenset())
    world.change("new-greeting", serve="on", withdrawn=frozenset())
    lines = [
        line for line in patch(EXAMPLE, "config.yaml", example, world.view).splitlines() if line[0] in "+-"
    ]

    assert lines == [
        "--- config.yaml",
        "+++ config.yaml",
        "-    serve: v6",
        "+    serve: v7",
        "-    rollout: {variant: v7, percent: 10}",
        "+    rollout: null",
        '-  new-greeting: {variants: {"on": true, "off": false}, serve: "off"}',
        '+  new-greeting: {safe: "off", variants: {"on": true, "off": false}, serve: "on"}',
    ]


BLOCK = """\
# é before everything
flags:
  f:
    rollout:   # a candidate
      variant: b
      percent: 5

    # the versions
    variants: {a: 1, b: 2}
    serve: a
  g: {variants: {a: 1, b: 2}, serve: a}
"""


def test_a_patched_file_declares_the_operated_state(tmp_path: Path) -> None:
    world = World()
    declaration = load_file(write(tmp_path, BLOCK))
    world.apply(declaration)
    world.change("f", rollout=Rollout("b", 12.5), safe="b")
    world.change("g", withdrawn=frozenset({"b"}))
    lines = patch(BLOCK, "c", declaration, world.view).splitlines(keepends=True)[2:]
    after = "".join(line[1:] for line in lines if line[0] in " +")

    assert world.plan(load_file(write(tmp_path, after)), replace(APPLY, reset_state=True)).drafts == ()
    assert "# the versions" in after


SHADOWED = """
flags:
  f:
    serve: a
    shadow: {variant: b, percent: 5}
    layer: index
    variants: {a: {store: x}, b: {store: y}}
"""


def test_a_shadow_is_set_when_the_flag_is_created_and_then_never_again(tmp_path: Path) -> None:
    file = load_file(write(tmp_path, SHADOWED))
    world = World()
    world.apply(file)
    assert world.flag("f").shadow == Shadow("b", 5.0)

    world.change("f", shadow=None)
    made = world.apply(file)

    assert made.drafts == ()
    assert made.notes == (
        "flag 'f': the file says shadow {'variant': 'b', 'percent': 5.0}, operated None; not touched",
    )
    world.apply(file, replace(APPLY, reset_state=True))
    assert world.flag("f").shadow == Shadow("b", 5.0)


def test_an_exported_shadow_is_the_one_that_is_read(tmp_path: Path) -> None:
    world = World()
    world.apply(load_file(write(tmp_path, SHADOWED)))

    again = declaration_from(export(world.view, world.contents))
    assert again.flags["f"].shadow == Shadow("b", 5.0)
    assert world.plan(again, replace(APPLY, reset_state=True, prune=True)).drafts == ()


def test_pruning_keeps_what_is_shadowed(tmp_path: Path) -> None:
    world = World()
    world.apply(load_file(write(tmp_path, SHADOWED)))
    less = {"layer": "index", "serve": "a", "variants": {"a": {"store": "x"}}}
    world.apply(declared(flags={"f": less}), replace(APPLY, prune=True))

    assert world.flag("f").variants.keys() == {"a", "b"}

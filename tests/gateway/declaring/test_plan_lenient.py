"""`serve -c` starts: what `apply` refuses stays as it is stored, with a warning."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest

from flags.canonical import digest
from flags.codec import document_of
from flags.errors import Refused
from flags.ledger import Author, Deed, seal
from flags.model import START, Kind, ObjectKey, StoredObject
from tests.gateway.declaring.test_plan import APPLY, MODEL, World, declared, keys, one_flag
from tests.gateway.shelf import TIME


def test_serve_keeps_an_edited_variants_content_warns_each_time_and_takes_the_rest() -> None:
    world = World()
    world.apply(one_flag())
    edited = one_flag(variants={"a": 9, "b": 2, "c": 3}, metadata={"team": "x"})
    lenient = replace(APPLY, lenient=True)
    made = world.apply(edited, lenient)

    assert any(
        "variant a is immutable; add v2" in warning or "add a2" in warning for warning in made.warnings
    )
    assert world.flag("f").variants["a"].hash == digest(1)
    assert digest(9) not in world.contents
    assert set(world.flag("f").variants) == {"a", "b", "c"}
    again = world.plan(edited, lenient)
    assert again.drafts == ()
    assert again.warnings == made.warnings
    with pytest.raises(Refused):
        world.plan(edited)


def test_serve_keeps_a_flag_whose_layer_changed_in_the_file_and_starts() -> None:
    world, lenient = World(), replace(APPLY, lenient=True)
    world.apply(one_flag())
    prompt = {"messages": [{"role": "user", "content": "x"}]}
    edited = one_flag(layer="prompt", variants={"c": prompt}, serve="c")

    made = world.apply(edited, lenient)

    assert made.drafts == ()
    assert made.warnings == (
        "flag 'f' has no layer, the file says layer prompt: a flag keeps its layer (it stays as it was)",
    )
    assert world.plan(edited, lenient).warnings == made.warnings


def test_serve_does_not_declare_a_route_over_a_flag_that_it_had_to_keep() -> None:
    world, lenient = World(), replace(APPLY, lenient=True)
    world.apply(declared(flags={"r.prompt": {"variants": {"a": 1}}}))
    prompt = {"messages": [{"role": "user", "content": "x"}]}
    sections = {
        "upstreams": {"u": {"kind": "simulated"}},
        "flags": {"r.model": MODEL, "r.prompt": {"layer": "prompt", "variants": {"c": prompt}}},
        "routes": {"r": {}},
    }

    made = world.plan(declared(**sections), lenient)

    assert keys(made) == ["upstream/u", "flag/r.model"]
    assert "route 'r': flag 'r.prompt' has no layer; expected prompt (it is not declared)" in made.warnings


def test_a_flag_keeps_the_type_of_its_values() -> None:
    world, lenient = World(), replace(APPLY, lenient=True)
    world.apply(one_flag(variants={"a": "text"}, serve="a"))
    edited = one_flag(variants={"n": 3}, serve="n")

    with pytest.raises(Refused, match=r"flag 'f': variants\.n: found a value of type number") as refused:
        world.plan(edited)
    assert (refused.value.rule, refused.value.mend) == ("type_fixed", "declare a new flag")
    made = world.plan(edited, lenient)
    assert made.drafts == ()
    assert len(made.warnings) == 1
    assert keys(world.plan(one_flag(variants={"b": "more"}, serve="b"))) == ["flag/f"]


def test_a_switch_that_was_thrown_may_get_numbers_and_lose_its_booleans() -> None:
    world, key = World(), "gateway.retries"
    world.apply(declared(flags={key: {"variants": {"on": True, "off": False}, "serve": "off"}}))

    world.apply(declared(flags={key: {"variants": {"once": 1}, "serve": "once"}}))
    world.apply(declared(flags={key: {"variants": {"on": True, "twice": 2}, "serve": "on"}}))

    assert world.flag(key).variants.keys() == {"on", "off", "once", "twice"}


def test_a_switch_without_numbers_and_every_other_flag_keep_their_type() -> None:
    world = World()
    world.apply(declared(flags={"f": {"variants": {"on": True}}}))

    with pytest.raises(Refused, match="a flag keeps its type"):
        world.plan(declared(flags={"f": {"variants": {"once": 1}}}))


def test_serve_leaves_out_what_no_entry_of_the_ledger_can_hold() -> None:
    many = one_flag(variants={f"v{number}": number for number in range(600)}, serve="v1")

    made = World().plan(many, replace(APPLY, lenient=True))

    assert made.drafts == ()
    assert "flag/f takes" in made.warnings[0]
    with pytest.raises(Refused, match="flag/f takes"):
        World().plan(many)


def test_no_flag_grows_so_large_that_a_rollback_of_it_would_not_fit_the_ledger() -> None:
    world, key = World(), ObjectKey(Kind.FLAG, "f")
    for count in range(60, 200):
        with contextlib.suppress(Refused):
            world.apply(one_flag(variants={f"v{each}": each for each in range(count)}, serve="v1", safe="v0"))
    before = world.flag("f")
    bad = {before.variants[name].hash for name in ("v1", "v2", "v3")}
    after = replace(before, serve="v0", withdrawn=frozenset({"v1", "v2", "v3"}), quarantined=frozenset(bad))
    deed = Deed("rollback", key, document_of(before), document_of(after))
    author = Author("ann", "字" * 2000, f"https://x.example/{'l' * 1980}", {"missing": ["m" * 500]})

    entry = seal(author, deed, after=START, time=TIME, change_id="0" * 32)

    assert 60 < len(before.variants) < 199
    assert entry.revision == 1


def test_serve_starts_over_a_stored_flag_that_it_cannot_read() -> None:
    world, key = World(), ObjectKey(Kind.FLAG, "f")
    world.apply(one_flag())
    world.objects[key] = StoredObject(key, {**world.objects[key].document, "from_the_future": 1}, 2)

    assert "cannot be read" in world.plan(one_flag(), replace(APPLY, lenient=True)).warnings[0]
    with pytest.raises(Refused, match="cannot be read"):
        world.plan(one_flag())

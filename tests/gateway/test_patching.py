"""A patched file says what is operated, whatever the state and however the flag is written; else there is no patch."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flags.errors import FlagError, Refused
from flags.model import Flag, Kind, ObjectKey
from gateway.config.export import differences
from gateway.config.loading import load_file
from gateway.config.patching import patch
from policies import verbs
from tests.gateway.config_files import write
from tests.gateway.declaring.test_plan import World

IMPLIED = """\
upstreams: {m: {kind: simulated}}
flags:
  a.model:
    layer: model
    serve: m1   # the small one
    variants:
      m1: {upstream: m, model: x}
      m2: {upstream: m, model: y}
"""


def patched(text: str, diff: str) -> str:
    """`text` after a unified diff with all its context."""
    added = False
    lines, after, at = re.findall(r"[^\n]*\n|[^\n]+", text), [], 0
    for line in re.findall(r"[^\n]*\n", diff)[2:]:
        if line.startswith("\\"):
            # It is said of the line before, which was taken over (or is about to be left out).
            after = [*after[:-1], after[-1].removesuffix("\n")] if added else after
        elif line.startswith("@@"):
            start = int(line.split()[1].split(",")[0][1:]) - 1
            after += lines[at:start]
            at = start
        elif line[0] in " -":
            added = False
            after += [lines[at]] if line[0] == " " else []
            at += 1
        elif line[0] == "+":
            added = True
            after.append(line[1:])
    return "".join(after + lines[at:])


def written(folder: Path, text: str, name: str) -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def world_of(folder: Path, text: str, name: str = "config.yaml") -> World:
    world = World()
    world.apply(load_file(written(folder, text, name)))
    return world


def brought_home(folder: Path, text: str, world: World, name: str = "config.yaml") -> str:
    """The patched text; it loads, and nothing differs from the store."""
    diff = patch(text, name, load_file(written(folder, text, name)), world.view)
    after = patched(text, diff)
    assert differences(load_file(written(folder, after, name)), world.view, world.contents) == []
    return after


def operate(world: World, key: str, flag: Flag) -> None:
    world.change(key, serve=flag.serve, safe=flag.safe, rollout=flag.rollout, withdrawn=flag.withdrawn)


def test_a_switch_leaves_safe_where_it_was_although_the_file_only_implies_it(tmp_path: Path) -> None:
    world = world_of(tmp_path, IMPLIED)
    operate(world, "a.model", verbs.switch(world.flag("a.model"), "m2").flag)

    after = brought_home(tmp_path, IMPLIED, world)

    assert "    serve: m2   # the small one\n    safe: m1\n    variants:\n" in after


def test_a_rollback_can_be_brought_home_too(tmp_path: Path) -> None:
    world = world_of(tmp_path, IMPLIED)
    switched = verbs.switch(world.flag("a.model"), "m2").flag
    operate(world, "a.model", verbs.rollback(switched).flag)

    after = brought_home(tmp_path, IMPLIED, world)

    assert "    safe: m1\n    withdrawn: [m2]\n    variants:\n" in after


FORMS = {
    "block": "flags:\n  f:\n    serve: a\n    variants:\n      a: 1\n      b: 2\n      c: 3\n",
    "comments and all fields": (
        "# é\nflags:\n  f:\n    rollout:  # candidate\n      variant: b\n      percent: 5\n\n    # named\n"
        "    safe: a\n    withdrawn:\n    - c\n    variants: {a: 1, b: 2, c: 3}\n    serve: a # end\n"
    ),
    "flow": "flags: {f: {variants: {a: 1, b: 2, c: 3}, serve: a}}\n",
    "flow over lines": 'flags: {\n  "f": {"serve": "a",\n    "variants": {a: 1, b: 2, c: 3}}\n}\n',
    "nulls": ("flags:\n  f:\n    safe:\n    rollout: ~\n    serve: 'a'\n    variants: {a: 1, b: 2, c: 3}\n"),
    "merged": (
        "flags:\n  g: &g {serve: a, variants: {a: 1, b: 2, c: 3}}\n  f:\n    <<: *g\n    state: ENABLED\n"
    ),
    "variants elsewhere": "flags:\n  g: {serve: a, variants: &v {a: 1, b: 2, c: 3}}\n  f:\n    serve: a\n    variants: *v\n",
    "anchored": "flags:\n  f: &f\n    serve: a\n    variants: {a: 1, b: 2, c: 3}\n",
    "a layer's": (
        "flags:\n  f:\n    layer: index\n    serve: a\n    variants: {a: {store: x}, b: {store: y}, c: {store: z}}\n"
    ),
    "crlf": "flags:\r\n  f:\r\n    serve: a\r\n    variants: {a: 1, b: 2, c: 3}\r\n",
    "no end of line": "flags: {f: {variants: {a: 1, b: 2, c: 3}, serve: a}}",
    "line separators": "flags:\n  f:\n    metadata: {note: 'x\u2028y'}\n    serve: a\n    variants: {a: 1, b: 2, c: 3}\n",
    "json": '{\n\t"flags": {\n\t\t"f": {"serve": "a", "variants": {"a": 1, "b": 2, "c": 3}}}}\n',
}
NAMES = st.sampled_from(["a", "b", "c"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just(verbs.switch), NAMES).map(lambda s: lambda f: s[0](f, s[1])),
        NAMES.map(lambda n: lambda f: verbs.switch(f, n, safe=n)),
        st.tuples(NAMES, st.sampled_from([0, 7.1, 12.34, 99.99, 100])).map(
            lambda s: lambda f: verbs.start(f, *s)
        ),
        st.tuples(NAMES, st.sampled_from([0, 7.1, 100])).map(lambda s: lambda f: verbs.shadow(f, *s)),
        st.just(verbs.unshadow),
        st.one_of(st.none(), NAMES).map(lambda n: lambda f: verbs.rollback(f, to=n)),
        NAMES.map(lambda n: lambda f: verbs.withdraw(f, n)),
        NAMES.map(lambda n: lambda f: verbs.restore(f, n)),
    ),
    max_size=8,
)


@given(form=st.sampled_from(sorted(FORMS)), steps=STEPS)
@settings(deadline=None, max_examples=300)
def test_whatever_is_operated_the_patched_file_loads_and_nothing_differs(
    form: str, steps: list[object], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("patch")
    name = "config.json" if form == "json" else "config.yaml"
    world = world_of(folder, FORMS[form], name)
    flag = world.flag("f")
    for step in steps:
        try:
            flag = step(flag).flag
        except FlagError:
            continue
    operate(world, "f", flag)

    after = brought_home(folder, FORMS[form], world, name)

    assert after.count("\r\n") == (after.count("\n") if form == "crlf" else 0)
    if form == "json":
        json.loads(after)


def test_a_name_that_yaml_would_misread_is_quoted(tmp_path: Path) -> None:
    text = 'flags: {f: {variants: {"on": 1, "off": 2, "4.10": 3}, serve: "off"}}\n'
    world = world_of(tmp_path, text)
    operate(world, "f", replace(world.flag("f"), serve="4.10", safe="on", withdrawn=frozenset({"off"})))

    brought_home(tmp_path, text, world)


def test_a_state_that_names_what_the_file_lacks_is_refused(tmp_path: Path) -> None:
    world = world_of(tmp_path, IMPLIED.replace("m2", "m3"))
    operate(world, "a.model", verbs.switch(world.flag("a.model"), "m3").flag)

    with pytest.raises(Refused, match="names m3, which the file does not have"):
        patch(IMPLIED, "c", load_file(write(tmp_path, IMPLIED)), world.view)


def test_what_an_alias_shares_with_another_flag_is_refused(tmp_path: Path) -> None:
    for text in (
        "flags:\n  g: &g {serve: a, variants: {a: 1, b: 2}}\n  f: *g\n",
        "flags:\n  g: {serve: &s a, variants: {a: 1, b: 2}}\n  f: {serve: *s, variants: {a: 1, b: 2}}\n",
    ):
        world = world_of(tmp_path, text)
        operate(world, "f", verbs.switch(world.flag("f"), "b").flag)

        with pytest.raises(Refused, match="aliases"):
            patch(text, "c", load_file(write(tmp_path, text)), world.view)


def test_flags_that_only_the_store_or_only_the_file_has_are_let_be(tmp_path: Path) -> None:
    world = world_of(tmp_path, IMPLIED)
    text = IMPLIED + "  new: {variants: {x: 1}}\n"
    del world.objects[ObjectKey(Kind.FLAG, "a.model")]

    assert patch(text, "c", load_file(write(tmp_path, text)), world.view) == ""

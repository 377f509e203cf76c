"""A snapshot is immutable, holds what its flags need, and grows by what changed only."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from flags.canonical import digest
from flags.codec import document_of
from flags.compiled import CompiledFlag
from flags.model import Context, ErrorCode, Json, Kind, ObjectKey, Position, StoredObject
from flags.resolve import resolve
from flags.snapshot import Builder, Snapshot, hashes_of
from tests.flags.making import KEY, VALUES, a_flag, contents_of, stored, user

SOMEBODY = user()
RULE = {"if": [{"==": [{"var": "plan"}, "pro"]}, "v7"]}


def objects_of(*items: StoredObject) -> dict[ObjectKey, StoredObject]:
    return {item.key: item for item in items}


def a_snapshot(*items: StoredObject, contents: dict[str, Json] | None = None) -> Snapshot:
    return Snapshot.build("test", Position(1, "h1"), 1, objects_of(*items), contents or contents_of())


def a_stored(key: str = KEY, revision: int = 1, **fields: Any) -> StoredObject:
    return stored(key, document_of(a_flag(key, **fields)), revision)


def served(flag: CompiledFlag, context: Context = SOMEBODY) -> str | None:
    return resolve(flag, context, 0).variant


def test_a_change_compiles_what_changed_and_keeps_the_rest_as_it_is() -> None:
    before = a_snapshot(a_stored("a"), a_stored("b"))

    changed = a_stored("a", 2, serve="v7")
    after = before.changed(Position(2, "h2"), 2, {changed.key: changed}, {})

    assert after.flags["b"] is before.flags["b"]
    assert served(after.flags["a"]) == "v7"
    assert (after.position, after.revision, after.namespace) == (Position(2, "h2"), 2, "test")


def test_the_snapshot_before_a_change_stays_as_it_was() -> None:
    before = a_snapshot(a_stored("a"))
    kept = (dict(before.objects), dict(before.flags), dict(before.contents))

    changed = a_stored("a", 2, values={"on": True}, serve="on", safe="on")
    before.changed(Position(2, "h2"), 2, {changed.key: changed}, contents_of({"on": True}))

    assert kept == (dict(before.objects), dict(before.flags), dict(before.contents))
    assert served(before.flags["a"]) == "v6"


def test_a_deleted_flag_is_gone_with_what_only_it_used() -> None:
    other = a_stored("b", values={"v6": VALUES["v6"]}, safe="v6")
    before = a_snapshot(a_stored("a"), other)

    after = before.changed(Position(2, "h2"), 2, {ObjectKey(Kind.FLAG, "a"): None}, {})

    assert set(after.flags) == {"b"}
    assert set(after.contents) == {digest(VALUES["v6"])}
    assert ObjectKey(Kind.FLAG, "a") not in after.objects


def test_other_objects_are_kept_and_compile_nothing() -> None:
    route = StoredObject(ObjectKey(Kind.ROUTE, "support-bot"), {"prompt": KEY}, 1)
    before = a_snapshot(a_stored())

    after = before.changed(Position(2, "h2"), 2, {route.key: route}, {})

    assert after.objects[route.key] is route
    assert after.flags[KEY] is before.flags[KEY]


def test_contents_of_nobody_are_not_kept() -> None:
    snapshot = a_snapshot(a_stored(), contents=contents_of() | {digest("stray"): "stray"})

    assert set(snapshot.contents) == hashes_of([a_stored()])


def test_a_flag_that_returns_with_a_content_needs_it_sent_only_once() -> None:
    """A change that names what the snapshot has already comes without contents."""
    before = a_snapshot(a_stored())

    changed = a_stored(revision=2, withdrawn=frozenset({"v6"}))
    after = before.changed(Position(2, "h2"), 2, {changed.key: changed}, {})

    assert served(after.flags[KEY]) == "v5"
    assert after.flags[KEY].values == VALUES


def test_a_rule_that_does_not_compile_breaks_its_flag_alone() -> None:
    bad = a_stored("bad", rule="no rule")
    snapshot = a_snapshot(bad, a_stored("good"), contents=contents_of(rule="no rule"))

    assert resolve(snapshot.flags["bad"], user(), 0).error is ErrorCode.PARSE_ERROR
    assert served(snapshot.flags["good"]) == "v6"


def test_a_document_that_cannot_be_read_is_left_out_and_told() -> None:
    """A newer release may write fields that this one does not know."""
    bad = stored("bad", {**document_of(a_flag("bad")), "novelty": 1})
    snapshot = a_snapshot(bad, a_stored("good"))

    assert set(snapshot.flags) == {"good"}
    assert dict(snapshot.problems) == {"bad": "novelty: unknown field"}

    mended = a_stored("bad", 2)
    assert not snapshot.changed(Position(2, "h"), 2, {mended.key: mended}, {}).problems


def test_a_targeting_rule_is_a_content_too() -> None:
    flag = a_stored(rule=RULE)

    assert digest(RULE) in hashes_of(objects_of(flag))
    assert served(a_snapshot(flag, contents=contents_of(rule=RULE)).flags[KEY], user(plan="pro")) == "v7"


def test_a_builder_works_in_slices_and_ends_in_the_same_snapshot() -> None:
    items = objects_of(a_stored("a"), a_stored("b"), a_stored("c"))
    builder = Builder("test", Position(1, "h1"), 1, items, contents_of())

    first = next(iter(builder))
    assert "holds 1 objects" in repr(builder)
    snapshot = builder.snapshot()

    assert first == ObjectKey(Kind.FLAG, "a")
    assert sorted(snapshot.flags) == ["a", "b", "c"]
    assert snapshot.contents == a_snapshot(*items.values()).contents


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["v5", "v6", "v7", None])), max_size=12))
def test_changes_one_by_one_lead_where_building_at_once_does(steps: list[tuple[str, str | None]]) -> None:
    grown = a_snapshot()
    objects: dict[ObjectKey, StoredObject] = {}
    for revision, (key, serve) in enumerate(steps, 2):
        name = ObjectKey(Kind.FLAG, key)
        values = {serve: VALUES[serve]} if serve else {}
        item = a_stored(key, revision, values=values, serve=serve, safe=serve) if serve else None
        objects.pop(name, None)
        if item is not None:
            objects[name] = item
        grown = grown.changed(Position(revision, "h"), revision, {name: item}, contents_of())

    built = Snapshot.build("test", grown.position, grown.revision, objects, contents_of())

    assert grown.objects == built.objects
    assert grown.contents == built.contents
    assert grown.uses == built.uses
    assert {key: flag.flag for key, flag in grown.flags.items()} == {
        k: f.flag for k, f in built.flags.items()
    }


def route(name: str, revision: int = 1) -> StoredObject:
    return StoredObject(ObjectKey(Kind.ROUTE, name), {}, revision)


class TestFingerprint:
    def test_it_is_sixteen_hex_digits_and_no_flags_are_all_zeros(self) -> None:
        nothing, something = a_snapshot(contents={}), a_snapshot(a_stored())

        assert nothing.fingerprint == "0" * 16
        assert len(something.fingerprint) == 16
        assert int(something.fingerprint, 16) > 0

    def test_it_hangs_on_document_revision_and_name(self) -> None:
        prints = {
            a_snapshot(item).fingerprint
            for item in (a_stored("a"), a_stored("b"), a_stored("a", 2), a_stored("a", serve="v7"))
        }

        assert len(prints) == 4

    def test_what_is_no_flag_changes_nothing(self) -> None:
        before = a_snapshot(a_stored())

        after = before.changed(Position(2, "h2"), 2, {route("support-bot").key: route("support-bot")}, {})

        assert after.fingerprint == before.fingerprint

    @given(st.data())
    def test_it_is_the_same_however_one_came_there(self, data: st.DataObject) -> None:
        """A worker that followed every Change, and one that loaded the end of it in another order."""
        followed = a_snapshot(contents=contents_of())
        for revision in range(2, 2 + data.draw(st.integers(1, 8))):
            name = data.draw(st.sampled_from("abc"))
            serve = data.draw(st.sampled_from([None, *VALUES]))
            item = None if serve is None else a_stored(name, revision, serve=serve)
            changes = {ObjectKey(Kind.FLAG, name): item}
            followed = followed.changed(Position(revision, "h"), revision, changes, contents_of())
        loaded = data.draw(st.permutations(list(followed.objects.values())))

        assert a_snapshot(*loaded).fingerprint == followed.fingerprint

    def test_the_order_of_a_document_s_members_is_nothing(self) -> None:
        document = document_of(a_flag())
        turned = stored(KEY, dict(reversed(document.items())))

        assert a_snapshot(turned).fingerprint == a_snapshot(stored(KEY, document)).fingerprint

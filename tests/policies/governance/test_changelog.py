"""A change log tells each field of a flag that changed, and what was said of its versions, and nothing else."""

from __future__ import annotations

from typing import Any

from flags.ledger import Author, Deed, Entry, entry_json, seal
from flags.model import START, Document, Kind, ObjectKey
from policies.governance.changelog import FieldChange, belongs, is_about, logged

FLAG = "support-bot.prompt"
KEY = ObjectKey(Kind.FLAG, FLAG)
CARD = ObjectKey(Kind.VERSION, f"{FLAG}/v7")


def entry(
    before: Document | None,
    after: Document | None,
    key: ObjectKey = KEY,
    action: str = "switch",
    affects: bool = True,
) -> Entry:
    author = Author("alice", "wrong answers", "https://ci.example/7")
    deed = Deed(action, key, before, after, affects)
    return seal(author, deed, after=START, time="2026-01-02T03:04:05.678Z", change_id="c")


def flag(serve: str = "v6", **more: Any) -> Document:
    variants = {name: {"hash": name * 32, "generation": 1} for name in ("v6", "v7")}
    return {"variants": variants, "serve": serve, "safe": "v6", "layer": "prompt", **more}


def told(before: Document | None, after: Document | None, **how: Any) -> dict[str, tuple[Any, Any]]:
    found = logged(FLAG, entry(before, after, **how))
    return {} if found is None else {each.field: (each.old_value, each.new_value) for each in found.changes}


def test_an_entry_has_the_governance_shape() -> None:
    found = logged(FLAG, entry(flag(), flag("v7", changed_at="x", declared="y")))

    assert found is not None
    assert (found.flag, found.version, found.author) == (FLAG, "v7", "alice")
    assert (found.timestamp, found.rationale, found.link) == (
        "2026-01-02T03:04:05.678Z",
        "wrong answers",
        "https://ci.example/7",
    )
    assert found.changes == [FieldChange("serve", "v6", "v7"), FieldChange("served", "v6", "v7")]
    assert (found.revision, found.action) == (1, "switch")


def test_what_is_served_follows_from_what_is_withdrawn() -> None:
    assert told(flag("v7"), flag("v7", withdrawn=["v7"], quarantined=["h"])) == {
        "served": ("v7", "v6"),
        "withdrawn": ([], ["v7"]),
        "quarantined": ([], ["h"]),
    }


def test_the_parts_of_a_rollout_a_shadow_and_the_rules_are_told_one_by_one() -> None:
    before = flag(rollout={"variant": "v7", "percent": 1, "state": "running"}, promotion={"approvals": 1})
    after = flag(
        rollout={"variant": "v7", "percent": 5, "state": "running"},
        promotion={"approvals": 2},
        shadow={"variant": "v7", "percent": 50.0},
        enabled=False,
    )

    assert told(before, after) == {
        "rollout.percent": (1, 5),
        "promotion.approvals": (1, 2),
        "shadow.variant": (None, "v7"),
        "shadow.percent": (None, 50.0),
        "enabled": (True, False),
    }
    assert told(after, flag())["rollout.variant"] == ("v7", None)


def test_variants_that_come_go_and_begin_anew_are_told_by_hash_and_generation() -> None:
    before, after = flag(), flag()
    variants = {**after["variants"], "v8": {"hash": "h8"}}  # type: ignore[dict-item]
    variants["v6"] = {"hash": "v6" * 32, "generation": 2}
    del variants["v7"]

    assert told(before, {**after, "variants": variants}) == {
        "variants.v6.generation": (1, 2),
        "variants.v8": (None, "h8"),
        "variants.v8.generation": (None, 1),
        "variants.v7": ("v7" * 32, None),
        "variants.v7.generation": (1, None),
    }


def test_the_first_and_the_last_entry_tell_everything() -> None:
    made, gone = told(None, flag()), told(flag(), None)

    assert made["serve"] == (None, "v6")
    assert made["enabled"] == (None, True)
    assert gone["serve"] == ("v6", None)
    assert made.keys() == gone.keys() - {"targeting"}


def test_what_is_said_of_a_version_is_told_of_that_version() -> None:
    mark = {"by": "bob", "at": "t", "reason": "r"}
    run: Document = {"suite": "s", "passed": True, "at": "2026-01-02"}
    card: Document = {"hash": "h", "evaluations": {"s": run}, "approvals": [mark]}
    found = logged(FLAG, entry(None, card, CARD, "approve", False))

    assert found is not None
    assert found.version == "v7"
    assert told(None, card, key=CARD) == {
        "eval_status": ("pending", "passed"),
        "approved_by": ([], ["bob"]),
    }
    assert told(card, {**card, "approvals": [], "rejected": mark}, key=CARD) == {
        "approved_by": (["bob"], []),
        "rejected_by": (None, "bob"),
    }
    assert told(card, {**card, "deprecated": mark}, key=CARD) == {"deprecated": (False, True)}


def test_the_newest_run_says_whether_the_evals_passed() -> None:
    def card(**passed: bool | None) -> Document:
        return {"hash": "h", "evaluations": {at: {"passed": value, "at": at} for at, value in passed.items()}}

    assert told(card(), card(t1=True), key=CARD)["eval_status"] == ("pending", "passed")
    assert told(card(t1=True), card(t1=True, t2=False), key=CARD)["eval_status"] == ("passed", "failed")
    assert told(card(t1=True), card(t1=True, t2=None), key=CARD)["eval_status"] == ("passed", "pending")


def test_notes_other_objects_and_changes_of_nothing_told_are_no_entries() -> None:
    assert logged(FLAG, entry(None, None, affects=False, action="alert")) is None
    assert logged(FLAG, entry(flag(), flag("v7"), ObjectKey(Kind.FLAG, "support-bot.promptx"))) is None
    assert logged(FLAG, entry(None, {}, ObjectKey(Kind.ROLLBACK, "c1"))) is None
    assert logged(FLAG, entry(None, {"hash": "h"}, ObjectKey(Kind.VERSION, "other/v7"))) is None
    assert logged(FLAG, entry(flag(), flag(declared="x"))) is None


def test_the_bytes_of_an_entry_tell_whether_to_read_it() -> None:
    assert is_about(entry_json(entry(flag(), flag("v7"))), FLAG)
    assert is_about(entry_json(entry(None, {"hash": "h"}, CARD)), FLAG)
    assert not is_about(entry_json(entry(flag(), flag("v7"), ObjectKey(Kind.FLAG, f"{FLAG}x"))), FLAG)


def test_a_document_of_a_later_version_has_a_past_all_the_same() -> None:
    strange: Document = {"serve": 3, "withdrawn": "x", "variants": ["v1"], "rollout": 5}

    assert told(None, strange)["serve"] == (None, 3)


def test_what_is_said_of_a_version_belongs_to_its_flag() -> None:
    names = [str(KEY), str(CARD), f"flag/{FLAG}2", f"version/{FLAG}2/v7", f"route/{FLAG}", "rollback/c0ffee"]

    assert [belongs(name, FLAG) for name in names] == [True, True, False, False, False, False]

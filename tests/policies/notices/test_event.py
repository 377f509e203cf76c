"""Which entries people are told of, and as what."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flags.codec import document_of
from flags.ledger import Author, Deed, Entry, seal
from flags.model import START, Kind, ObjectKey, Rollout
from policies import verbs
from policies.governance.record import Record
from policies.governance.record import document_of as record_document
from policies.notices.event import Event, EventKind, Severity, event_of
from tests.policies.working import a_flag

FLAG = ObjectKey(Kind.FLAG, "bot.prompt")
RECORD = ObjectKey(Kind.ROLLBACK, "c0ffee")


def entry(action: str, key: ObjectKey = FLAG, reason: str = "because", **fields: Any) -> Entry:
    author = Author(
        fields.pop("actor", "alice"), reason, fields.pop("link", None), fields.pop("evidence", None)
    )
    deed = Deed(action, key, fields.pop("before", None), fields.pop("after", None), affects=False)
    return seal(author, deed, after=START, time="2027-01-15T08:00:00.000Z", change_id="change1")


def told(made: Entry) -> Event:
    event = event_of(made)
    assert event is not None
    return event


def test_a_rollback_names_what_it_left_and_what_it_reached() -> None:
    before = a_flag(rollout=Rollout("v7", 10))
    after = verbs.rollback(before).flag
    event = told(
        entry(
            "rollback",
            before=document_of(before),
            after=document_of(after),
            actor="policy/error-brake",
            link="https://x",
        )
    )

    assert (event.kind, event.severity) == (EventKind.ROLLBACK, Severity.CRITICAL)
    assert (event.origin, event.to, event.flag, event.ref) == ("v7", "v6", "bot.prompt", "change1")
    assert event.title == "bot.prompt: rolled back from v7 to v6 by policy/error-brake"
    assert (event.id, event.revision, event.link) == ("change1", 1, "https://x")


def test_promotion_rules_that_change_or_go_are_told_and_new_ones_are_not() -> None:
    rules = {"approvals": 2}
    gone = told(entry("declare", before={"promotion": rules}, after={}))
    looser = told(entry("declare", before={"promotion": rules}, after={"promotion": {"approvals": 1}}))

    assert gone.title == "bot.prompt: the promotion rules are gone, by alice"
    assert (looser.kind, looser.severity) == (EventKind.RULES_CHANGED, Severity.WARNING)
    assert event_of(entry("declare", before={}, after={"promotion": rules})) is None
    assert event_of(entry("declare", before={"promotion": rules}, after={"promotion": rules})) is None


def test_a_rollback_of_what_served_all_names_that() -> None:
    before = a_flag(serve="v7")
    event = told(
        entry("rollback", before=document_of(before), after=document_of(verbs.rollback(before).flag))
    )

    assert (event.origin, event.to, event.severity) == ("v7", "v6", Severity.WARNING)


def test_a_rollback_whose_flag_cannot_be_read_is_told_all_the_same() -> None:
    event = told(entry("rollback", before={"odd": 1}, after={"odd": 2}))

    assert (event.kind, event.origin, event.to) == (EventKind.ROLLBACK, None, None)


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("would have done: rollback (dry run): 8 % errors", EventKind.WOULD_HAVE),
        ("nothing to roll back: 8 % errors", EventKind.NOTHING_TO_ROLL_BACK),
        ("nothing to pause: 8 % errors", EventKind.NOTHING_TO_ROLL_BACK),
        (
            "not rolled back, the safe version does not fit or is not there: 8 %",
            EventKind.NOTHING_TO_ROLL_BACK,
        ),
        ("8 % errors", EventKind.ALERT),
    ],
)
def test_an_alert_is_what_its_reason_begins_with(reason: str, kind: EventKind) -> None:
    assert told(entry("alert", reason=reason)).kind is kind


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        ("rollback.escalate", EventKind.RE_EVALUATION_FAILED),
        ("rollback.unhelpful", EventKind.DID_NOT_HELP),
        ("rollback.done", EventKind.PROCEDURE_DONE),
    ],
)
def test_what_came_of_a_rollback_points_to_its_record(action: str, kind: EventKind) -> None:
    record = Record("bot.prompt", "v7", "v6", "0" * 64, "v1.2.1-rollback", "errors", "alice", "2027")
    event = told(entry(action, RECORD, after=record_document(record)))

    assert (event.kind, event.ref, event.flag, event.origin, event.to) == (
        kind,
        "c0ffee",
        "bot.prompt",
        "v7",
        "v6",
    )
    assert event.label == "v1.2.1-rollback"


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        ("eval.failed", EventKind.GATE_FAILED),
        ("drift", EventKind.DRIFT),
        ("signal", EventKind.SIGNAL),
        ("complaint", EventKind.COMPLAINT),
        ("breaker.open", EventKind.BREAKER_OPEN),
        ("quarantine", EventKind.QUARANTINE),
        ("chain.broken", EventKind.CHAIN_BROKEN),
    ],
)
def test_notes_are_told_by_their_action(action: str, kind: EventKind) -> None:
    event = told(entry(action, ObjectKey(Kind.VERSION, "bot.prompt/v7")))

    assert (event.kind, event.flag, event.variant) == (kind, "bot.prompt", "v7")


def test_a_rollout_is_told_when_it_is_paused_and_when_it_ends() -> None:
    rolling = a_flag(rollout=Rollout("v7", 10))
    states = {
        "rollout.pause": verbs.pause(rolling).flag,
        "rollout.promote": verbs.promote(rolling).flag,
        "rollout.abort": verbs.abort(rolling).flag,
    }
    found = {
        action: told(entry(action, before=document_of(rolling), after=document_of(after)))
        for action, after in states.items()
    }

    assert [event.kind for event in found.values()] == [
        EventKind.ROLLOUT_PAUSED,
        EventKind.ROLLOUT_FINISHED,
        EventKind.ROLLOUT_FINISHED,
    ]
    assert found["rollout.pause"].title == "bot.prompt: rollout of v7 at 10 % paused by alice"
    assert (found["rollout.promote"].to, found["rollout.abort"].to) == ("v7", "v6")


@pytest.mark.parametrize(
    "action", ["switch", "apply", "rollout", "rollout.step", "safe", "approve", "rollback.open"]
)
def test_everyday_changes_are_no_news(action: str) -> None:
    assert event_of(entry(action)) is None


def test_an_override_is_told_whatever_it_overrode() -> None:
    event = told(entry("switch", evidence={"override": ["eval_passed: none"]}))

    assert (event.kind, event.severity, event.missing) == (
        EventKind.OVERRIDE,
        Severity.CRITICAL,
        ("eval_passed: none",),
    )


def test_an_ungoverned_rollback_is_one_event_that_says_what_is_missing() -> None:
    evidence = {"ungoverned": ["approved: by nobody"]}
    event = told(entry("rollback", evidence=evidence))

    assert (event.kind, event.kinds, event.missing) == (
        EventKind.ROLLBACK,
        (EventKind.ROLLBACK, EventKind.UNGOVERNED),
        ("approved: by nobody",),
    )
    assert event_of(entry("rollback.open", RECORD, evidence=evidence)) is None


@given(
    st.sampled_from(["rollback", "alert", "rollout.pause", "rollback.escalate", "signal", "switch"]),
    st.dictionaries(
        st.text(max_size=5), st.one_of(st.none(), st.booleans(), st.text(max_size=5)), max_size=3
    ),
    st.text(max_size=3000),
)
def test_no_entry_makes_it_fail_or_grow(action: str, document: dict[str, Any], reason: str) -> None:
    reason = reason.encode(errors="replace").decode()
    event = event_of(
        entry(action, before=document, after=document, reason=reason, evidence={"override": reason})
    )

    assert event is None or len(event.reason) <= 1000


@pytest.mark.parametrize(
    ("passed", "title"),
    [
        (False, "bot.prompt v7: eval gate failed"),
        (None, "bot.prompt v7: could not be evaluated, which is no pass of its eval gate"),
    ],
)
def test_a_gate_is_told_with_its_figures(passed: bool | None, title: str) -> None:
    facts = {"passed": passed, "pass_rate": 0.0, "score": 0.8125, "cases": 8, "not_evaluated": 2}
    event = told(entry("eval.failed", ObjectKey(Kind.VERSION, "bot.prompt/v7"), evidence=facts))

    assert (event.title, event.variant) == (title, "v7")
    assert event.reason == "because (pass rate 0, score 0.812, cases 8, not evaluated 2)"


def test_what_a_provider_still_gives_is_told_in_one_line() -> None:
    reason = "v7 is withdrawn here and diverted to v6; shop:flags still gives it: change it there"

    found = told(entry("diverted", reason=reason, actor="provider/shop:flags"))

    assert (found.kind, found.severity) == (EventKind.DIVERTED, Severity.WARNING)
    assert found.title == f"{FLAG.name}: {reason}"


def test_a_route_whose_provider_is_not_asked_is_told() -> None:
    route = ObjectKey(Kind.ROUTE, "support-bot")

    found = told(entry("undecided", route, reason="the store decides: no such module"))

    assert (found.kind, found.routes) == (EventKind.UNDECIDED, ("support-bot",))

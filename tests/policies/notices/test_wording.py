"""The words: what every notice tells, and what nobody can smuggle into one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from policies.notices import wording
from policies.notices.event import EventKind
from tests.policies.notices.outboxes import event

ROLLBACK = event(
    "c0ffee",
    title="bot.prompt: rolled back from v7 to v6 by policy/error-brake",
    flag="bot.prompt",
    origin="v7",
    to="v6",
    reason="8 % errors <!channel> & more",
    actor="policy/error-brake",
    routes=("bot",),
    ref="c0ffee",
    revision=42,
    hash="ab" * 32,
    anchor="42:" + "cd" * 32,
    audit="http://127.0.0.1:4000/admin/v1/rollbacks/c0ffee",
    link="https://runs.example/1",
)


def test_a_notice_tells_all_that_an_auditor_asks() -> None:
    text = wording.plain(ROLLBACK)

    for part in (
        "rolled back from v7 to v6",
        "Version rolled back to: v6",
        "Reason: 8 % errors",
        "By: policy/error-brake",
        "Ledger revision: 42 abab",
        "Merkle head: 42:cdcd",
        "Audit: http://127.0.0.1:4000/admin/v1/rollbacks/c0ffee",
        "Link: https://runs.example/1",
        "See more: pointsman rollback show c0ffee",
    ):
        assert part in text


def test_one_that_stands_for_others_says_how_many() -> None:
    assert "(and 17 more like it within an hour)" in wording.plain(ROLLBACK, 17).splitlines()[0]


def test_nobody_is_mentioned_in_slack_by_a_reason() -> None:
    body = wording.slack(ROLLBACK)

    assert "&lt;!channel&gt; &amp; more" in str(body["text"])
    assert "<" not in str(body)


def test_a_template_cannot_mention_either() -> None:
    assert wording.slack(ROLLBACK, text="<!here> x") == {"text": "&lt;!here&gt; x"}


def test_a_reason_begins_no_header_and_no_line() -> None:
    made = event(title="a\r\nBcc: evil@example.org", reason="x\nMerkle head: 1:forged")

    assert "\n" not in wording.subject(made)
    assert "\r" not in wording.subject(made)
    assert "Merkle head: 1:forged" not in wording.plain(made).splitlines()


def test_a_broken_chain_points_to_the_audit() -> None:
    assert wording.command_of(event(kind=EventKind.CHAIN_BROKEN)) == "pointsman audit verify"


def test_a_template_has_every_field_also_where_it_is_empty() -> None:
    found = wording.variables(event())

    assert (found["to"], found["from"], found["reason"], found["more"]) == ("", "", "", 0)


@given(st.text(max_size=20_000), st.integers(0, 10**6))
def test_whatever_stands_in_it_a_notice_is_bounded_and_printable(text: str, more: int) -> None:
    made = event(title=text, reason=text, actor=text, to=text, missing=(text,))

    assert len(wording.plain(made, more)) <= wording.TEXT_CHARS
    assert len(wording.subject(made, more)) <= wording.SUBJECT_CHARS
    assert wording.subject(made, more).isprintable()
    sections = wording.slack(made, more)["blocks"]
    assert all(len(each["text"]["text"]) <= 3000 for each in sections)  # type: ignore[index,union-attr]

"""What came of a step, in words and as a state; missing data is never a success."""

from __future__ import annotations

import pytest

from flags.fleet import Acks
from flags.ledger import Author, Deed, seal
from flags.model import START
from policies.governance.card import Evaluation
from policies.governance.finding import (
    ESCALATE,
    MAX_NOTES,
    UNHELPFUL,
    Finding,
    acknowledged,
    changelogged,
    evaluated,
    helped,
    logged,
    not_evaluated,
    notified,
    overtaken,
)
from policies.governance.helped import Found
from policies.governance.record import Step, StepState, record_key
from policies.notices.delivery import Receipt, State
from tests.policies.governance.test_procedure import AT, record

NEW = Step()
AT_MS = 1_767_322_800_000


def run(passed: bool | None, **fields: object) -> Evaluation:
    usual = {
        "suite": "a" * 64, "pass_rate": 0.75, "score": 0.8, "cases": 12, "not_evaluated": 0, "report": "rep",
        "at": AT, "by": "me", "name": "support",
    }  # fmt: skip
    return Evaluation(passed=passed, **{**usual, **fields})  # type: ignore[arg-type]  # a builder's fields


def receipt(channel: str, state: State = State.TOLD, after: int = 400, found: str = "") -> Receipt:
    return Receipt("r1", channel, state, 2, AT_MS, AT_MS + after, found)


class TestAcknowledged:
    def test_all_is_done_and_says_how_soon(self) -> None:
        found = acknowledged(Acks(4, 4), 12.4, noted=NEW)

        assert found == Finding(StepState.DONE, "4 of 4 workers, as seen 12 ms after the Change")

    def test_missing_ones_are_named_once(self) -> None:
        acks = Acks(3, 4, ("w2",))
        found = acknowledged(acks, 9, noted=NEW)

        assert found == Finding(StepState.OPEN, "3 of 4 workers; missing: w2")
        assert acknowledged(acks, 9, noted=Step(detail=found.detail)) is None

    def test_a_flapping_fleet_does_not_fill_the_ledger(self) -> None:
        assert acknowledged(Acks(3, 4, ("w9",)), 9, noted=Step(detail="other", attempts=MAX_NOTES)) is None

    def test_without_any_worker_nothing_is_acknowledged(self) -> None:
        assert acknowledged(Acks(0, 0), 9, noted=NEW) is None


class TestEvaluated:
    def test_no_suite_is_done_and_says_so(self) -> None:
        assert evaluated(None, NEW) == Finding(StepState.DONE, "no suite is declared")

    def test_passed_is_done_with_rate_suite_and_link(self) -> None:
        found = evaluated(run(True), NEW, link="/r")

        assert (found.state, found.link, found.tells) == (StepState.DONE, "/r", "")
        assert found.detail == "passed: pass rate 0.75, score 0.8, 12 cases, suite support (aaaaaaaaaaaa)"

    def test_not_passed_is_failed_and_told(self) -> None:
        found = evaluated(run(False), NEW)

        assert (found.state, found.tells) == (StepState.FAILED, ESCALATE)
        assert found.detail.startswith("did NOT pass: pass rate 0.75")

    @pytest.mark.parametrize(
        ("tries", "state", "tells"),
        [(0, StepState.OPEN, ""), (1, StepState.OPEN, ""), (2, StepState.FAILED, ESCALATE)],
    )
    def test_what_could_not_be_evaluated_is_tried_three_times_and_is_no_pass(
        self, tries: int, state: StepState, tells: str
    ) -> None:
        step = Step(attempts=tries)

        for found in (evaluated(run(None, not_evaluated=3), step), not_evaluated("judge away", step)):
            assert (found.state, found.tells) == (state, tells)


class TestLogged:
    ENTRY = seal(
        Author("ann", "x"),
        Deed("rollback", record_key("r1"), None, {"a": 1}),
        after=START,
        time=AT,
        change_id="r1",
    )

    def test_there_and_sealed(self) -> None:
        found = logged("r1", self.ENTRY, sealed=True)

        assert (found.state, found.link) == (StepState.DONE, "/admin/v1/log?after=0&limit=1")
        assert self.ENTRY.hash in found.detail

    def test_altered_or_gone_is_failed_and_told(self) -> None:
        for found in (logged("r1", self.ENTRY, sealed=False), logged("r1", None, sealed=False)):
            assert (found.state, found.tells) == (StepState.FAILED, ESCALATE)
            assert "audit verify" in found.detail


def test_the_change_log_needs_an_entry() -> None:
    assert changelogged(["safe", "withdrawn"], "bot").detail == "changed: safe, withdrawn"
    assert changelogged([], "bot").state is StepState.FAILED


class TestNotified:
    def test_all_told_says_whom_and_how_soon(self) -> None:
        found = notified([receipt("slack"), receipt("audit", after=620)], AT, configured=True)

        assert found == Finding(StepState.DONE, "told: slack 0.4 s, audit 0.6 s")

    def test_one_that_is_due_is_waited_for(self) -> None:
        assert notified([receipt("slack"), receipt("mail", State.DUE)], AT, configured=True) is None

    def test_what_the_outbox_has_not_come_to_is_waited_for(self) -> None:
        assert notified(None, AT, configured=True) is None

    def test_nobody_configured_and_nobody_who_asks(self) -> None:
        nobody, asks = notified(None, AT, configured=False), notified([], AT, configured=True)

        assert nobody == Finding(StepState.DONE, "nobody is configured to be told")
        assert asks is not None
        assert asks.state is StepState.DONE

    @pytest.mark.parametrize("state", [State.DEAD, State.DROPPED])
    def test_one_dead_letter_is_failed_with_its_reason(self, state: State) -> None:
        found = notified([receipt("slack"), receipt("mail", state, found="550 no")], AT, configured=True)

        assert found == Finding(StepState.FAILED, "not delivered: mail after 2 tries: 550 no")

    def test_a_channel_removed_since_that_was_told_counts_still(self) -> None:
        found = notified([receipt("slack")], AT, configured=False)

        assert found is not None
        assert found.detail == "told: slack 0.4 s"


class TestHelped:
    def test_only_what_helped_is_done_and_only_what_did_not_is_told(self) -> None:
        found = [helped(Found(each, "numbers")) for each in (True, False, None)]

        assert [(each.state, each.tells) for each in found] == [
            (StepState.DONE, ""),
            (StepState.FAILED, UNHELPFUL),
            (StepState.FAILED, ""),
        ]


def test_what_is_served_no_more_is_not_looked_at() -> None:
    assert overtaken(record(), "v8").detail == "not done for v6: v8 is served by now"
    assert overtaken(record(), None).detail == "not done for v6: bot.prompt serves nothing by now"

"""The procedure, purely: what is due, what is written once, and ticks that are never undone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flags.change import Draft, View
from flags.errors import Invalid, NotFound, Refused
from flags.model import START, StoredObject
from policies.governance.finding import AGAIN_SECONDS, ESCALATE, LOST_SECONDS, Finding
from policies.governance.procedure import (
    EVALUATE_ANYWAY_SECONDS,
    LOOK_SECONDS,
    MAX_EXTRA,
    RARELY_SECONDS,
    Tick,
    closed,
    due,
    figured,
    given_up,
    pause_seconds,
    reason_of,
    records_in,
    summary,
    ticked,
    written,
)
from policies.governance.record import (
    Figures,
    Noted,
    Record,
    Step,
    StepName,
    StepState,
    document_of,
    is_over,
    open_steps,
    record_from,
    record_key,
    step_of,
    stepped,
)

AT = "2026-01-02T03:00:00.000Z"
SOON = "2026-01-02T03:00:01.000Z"
OPEN = tuple(name for name in StepName if name not in (StepName.LOCATE, StepName.RESTORE))
FOUND = Finding(StepState.DONE, "so it is")


def at(seconds: float) -> str:
    return f"2026-01-02T03:{int(seconds) // 60:02d}:{seconds % 60:06.3f}Z"


def record(**fields: Any) -> Record:
    done = Step(StepState.DONE, AT, "v6")
    usual: dict[str, Any] = {
        "flag": "bot.prompt", "origin": "v7", "to": "v6", "hash": "f" * 64, "label": "v6.0.0-rollback",
        "reason": "wrong", "actor": "ann", "at": AT, "steps": {StepName.LOCATE: done, StepName.RESTORE: done},
    }  # fmt: skip
    return Record(**{**usual, **fields})


def ended(which: Record, *names: StepName, state: StepState = StepState.DONE) -> Record:
    for name in names:
        which = stepped(which, name, Step(state, SOON, "so"))
    return which


def view(which: Record | None, now: str = SOON, revision: int = 7) -> View:
    stored = (
        {}
        if which is None
        else {record_key("r1"): StoredObject(record_key("r1"), document_of(which), revision)}
    )
    return View(START, now, stored)


def after(drafts: Any) -> Record:
    return record_from(drafts[0].after)


class TestDue:
    def test_all_but_the_evaluation_are_due_at_once(self) -> None:
        assert due(record(), SOON) == tuple(name for name in OPEN if name is not StepName.EVALUATE)

    def test_the_evaluation_is_due_once_all_workers_stand_there(self) -> None:
        assert StepName.EVALUATE in due(ended(record(), StepName.ACKNOWLEDGE), SOON)

    def test_a_worker_that_hangs_keeps_the_evaluation_for_so_long_and_no_longer(self) -> None:
        last = EVALUATE_ANYWAY_SECONDS

        assert StepName.EVALUATE not in due(record(), at(last - 0.001))
        assert StepName.EVALUATE in due(record(), at(last))

    @pytest.mark.parametrize(("lost", "wait"), [(2, LOST_SECONDS[1]), (3, LOST_SECONDS[2])])
    def test_an_evaluation_that_was_lost_with_its_worker_waits_from_the_second_time_on(
        self, lost: int, wait: float
    ) -> None:
        which = stepped(
            ended(record(), StepName.ACKNOWLEDGE), StepName.EVALUATE, Step(StepState.OPEN, AT, begun=lost)
        )

        assert StepName.EVALUATE not in due(which, at(wait - 0.01))
        assert StepName.EVALUATE in due(which, at(wait))

    def test_an_evaluation_that_was_lost_once_is_taken_up_at_once(self) -> None:
        which = stepped(
            ended(record(), StepName.ACKNOWLEDGE), StepName.EVALUATE, Step(StepState.OPEN, SOON, begun=1)
        )

        assert StepName.EVALUATE in due(which, SOON)

    @pytest.mark.parametrize(("tries", "wait"), [(1, AGAIN_SECONDS[0]), (2, AGAIN_SECONDS[1])])
    def test_an_evaluation_in_vain_waits(self, tries: int, wait: float) -> None:
        tried = stepped(
            ended(record(), StepName.ACKNOWLEDGE),
            StepName.EVALUATE,
            Step(StepState.OPEN, AT, "judge away", attempts=tries),
        )

        assert StepName.EVALUATE not in due(tried, at(wait - 0.001))
        assert StepName.EVALUATE in due(tried, at(wait))

    def test_what_ended_is_not_due(self) -> None:
        assert due(ended(record(), *OPEN), SOON) == ()
        assert due(ended(record(), *OPEN, state=StepState.FAILED), SOON) == ()


def wrote(seen: View, change_id: str, name: StepName, finding: Finding) -> Sequence[Draft]:
    """What is written of one step."""
    return written(seen, change_id, {name: finding})


class TestPause:
    def test_it_grows_with_what_has_passed_within_bounds(self) -> None:
        assert [pause_seconds(s) for s in (0, 10, 100, 10_000)] == [LOOK_SECONDS, 2.0, 20.0, RARELY_SECONDS]


class TestWritten:
    def test_a_step_is_written_with_the_time_of_redis(self) -> None:
        found = after(wrote(view(record()), "r1", StepName.LOG, Finding(StepState.DONE, "there", "/log")))

        assert step_of(found, StepName.LOG) == Step(StepState.DONE, SOON, "there", "/log")

    def test_it_alters_no_evaluation(self) -> None:
        (draft,) = wrote(view(record()), "r1", StepName.LOG, FOUND)

        assert (draft.action, draft.key, draft.affects) == ("rollback.step", record_key("r1"), False)

    @pytest.mark.parametrize("state", [StepState.DONE, StepState.FAILED])
    def test_what_ended_is_written_no_more(self, state: StepState) -> None:
        there = ended(record(), StepName.LOG, state=state)

        assert wrote(view(there), "r1", StepName.LOG, FOUND) == []

    def test_steps_that_ended_together_are_one_entry_each_of_one_change(self) -> None:
        log, told = written(view(record()), "r1", {StepName.LOG: FOUND, StepName.NOTIFY: FOUND})

        assert (log.reason, told.reason) == ("log: so it is", "notify: so it is")
        assert step_of(after([told]), StepName.LOG).state is StepState.DONE
        assert step_of(after([log]), StepName.NOTIFY).state is StepState.OPEN

    def test_into_a_closed_record_nothing_is_written(self) -> None:
        assert wrote(view(record(closed=AT)), "r1", StepName.LOG, FOUND) == []

    def test_where_there_is_no_record_nothing_is_written(self) -> None:
        assert wrote(view(None), "r1", StepName.LOG, FOUND) == []

    def test_a_try_in_vain_leaves_it_open_and_counts(self) -> None:
        once = after(wrote(view(record()), "r1", StepName.EVALUATE, Finding(StepState.OPEN, "away")))
        twice = after(wrote(view(once), "r1", StepName.EVALUATE, Finding(StepState.OPEN, "away")))

        step = step_of(twice, StepName.EVALUATE)
        assert (step.state, step.attempts) == (StepState.OPEN, 2)

    def test_a_bad_one_is_told_in_the_same_change(self) -> None:
        bad = Finding(StepState.FAILED, "did NOT pass", tells=ESCALATE)

        step, told = wrote(view(record()), "r1", StepName.EVALUATE, bad)

        assert (told.action, told.after, told.affects) == (ESCALATE, step.after, False)
        assert told.evidence == {"rollback": "r1", "step": "evaluate"}

    def test_the_first_write_notes_where_the_record_was_met(self) -> None:
        first = after(wrote(view(record(), revision=41), "r1", StepName.LOG, FOUND))
        second = after(wrote(view(first, revision=42), "r1", StepName.NOTIFY, FOUND))

        assert (first.opened, second.opened) == (41, 41)

    def test_a_detail_of_any_length_is_cut(self) -> None:
        long = Finding(StepState.DONE, "x" * 100_000)

        found = after(wrote(view(record()), "r1", StepName.LOG, long))

        assert len(step_of(found, StepName.LOG).detail) == 600
        assert len(reason_of(StepName.LOG, long)) == 600


class TestFigures:
    NOTED = Noted(Figures(judged=3), Figures(judged=9, failed=9))

    def test_they_are_kept_once(self) -> None:
        first = after(figured(view(record()), "r1", self.NOTED))

        assert first.noted == self.NOTED
        assert figured(view(first), "r1", Noted(Figures(), Figures())) == []


class TestClosed:
    def test_a_record_whose_steps_ended_is_closed_once(self) -> None:
        all_ended = ended(record(), *OPEN)
        (draft,) = closed(view(all_ended), "r1")

        assert (draft.action, after([draft]).closed) == ("rollback.done", SOON)
        assert closed(view(after([draft])), "r1") == []

    @pytest.mark.parametrize("name", OPEN)
    def test_one_open_step_keeps_it_open(self, name: StepName) -> None:
        others = [other for other in OPEN if other is not name]

        assert closed(view(ended(record(), *others)), "r1") == []

    def test_the_summary_names_what_failed(self) -> None:
        found = ended(ended(record(), *OPEN), StepName.HELPED, state=StepState.FAILED)

        assert summary(found) == "all 8 steps ended; failed: helped"
        assert summary(ended(record(), *OPEN)) == "all 8 steps ended"

    def test_that_it_is_over_shows_in_what_is_stored(self) -> None:
        assert [is_over(document_of(each)) for each in (record(), record(closed=AT))] == [False, True]


class TestGivenUp:
    def test_after_seven_days_and_not_before(self) -> None:
        before, then = "2026-01-09T02:59:59.999Z", "2026-01-09T03:00:00.000Z"

        assert given_up(view(record(), before), "r1") == []
        found = after(given_up(view(record(), then), "r1"))
        assert not any(open_steps(found))
        assert {step_of(found, name).state for name in OPEN} == {StepState.FAILED}

    def test_what_was_done_stays_done_and_what_was_last_known_is_kept(self) -> None:
        tried = stepped(
            ended(record(), StepName.LOG), StepName.ACKNOWLEDGE, Step(StepState.OPEN, AT, "missing: w2")
        )

        found = after(given_up(view(tried, "2026-02-01T00:00:00.000Z"), "r1"))

        assert step_of(found, StepName.LOG).state is StepState.DONE
        assert step_of(found, StepName.ACKNOWLEDGE).detail == "given up after 7 days; last: missing: w2"


class TestTicks:
    TICK = Tick("ci", "bob", "merged", "https://ci.example/1")

    def tick(self, which: Record | None, name: str = "ci") -> Any:
        return ticked(view(which), "r1", Tick(name, "bob", "merged", "https://ci.example/1"))

    def test_people_may_add_one(self) -> None:
        found = after(self.tick(record())).extra["ci"]

        assert found == Step(StepState.DONE, SOON, "ticked by bob: merged", "https://ci.example/1")

    @pytest.mark.parametrize("state", [StepState.OPEN, StepState.FAILED])
    def test_an_open_or_failed_step_is_ticked_and_what_was_found_is_kept(self, state: StepState) -> None:
        there = stepped(record(), StepName.EVALUATE, Step(state, AT, "judge away"))

        found = step_of(after(self.tick(there, "evaluate")), StepName.EVALUATE)

        assert (found.state, found.detail) == (StepState.DONE, "ticked by bob: merged (was: judge away)")

    def test_what_is_ticked_stays_as_it_is(self) -> None:
        there = after(self.tick(record()))

        assert self.tick(there) == []
        assert self.tick(record(), "locate") == []

    def test_a_failed_step_of_a_closed_record_may_be_ticked_too(self) -> None:
        over = ended(record(closed=AT), *OPEN, state=StepState.FAILED)

        found = after(self.tick(over, "helped"))

        assert (found.closed, step_of(found, StepName.HELPED).state) == (AT, StepState.DONE)

    @pytest.mark.parametrize("name", ["", "CI", "two words", "a" * 65, "-x", "é"])
    def test_a_name_that_is_none_is_refused(self, name: str) -> None:
        with pytest.raises(Invalid, match="is no name"):
            self.tick(record(), name)

    def test_there_is_an_end_to_them(self) -> None:
        there = record(extra={f"t{n}": Step(StepState.DONE, AT) for n in range(MAX_EXTRA)})

        with pytest.raises(Refused, match="20 added ticks"):
            self.tick(there)

    def test_without_a_record_it_says_what_to_do(self) -> None:
        with pytest.raises(NotFound) as caught:
            self.tick(None)

        assert "no record" in caught.value.message
        assert "pointsman log" in (caught.value.mend or "")


class TestRecordsIn:
    def test_the_newest_first_and_what_cannot_be_read_left_out(self) -> None:
        def stored(name: str, document: Any) -> StoredObject:
            return StoredObject(record_key(name), document, 1)

        found = records_in(
            {
                "a": stored("a", document_of(record(at="2026-01-01T00:00:00.000Z"))),
                "b": stored("b", document_of(record(at="2026-01-03T00:00:00.000Z"))),
                "odd": stored("odd", {"at": "2026-01-02", "of": "tomorrow"}),
            }
        )

        assert list(found) == ["b", "a"]


@given(st.lists(st.tuples(st.sampled_from(OPEN), st.sampled_from(StepState)), max_size=40))
def test_whatever_races_a_step_that_ended_never_changes(writes: list[tuple[StepName, StepState]]) -> None:
    there, first = record(), dict[StepName, Step]()

    for name, state in writes:
        drafts = wrote(view(there), "r1", name, Finding(state, "so"))
        there = after(drafts) if drafts else there
        if step_of(there, name).state is not StepState.OPEN:
            first.setdefault(name, step_of(there, name))

    assert {name: step_of(there, name) for name in first} == first

"""The in-memory twin of flush.lua: segments, units, seconds and the detector."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import evidence, tally
from policies.counts import CaseCounts, CaseGain, Event, EventGain, PolicyGain, Second
from policies.tally import SECONDS_KEPT, Tally

CASE, POLICY = "bot.prompt/v7/2", "errors@1"


def trial(n: int = 1, bad: float = 0, *events: EventGain, weight: int = 1000, **fields: object) -> CaseGain:
    return CaseGain(CASE, weight, policies=[PolicyGain(POLICY, "trial", n, bad, events=[*events])], **fields)  # type: ignore[arg-type]


def watch(n: int = 1, bad: float = 0, kind: str = "watch", **fields: object) -> CaseGain:
    odds = evidence.odds(0.05) if kind == "watch" else []
    return CaseGain(CASE, 0, n, policies=[PolicyGain(POLICY, kind, n, bad, odds=odds, **fields)])  # type: ignore[arg-type]


def named(*units: str, control: tuple[str, ...] = ()) -> EventGain:
    """One bad request of each."""
    return EventGain(
        len(units),
        len(control),
        0,
        0,
        [x for u in units for x in (u, 1.0)],
        [x for u in control for x in (u, 1.0)],
    )


def added(*gains: tuple[CaseGain, int]) -> Tally:
    found = Tally(CASE)
    for gain, now_ms in gains:
        found.add(gain, now_ms)
    return found


class TestCase:
    def test_a_case_begins_with_its_first_gain(self) -> None:
        assert added((trial(), 5_000), (trial(), 9_000)).counts.since_ms == 5_000

    def test_requests_at_the_present_weight_begin_anew_with_the_weight_and_judged_ones_do_not(self) -> None:
        first, second = trial(candidate=3, control=30), trial(candidate=2, control=5, weight=2000)
        counts = added((first, 0), (first, 0), (second, 0)).counts

        assert (counts.candidate, counts.control, counts.judged) == (2, 5, 8)

    def test_users_are_counted_once_and_up_to_twenty(self) -> None:
        few = added((trial(met=["a", "b"], met_plain=1), 0), (trial(met=["b", "c"]), 0))
        many = added((trial(met=[f"u{n}" for n in range(30)], met_plain=5), 0))

        assert (few.counts.units, many.counts.units) == (4, 20)

    def test_from_empty_counts_it_begins_like_any_other(self) -> None:
        tallied = Tally(CASE, CaseCounts())
        tallied.add(trial(), 5_000)

        assert tallied.counts == added((trial(), 5_000)).counts

    def test_a_tally_goes_on_from_counts(self) -> None:
        whole = added((trial(1, 1, candidate=1), 1000), (trial(1, 0, candidate=1), 2000))
        begun = added((trial(1, 1, candidate=1), 1000))
        again = Tally(CASE, begun.counts)
        again.add(trial(1, 0, candidate=1), 2000)

        assert again.counts == whole.counts


class TestSegments:
    def segments(self, *gains: CaseGain) -> list[tuple[int, int]]:
        found = added(*((gain, 0) for gain in gains)).counts.policies[POLICY].segments
        return [(segment.weight, segment.n) for segment in found]

    def test_another_weight_begins_another_segment(self) -> None:
        assert self.segments(trial(), trial(), trial(weight=2000), trial()) == [
            (1000, 2),
            (2000, 1),
            (1000, 1),
        ]

    def test_a_long_segment_closes_before_the_next_gain(self) -> None:
        event = EventGain()

        assert self.segments(trial(199, 0, event), trial(1, 0, event), trial(1, 0, event)) == [
            (1000, 200),
            (1000, 1),
        ]
        assert self.segments(trial(199, 0, event), trial(0, 0, event), trial(1, 0, event)) == [(1000, 200)]

    def test_many_bad_events_of_the_control_close_it_too(self) -> None:
        def outage(mass: float) -> EventGain:
            return EventGain(control=mass)

        assert self.segments(trial(1, 0, outage(50)), trial(1)) == [(1000, 1), (1000, 1)]
        assert self.segments(trial(1, 0, outage(49)), trial(1)) == [(1000, 2)]

    def test_segments_grow_with_what_there_is(self) -> None:
        lengths = [n for _, n in self.segments(*[trial(100, 0, EventGain())] * 100)]

        assert lengths[0] == 200
        assert len(lengths) < 15
        assert sum(lengths) == 10_000


class TestUnits:
    def test_a_unit_counts_once_for_an_event_on_whichever_side_it_was(self) -> None:
        tallied = added(
            (trial(1, 1, named("ann", "bob")), 0), (trial(1, 1, named("ann", control=("bob", "cid"))), 0)
        )
        (segment,) = tallied.counts.policies[POLICY].segments

        assert segment.events == (Event(3, 2, 2, 1),)

    def test_in_one_gain_the_control_comes_first(self) -> None:
        (segment,) = added((trial(1, 1, named("ann", control=("ann",))), 0)).counts.policies[POLICY].segments

        assert segment.events == (Event(1, 1, 0, 1),)

    def test_events_and_policies_remember_their_own(self) -> None:
        gain = trial(1, 1, named("ann"), named("ann"))
        other = CaseGain(CASE, 1000, policies=[PolicyGain("slow@2", "trial", 1, 1, events=[named("ann")])])
        counts = added((gain, 0), (other, 0)).counts

        assert [event.candidate_units for event in counts.policies[POLICY].segments[0].events] == [1, 1]
        assert counts.policies["slow@2"].segments[0].events[0].candidate_units == 1

    def test_a_unit_that_was_counted_stays_so_at_another_weight(self) -> None:
        counts = added((trial(1, 1, named("ann")), 0), (trial(1, 1, named("ann"), weight=5000), 0)).counts

        assert [s.events[0].candidate_units for s in counts.policies[POLICY].segments] == [1, 0]

    def test_when_the_memory_of_units_is_full_the_next_begins_with_a_segment_of_its_own(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tally, "UNITS_KEPT", 3)
        gains = [(trial(1, 1, named(unit)), 0) for unit in ("a", "b", "c", "a", "d", "a")]
        segments = added(*gains).counts.policies[POLICY].segments

        assert [(each.memory, each.events[0].candidate_units) for each in segments] == [(1, 3), (2, 2)]

    def test_an_old_memory_ends_only_where_many_were_met(self, monkeypatch: pytest.MonkeyPatch) -> None:
        hour = tally.UNITS_MILLISECONDS
        few = added(*((trial(1, 1, named("ann")), at) for at in (0, hour, 2 * hour)))
        monkeypatch.setattr(tally, "UNITS_LEAST", 1)
        many = added(*((trial(1, 1, named("ann")), at) for at in (0, hour - 1, hour, 2 * hour - 1, -hour)))

        assert [each.memory for each in few.counts.policies[POLICY].segments] == [1]
        assert [
            (each.memory, each.events[0].candidate_units) for each in many.counts.policies[POLICY].segments
        ] == [(1, 1), (2, 1), (3, 1)]

    def test_the_eldest_of_many_segments_goes_and_the_rest_keep_their_numbers(self) -> None:
        weights = [1_000 + number % 2 for number in range(evidence.SEGMENTS_KEPT + 5)]
        counts = added(*((trial(1, weight=weight), 0) for weight in weights)).counts.policies[POLICY]

        assert (len(counts.segments), counts.first) == (evidence.SEGMENTS_KEPT, 6)


class TestSeconds:
    def test_a_second_counts_when_it_is_over(self) -> None:
        tallied = added((watch(5, 1), 1_000), (watch(5, 2), 1_999))
        before = tallied.counts.policies[POLICY]
        tallied.add(watch(1), 2_000)
        after = tallied.counts.policies[POLICY]

        assert (before.n, before.seconds, before.detector) == (10, (), ())
        assert after.seconds == (Second(1, 10, 3.0),)
        assert after.detector == evidence.advance((), Second(1, 10, 3.0), evidence.odds(0.05))

    def test_the_end_finishes_the_running_second_once(self) -> None:
        tallied = added((watch(5, 1), 1_000))
        tallied.finish()
        tallied.finish()

        assert len(tallied.counts.policies[POLICY].seconds) == 1

    def test_a_clock_that_jumps_back_blinds_nobody(self) -> None:
        counts = added(*((watch(10, 10), ms) for ms in (90_000, 10_000, 11_000, 12_000))).counts.policies[
            POLICY
        ]

        assert [second.second for second in counts.seconds] == [90, 10, 11]
        assert max(counts.detector) > evidence.LEAST_ALARM

    def test_one_segment_adds_up_and_never_closes(self) -> None:
        (segment,) = (
            added(*((watch(500, 1), ms) for ms in range(0, 9_000, 1_000))).counts.policies[POLICY].segments
        )

        assert (segment.n, segment.bad) == (4_500, 9)

    def test_an_hour_of_seconds_is_kept_and_less_where_they_hold_bets(self) -> None:
        plain = added(*((watch(), second * 1_000) for second in range(SECONDS_KEPT + 10)))
        bets = added(*((watch(bets=[0.1] * 7), second * 1_000) for second in range(510)))

        assert [s.second for s in plain.counts.policies[POLICY].seconds][:1] == [9]
        assert len(bets.counts.policies[POLICY].seconds) == tally.BETS_KEPT

    def test_a_plain_threshold_keeps_both_sides_and_no_detector(self) -> None:
        gain = watch(3, 1, "threshold", control_n=7, control_bad=2.0)
        counts = added((gain, 0), (gain, 1_000)).counts.policies[POLICY]

        assert counts.seconds == (Second(0, 3, 1.0, (), 7, 2.0),)
        assert counts.detector == ()


def test_thresholds_are_fixed_once() -> None:
    tallied = Tally(CASE)

    assert tallied.fix(POLICY, ()) == ()
    assert tallied.fix(POLICY, (1.0, 2.0)) == (1.0, 2.0)
    assert tallied.fix(POLICY, (9.0,)) == (1.0, 2.0)
    assert tallied.counts.policies[POLICY].thresholds == (1.0, 2.0)


@given(st.lists(st.tuples(st.integers(0, 50), st.floats(0, 5)), min_size=1, max_size=40))
def test_gains_under_one_weight_lose_nothing_to_segments(parts: list[tuple[int, float]]) -> None:
    counts = added(*((trial(n, n, EventGain(control=mass)), 0) for n, mass in parts)).counts.policies[POLICY]

    assert counts.n == counts.bad == sum(n for n, _ in parts)
    assert sum(s.events[0].control for s in counts.segments) == pytest.approx(sum(mass for _, mass in parts))

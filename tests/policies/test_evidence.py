"""The formulas: their closed forms, what they do not depend on, and that no count breaks them."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import evidence
from policies.counts import Event, Second, Segment
from policies.evidence import EventKind
from policies.policy import ACCURACY, COST, ERROR_RATE, LATENCY, Method, Metric, MetricKind, Policy

HELPFUL = Metric("helpful", MetricKind.SCORE, higher_is_better=True, boolean=True)
FIRST = math.log(0.97)
rates = st.floats(0.0, 1.0)
odd = st.floats(allow_nan=True, allow_infinity=True)


def candidate(n: int, bad: float, weight: int = 1_000) -> Segment:
    return Segment(weight, n, bad)


def events(*pairs: tuple[float, float], weight: int = 1_000) -> Segment:
    return Segment(weight, events=tuple(Event(c, b, c, b) for c, b in pairs))


class TestT1:
    def test_is_the_mixture_of_the_notes(self) -> None:
        ratios = [(q / 0.05) ** 3 * ((1 - q) / 0.95) ** 17 for q in evidence.grid(0.05)]

        found = evidence.log_t1([candidate(20, 3)], 0.05)

        assert found == pytest.approx(FIRST + math.log(sum(ratios) / len(ratios)))

    def test_its_grid_is_that_of_the_notes(self) -> None:
        assert evidence.grid(0.05) == pytest.approx((0.075, 0.1, 0.15, 0.25, 0.4, 0.25, 0.5, 0.9))

    @given(st.floats(0.0, 1.0))
    def test_every_alternative_is_worse_than_the_bound_and_possible(self, p0: float) -> None:
        held = min(max(p0, evidence.LEAST_BOUND), 1 - evidence.LEAST_BOUND)

        assert all(held < q < 1 for q in evidence.grid(p0))
        assert all(math.isfinite(each) for each in evidence.odds(p0))

    @given(st.floats(0.001, 0.9), st.floats(0.0, 1.0))
    def test_is_fair_or_unfavourable_at_every_allowed_rate(self, p0: float, part: float) -> None:
        """One observation's expected E is at most 1 while the rate is within the bound: an e-process."""
        p, odds = p0 * part, evidence.odds(p0)
        for a, b in zip(odds[::2], odds[1::2], strict=True):
            assert p * math.exp(a) + (1 - p) * math.exp(b) <= 1 + 1e-12

    def test_a_bound_of_zero_is_judged_as_one_in_a_million(self) -> None:
        assert evidence.log_t1([candidate(1, 1)], 0.0) > math.log(100)
        assert evidence.log_t1([candidate(1_000, 0)], 0.0) <= 0

    def test_nothing_refutes_a_bound_of_one(self) -> None:
        assert evidence.log_t1([candidate(1_000, 1_000)], 1.0) < math.log(2)


class TestT2:
    def test_is_the_mixture_of_the_notes(self) -> None:
        pi, r = 0.1, 2.0
        fair = pi * r / (pi * r + 1 - pi)
        terms = []
        for worse in (1.25, 1.5, 2, 3, 5, 10, 30):
            theta = pi * worse * r / (pi * worse * r + 1 - pi)
            terms.append((theta / fair) ** 4 * ((1 - theta) / (1 - fair)) ** 6)

        found = evidence.log_t2([events((4, 6))], 0, r, units=False)

        assert found == pytest.approx(FIRST + math.log(sum(terms) / 7))

    @given(st.integers(1, 9_999), st.floats(0.5, 5), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
    def test_is_fair_or_unfavourable_where_the_candidate_keeps_r(
        self, weight: int, r: float, control: float, part: float, mass: float
    ) -> None:
        """One observation of either arm, of any mass: its expected E is at most 1 while rates keep r."""
        pi, own = weight / 10_000, min(1.0, control * r) * part
        mine = [evidence._t2_row(events((mass, 0), weight=weight), 0, r, False)]
        theirs = [evidence._t2_row(events((0, mass), weight=weight), 0, r, False)]
        for a, b in zip(mine[0], theirs[0], strict=True):
            bad = pi * own * math.exp(a) + (1 - pi) * control * math.exp(b)
            assert bad + pi * (1 - own) + (1 - pi) * (1 - control) <= 1 + 1e-9

    def test_a_shock_to_both_arms_cancels(self) -> None:
        assert evidence.log_t2([events((1_000, 9_000))], 0, 1.0, units=False) < 0

    def test_units_are_counted_where_asked_for(self) -> None:
        segment = Segment(1_000, events=(Event(50, 0, 1, 0),))

        assert evidence.log_t2([segment], 0, 1.0, units=False) > math.log(1e6)
        assert evidence.log_t2([segment], 0, 1.0, units=True) < math.log(100)

    @pytest.mark.parametrize("weight", [-1, 0, 10_000, 20_000])
    def test_without_two_arms_there_is_nothing_to_compare(self, weight: int) -> None:
        assert evidence.log_t2([events((50, 0), weight=weight)], 0, 1.0, units=False) == pytest.approx(FIRST)

    def test_each_segment_is_read_under_its_own_weight(self) -> None:
        """Nine failures of ten are a surprise at a tenth of the traffic, and none at nine tenths."""
        small, large = events((9, 1), weight=1_000), events((9, 1), weight=9_000)

        assert evidence.log_t2([small], 0, 1.0, units=False) > math.log(100)
        assert evidence.log_t2([large], 0, 1.0, units=False) < math.log(2)

    def test_an_event_that_was_never_counted_says_nothing(self) -> None:
        assert evidence.log_t2([Segment(1_000, 50, 50)], 0, 1.0, units=False) == pytest.approx(FIRST)


class TestBets:
    def test_t3_is_the_mean_of_the_fixed_bets(self) -> None:
        stakes = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.95)
        wealth = [(1 + s / 0.1 * 0.3) * (1 - s) for s in stakes]
        bets = [sum(each) for each in zip(evidence.bets(0.4, 0.1), evidence.bets(0.0, 0.1), strict=True)]

        found = evidence.log_t3([Segment(1_000, 2, 0.4, tuple(bets))])

        assert found == pytest.approx(FIRST + math.log(sum(wealth) / 7))

    @given(rates, rates)
    def test_a_bet_is_fair_at_the_bound_and_never_loses_all(self, x: float, m0: float) -> None:
        held = min(max(m0, evidence.LEAST_BOUND), 1 - evidence.LEAST_BOUND)
        at, ends = evidence.bets(x, m0), zip(evidence.bets(1, m0), evidence.bets(0, m0), strict=True)

        assert all(math.isfinite(each) for each in at)
        # The least favourable law on [0, 1] with mean m0 has its mass at both ends.
        assert all(
            held * math.exp(high) + (1 - held) * math.exp(low) == pytest.approx(1) for high, low in ends
        )

    def test_what_is_beyond_the_cap_counts_as_the_cap(self) -> None:
        assert evidence.bets(7.0, 0.1) == evidence.bets(1.0, 0.1)
        assert evidence.bets(-7.0, 0.1) == evidence.bets(0.0, 0.1)

    @given(rates, rates, st.integers(1, 9_999), rates)
    def test_the_relative_bets_are_fair_where_both_arms_are_alike(
        self, low: float, high: float, weight: int, m0: float
    ) -> None:
        """A coin decides whose the observation is, whatever it is: the expected factor is 1."""
        pi = weight / 10_000
        for x in (low, high):
            mine = evidence.relative_bets(x, m0, weight, control=False)
            theirs = evidence.relative_bets(x, m0, weight, control=True)
            assert all(map(math.isfinite, mine + theirs))
            for a, b in zip(mine, theirs, strict=True):
                assert pi * math.exp(a) + (1 - pi) * math.exp(b) == pytest.approx(1, abs=1e-6)

    def test_t4_sums_both_arms(self) -> None:
        segments = [Segment(1_000, events=(Event(3.0, -1.0, 2.0, -0.5),))]

        assert evidence.log_t4(segments, [0], units=False) == pytest.approx(FIRST + 2.0)
        assert evidence.log_t4(segments, [0], units=True) == pytest.approx(FIRST + 1.5)
        assert evidence.log_t4(segments, [1], units=True) == pytest.approx(FIRST)

    @pytest.mark.parametrize("weight", [0, 10_000])
    def test_without_two_arms_no_relative_bet_is_made(self, weight: int) -> None:
        assert evidence.relative_bets(0.5, 0.1, weight, control=False) == (0.0, 0.0, 0.0)


class TestRestarts:
    def test_the_weights_sum_to_one(self) -> None:
        total = sum(evidence.restart_weight(j) for j in range(1, 100_001))

        assert total == pytest.approx(1, abs=1e-5)
        assert total < 1

    def test_a_long_good_past_does_not_blind(self) -> None:
        """Twenty thousand good requests at half the limit; then every one fails: ten do, not a thousand."""
        past = [candidate(5_000, 125) for _ in range(4)]

        assert evidence.log_t1([*past, candidate(10, 10)], 0.05) > math.log(100)
        assert evidence.log_t1([candidate(20_010, 510)], 0.05) < 0

    @given(st.lists(st.tuples(st.integers(0, 500), rates), min_size=1, max_size=6))
    def test_the_mixture_is_at_most_its_best_beginning(self, parts: list[tuple[int, float]]) -> None:
        segments = [candidate(n, n * rate) for n, rate in parts]
        beginnings = [
            evidence.log_mean(list(map(sum, zip(*rows, strict=True))))
            for start in range(len(segments))
            if (rows := [evidence._t1_row(each, pairs(0.05)) for each in segments[start:]])
        ]

        assert evidence.log_t1(segments, 0.05) <= max(beginnings) + 1e-9

    def test_older_segments_that_are_left_out_take_their_terms_with_them(self) -> None:
        three = [candidate(200, 10), candidate(200, 40), candidate(30, 20)]
        whole = evidence.log_t1(three, 0.05)
        without = evidence.log_t1(three[1:], 0.05, first=2)

        assert without < whole
        assert without == pytest.approx(
            evidence.log_sum(
                math.log(evidence.restart_weight(j)) + evidence.log_t1(three[j - 1 :], 0.05, first=10**9)
                - math.log(evidence.restart_weight(10**9)) for j in (2, 3)
            ), abs=2.0
        )  # fmt: skip

    @pytest.mark.parametrize(
        ("n", "total", "control", "control_total", "closed"),
        [
            (199, 199, 0, 0, False),
            (200, 200, 0, 0, True),
            (249, 1_000, 0, 0, False),
            (250, 1_000, 0, 0, True),
            (1, 1, 49.9, 49.9, False),
            (1, 1, 50, 50, True),
            (1, 1, 99, 400, False),
            (1, 1, 100, 400, True),
        ],
    )
    def test_a_segment_closes_at_its_length_and_not_before(
        self, n: int, total: int, control: float, control_total: float, closed: bool
    ) -> None:
        assert evidence.closes(n, total, control, control_total) is closed

    def test_segments_grow_with_the_logarithm_of_the_traffic(self) -> None:
        segments, total, held = 1, 0, 0
        for _ in range(100_000):
            if evidence.closes(held, total, 0, 0):
                segments, held = segments + 1, 0
            held, total = held + 10, total + 10

        assert segments < 40


class TestDetector:
    def test_advances_as_shiryaev_and_roberts_say(self) -> None:
        odds = evidence.odds(0.05)
        one = evidence.advance((), Second(1, 4, 2), odds)
        two = evidence.advance(one, Second(2, 3, 0), odds)

        ratio = [math.exp(2 * a + 2 * b) for a, b in zip(odds[::2], odds[1::2], strict=True)]
        later = [math.exp(3 * b) for b in odds[1::2]]
        assert one == pytest.approx(ratio)
        assert two == pytest.approx([(r + 1) * then for r, then in zip(ratio, later, strict=True)])

    def test_with_bets_their_sums_are_the_factors(self) -> None:
        assert evidence.advance((), Second(1, 1, 0.3, evidence.bets(0.3, 0.1)), []) == pytest.approx(
            [math.exp(each) for each in evidence.bets(0.3, 0.1)]
        )

    @given(st.lists(st.tuples(st.integers(0, 20), rates), min_size=1, max_size=20))
    def test_a_suffix_has_what_a_detector_begun_there_has(self, parts: list[tuple[int, float]]) -> None:
        odds = evidence.odds(0.1)
        seconds = [Second(at, n, int(n * rate)) for at, (n, rate) in enumerate(parts)]

        found = evidence.log_restarted([evidence.log_factors(each, odds) for each in seconds])

        for start in range(len(seconds)):
            statistic: Sequence[float] = ()
            for second in seconds[start:]:
                statistic = evidence.advance(statistic, second, odds)
            assert found[start] == pytest.approx(math.log(sum(statistic) / len(statistic)))

    def test_its_alarm_follows_the_traffic(self) -> None:
        year = 31_536_000
        assert evidence.alarm_at(10, 1) == year
        assert evidence.alarm_at(5, 10) == year / 2
        assert evidence.alarm_at(1, 1_000_000) == evidence.LEAST_ALARM
        assert evidence.alarm_at(3, 0) == year

    def test_goes_on_where_the_grid_is_another(self) -> None:
        assert len(evidence.advance((1.0, 2.0), Second(1, 1, 1), evidence.odds(0.05))) == 8


class TestRobustness:
    @given(
        st.lists(st.tuples(st.integers(0, 1_000), rates, rates), min_size=1, max_size=8),
        st.integers(1, 7),
    )
    def test_sums_do_not_depend_on_order_or_partition(
        self, parts: list[tuple[int, float, float]], at: int
    ) -> None:
        whole = [
            Segment(
                1_000,
                sum(n for n, _, _ in order),
                sum(n * rate for n, rate, _ in order),
                events=(Event(sum(c for *_, c in order), 2),),
            )
            for order in (parts, parts[::-1], parts[at:] + parts[:at])
        ]
        found = [
            (evidence.log_t1([each], 0.05), evidence.log_t2([each], 0, 1.5, units=False)) for each in whole
        ]

        assert found[0] == pytest.approx(found[1])
        assert found[0] == pytest.approx(found[2])

    @given(odd, odd, odd, odd, st.lists(odd, max_size=9), st.integers(-5, 20_000))
    def test_no_number_overflows_or_raises(
        self, n: float, bad: float, one: float, other: float, bets: list[float], weight: int
    ) -> None:
        segment = Segment(weight, n, bad, tuple(bets), (Event(one, other, other, one),))  # type: ignore[arg-type]
        second = Second(1, n, bad, tuple(bets))  # type: ignore[arg-type]

        found = [
            evidence.log_t1([segment, segment], 0.05),
            evidence.log_t2([segment, segment], 0, 2.0, units=True),
            evidence.log_t3([segment]),
            evidence.log_t4([segment], [0, 1], units=False),
            *evidence.advance(evidence.advance((), second, []), second, []),
            *evidence.advance((one,) * 8, second, evidence.odds(0.05)),
            evidence.alarm_at(n, bad),
        ]

        assert all(map(math.isfinite, found))

    def test_huge_counts_stay_in_log_space(self) -> None:
        assert evidence.log_t1([candidate(10**12, 10**12)], 0.05) > 1e12
        assert evidence.log_t1([candidate(10**12, 0)], 0.05) < -1e9
        assert evidence.log_sum([]) == -math.inf
        assert sys.float_info.max > evidence.advance((), Second(1, 10**9, 10**9), evidence.odds(0.05))[0]


class TestWhatIsCounted:
    @pytest.mark.parametrize(
        ("policy", "kinds", "quantiles"),
        [
            (Policy("p", ERROR_RATE, limit=0.1, times_safe=2), (EventKind.BAD, EventKind.PAIRED), ()),
            (Policy("p", HELPFUL, limit=0.9), (EventKind.BAD,), ()),
            (Policy("p", LATENCY, limit=2), (EventKind.OVER_LIMIT,), ()),
            (Policy("p", LATENCY, times_safe=2), evidence.OVER_QUANTILES, evidence.QUANTILES),
            (Policy("p", LATENCY, limit=2, times_safe=2),
             (EventKind.OVER_LIMIT, *evidence.OVER_QUANTILES), evidence.QUANTILES),
            (Policy("p", COST, limit=2), evidence.RELATIVE_BETS, ()),
            (Policy("p", COST, times_safe=2), evidence.OVER_QUANTILES, evidence.QUANTILES),
            (Policy("p", ACCURACY, times_safe=2), (EventKind.MASS,), ()),
            (Policy("p", ACCURACY, limit=0.8, times_safe=2), (*evidence.RELATIVE_BETS, EventKind.MASS), ()),
            (Policy("p", ERROR_RATE, limit=0.1, method=Method.THRESHOLD), (), ()),
            (Policy("p", LATENCY, times_safe=2, method=Method.THRESHOLD), (), (0.95,)),
            (Policy("p", LATENCY, limit=2, times_safe=2, method=Method.THRESHOLD), (), ()),
        ],
    )  # fmt: skip
    def test_events_and_quantiles_follow_from_metric_and_bounds(
        self, policy: Policy, kinds: tuple[EventKind, ...], quantiles: tuple[float, ...]
    ) -> None:
        assert evidence.events_of(policy) == kinds
        assert evidence.quantiles_of(policy) == quantiles

    def test_a_bound_is_a_rate_or_a_mean_of_badness(self) -> None:
        assert evidence.bound(Policy("p", ERROR_RATE, limit=0.05)) == 0.05
        assert evidence.bound(Policy("p", LATENCY, limit=2.0, quantile=0.9)) == pytest.approx(0.1)
        assert evidence.bound(Policy("p", COST, limit=7.0)) == pytest.approx(0.1)
        assert evidence.bound(Policy("p", ACCURACY, limit=0.82)) == pytest.approx(0.18)
        assert evidence.cap(Policy("p", COST, limit=7.0)) == 70.0
        assert evidence.cap(Policy("p", COST, times_safe=2)) == 0.0

    def test_more_segments_with_nothing_in_them_add_no_evidence(self) -> None:
        full = candidate(10, 5)

        assert evidence.log_t1([full, replace(full, n=0, bad=0)], 0.05) == pytest.approx(
            evidence.log_sum([evidence.log_t1([full], 0.05), math.log(0.015)])
        )


def pairs(p0: float) -> list[tuple[float, float]]:
    odds = evidence.odds(p0)
    return list(zip(odds[::2], odds[1::2], strict=True))

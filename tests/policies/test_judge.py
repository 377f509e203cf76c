"""The rules of judgement (DESIGN §5): what breaches, what does not, at the bound and one past it; and that every
decision is reproduced from what the ledger keeps of it."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flags.canonical import canonical
from policies import evidence
from policies.case import Case
from policies.counts import CaseCounts, Event, PolicyCounts, Second, Segment
from policies.exhibit import MAX_SECONDS, EvidenceInvalid
from policies.judge import doubt, judge, needs_seconds, recompute
from policies.outcome import Release
from policies.policy import ACCURACY, COST, ERROR_RATE, LATENCY, Method, Metric, MetricKind, Policy
from policies.verdict import Standing, Verdict

LIMIT = Policy("limit", ERROR_RATE, limit=0.05)
TWICE = Policy("twice", ERROR_RATE, times_safe=2.0)
BOTH = Policy("both", ERROR_RATE, limit=0.05, times_safe=2.0)
SLOW = Policy("slow", LATENCY, limit=2.0)
SLOWER = Policy("slower", LATENCY, times_safe=1.1)
DEARER = Policy("dearer", COST, limit=0.01)
WORSE = Policy("worse", ACCURACY, limit=0.8)
HELPFUL = Policy(
    "helpful", Metric("helpful", MetricKind.SCORE, higher_is_better=True, boolean=True), limit=0.9
)
PLAIN = Policy("plain", ERROR_RATE, limit=0.05, method=Method.THRESHOLD, min_count=20)
PLAIN_TWICE = Policy("plain-twice", ERROR_RATE, times_safe=2.0, method=Method.THRESHOLD, min_count=20)
PLAIN_SLOWER = Policy("plain-slower", LATENCY, times_safe=1.5, method=Method.THRESHOLD, min_count=20)
ALL = (LIMIT, TWICE, BOTH, SLOW, SLOWER, DEARER, WORSE, HELPFUL, PLAIN, PLAIN_TWICE, PLAIN_SLOWER)
NOW_MS = 1_000_000
V6, V7 = Release("bot.prompt", "v6", 1), Release("bot.prompt", "v7", 2)
odd = st.floats(allow_nan=True, allow_infinity=True)


def trial(*policies: Policy, weight: int = 1_000) -> Case:
    """v7 at a tenth of the traffic, beside v6."""
    return Case("bot.prompt/v7/2", V7, V6, weight, 9, policies, ("bot",))


def watch(*policies: Policy, subject: Release | None = V7) -> Case:
    """v7 serves everybody."""
    key = "bot.prompt/v7/2" if subject is not None else "route/bot"
    return Case(key, subject, None, 10_000, 9, policies, ("bot",))


def counts(policy: Policy, *segments: Segment, units: int = 0, **more: Any) -> CaseCounts:
    """Counts of one policy; some time after the case began."""
    return CaseCounts(units=units, since_ms=0, policies={policy.id: PolicyCounts(segments, **more)})


def errors(n: int, bad: float, control: float, *, weight: int = 1_000) -> Segment:
    """Candidate's requests and failures, and the control's failures."""
    return Segment(weight, n, bad, (), (Event(bad, control, bad, control),))


def on_trial(policy: Policy, *segments: Segment, **more: Any) -> Verdict:
    return judge(trial(policy), policy, counts(policy, *segments, **more), NOW_MS)


def test_a_case_that_rests_says_under_what() -> None:
    resting = replace(trial(LIMIT), under=("bot.pipeline",))

    verdict = judge(resting, LIMIT, CaseCounts(), NOW_MS)

    assert verdict.standing is Standing.UNDECIDED
    assert verdict.reason.endswith("; rests: bot.pipeline pins this layer to a version of its own")
    assert "rests" not in judge(trial(LIMIT), LIMIT, CaseCounts(), NOW_MS).reason


def bets(values: Sequence[float], controls: Sequence[float], m0: float) -> Segment:
    """A candidate's and a control's observations in [0, 1] under a policy that bounds their mean."""
    mine = [evidence.relative_bets(x, m0, 1_000, control=False) for x in values]
    theirs = [evidence.relative_bets(x, m0, 1_000, control=True) for x in controls]
    masses = zip(
        [sum(each) for each in zip(*mine, strict=True)],
        [sum(each) for each in zip(*theirs, strict=True)],
        strict=True,
    )
    summed = tuple(sum(each) for each in zip(*(evidence.bets(x, m0) for x in values), strict=True))
    return Segment(1_000, len(values), sum(values), summed, tuple(Event(a, b, a, b) for a, b in masses))


def detected(policy: Policy, seconds: Sequence[Second], *, shown: bool = True) -> CaseCounts:
    """A watch's counts after these seconds."""
    odds = [] if evidence.by_mean(policy) else evidence.odds(evidence.bound(policy))
    statistic: tuple[float, ...] = ()
    for second in seconds:
        statistic = evidence.advance(statistic, second, odds)
    total = Segment(10_000, sum(each.n for each in seconds), sum(each.bad for each in seconds))
    kept = tuple(seconds[-3_600:]) if shown else ()
    return counts(policy, total, detector=statistic, seconds=kept)


def stored(verdict: Verdict) -> dict[str, Any]:
    """The evidence as it comes back from the ledger."""
    found: dict[str, Any] = json.loads(canonical(verdict.evidence))
    return found


class TestLimitWithControl:
    def test_three_failures_of_three_are_not_enough_and_four_are(self) -> None:
        assert on_trial(LIMIT, errors(3, 3, 0)).standing is Standing.UNDECIDED
        assert on_trial(LIMIT, errors(4, 4, 0)).standing is Standing.BREACHED

    def test_both_tests_must_pass(self) -> None:
        """An outage fails both arms; a rate four times the control's is none of a limit's business while within it."""
        outage = on_trial(LIMIT, errors(100, 60, 540))
        within = on_trial(LIMIT, errors(10_000, 200, 450))

        assert (outage.standing, within.standing) == (Standing.UNDECIDED, Standing.HEALTHY)
        assert logs(outage)["T1"] > math.log(100) > logs(outage)["T2"]
        assert logs(within)["T2"] > math.log(100) > logs(within)["T1"]

    def test_the_ratio_is_the_weaker_test_on_its_way(self) -> None:
        verdict = on_trial(LIMIT, errors(3, 3, 1))

        assert verdict.ratio == pytest.approx(logs(verdict)["T2"] / math.log(100))
        assert 0 < verdict.ratio < 1

    def test_targeted_candidates_count_for_the_absolute_test_alone(self) -> None:
        verdict = on_trial(LIMIT, Segment(1_000, 50, 50, (), (Event(0, 0, 0, 0),)))

        assert verdict.standing is Standing.UNDECIDED
        assert logs(verdict)["T1"] > math.log(1e6)

    def test_the_reason_has_the_numbers(self) -> None:
        reason = on_trial(LIMIT, errors(5, 5, 3)).reason

        assert "error_rate: 5 of 5 candidate requests failed (limit 5 %), control 3 failures" in reason
        assert "of 100 needed (T1 " in reason
        assert "fewer than 20 different users" in reason


class TestTimesSafe:
    def test_is_the_relative_test_alone(self) -> None:
        """One and a half per cent against a tenth: far within any limit, and far above twice the control's."""
        verdict = on_trial(TWICE, errors(2_000, 30, 18))

        assert verdict.standing is Standing.BREACHED
        assert list(logs(verdict)) == ["T2 times_safe"]

    def test_twice_the_control_is_within_it(self) -> None:
        assert on_trial(TWICE, errors(2_000, 200, 900)).standing is Standing.HEALTHY

    def test_latency_is_undecided_until_the_controls_quantiles_are_known(self) -> None:
        slow = Segment(1_000, 50, 0, (), tuple(Event(c, 10, c, 10) for c in (45, 40, 30)))
        unknown = on_trial(SLOWER, slow)
        known = on_trial(SLOWER, slow, thresholds=(0.5, 1.0, 2.0))

        assert unknown.standing is Standing.UNDECIDED
        assert "quantiles are not known yet" in unknown.reason
        assert known.standing is Standing.BREACHED
        assert "quantiles 0.5/1/2 s, candidate above the limit 45/40/30 of 50" in known.reason

    def test_several_events_count_by_the_mean_of_their_evidence(self) -> None:
        slow = Segment(1_000, 50, 0, (), (Event(9, 9, 9, 9), Event(8, 3, 8, 3), Event(0, 1, 0, 1)))
        verdict = on_trial(SLOWER, slow, thresholds=(0.5, 1.0, 2.0))

        each = [evidence.log_t2([slow], event, 1.0, units=False) for event in range(3)]
        assert logs(verdict)["T2 times_safe"] == pytest.approx(evidence.log_mean(each))


class TestSharing:
    def test_a_policy_with_both_bounds_gives_half_of_its_alpha_to_each(self) -> None:
        found = on_trial(BOTH, errors(4, 4, 0))

        assert found.evidence["ruling"]["log_needed"] == pytest.approx(math.log(200))  # type: ignore[index,call-overload]
        assert found.ratio == pytest.approx(
            max(min(logs(found)["T1"], logs(found)["T2"]), logs(found)["T2 times_safe"]) / math.log(200)
        )

    def test_several_policies_share_alpha(self) -> None:
        case = trial(LIMIT, TWICE, SLOW, DEARER)
        verdict = judge(case, LIMIT, counts(LIMIT, errors(4, 4, 0)), NOW_MS)

        assert "of 400 needed" in verdict.reason
        assert verdict.standing is Standing.BREACHED
        assert (
            judge(trial(*(LIMIT,) * 7), LIMIT, counts(LIMIT, errors(4, 4, 0)), NOW_MS).standing
            is Standing.UNDECIDED
        )

    def test_a_rollout_is_objected_to_at_a_twentieth(self) -> None:
        assert not on_trial(LIMIT, errors(2, 2, 0)).objects
        assert on_trial(LIMIT, errors(3, 3, 0)).objects
        assert not on_trial(LIMIT, errors(100, 1, 9)).objects


class TestUnits:
    def test_from_twenty_different_users_on_each_counts_once(self) -> None:
        """One unlucky user with fifty failures is one failure; with fewer users a failed request counts, being none that
        a healthy release has."""
        one_user = Segment(1_000, 60, 50, (), (Event(50, 5, 1, 3),))
        few = on_trial(LIMIT, one_user, units=19)
        many = on_trial(LIMIT, one_user, units=20)

        assert few.standing is Standing.BREACHED
        assert many.standing is Standing.UNDECIDED
        assert (few.evidence["counting"], many.evidence["counting"]) == ("requests", "units")
        assert "each user once" in many.reason

    def test_seconds_usd_and_scores_are_counted_by_users_however_few(self) -> None:
        """Healthy requests are slow or dear by the control's quantiles too: one heavy user, given to the candidate by
        one toss, brings fifty of them, and the control of that user none."""
        one_user = Segment(1_000, 60, 50, (), (Event(50, 5, 1, 3),) * 3)
        for policy in (SLOW, SLOWER, HELPFUL):
            heavy = on_trial(policy, one_user, units=1, thresholds=(0.5, 1.0, 2.0))

            assert heavy.standing is not Standing.BREACHED
            assert heavy.evidence["counting"] == "units"

    def test_a_slow_candidate_is_found_by_a_handful_of_its_users(self) -> None:
        """Nine users of the candidate are slow, and two of the control's: far fewer than the twenty of failures."""
        slow = Segment(1_000, 60, 50, (), (Event(50, 5, 9, 2),) * 3)

        assert on_trial(SLOWER, slow, units=9, thresholds=(0.5, 1.0, 2.0)).standing is Standing.BREACHED

    def test_what_was_counted_before_all_were_forgotten_does_not_multiply(self) -> None:
        """The same three unlucky users, in whichever arm they are, fail once in each memory: that is no new coin."""
        hours = [
            Segment(1_000, 10, 3, (), (Event(3, 0, 3, 0), Event()), memory=memory) for memory in range(1, 9)
        ]
        verdict = on_trial(LIMIT, *hours, units=20)
        together = on_trial(LIMIT, *(replace(each, memory=1) for each in hours), units=20)

        assert verdict.standing is not Standing.BREACHED
        assert together.standing is Standing.BREACHED
        assert doubt(stored(together)) is None


class TestMeans:
    def test_a_dear_candidate_is_found_and_a_dear_day_is_not(self) -> None:
        dear = on_trial(DEARER, bets([0.3] * 30, [0.05] * 270, 0.1))
        both = on_trial(DEARER, bets([0.3] * 30, [0.3] * 270, 0.1))

        assert dear.standing is Standing.BREACHED
        assert both.standing is Standing.UNDECIDED
        assert logs(both)["T3"] > math.log(100) > logs(both)["T4"]

    def test_a_mean_within_its_limit_is_healthy_by_the_values_seen(self) -> None:
        good = on_trial(WORSE, bets([0.1] * 30, [0.1] * 270, 0.2))
        bad = on_trial(WORSE, bets([0.5] * 30, [0.1] * 270, 0.2))

        assert good.standing is Standing.HEALTHY
        assert bad.standing is Standing.BREACHED
        assert "accuracy: mean 0.5 over 30 candidate scores (limit 0.8)" in bad.reason

    def test_no_evidence_is_no_verdict(self) -> None:
        assert on_trial(DEARER, Segment(1_000, 50, 9.0)).standing is Standing.UNDECIDED


class TestHealthy:
    def test_takes_twenty_observations(self) -> None:
        assert on_trial(LIMIT, errors(19, 0, 2)).standing is Standing.UNDECIDED
        assert on_trial(LIMIT, errors(20, 0, 2)).standing is Standing.HEALTHY

    def test_takes_an_estimate_within_the_bound(self) -> None:
        assert on_trial(LIMIT, errors(100, 5, 45)).standing is Standing.HEALTHY
        assert on_trial(LIMIT, errors(100, 6, 54)).standing is Standing.UNDECIDED

    def test_of_both_bounds(self) -> None:
        """Within the limit, and with three times the control's failures."""
        assert on_trial(BOTH, errors(200, 6, 18)).standing is not Standing.HEALTHY
        assert on_trial(BOTH, errors(200, 6, 40)).standing is Standing.HEALTHY

    def test_nothing_seen_is_undecided_for_every_policy(self) -> None:
        for policy in ALL:
            for case in (trial(policy), watch(policy)):
                found = judge(case, policy, CaseCounts(), NOW_MS)
                assert (found.standing, found.ratio, found.objects) == (Standing.UNDECIDED, 0.0, False)


class TestWatch:
    GOOD = tuple(Second(at, 5, 0) for at in range(300))
    BROKEN = (*GOOD, *(Second(300 + at, 5, 5) for at in range(3)))

    def test_a_breach_is_proven_by_the_latest_seconds(self) -> None:
        verdict = judge(watch(LIMIT), LIMIT, detected(LIMIT, self.BROKEN), 303_000)

        assert verdict.standing is Standing.BREACHED
        assert stored(verdict)["seconds"] == [[5, 5, []]] * 2
        assert verdict.ratio >= 1

    def test_without_the_seconds_it_asks_for_them(self) -> None:
        unseen = detected(LIMIT, self.BROKEN, shown=False)
        verdict = judge(watch(LIMIT), LIMIT, unseen, 303_000)

        assert verdict.standing is Standing.UNDECIDED
        assert verdict.ratio < 1
        assert needs_seconds(watch(LIMIT), LIMIT, unseen, 303_000)
        assert needs_seconds(watch(LIMIT), LIMIT, unseen)
        assert not needs_seconds(watch(LIMIT), LIMIT, detected(LIMIT, self.BROKEN), 303_000)
        assert not needs_seconds(watch(LIMIT), LIMIT, detected(LIMIT, self.GOOD, shown=False), 303_000)
        assert not needs_seconds(trial(LIMIT), LIMIT, unseen, 303_000)

    def test_good_traffic_is_healthy_however_long(self) -> None:
        verdict = judge(watch(LIMIT), LIMIT, detected(LIMIT, self.GOOD), 300_000)

        assert verdict.standing is Standing.HEALTHY
        assert "0 of 1500 requests failed" in verdict.reason

    def test_a_statistic_that_the_seconds_do_not_reach_is_no_breach_yet(self) -> None:
        """What Redis says must follow from what is kept, or nobody could recompute it."""
        forged = counts(LIMIT, Segment(10_000, 1_500, 20), detector=(1e12,) * 8, seconds=self.GOOD)
        verdict = judge(watch(LIMIT), LIMIT, forged, 300_000)

        assert verdict.standing is Standing.UNDECIDED
        assert verdict.ratio < 1

    def test_times_safe_is_silent(self) -> None:
        verdict = judge(watch(TWICE), TWICE, detected(LIMIT, self.BROKEN), 303_000)

        assert (verdict.standing, verdict.ratio) == (Standing.UNDECIDED, 0.0)

    def test_a_route_with_nothing_to_go_back_to_is_judged_alike(self) -> None:
        case = watch(LIMIT, subject=None)
        verdict = judge(case, LIMIT, detected(LIMIT, self.BROKEN), 303_000)

        assert verdict.standing is Standing.BREACHED
        assert doubt(stored(verdict)) is None

    def test_a_long_decline_fits_into_the_ledger(self) -> None:
        """A creeping error rate over an hour of seconds, put together until it is small enough."""
        creeping = [Second(at, 20, 2 if at % 4 == 0 else 1) for at in range(3_600)]
        verdict = judge(watch(LIMIT), LIMIT, detected(LIMIT, creeping), 3_600_000)

        assert verdict.standing is Standing.BREACHED
        assert len(verdict.evidence["seconds"]) <= MAX_SECONDS  # type: ignore[arg-type]
        assert len(canonical(verdict.evidence)) < 20_000
        assert doubt(stored(verdict)) is None

    def test_means_are_watched_by_bets(self) -> None:
        seconds = [
            *(Second(at, 1, 0.005, evidence.bets(0.05, 0.1)) for at in range(400)),
            *(Second(400 + at, 1, 0.03, evidence.bets(0.3, 0.1)) for at in range(60)),
        ]
        verdict = judge(watch(DEARER), DEARER, detected(DEARER, seconds), 460_000)

        assert verdict.standing is Standing.BREACHED
        assert len(canonical(verdict.evidence)) < 20_000
        assert doubt(stored(verdict)) is None


class TestThreshold:
    def window(self, policy: Policy, *seconds: Second) -> Verdict:
        return judge(trial(policy), policy, counts(policy, seconds=seconds), NOW_MS)

    def test_breaches_past_its_bound_and_not_at_it(self) -> None:
        assert self.window(PLAIN, Second(990, 100, 5)).standing is not Standing.BREACHED
        assert self.window(PLAIN, Second(990, 100, 6)).standing is Standing.BREACHED

    def test_needs_its_minimum_count(self) -> None:
        few = self.window(PLAIN, Second(990, 19, 19))

        assert few.standing is Standing.UNDECIDED
        assert few.ratio < 1
        assert not few.objects
        assert self.window(PLAIN, Second(990, 20, 20)).standing is Standing.BREACHED

    def test_looks_at_its_window_alone(self) -> None:
        """60 s before now, and nothing from a clock that was ahead."""
        assert self.window(PLAIN, Second(940, 50, 50)).standing is Standing.UNDECIDED
        assert self.window(PLAIN, Second(941, 50, 50)).standing is Standing.BREACHED
        assert self.window(PLAIN, Second(1_000, 50, 50)).standing is Standing.BREACHED
        assert self.window(PLAIN, Second(1_001, 50, 50)).standing is Standing.UNDECIDED

    def test_relative_to_a_control_that_was_seen_enough(self) -> None:
        unseen = Second(990, 100, 50, control_n=19, control_bad=1)
        seen = Second(990, 100, 50, control_n=20, control_bad=1)
        equal = Second(990, 100, 50, control_n=100, control_bad=25)

        assert self.window(PLAIN_TWICE, unseen).standing is Standing.UNDECIDED
        assert self.window(PLAIN_TWICE, seen).standing is Standing.BREACHED
        assert self.window(PLAIN_TWICE, equal).standing is not Standing.BREACHED

    def test_a_control_without_a_failure_is_taken_to_have_had_one(self) -> None:
        one = Second(990, 100, 1, control_n=100)
        three = Second(990, 100, 3, control_n=100)

        assert self.window(PLAIN_TWICE, one).standing is not Standing.BREACHED
        assert self.window(PLAIN_TWICE, three).standing is Standing.BREACHED

    def test_slow_ones_relative_to_the_controls_quantile(self) -> None:
        at = Second(990, 100, 5, control_n=900, control_bad=2)
        past = Second(990, 100, 6, control_n=900, control_bad=2)

        assert self.window(PLAIN_SLOWER, at).standing is not Standing.BREACHED
        assert self.window(PLAIN_SLOWER, past).standing is Standing.BREACHED

    def test_a_healthy_route_does_not_object(self) -> None:
        healthy = self.window(PLAIN, Second(990, 100, 3))

        assert (healthy.standing, healthy.objects) == (Standing.HEALTHY, False)

    def test_a_watch_has_only_the_limit(self) -> None:
        seconds = (Second(990, 100, 50, control_n=0, control_bad=0),)
        alone = judge(watch(PLAIN_TWICE), PLAIN_TWICE, counts(PLAIN_TWICE, seconds=seconds), NOW_MS)
        limit = judge(watch(PLAIN), PLAIN, counts(PLAIN, seconds=seconds), NOW_MS)

        assert (alone.standing, limit.standing) == (Standing.UNDECIDED, Standing.BREACHED)


BREACHES = {
    "T1 and T2": lambda: on_trial(LIMIT, errors(4, 4, 0)),
    "many segments": lambda: on_trial(LIMIT, *[errors(250, 3, 20)] * 90, errors(20, 20, 0, weight=2_000)),
    "times_safe": lambda: on_trial(TWICE, errors(2_000, 30, 18)),
    "both": lambda: on_trial(BOTH, errors(5, 5, 0)),
    "latency limit": lambda: on_trial(SLOW, errors(6, 6, 1)),
    "latency": lambda: on_trial(
        SLOWER,
        Segment(1_000, 50, 0, (), tuple(Event(c, 10, c, 10) for c in (45, 40, 30))),
        thresholds=(0.5, 1.0, 2.0),
    ),
    "cost": lambda: on_trial(DEARER, bets([0.31] * 30, [0.05] * 270, 0.1)),
    "score": lambda: on_trial(WORSE, bets([0.5] * 30, [0.1] * 270, 0.2)),
    "boolean": lambda: on_trial(HELPFUL, errors(8, 8, 1)),
    "watch": lambda: judge(watch(LIMIT), LIMIT, detected(LIMIT, TestWatch.BROKEN), 303_000),
    "threshold": lambda: TestThreshold().window(PLAIN, Second(990, 100, 6)),
}


class TestRecompute:
    @pytest.mark.parametrize("kind", BREACHES)
    def test_every_breach_is_reproduced_from_the_ledger_alone(self, kind: str) -> None:
        verdict = BREACHES[kind]()
        document = stored(verdict)

        assert verdict.standing is Standing.BREACHED
        assert doubt(document) is None
        assert recompute(document).ratio == pytest.approx(verdict.ratio)
        assert len(canonical(verdict.evidence)) < 20_000

    @pytest.mark.parametrize("kind", BREACHES)
    def test_an_altered_count_is_found(self, kind: str) -> None:
        document = stored(BREACHES[kind]())
        for altered in alterations(document):
            assert doubt(altered) is not None

    @pytest.mark.parametrize("kind", BREACHES)
    def test_evidence_that_lacks_a_field_is_found(self, kind: str) -> None:
        document = stored(BREACHES[kind]())
        for field in document:
            lacking = {name: value for name, value in document.items() if name != field}
            assert "cannot be recomputed" in (doubt(lacking) or "")
        for field in document["policy"]:
            lacking = copy.deepcopy(document)
            del lacking["policy"][field]
            with pytest.raises(EvidenceInvalid, match=field):
                recompute(lacking)

    def test_an_altered_ruling_is_found(self) -> None:
        document = stored(on_trial(LIMIT, errors(4, 4, 0)))
        document["ruling"]["ratio"] *= 1.01

        assert "was altered" in (doubt(document) or "")

    def test_a_deed_on_evidence_that_is_no_breach_is_found(self) -> None:
        assert "does not carry it" in (doubt(stored(on_trial(LIMIT, errors(3, 3, 0)))) or "")

    @pytest.mark.parametrize("document", [{}, {"formula": "trial/9"}, {"ruling": 3, "formula": "watch/1"}])
    def test_what_is_no_evidence_is_told(self, document: Mapping[str, Any]) -> None:
        assert "cannot be recomputed" in (doubt(document) or "")
        with pytest.raises(EvidenceInvalid):
            recompute(document)


class TestOddCounts:
    @given(
        odd,
        odd,
        odd,
        st.lists(odd, max_size=8),
        st.integers(-1, 10_001),
        st.integers(0, 3),
        st.integers(0, 2**60),
    )
    def test_nothing_that_redis_may_hold_raises(
        self, n: float, bad: float, mass: float, numbers: list[float], weight: int, events: int, now_ms: int
    ) -> None:
        segment = Segment(weight, n, bad, tuple(numbers), (Event(mass, bad, n, mass),) * events)  # type: ignore[arg-type]
        second = Second(now_ms // 1000, n, bad, tuple(numbers), n, bad)  # type: ignore[arg-type]
        held = PolicyCounts((segment, segment), tuple(numbers), tuple(numbers), (second,))
        for policy in ALL:
            found = CaseCounts(units=30, since_ms=now_ms * 2, policies={policy.id: held})
            for case in (trial(policy, weight=weight), watch(policy)):
                verdict = judge(case, policy, found, now_ms)
                assert math.isfinite(verdict.ratio)
                assert verdict.ratio >= 0
                assert canonical(verdict.evidence)
                assert isinstance(needs_seconds(case, policy, found, now_ms), bool)

    def test_a_policy_that_was_never_counted_is_undecided(self) -> None:
        assert (
            judge(trial(LIMIT), LIMIT, counts(TWICE, errors(9, 9, 0)), NOW_MS).standing is Standing.UNDECIDED
        )

    @given(st.permutations([(40, 3, 20), (300, 9, 70), (25, 20, 2)]))
    def test_what_is_judged_does_not_depend_on_who_reported_first(
        self, parts: list[tuple[int, int, int]]
    ) -> None:
        total = errors(sum(n for n, _, _ in parts), sum(b for _, b, _ in parts), sum(c for *_, c in parts))

        assert on_trial(BOTH, total) == on_trial(BOTH, errors(365, 32, 92))


def logs(verdict: Verdict) -> dict[str, float]:
    """ln E by test."""
    found: dict[str, float] = verdict.evidence["ruling"]["log_e"]  # type: ignore[index,call-overload,assignment]
    return found


def alterations(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The same evidence with one count of each kind changed by a little."""
    found = []
    if document["formula"] == "threshold/1":
        found = [{**document, "bad": document["bad"] + 1}, {**document, "n": document["n"] - 1}]
    elif document["formula"] == "watch/1":
        found = [{**document, "seconds": document["seconds"][1:]}]
    else:
        if "bet_low" not in document["events"]:  # a bet has its weight in it
            altered = copy.deepcopy(document)
            altered["segments"][-1]["weight"] += 7
            found.append(altered)
        altered = copy.deepcopy(document)
        for pair in altered["segments"][-1]["events"]:
            pair[0] += 0.5
        found.append(altered)
    return found

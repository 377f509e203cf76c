"""Recorded outcomes, told again: what would have happened, and when."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Mapping

import pytest

from flags.model import Document, Flag, Layer, Rollout, Variant
from policies.outcome import Outcome, Release, Score
from policies.policy import Policy, policies_in
from policies.record import (
    Malformed,
    Recorded,
    State,
    outcome_line,
    read_lines,
    score_line,
    state_line,
    state_told_by,
)
from policies.replay import Report, replay
from tests.policies.observed import a_failure, an_outcome

STATE: Mapping[str, object] = {
    "flags": {
        "bot.prompt": {"serve": "v6", "rollout": {"variant": "v7", "percent": 10}},
        "bot.model": {"serve": "m1"},
    }
}
STRATEGY = policies_in({}, {})


def line(time: float, variant: str = "v6", ending: str = "ok", **fields: object) -> dict[str, object]:
    releases = [f"bot.prompt:{variant}:1", "bot.model:m1:1"]
    return {"time": time, "route": "bot", "releases": releases, "ending": ending, "seconds": 1.0, **fields}


def traffic(
    count: int,
    *,
    bad: float = 0.0,
    fine: float = 0.01,
    slow: float = 1.0,
    score: float = 0.0,
    per_second: float = 200,
) -> Iterator[dict[str, object]]:
    """10 % meet v7, which is bad, slow or scored as told; the same each time."""
    chance = random.Random(7)
    for number in range(count):
        time, variant = 1_000.0 + number / per_second, "v7" if chance.random() < 0.1 else "v6"
        mine = variant == "v7"
        failed = chance.random() < (bad if mine else fine)
        seconds = chance.lognormvariate(0, 0.5) * (slow if mine else 1)
        unit = f"u{chance.randrange(5000)}"
        yield line(time, variant, "failed" if failed else "ok", seconds=seconds, unit=unit)
        if score:
            value = chance.random() * (score if mine else 1.0)
            yield {**line(time, variant, unit=unit), "metric": "accuracy", "score": 1.0 - value * 0.2}


def replayed(
    lines: Iterable[Mapping[str, object]], policies: Mapping[str, Policy] = STRATEGY, *, state: object = STATE
) -> Report:
    head = [] if state is None else [state]
    return replay((json.dumps(each) for each in (*head, *lines)), policies)


class TestReplay:
    def test_where_a_pipeline_pins_the_layer_it_is_the_pipeline_that_goes_back(self) -> None:
        """As in the gateway: the layer's own flag answers nobody."""
        pipeline = {"serve": "p2", "safe": "p1", "pins": {"p2": ["model"]}}
        state = {"flags": {"bot.model": {"serve": "m2", "safe": "m1"}, "bot.pipeline": pipeline}}
        asked = {"releases": ["bot.pipeline:p2:1", "bot.model:m2:1"], "how": "dp", "revision": 1}
        bad = [{**line(1_000 + number / 20, ending="failed"), **asked} for number in range(400)]
        pinned = replayed(bad, state=state)
        free = replayed(
            [{**each, "how": "dd"} for each in bad],
            state={"flags": {"bot.model": state["flags"]["bot.model"]}},
        )

        assert [each.case for each in pinned.fired] == ["bot.pipeline/p2/1/served"]
        assert [each.case for each in free.fired] == ["bot.model/m2/1/served"]

    def test_a_candidate_that_fails_is_rolled_back_after_a_few_of_its_requests(self) -> None:
        report = replayed(traffic(2_000, bad=1.0))

        (fired,) = [each for each in report.fired if each.case == "bot.prompt/v7/1"]
        assert (fired.policy, fired.action, fired.dry_run) == ("errors", "rollback", False)
        assert fired.judged <= 15
        assert fired.time == pytest.approx(1_000 + (fired.request - 1) / 200)
        assert "candidate" in fired.reason

    def test_later_lines_of_what_was_rolled_back_are_passed_over(self) -> None:
        report = replayed(traffic(2_000, bad=1.0))

        assert report.passed_over > 100
        assert report.requests + report.passed_over == 2_000

    def test_a_healthy_candidate_stays(self) -> None:
        report = replayed(traffic(5_000, bad=0.01))

        assert report.fired == ()
        assert report.passed_over == 0
        assert {verdict.policy for verdict in report.verdicts if verdict.case == "bot.prompt/v7/1"} == set(
            STRATEGY
        )

    def test_a_slow_candidate_is_rolled_back_once_the_controls_quantiles_are_known(self) -> None:
        report = replayed(traffic(5_000, bad=0.01, slow=2.0))

        assert [each.policy for each in report.fired] == ["latency"]
        assert report.fired[0].request >= 200

    def test_a_worsening_score_is_rolled_back(self) -> None:
        report = replayed(traffic(5_000, bad=0.01, score=4.0))

        assert [each.policy for each in report.fired] == ["accuracy"]
        assert report.scores > 100

    def test_an_outage_of_both_arms_rolls_nothing_back(self) -> None:
        report = replayed(traffic(2_000, bad=1.0, fine=1.0))

        assert [each for each in report.fired if each.action == "rollback"] == []

    def test_a_dry_run_tells_and_takes_nothing_back(self) -> None:
        dry = policies_in({"try": {"metric": "error_rate", "limit": 0.05, "dry_run": True}}, {})
        report = replayed(traffic(1_000, bad=1.0), dry)

        assert [(each.policy, each.dry_run) for each in report.fired] == [("try", True)]
        assert report.passed_over == 0

    def test_a_plain_threshold_is_replayed_too(self) -> None:
        spec: Document = {
            "metric": "error_rate",
            "limit": 0.2,
            "method": "threshold",
            "min_count": 10,
            "window_seconds": 10,
        }
        report = replayed(traffic(1_000, bad=1.0), policies_in({"plain": spec}, {}))

        assert [each.policy for each in report.fired] == ["plain"]

    def test_a_version_that_turns_bad_after_promotion_is_rolled_back(self) -> None:
        state = {"flags": {"bot.prompt": {"serve": "v7", "safe": "v6"}, "bot.model": {"serve": "m1"}}}
        good = [line(1_000 + n / 100, "v7") for n in range(3_000)]
        bad = [line(1_030 + n / 100, "v7", "failed") for n in range(1_000)]
        report = replayed([*good, *bad], state=state)

        assert [(each.policy, each.case) for each in report.fired] == [("errors", "bot.prompt/v7/1/served")]
        assert 3_000 < report.fired[0].request < 3_400

    def test_without_anything_to_go_back_to_it_is_an_alert(self) -> None:
        state = {"flags": {"bot.prompt": {"serve": "v6"}, "bot.model": {"serve": "m1"}}}
        report = replayed((line(1_000 + n / 50, ending="failed") for n in range(500)), state=state)

        assert [(each.case, each.action) for each in report.fired] == [("route/bot", "alert")]

    def test_a_new_state_holds_from_its_line_on(self) -> None:
        before = {"flags": {"bot.prompt": {"serve": "v6"}, "bot.model": {"serve": "m1"}}}
        lines = [*traffic(1_000, bad=1.0)]
        report = replayed([*lines[:500], STATE, *lines[500:]], state=before)

        (fired,) = [each for each in report.fired if each.action == "rollback"]
        assert fired.request > 500

    def test_without_a_state_it_is_told_by_whom_the_coin_gave_what(self) -> None:
        lines = ({**each, "how": "cd"} for each in traffic(2_000, bad=1.0))
        report = replayed(lines, state=None)

        assert "bot.prompt/v7/1" in [each.case for each in report.fired]

    def test_nothing_recorded_is_nothing_done(self) -> None:
        assert replay([], STRATEGY) == Report(0, 0, 0, 0.0, (), (), 0, ())

    def test_lines_that_cannot_be_read_are_counted_and_the_first_are_told(self) -> None:
        report = replay(["{", "", '{"time": 1}', *["nonsense"] * 50, json.dumps(line(1.0))], STRATEGY)

        assert (report.malformed, report.requests) == (52, 1)
        assert [told.number for told in report.told][:2] == [1, 3]
        assert len(report.told) == 20
        assert "missing required field" in report.told[1].message


class TestRecord:
    def test_an_outcome_comes_back_as_it_was_written(self) -> None:
        told = an_outcome(cost_usd=0.25, unit="ann", input_tokens=7, stumbled=True)
        failure = a_failure(excused=True)

        assert one(outcome_line(told, 12.5)) == Recorded(1, 12.5, told)
        assert one(outcome_line(failure, 12.5)) == Recorded(1, 12.5, failure)

    def test_a_score_comes_back_as_it_was_written(self) -> None:
        score = Score("k", "bot", (Release("f", "v", 3),), "c", "ann", "accuracy", 0.5, 11)

        assert one(score_line(score, 12.5)) == Recorded(1, 12.5, score)

    def test_a_state_comes_back_as_it_was_written(self) -> None:
        variants = {name: Variant(name, name, 4) for name in ("v5", "v6", "v7")}
        flag = Flag(
            "bot.prompt", variants, "v6", "v5", Layer.PROMPT, rollout=Rollout("v7", 10), withdrawn=frozenset({"v5"}),
            changed_at="2027-01-01T00:00:00Z", revision=8,
        )  # fmt: skip
        state = State({"bot.prompt": flag}, {"bot": {Layer.PROMPT: "bot.prompt"}})

        assert one(state_line(state, 3.0)) == Recorded(1, 3.0, state)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("[]", "Expected `object`"),
            ('{"time": 1, "route": "bot", "releases": [], "ending": "sad", "seconds": 1}', "sad"),
            (
                '{"time": 1, "route": "bot", "releases": ["a"], "ending": "ok", "seconds": 1}',
                "flag:variant:generation",
            ),
            (b"\xff\xfe", ""),
            ('{"flags": {"a": {}}}', "serve"),
        ],
    )
    def test_a_line_that_is_none_is_told_with_its_number(self, text: str | bytes, message: str) -> None:
        (found,) = read_lines([text])

        assert isinstance(found, Malformed)
        assert found.number == 1
        assert message in found.message

    def test_of_the_coins_two_releases_the_rarer_is_the_candidate(self) -> None:
        coins = [an_outcome(Release("bot.prompt", "v6", 1))] * 9 + [
            an_outcome(Release("bot.prompt", "v7", 2))
        ]
        flag = state_told_by(coins).flags["bot.prompt"]

        assert (flag.serve, flag.rollout, flag.layer) == ("v6", Rollout("v7", 10.0), Layer.PROMPT)
        assert flag.variants["v7"].generation == 2


def one(text: bytes) -> Recorded:
    (found,) = read_lines([text])
    assert isinstance(found, Recorded)
    assert isinstance(found.what, (Outcome, Score, State))
    return found

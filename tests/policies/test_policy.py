"""What may be judged: metrics, policies as they are declared, and the strategy that ships."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flags.errors import Invalid
from flags.model import Document, Layer
from policies.policy import (
    ACCURACY,
    BUILT_IN,
    COMPLAINT,
    COST,
    ERROR_RATE,
    LATENCY,
    SHIPPED,
    Action,
    Method,
    Metric,
    MetricKind,
    Policy,
    metric_from,
    metrics_in,
    policies_in,
    policy_from,
)

METRICS = {metric.name: metric for metric in BUILT_IN}
STARS: Document = {"type": "number", "better": "higher", "range": [1, 5]}


class TestMetrics:
    def test_a_score_is_read_with_its_direction_and_range(self) -> None:
        assert metric_from("stars", STARS) == Metric("stars", MetricKind.SCORE, True, 1, 5)
        assert metric_from("ok", {"type": "boolean", "better": "lower"}).boolean

    def test_badness_is_worse_for_more_whatever_the_direction(self) -> None:
        stars = metric_from("stars", STARS)

        assert [stars.badness(value) for value in (5, 3, 1, 0, 9)] == [0, 0.5, 1, 1, 0]

    @pytest.mark.parametrize(
        "spec", [{}, {"type": "number"}, {**STARS, "range": [5, 1]}, {**STARS, "range": "1-5"}]
    )
    def test_what_cannot_be_read_is_invalid(self, spec: Document) -> None:
        with pytest.raises(Invalid):
            metric_from("m", spec)

    def test_a_built_in_score_may_be_described_anew_and_a_measure_may_not(self) -> None:
        found = metrics_in({"accuracy": STARS, "latency": STARS, "broken": {}})

        assert found["accuracy"].high == 5
        assert found["latency"] is LATENCY
        assert "broken" not in found


class TestPolicies:
    def test_every_field_is_read(self) -> None:
        spec: Document = {
            "metric": "latency", "limit": 2, "quantile": 0.99, "action": "pause", "layer": "model", "routes": ["a"],
            "method": "threshold", "window_seconds": 30, "min_count": 5, "cooldown_seconds": 0, "dry_run": True,
        }  # fmt: skip

        assert policy_from("p", spec, METRICS) == Policy(
            "p", LATENCY, limit=2, quantile=0.99, action=Action.PAUSE, layer=Layer.MODEL, routes=frozenset({"a"}),
            method=Method.THRESHOLD, window_seconds=30, min_count=5, cooldown_seconds=0, dry_run=True,
        )  # fmt: skip

    def test_fields_of_a_later_version_are_left_alone(self) -> None:
        assert policy_from("p", {"metric": "cost", "limit": 1, "moon": "full"}, METRICS).limit == 1

    @pytest.mark.parametrize(
        "spec",
        [
            {"limit": 1},
            {"metric": "nope", "limit": 1},
            {"metric": "cost"},
            {"metric": "error_rate", "limit": 0},
            {"metric": "error_rate", "limit": 1},
            {"metric": "latency", "limit": 0},
            {"metric": "cost", "limit": -1},
            {"metric": "cost", "limit": float("nan")},
            {"metric": "accuracy", "limit": 1.01},
            {"metric": "cost", "limit": 1, "layer": "moon"},
            {"metric": "cost", "limit": 1, "action": "explode"},
            {"metric": "cost", "limit": 1, "alpha": 0},
            {"metric": "cost", "times_safe": 0},
            {"metric": "cost", "limit": "much"},
        ],
    )
    def test_what_cannot_be_judged_is_invalid(self, spec: Document) -> None:
        with pytest.raises(Invalid):
            policy_from("p", spec, METRICS)

    def test_the_id_is_another_where_counts_must_not_mix_and_the_same_where_they_may(self) -> None:
        first = Policy("p", COST, limit=1)

        assert first.id == Policy("p", COST, limit=1, action=Action.ALERT, alpha=0.1).id
        assert first.id != Policy("p", COST, limit=2).id
        assert first.id != Policy("p", COST, limit=1, but=frozenset({"a"})).id


class TestStrategy:
    def test_holds_where_nothing_is_declared(self) -> None:
        found = policies_in({}, {})

        assert found == {policy.name: policy for policy in SHIPPED}
        assert {policy.metric: policy.layer for policy in SHIPPED}[ACCURACY] is Layer.PROMPT
        assert all(policy.watches("any") and policy.shipped for policy in SHIPPED)

    def test_a_declared_policy_replaces_the_one_of_its_metric(self) -> None:
        found = policies_in({"brake": {"metric": "error_rate", "limit": 0.1}}, {})

        assert [policy.name for policy in found.values() if policy.metric == ERROR_RATE] == ["brake"]

    def test_a_declared_policy_for_some_routes_leaves_the_others_to_the_strategy(self) -> None:
        found = policies_in({"slow": {"metric": "latency", "limit": 1, "routes": ["a"]}}, {})

        assert (found["slow"].watches("a"), found["slow"].watches("b")) == (True, False)
        assert (found["latency"].watches("a"), found["latency"].watches("b")) == (False, True)

    def test_a_name_that_is_taken_is_not_taken_away(self) -> None:
        found = policies_in({"errors": {"metric": "cost", "limit": 1}}, {})

        assert found["errors"].metric == COST
        assert found["errors.shipped"].metric == ERROR_RATE

    def test_one_that_cannot_be_read_is_left_out_and_told_and_replaces_nothing(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.WARNING):
            found = policies_in({"odd": {"metric": "error_rate", "limit": 7}}, {})

        assert "odd" not in found
        assert found["errors"].shipped
        assert "odd" in caplog.text
        assert "between 0 and 1" in caplog.text

    def test_scores_are_judged_as_they_were_declared(self) -> None:
        found = policies_in({"happy": {"metric": "stars", "limit": 4}}, {"stars": STARS, "accuracy": STARS})

        assert found["happy"].metric.high == 5
        assert found["accuracy"].metric.high == 5


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = st.sampled_from(["metric", "limit", "times_safe", "quantile", "routes", "method", "layer", "alpha"])


@given(st.dictionaries(FIELDS, JSON | st.sampled_from(["error_rate", "accuracy", "threshold"])), JSON)
def test_no_stored_document_stops_a_worker(spec: Document, odd: Document) -> None:
    found = policies_in({"p": spec, "q": odd}, {"m": spec, "accuracy": odd})

    assert {policy.metric.name for policy in found.values()} >= {
        metric.name for metric in BUILT_IN if metric is not COMPLAINT
    }

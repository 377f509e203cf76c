"""The two texts that Prometheus reads: parsed by Prometheus' own Python client, and looked at byte by byte."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.figures.exposition import (
    Buckets,
    Exemplar,
    Family,
    Form,
    Kind,
    Sample,
    cumulative,
    labels,
    lines_of,
    negotiated,
)

PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;"
    "q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)


def counter(*samples: Sample, name: str = "pointsman_requests_total") -> Family:
    return Family(name, Kind.COUNTER, "Requests.", samples)


def histogram(**more: object) -> Family:
    buckets = Buckets((0.5, 1.0, math.inf), (3, 0, 1), 4.25, **more)
    return Family(
        "pointsman_request_seconds", Kind.HISTOGRAM, "Seconds.", (Sample(labels(route="a"), buckets),)
    )


def text(family: Family, form: Form = Form.TEXT) -> str:
    return "".join(f"{line}\n" for line in lines_of([family], form))


class TestNegotiation:
    @pytest.mark.parametrize(
        ("accept", "form"),
        [
            ("", Form.TEXT),
            ("*/*", Form.TEXT),
            ("text/plain", Form.TEXT),
            ("text/html,application/xml;q=0.9,*/*;q=0.8", Form.TEXT),
            ("application/openmetrics-text", Form.OPENMETRICS),
            ("Application/OpenMetrics-Text; version=1.0.0; charset=utf-8", Form.OPENMETRICS),
            (PROMETHEUS, Form.OPENMETRICS),
            ("application/openmetrics-text;q=0.2,text/plain;q=0.9", Form.TEXT),
            ("application/openmetrics-text;q=0", Form.TEXT),
            ("application/openmetrics-text;q=1.2.3,;;,=", Form.TEXT),
        ],
    )
    def test_openmetrics_is_sent_to_those_alone_who_name_and_prefer_it(self, accept: str, form: Form) -> None:
        assert negotiated(accept) is form


class TestText:
    def test_a_counter_keeps_its_ending_in_the_old_text_and_loses_it_in_openmetrics(self) -> None:
        family = counter(Sample(labels(route="a", ending="ok"), 3))

        assert text(family) == (
            "# HELP pointsman_requests_total Requests.\n# TYPE pointsman_requests_total counter\n"
            'pointsman_requests_total{route="a",ending="ok"} 3\n'
        )
        assert text(family, Form.OPENMETRICS) == (
            "# HELP pointsman_requests Requests.\n# TYPE pointsman_requests counter\n"
            'pointsman_requests_total{route="a",ending="ok"} 3\n# EOF\n'
        )

    def test_a_family_without_samples_is_left_out(self) -> None:
        assert text(counter()) == ""
        assert text(counter(), Form.OPENMETRICS) == "# EOF\n"

    def test_a_sample_without_labels_has_no_braces(self) -> None:
        assert text(counter(Sample((), 1))).endswith("\npointsman_requests_total 1\n")

    def test_buckets_add_up(self) -> None:
        assert text(histogram()).splitlines()[2:] == [
            'pointsman_request_seconds_bucket{route="a",le="0.5"} 3',
            'pointsman_request_seconds_bucket{route="a",le="1.0"} 3',
            'pointsman_request_seconds_bucket{route="a",le="+Inf"} 4',
            'pointsman_request_seconds_count{route="a"} 4',
            'pointsman_request_seconds_sum{route="a"} 4.25',
        ]

    def test_an_exemplar_stands_on_its_bucket_in_openmetrics_alone(self) -> None:
        family = histogram(exemplars={0: Exemplar(labels(trace_id="abc"), 0.25, 1_800_000_000.5)})

        assert "trace_id" not in text(family)
        assert (
            'pointsman_request_seconds_bucket{route="a",le="0.5"} 3 # {trace_id="abc"} 0.25 1800000000.500'
            in text(family, Form.OPENMETRICS).splitlines()
        )

    def test_a_bucket_in_which_nothing_was_counted_yet_has_no_exemplar(self) -> None:
        family = histogram(exemplars={1: Exemplar(labels(request_id="r"), 0.75, 1.0)})

        assert "request_id" not in text(family, Form.OPENMETRICS)

    def test_an_exemplar_whose_labels_are_too_long_keeps_its_value(self) -> None:
        fits = histogram(exemplars={0: Exemplar(labels(request_id="r" * 118), 0.25, 1.0)})
        long = histogram(exemplars={0: Exemplar(labels(request_id="r" * 119), 0.25, 1.0)})

        assert "rrr" in text(fits, Form.OPENMETRICS)
        assert " 3 # {} 0.25 1.000\n" in text(long, Form.OPENMETRICS)

    @pytest.mark.parametrize(
        ("value", "written"),
        [(0, "0"), (0.1, "0.1"), (1.0, "1.0"), (math.inf, "+Inf"), (-math.inf, "-Inf"), (math.nan, "NaN")],
    )
    def test_numbers(self, value: float, written: str) -> None:
        assert text(counter(Sample((), value))).splitlines()[-1] == f"pointsman_requests_total {written}"


LABELS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
# The client's parser takes off blanks at the ends of a help, whatever they are.
HELPS = LABELS.map(str.strip)


class TestRead:
    """As Prometheus' own Python client reads it."""

    @given(LABELS, HELPS)
    def test_any_label_and_help_comes_back_as_it_was(self, label: str, explained: str) -> None:
        parser = pytest.importorskip("prometheus_client.openmetrics.parser")
        family = Family("x_total", Kind.COUNTER, explained, (Sample(labels(flag=label), 1),))

        (read,) = parser.text_string_to_metric_families(text(family, Form.OPENMETRICS))

        assert (read.documentation, read.samples[0].labels) == (explained, {"flag": label})

    @given(st.text('ab\\"\n{}, =é', max_size=20))
    def test_any_label_comes_back_from_the_old_text(self, label: str) -> None:
        parser = pytest.importorskip("prometheus_client.parser")

        (read,) = parser.text_string_to_metric_families(text(counter(Sample(labels(flag=label), 1))))

        assert read.samples[0].labels == {"flag": label}

    def test_histograms_with_exemplars_are_read_strictly(self) -> None:
        parser = pytest.importorskip("prometheus_client.openmetrics.parser")
        family = histogram(exemplars={2: Exemplar(labels(request_id="r-1"), 4.0, 1_800_000_000.0)})

        (read,) = parser.text_string_to_metric_families(text(family, Form.OPENMETRICS))

        (last,) = [sample for sample in read.samples if sample.labels.get("le") == "+Inf"]
        assert (last.value, last.exemplar.labels, last.exemplar.value) == (4, {"request_id": "r-1"}, 4.0)


class TestCumulative:
    def test_finer_buckets_are_gathered_at_and_one_past_a_bound(self) -> None:
        step = 2 ** (1 / 8)
        made = cumulative((0.5, 1.0), [(0.5, 2), (0.5 * step, 3), (step**0, 5), (step, 7)], 9.0)

        assert (made.bounds, made.counts, made.sum) == ((0.5, 1.0, math.inf), (2, 8, 7), 9.0)

    @given(st.lists(st.tuples(st.integers(-200, 100), st.integers(0, 1000))))
    def test_powers_of_two_are_exact(self, observed: list[tuple[int, int]]) -> None:
        made = cumulative((0.125, 1.0, 64.0), [(2 ** (i / 8), count) for i, count in observed], 0.0)

        for bound, exponent, index in ((0.125, -24, 0), (1.0, 0, 1), (64.0, 48, 2)):
            assert made.bounds[index] == bound
            assert sum(made.counts[: index + 1]) == sum(count for i, count in observed if i <= exponent)

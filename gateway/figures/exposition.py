"""Families of samples as Prometheus reads them: text 0.0.4, and OpenMetrics 1.0 where that is asked for. Pure.

Knows no metric of ours and no socket. Sources: the text format (prometheus.io, "Exposition formats") and the
OpenMetrics 1.0 specification (escapes, `_total`, `# EOF`, exemplars of at most 128 characters).
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf, isnan

# OpenMetrics: the names and values of an exemplar's labels together.
EXEMPLAR_CHARACTERS = 128

Labels = tuple[tuple[str, str], ...]


class Kind(StrEnum):
    """What a family's numbers do: only rise, or move both ways, or are counted in buckets."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Form(StrEnum):
    """The two texts, each by its media type."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Exemplar:
    """One observation that stands for its bucket; `at` in Unix seconds."""

    labels: Labels
    value: float
    at: float


@dataclass(frozen=True, slots=True)
class Buckets:
    """A histogram: `counts` of observations up to each bound and above the one before (not cumulative).

    The last bound is +Inf. `exemplars` by the index of their bucket.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float
    exemplars: Mapping[int, Exemplar] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sample:
    """One line, or with `Buckets` one histogram."""

    labels: Labels
    value: float | Buckets


@dataclass(frozen=True, slots=True)
class Family:
    """All samples of one name, which may be made while they are written. A counter's name ends in `_total`."""

    name: str
    kind: Kind
    help: str
    samples: Iterable[Sample]


def labels(**named: str) -> Labels:
    """Labels in the order in which they are given."""
    return tuple(named.items())


def negotiated(accept: str) -> Form:
    """OpenMetrics where `Accept` likes it at least as well as plain text and names it, else the old text."""
    wanted = {"application/openmetrics-text": 0.0, "text/plain": 0.0}
    for part in accept.split(","):
        media, *parameters = (piece.strip() for piece in part.split(";"))
        if media.lower() in wanted:
            wanted[media.lower()] = max(wanted[media.lower()], _quality(parameters))
    asked = wanted["application/openmetrics-text"]
    return Form.OPENMETRICS if asked > 0 and asked >= wanted["text/plain"] else Form.TEXT


def _quality(parameters: Iterable[str]) -> float:
    for parameter in parameters:
        found = re.fullmatch(r"[qQ]\s*=\s*([0-9.]+)", parameter)
        if found:
            try:
                return float(found[1])
            except ValueError:
                return 0.0
    return 1.0


def lines_of(families: Iterable[Family], form: Form) -> Iterator[str]:
    """The document line by line, so that nobody must make all of it in one go; families without a sample are left out."""
    for family in families:
        yield from _family(family, form)
    if form is Form.OPENMETRICS:
        yield "# EOF"


def _family(family: Family, form: Form) -> Iterator[str]:
    opened = form is Form.OPENMETRICS
    # OpenMetrics names a counter without the ending that its samples have.
    name = family.name.removesuffix("_total") if opened and family.kind is Kind.COUNTER else family.name
    for place, sample in enumerate(family.samples):
        if place == 0:
            yield f"# HELP {name} {_escaped(family.help, quotes=opened)}"
            yield f"# TYPE {name} {family.kind}"
        if isinstance(sample.value, Buckets):
            yield from _histogram(family.name, sample.labels, sample.value, opened=opened)
        else:
            yield f"{family.name}{_labels(sample.labels)} {number(sample.value)}"


def _histogram(name: str, given: Labels, buckets: Buckets, *, opened: bool) -> Iterator[str]:
    total = 0
    for index, (bound, count) in enumerate(zip(buckets.bounds, buckets.counts, strict=True)):
        total += count
        line = f"{name}_bucket{_labels((*given, ('le', number(bound))))} {total}"
        exemplar = buckets.exemplars.get(index) if opened and count else None
        yield line if exemplar is None else f"{line} {_exemplar(exemplar)}"
    yield f"{name}_count{_labels(given)} {total}"
    yield f"{name}_sum{_labels(given)} {number(buckets.sum)}"


def _exemplar(exemplar: Exemplar) -> str:
    length = sum(len(name) + len(value) for name, value in exemplar.labels)
    kept = exemplar.labels if length <= EXEMPLAR_CHARACTERS else ()
    return f"# {_labels(kept) or '{}'} {number(exemplar.value)} {exemplar.at:.3f}"


def _labels(given: Labels) -> str:
    if not given:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value, quotes=True)}"' for name, value in given) + "}"


def _escaped(text: str, *, quotes: bool) -> str:
    text = text.replace("\\", r"\\").replace("\n", r"\n")
    return text.replace('"', r"\"") if quotes else text


def number(value: float) -> str:
    """A number as both forms read it; floats always with a point, so that `le` is one series in either form."""
    if isinstance(value, int):
        return str(value)
    if isnan(value):
        return "NaN"
    if value in (inf, -inf):
        return "+Inf" if value > 0 else "-Inf"
    return repr(float(value))


def cumulative(bounds: Sequence[float], observed: Iterable[tuple[float, int]], total: float) -> Buckets:
    """`observed` (upper bound of a finer bucket, count) gathered under `bounds`, to which +Inf is added.

    Exact where every bound is also one of the finer buckets' bounds.
    """
    ends = (*bounds, inf)
    counts = [0] * len(ends)
    for upper, count in observed:
        # A bound computed as a power of 2^(1/8) may lie a rounding error above the power of two itself.
        counts[bisect_left(bounds, upper * (1 - 1e-9))] += count
    return Buckets(ends, tuple(counts), total)

"""Tables for people and samples for programs. Knows numbers, not what they measure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Table:
    """One table: a title, column heads, rows of text, and a sentence below."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""

    def __str__(self) -> str:
        lines = [self.head, *self.rows]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.head))]
        rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
        text = [
            f"### {self.title}",
            "",
            row(self.head, widths),
            rule,
            *(row(line, widths) for line in self.rows),
        ]
        return "\n".join([*text, *(["", self.note] if self.note else [])])


@dataclass(frozen=True, slots=True)
class Section:
    """What one benchmark found: its tables, and every sample for `--json`."""

    name: str
    tables: Sequence[Table]
    samples: object = field(default_factory=dict)


def row(cells: Sequence[str], widths: Sequence[int]) -> str:
    """One line of a table: the first column left, numbers right."""
    padded = [
        cell.ljust(w) if not column else cell.rjust(w)
        for column, (cell, w) in enumerate(zip(cells, widths, strict=True))
    ]
    return "| " + " | ".join(padded) + " |"


def number(value: float) -> str:
    """Three or four digits that matter."""
    if math.isnan(value):
        return "–"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def spread(values: Sequence[float]) -> str:
    """The median, with the least and the greatest in brackets."""
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return "–"
    return f"{number(statistics.median(known))} ({number(min(known))}–{number(max(known))})"


def median(values: Sequence[float]) -> float:
    """The median; NaN of nothing."""
    known = [value for value in values if not math.isnan(value)]
    return statistics.median(known) if known else math.nan

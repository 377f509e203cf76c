"""What the show proved, and what it measured. Pure: facts in, lines out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gateway.demo.stage import Typed
from gateway.demo.tally import Sample, rows
from gateway.demo.trial import Figures, Pulled, figures

# Fewer requests after the command's return would prove nothing.
ENOUGH_AFTER = 20


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that had to happen."""

    holds: bool
    sentence: str


@dataclass(frozen=True, slots=True)
class Played:
    """A show that was told to its end: every answer, every withdrawal by the machine, and the operator's command."""

    samples: Sequence[Sample]
    pulled: Sequence[Pulled]
    brake: Typed
    safe: str
    bad: str


def checks(played: Played) -> tuple[Check, ...]:
    """Whether all happened as it should."""
    brake = played.brake
    failed = [one for one in played.samples if one.error is not None]
    after = [one for one in played.samples if one.began > brake.ended]
    late = sum(one.prompt == played.bad for one in after)
    return (
        *(_withdrawn(pulled, figures(pulled, played.samples)) for pulled in played.pulled),
        Check(
            brake.exit_code == 0,
            f"the operator's command ended with exit code {brake.exit_code} (0: every worker acknowledged)",
        ),
        Check(
            late == 0 and len(after) >= ENOUGH_AFTER,
            f"of {len(after)} requests that began after its return, {played.bad} answered {late}",
        ),
        Check(not failed, f"users saw {len(failed)} failures{_reasons(failed)}"),
    )


def _withdrawn(pulled: Pulled, found: Figures) -> Check:
    return Check(
        found.bad > 0 and found.late == 0 and found.after > 0,
        f"{pulled.trial.candidate} answered {found.late} of {found.after} requests that began after its withdrawal",
    )


def all_hold(played: Played) -> bool:
    """Whether the show was a success."""
    return all(check.holds for check in checks(played))


def first_good_seconds(samples: Iterable[Sample], brake: Typed, *, safe: str) -> float | None:
    """From the moment the command was typed to the end of the first good answer of the safe version."""
    ends = (
        one.ended for one in samples if one.prompt == safe and one.error is None and one.began >= brake.began
    )
    return min((end - brake.began for end in ends), default=None)


def server_milliseconds(brake: Typed) -> int | None:
    """What the command told: from its receipt by the server to the last acknowledgement."""
    told = re.search(r" in (\d+) ms", brake.output)
    return int(told[1]) if told else None


def lines(played: Played) -> list[str]:
    """The summary, one line each."""
    answers = rows(played.samples)
    failed = sum(row.errors for row in answers)
    return [
        "",
        f"Summary: {len(played.samples)} requests, {failed} failures seen by users",
        *(
            f"  {row.version:12} {row.requests:5} requests {row.errors:5} errors ({row.error_share:5.1%})"
            f"   p50 {row.p50 * 1000:4.0f} ms   p95 {row.p95 * 1000:4.0f} ms"
            for row in answers
        ),
        "The machine's brake",
        *(
            line
            for pulled in played.pulled
            for line in machine_lines(pulled, figures(pulled, played.samples))
        ),
        "The operator's brake, from the command's line typed",
        *operator_lines(played),
        "Checked",
        *(f"  {'ok  ' if check.holds else 'FAIL'} {check.sentence}" for check in checks(played)),
        "",
    ]


def machine_lines(pulled: Pulled, found: Figures) -> list[str]:
    """What one withdrawal took: requests, failures, milliseconds."""
    first, fourth = (
        "      -" if told is None else f"{told:7}" for told in (found.from_first, found.from_fourth)
    )
    return [
        f"  {pulled.trial.candidate} {pulled.trial.fault}: withdrawn by {pulled.actor}",
        f"    after {found.requests:3} of its requests, {found.bad} of them bad; failures seen by users: {found.failures}",
        f"    {first} ms after its first bad answer, {fourth} ms after its fourth, "
        f"{found.to_everywhere:4} ms more to all workers",
    ]


def operator_lines(played: Played) -> list[str]:
    """What the command took."""
    brake = played.brake
    first = first_good_seconds(played.samples, brake, safe=played.safe)
    inside = server_milliseconds(brake)
    return [
        f"  to its return, every worker having acknowledged {brake.seconds * 1000:5.0f} ms"
        + ("" if inside is None else f" ({inside} ms of them in the server; the rest starts the program)"),
        f"  to the first good answer of {played.safe:20} "
        + ("none came" if first is None else f"{first * 1000:5.0f} ms"),
    ]


def _reasons(failed: Sequence[Sample]) -> str:
    names = sorted({one.error or "" for one in failed})
    return f" ({', '.join(names)})" if names else ""

"""What the show proved, and what it measured. Pure: facts in, lines out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gateway.demo.stage import Typed
from gateway.demo.tally import Sample, rows

# Fewer requests after the command's return would prove nothing.
ENOUGH_AFTER = 20


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that had to happen."""

    holds: bool
    sentence: str


def checks(samples: Sequence[Sample], brake: Typed, *, safe: str, bad: str) -> tuple[Check, ...]:
    """Whether all happened as it should."""
    failed = [one for one in samples if one.error is not None]
    bad_failed = sum(one.prompt == bad for one in failed)
    elsewhere = [one for one in failed if one.prompt != bad]
    after = [one for one in samples if one.began > brake.ended]
    late = sum(one.prompt == bad for one in after)
    good = sum(one.prompt == safe and one.error is None for one in after)
    return (
        Check(bad_failed > 0, f"{bad} failed for {bad_failed} requests"),
        Check(
            brake.exit_code == 0,
            f"the command ended with exit code {brake.exit_code} (0: every worker acknowledged)",
        ),
        Check(
            late == 0 and len(after) >= ENOUGH_AFTER,
            f"of {len(after)} requests that began after the command's return, {bad} answered {late}",
        ),
        Check(good == len(after), f"{safe} answered {good} of them well"),
        Check(not elsewhere, f"{len(elsewhere)} requests failed for any other reason{_reasons(elsewhere)}"),
    )


def all_hold(samples: Sequence[Sample], brake: Typed, *, safe: str, bad: str) -> bool:
    """Whether the show was a success."""
    return all(check.holds for check in checks(samples, brake, safe=safe, bad=bad))


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


def lines(samples: Sequence[Sample], brake: Typed, *, safe: str, bad: str) -> list[str]:
    """The summary, one line each."""
    answers = rows(samples)
    failed = sum(row.errors for row in answers)
    first = first_good_seconds(samples, brake, safe=safe)
    inside = server_milliseconds(brake)
    return [
        "",
        f"Summary: {len(samples)} requests, {failed} errors",
        *(
            f"  {row.version:6} {row.requests:5} requests {row.errors:5} errors ({row.error_share:5.1%})"
            f"   p50 {row.p50 * 1000:4.0f} ms   p95 {row.p95 * 1000:4.0f} ms"
            for row in answers
        ),
        "From the command's line typed",
        f"  to its return, every worker having acknowledged {brake.seconds * 1000:5.0f} ms"
        + ("" if inside is None else f" ({inside} ms of them in the server; the rest starts the program)"),
        f"  to the first good answer of {safe:20} "
        + ("none came" if first is None else f"{first * 1000:5.0f} ms"),
        "Checked",
        *(
            f"  {'ok  ' if check.holds else 'FAIL'} {check.sentence}"
            for check in checks(samples, brake, safe=safe, bad=bad)
        ),
        "",
    ]


def _reasons(failed: Sequence[Sample]) -> str:
    names = sorted({one.error or "" for one in failed})
    return f" ({', '.join(names)})" if names else ""

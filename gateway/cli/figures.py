"""Numbers as people read them, and rows of versions: shared by `status` and `top`. Pure; knows no server."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

# A bar's length: eighths are all that an eye tells apart.
BAR_CELLS = 8
FULL, EMPTY = "▓", "░"
HEADINGS = (
    "version", "", "share", "requests", "errors", "p50", "p95", "first token", "$/request", "scores", "evidence",
)  # fmt: skip
# Half-way to the brake a person should look.
DOUBTFUL = 0.5
# Those of HEADINGS that are numbers, and are read by their last digit.
NUMBERS = range(2, 8)


def columns(rows: Iterable[Sequence[object]], right: Container[int] = ()) -> list[str]:
    """The rows as lines, each column as wide as its widest cell; those of `right` end together."""
    cells = [tuple(str(cell) for cell in row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)] if cells else []
    sides = [">" if place in right else "<" for place in range(len(widths))]
    return [
        "  ".join(f"{c:{s}{w}}" for c, s, w in zip(row, sides, widths, strict=True)).rstrip() for row in cells
    ]


def to_the_second(time: str) -> str:
    """An RFC 3339 time in UTC without its fraction."""
    return f"{time[:19]}Z" if len(time) > 19 else time


def seconds(value: float | None) -> str:
    """`310 ms`, `1.25 s`; nothing for what was not seen."""
    if value is None:
        return "–"
    if value < 0.001:
        return f"{value * 1e6:.0f} µs"
    return (
        f"{value * 1000:.0f} ms" if value < 0.9995 else f"{value:.3g} s" if value < 100 else f"{value:.0f} s"
    )


def share(value: float | None) -> str:
    """`1.2 %`; a share that is small but not zero does not look like zero."""
    if value is None:
        return "–"
    percent = value * 100
    if 0 < percent < 0.05:
        return "<0.1 %"
    return f"{percent:.0f} %" if percent in (0, 100) else f"{percent:.1f} %"


def dollars(value: float | None) -> str:
    """Two significant digits at least: requests cost fractions of a cent."""
    if value is None:
        return "–"
    return f"{value:.2f}" if value >= 1 or value == 0 else f"{value:.2g}" if value >= 1e-4 else f"{value:.1e}"


def bar(ratio: float) -> str:
    """`▓▓▓░░░░░ 38 %`: how far the evidence has come towards the brake. Full only where it pulls."""
    bounded = min(1.0, max(0.0, ratio))
    cells = int(bounded * BAR_CELLS)
    percent = 100 if ratio >= 1 else min(99, round(bounded * 100))
    return f"{FULL * cells}{EMPTY * (BAR_CELLS - cells)} {percent} %"


def nearest(bars: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The policy that is nearest to the brake; of two alike the one that acts, not the one that only says so."""
    return max(bars, key=lambda each: (each["ratio"], not each["dry_run"]), default=None)


def evidence(bars: Sequence[Mapping[str, Any]]) -> str:
    """The nearest policy's bar with its name; how many others stand behind it shows in `--json`."""
    told = nearest(bars)
    if told is None:
        return ""
    return f"{bar(told['ratio'])} {told['policy']}{' (dry run)' if told['dry_run'] else ''}"


def alarms(bars: Iterable[Mapping[str, Any]]) -> list[str]:
    """Evidence against a route that has nothing to go back to, where a person should look: from half-way on."""
    return [f"nothing to roll back: {evidence([each])}" for each in bars if each["ratio"] >= DOUBTFUL]


def scores(found: Mapping[str, Mapping[str, Any]]) -> str:
    """`accuracy 0.91 (12)`: the mean and how many said so."""
    return ", ".join(f"{name} {each['mean']:.3g} ({each['count']:,})" for name, each in sorted(found.items()))


def cost(figures: Mapping[str, Any]) -> str:
    """The mean of the known ones, and how many are not known."""
    unknown = figures["cost_unknown"]
    known = dollars(figures["cost_per_request"])
    return f"{known} ({unknown:,} unknown)" if unknown and figures["cost_per_request"] is not None else known


def version_row(version: Mapping[str, Any]) -> tuple[str, ...]:
    """One version under HEADINGS."""
    return (
        version["variant"],
        version["role"],
        share(version["share"]) if version["requests"] else "–",
        f"{version['requests']:,}",
        share(version["error_rate"]),
        seconds(version["latency_p50"]),
        seconds(version["latency_p95"]),
        seconds(version["ttft_p50"]),
        cost(version),
        scores(version["scores"]),
        evidence(version["evidence"]),
    )


def summary(figures: Mapping[str, Any], span: str) -> str:
    """A route's figures in one line: `1,204 requests in 5 min (4.0/s), errors 1.2 %, p50 310 ms, …`."""
    requests = figures["requests"]
    if not requests:
        return f"no requests in {span}"
    parts = [
        f"{requests:,} request{'' if requests == 1 else 's'} in {span} ({figures['per_second']:.3g}/s)",
        f"errors {share(figures['error_rate'])}",
        f"p50 {seconds(figures['latency_p50'])}",
        f"p95 {seconds(figures['latency_p95'])}",
    ]
    if figures["ttft_p50"] is not None:
        parts.append(f"first token {seconds(figures['ttft_p50'])}")
    if figures["shielded"]:
        parts.append(f"{figures['shielded']:,} shielded")
    return ", ".join(parts)


def breakers(found: Iterable[Mapping[str, Any]]) -> list[str]:
    """Breakers that are not closed, one a line."""
    return [
        f"breaker {each['target']}: {each['state']}"
        for each in found
        if each["state"] not in ("closed", "off")
    ]


def rollout(found: Mapping[str, Any] | None) -> str:
    """`v7 at 5 %, step 2 of 4, 25 % after 14:05:10Z and 500 requests`; nothing where there is none."""
    if found is None:
        return ""
    # Only a rollout in steps has them.
    step = "" if found["step"] is None else f", step {found['step'] + 1} of {len(found['steps'])}"
    then = " (paused)" if found["state"] == "paused" else _next_step(found)
    return f"{found['variant']} at {found['percent']:g} %{step}{then}"


def shadow(found: Mapping[str, Any] | None) -> str:
    """`v7 shadows 5 %`; nothing where no version is shadowed."""
    return "" if found is None else f"{found['variant']} shadows {found['percent']:g} %"


def _next_step(found: Mapping[str, Any]) -> str:
    """What automation waits for, besides that no policy objects."""
    if found["step"] is None:
        return ""
    # After the last step all get it.
    following = next(iter(found["steps"][found["step"] + 1 :]), 100)
    waits = []
    if found.get("since"):
        at = datetime.fromisoformat(found["since"]) + timedelta(seconds=found["hold_seconds"])
        waits.append(at.astimezone(UTC).strftime("%H:%M:%SZ"))
    if found["min_requests"]:
        waits.append(f"{found['min_requests']:,} requests")
    return f", {following:g} % after {' and '.join(waits)}" if waits else ""


def local_brake(diverted: Mapping[str, str]) -> str:
    """What the answering worker serves no more by itself; nothing where there is none."""
    told = ", ".join(f"{flag} without {variant}" for flag, variant in sorted(diverted.items()))
    return f"; local brake of the worker that answered: {told}" if told else ""


def switches(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The gateway's own switches that do not stand as usual, one a line."""
    return [
        f"switch {key}: {_standing(each)} (usually {'on' if each['usual'] else 'off'}: {each['about']})"
        for key, each in found.items()
    ]


def decided_by(found: Mapping[str, Mapping[str, str]]) -> list[str]:
    """The routes whose decisions a provider takes, one a line."""
    return [
        f"decisions of {route}: {each['provider']}"
        + (f"; at the worker that answered the store decides: {each['why']}" if each["why"] else "")
        for route, each in found.items()
    ]


def _standing(found: Mapping[str, Any]) -> str:
    usual = "on" if found["usual"] else "off"
    value = "" if isinstance(found["value"], bool) else f" ({found['value']:g})"
    parts = [
        f"{found['served'] or usual}{value}",
        "a rule chooses" if found["targeted"] else "",
        rollout(found["rollout"]),
    ]
    return ", ".join(part for part in parts if part)


def rollouts(layers: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The rollouts of a route, one a line."""
    return [
        f"rollout {layer}: {rollout(state['rollout'])}{resting(state)}"
        for layer, state in layers.items()
        if state["rollout"]
    ]


def pinned(layers: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Which layers of a route the pipeline decides, one a line: the flag's own version may be another."""
    return [
        f"{layer}: {state['served']}, pinned by pipeline {state['pinned_by']}"
        for layer, state in layers.items()
        if state["pinned_by"]
    ]


def resting(state: Mapping[str, Any]) -> str:
    """Why the rollout of a route's layer does not move; nothing where it does."""
    return ", rests while the pipeline pins this layer" if state["rollout"] and state["pinned_by"] else ""

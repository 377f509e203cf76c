"""Case counts as flush.lua keeps them, read into their types. Knows no connection.

The fields of evidence:<case> stand in flags/keys.py, the packed arrays in flush.lua.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from policies.counts import CaseCounts, Event, PolicyCounts, Second, Segment
from policies.tally import UNITS_ENOUGH


class _Segment(msgspec.Struct, array_like=True, gc=False):
    weight: int
    n: int
    bad: float
    bets: tuple[float, ...]
    events: list[tuple[float, float, float, float]]
    memory: int = 0


class _Second(msgspec.Struct, array_like=True, gc=False):
    second: int
    n: int
    bad: float
    bets: tuple[float, ...]
    control_n: int
    control_bad: float


class _Running(msgspec.Struct, array_like=True, gc=False):
    kind: str
    running: _Second
    detector: tuple[float, ...]


_SEGMENT = msgspec.msgpack.Decoder(_Segment)
_SECOND = msgspec.msgpack.Decoder(_Second)
_RUNNING = msgspec.msgpack.Decoder(_Running)
_NUMBERS = msgspec.msgpack.Decoder(tuple[float, ...])
# What a policy's thresholds are kept under.
THRESHOLDS = "q|"


def case_counts(
    fields: Mapping[bytes, bytes], seconds: Mapping[str, Sequence[bytes]] | None = None
) -> CaseCounts:
    """A case's counts from its hash, and the finished seconds of its thresholds by policy id."""
    plain: dict[str, float] = {}
    segments: dict[str, dict[int, Segment]] = {}
    detectors: dict[str, tuple[float, ...]] = {}
    thresholds: dict[str, tuple[float, ...]] = {}
    for name, value in fields.items():
        kind, _, rest = name.decode().partition("|")
        match kind:
            case "s":
                policy, _, order = rest.partition("|")
                segments.setdefault(policy, {})[int(order)] = _segment(value)
            case "d":
                detectors[rest] = _RUNNING.decode(value).detector
            case "q":
                thresholds[rest] = _NUMBERS.decode(value)
            case "h" | "m":
                pass
            case _:
                plain[kind] = float(value)
    finished = {policy: seconds_from(rows) for policy, rows in (seconds or {}).items()}
    policies = {
        policy: PolicyCounts(
            tuple(each for _, each in sorted(segments.get(policy, {}).items())),
            thresholds.get(policy, ()),
            detectors.get(policy, ()),
            finished.get(policy, ()),
            min(segments.get(policy, ()), default=1),
        )
        for policy in sorted(segments.keys() | detectors.keys() | thresholds.keys())
    }
    return CaseCounts(
        since_ms=int(plain.get("since", 0)),
        units=min(UNITS_ENOUGH, int(plain.get("named", 0) + plain.get("plain", 0))),
        candidate=int(plain.get("candidate", 0)),
        control=int(plain.get("control", 0)),
        judged=int(plain.get("judged", 0)),
        policies=policies,
    )


def seconds_from(rows: Iterable[bytes]) -> tuple[Second, ...]:
    """Finished seconds, as they were pushed."""
    return tuple(
        Second(each.second, each.n, each.bad, each.bets, each.control_n, each.control_bad)
        for each in map(_SECOND.decode, rows)
    )


def thresholds_from(value: bytes) -> tuple[float, ...]:
    """Thresholds, as they were fixed."""
    return _NUMBERS.decode(value)


def _segment(value: bytes) -> Segment:
    kept = _SEGMENT.decode(value)
    events = tuple(Event(*event) for event in kept.events)
    return Segment(kept.weight, kept.n, kept.bad, kept.bets, events, kept.memory)

"""What of a store a flagd file cannot hold, so that an export says what it leaves out. Pure; knows objects, no file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from flags.change import View
from flags.errors import Invalid
from flags.model import START, Flag, Kind, ObjectKey, RolloutState, StoredObject
from gateway.config.declaration import SECTIONS


def losses(objects: Mapping[ObjectKey, StoredObject]) -> list[str]:
    """One line for each thing that is lost, flags first; empty where nothing is."""
    view = View(START, "", objects)
    lines: list[str] = []
    for key in sorted(each for each in objects if each.kind is Kind.FLAG):
        try:
            lines += [f"flags.{key.name}: {what}" for what in _lost(view.flag(key.name))]
        except Invalid as error:
            lines.append(f"flags.{key.name}: as stored it cannot be read: {error}")
    told = Counter(key.name.partition("/")[0] for key in objects if key.kind is Kind.VERSION)
    lines += [
        f"flags.{flag}: what is told of {count} of its versions" for flag, count in sorted(told.items())
    ]
    counts = Counter(key.kind for key in objects)
    others = [(section, counts[kind]) for kind, section in SECTIONS.items() if kind is not Kind.FLAG]
    return lines + [f"{section} ({count})" for section, count in others if count]


def _lost(flag: Flag) -> Iterator[str]:
    if flag.promotion is not None:
        yield "its promotion rules"
    if flag.quarantined:
        yield "which contents are in quarantine (withdrawn names are in the file)"
    if flag.rollout is not None and flag.rollout.state is RolloutState.PAUSED:
        yield f"that the rollout of {flag.rollout.variant} is paused"
    if flag.rollout is not None and flag.rollout.step:
        yield f"that the rollout of {flag.rollout.variant} goes on by steps: it stands at {flag.rollout.percent:g} %"

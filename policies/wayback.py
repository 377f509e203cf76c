"""Which flag of a route a rollback of that route means. Pure: knows documents' states, and nothing of who asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from flags.errors import Refused
from flags.model import NOTHING, Document, Flag, Layer
from policies.verbs import in_service, targeted, withdrawing

NOTHING_PINNED: Mapping[Layer, str] = MappingProxyType({})


def has_way_back(flag: Flag) -> bool:
    """Whether a rollback without `--to` would take something out of service."""
    return flag.safe is not None and bool(in_service(flag) - {flag.safe})


def brake_of(
    route: str,
    flags: Sequence[Flag],
    changed_at: Mapping[str, int],
    *,
    pins: Mapping[Layer, str] = NOTHING_PINNED,
    rules: Document = NOTHING,
) -> Flag:
    """The flag that a rollback of the route means: the pipeline, else the one whose serving changed last.

    `changed_at` gives, by flag key, the revision of that change; a flag that it lacks counts by its own revision.
    What the served pipeline pins (`pins`) to another version than the one that would go comes after all others: its
    rollback would move nobody. Raises Refused when none has anything to go back from; `rules` are the flags'
    targeting rules by hash, so that it tells what they may still serve.
    """
    able = [flag for flag in flags if has_way_back(flag)]
    if not able:
        raise _nothing(route, flags, rules)
    able = [flag for flag in able if _moves_somebody(flag, pins)] or able
    pipelines = [flag for flag in able if flag.layer is Layer.PIPELINE]
    return pipelines[0] if pipelines else max(able, key=lambda flag: changed_at.get(flag.key, flag.revision))


def _moves_somebody(flag: Flag, pins: Mapping[Layer, str]) -> bool:
    pinned = None if flag.layer is None else pins.get(flag.layer)
    return pinned is None or pinned in in_service(flag) - {flag.safe}


def _nothing(route: str, flags: Sequence[Flag], rules: Document) -> Refused:
    keys = [flag.key for flag in flags] or ["FLAG"]
    mends = [f"name a flag and a version: pointsman rollback {keys[0]} --to V --reason …"]
    mends += [
        withdrawing(flag, still)
        for flag in flags
        if flag.targeting and (still := targeted(flag, rules.get(flag.targeting)))
    ]
    return Refused(
        "nothing_to_roll_back",
        f'route "{route}": each of its flags serves its safe version alone ({", ".join(keys)})',
        mend=", or ".join(mends),
    )

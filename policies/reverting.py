"""An earlier state of a flag as its next one. Pure; knows neither the ledger nor who asked.

As after every verb, `safe` is not withdrawn and no generation fell.
"""

from __future__ import annotations

from dataclasses import replace

from flags.model import Flag
from policies.verbs import in_service, mirrored, reborn


def bring_back(then: Flag, last: Flag) -> Flag:
    """`then`, an earlier state of a flag that was deleted in state `last`, as it comes back.

    No generation falls, and what serves again, or is withdrawn no more, begins a new life.
    """
    variants = {
        name: replace(each, generation=max(each.generation, last.variants.get(name, each).generation))
        for name, each in then.variants.items()
    }
    after = replace(then, variants=variants)
    for name in sorted(in_service(after) | (last.withdrawn & variants.keys()) - after.withdrawn):
        after = reborn(after, name)
    return _noted(after, last)


def revive(now: Flag, then: Flag) -> Flag:
    """`then`, an earlier state of the flag, as its next: no generation falls, what serves again is reborn.

    Variants that were added since stay as they are: a revert neither unmakes nor restores them.
    """
    variants = {**now.variants}
    for name, variant in then.variants.items():
        current = now.variants.get(name, variant)
        variants[name] = replace(variant, generation=max(variant.generation, current.generation))
    newer = now.withdrawn - then.variants.keys()
    after = replace(then, variants=variants, withdrawn=then.withdrawn | newer)
    again = in_service(after) - in_service(now) | (now.withdrawn - after.withdrawn)
    for name in sorted(again & now.variants.keys()):
        after = reborn(after, name)
    return _noted(after, now)


def _noted(after: Flag, now: Flag) -> Flag:
    """With what is noted in `now`, which no revert unmakes; but what a human puts back in service is quarantined no more."""
    restored = {after.variants[name].hash for name in in_service(after) - in_service(now)}
    return mirrored(
        replace(
            after,
            quarantined=now.quarantined - restored,
            braked_at=now.braked_at,
            changed_at=now.changed_at,
        )
    )

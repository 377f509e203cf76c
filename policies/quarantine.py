"""A content taken out of service by a person (or an audit), and let out again, as pure steps from one Flag to the next.

Beside policies/verbs.py, whose conventions hold. Knows neither who asks nor how a step is stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from flags.errors import NotFound, Refused
from flags.model import Flag
from policies.governance.card import Card
from policies.governance.rules import last_known_good
from policies.verbs import Step, mirrored, withdraw


def add(flag: Flag, name: str, cards: Mapping[str, Card]) -> Step:
    """The content of `name` is withdrawn under all its names, and none of them may be served until a person lets it out.

    Where it is `safe`, `safe` moves to the last known good version first. Raises Refused (`variant_is_safe`) where
    nothing else satisfies the promotion rules, or there are no rules: then a person must say where to land.
    """
    content = _hash_of(flag, name)
    names = frozenset(each.name for each in flag.variants.values() if each.hash == content)
    moved = _landed(flag, name, names, cards)
    for each in names:
        moved = withdraw(moved, each).flag
    after = mirrored(replace(moved, quarantined=flag.quarantined | {content}))
    return Step(after, left=name, reached=after.safe, changed=after != flag)


def release(flag: Flag, name: str) -> Step:
    """The content of `name` is in quarantine no more. It stays withdrawn: `restore` puts it back into service."""
    content = _hash_of(flag, name)
    after = replace(flag, quarantined=flag.quarantined - {content})
    return Step(after, left=name, reached=flag.served, changed=after != flag, released=after != flag)


def _hash_of(flag: Flag, name: str) -> str:
    if name not in flag.variants:
        names = ", ".join(flag.variants)
        raise NotFound(f'flag "{flag.key}": variant "{name}" is not defined (variants: {names})')
    return flag.variants[name].hash


def _landed(flag: Flag, name: str, leaving: frozenset[str], cards: Mapping[str, Card]) -> Flag:
    if flag.safe not in leaving:
        return flag
    good = last_known_good(flag, cards, but=leaving)
    if good.variant is not None and good.variant not in leaving:
        return replace(flag, safe=good.variant)
    others = [each for each in flag.variants if each not in leaving and each not in flag.withdrawn]
    to = next(reversed(others), "V")
    why = "" if flag.promotion is None else ", and no other version satisfies the promotion rules"
    raise Refused(
        "variant_is_safe",
        f'flag "{flag.key}": {name} is the safe version, where a rollback lands{why}; it cannot be put into quarantine',
        mend=f"name another safe version first: pointsman rollback {flag.key} --to {to} --reason …",
    )

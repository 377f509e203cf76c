"""A rollback by the rules: what it makes of the flag, where it lands, and the record that it opens. Pure.

The same for a person's hand and for a policy. Knows neither who asks nor how it is stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from flags.errors import Refused
from flags.ledger import Author
from flags.model import Flag, Json
from policies import verbs
from policies.governance.card import Card
from policies.governance.landing import Landing, beside, has_unfit_safe, landing_of
from policies.governance.record import Cause, Record, Step, StepName, StepState
from policies.governance.rules import last_known_good, semver_of, unmet

BY_HAND = Cause()


@dataclass(frozen=True, slots=True)
class Braked:
    """What a rollback makes of a flag, and why it lands where it does."""

    step: verbs.Step
    landing: Landing


def rolled_back(
    flag: Flag, cards: Mapping[str, Card], *, to: str | None = None, rule: Json = None, override: bool = False
) -> Braked:
    """As `verbs.rollback`, landing by the promotion rules.

    Without `to` it never refuses for want of papers; and where `safe` itself serves everybody and satisfies the rules no
    more, it goes back to the version that does. A version that is named must satisfy them where another one does (Refused
    names it), unless an admin overrides them.
    """
    leaving = verbs.in_service(flag)
    if to is None and flag.rollout is None and leaving <= {flag.safe} and has_unfit_safe(flag, cards):
        landing = landing_of(flag, cards, leaving)
        return Braked(verbs.rollback(flag, to=landing.variant, rule=rule), landing)
    step = verbs.rollback(flag, to=to, rule=rule)
    if not step.changed:
        return Braked(step, Landing(flag.safe, "it is so already"))
    if to is not None:
        return Braked(step, _named(flag, cards, to, override=override))
    landing = landing_of(flag, cards, leaving - {flag.safe})
    return Braked(
        verbs.rollback(flag, to=landing.variant, rule=rule) if landing.moved else step,
        landing,
    )


def taken_out(flag: Flag, variant: str, cards: Mapping[str, Card], time: str) -> Braked:
    """The flag with `variant` withdrawn by automation, its content quarantined until a person restores it."""
    landing = landing_of(flag, cards, {variant})
    moved = replace(flag, safe=landing.variant) if landing.moved else flag
    step = verbs.withdraw(moved, variant)
    content = flag.variants[variant].hash
    after = replace(step.flag, quarantined=flag.quarantined | {content}, braked_at=time)
    after = verbs.mirrored(after)
    return Braked(replace(step, flag=after, left=variant), beside(landing, after, cards))


def record_of(
    braked: Braked,
    author: Author,
    cards: Mapping[str, Card],
    *,
    time: str,
    routes: Sequence[str],
    cause: Cause = BY_HAND,
) -> Record:
    """The record of a rollback as it begins: the version is found, and with this very Change it is restored."""
    after = braked.step.flag
    to = after.served
    served = None if to is None else after.variants[to]
    content = "" if served is None else served.hash
    version = "" if to is None else semver_of(to, cards[to])
    located = Step(StepState.DONE, time, f"{to}: {braked.landing.reason}")
    restored = Step(StepState.DONE, time, f"{to} is served by its recorded hash {content}")
    return Record(
        flag=after.key,
        origin=braked.step.left,
        to=to,
        hash=content,
        label=f"v{version}-rollback" if version else "",
        reason=author.reason,
        actor=author.actor,
        at=time,
        link=author.link,
        routes=[*routes],
        ungoverned=[*braked.landing.ungoverned],
        cause=cause,
        steps={StepName.LOCATE: located, StepName.RESTORE: restored},
    )


def _named(flag: Flag, cards: Mapping[str, Card], to: str, *, override: bool) -> Landing:
    missing = () if flag.promotion is None else unmet(flag, to, cards[to])
    if not missing:
        return Landing(to, "the version that was named", moved=to != flag.safe)
    told = "; ".join(map(str, missing))
    good = last_known_good(flag, cards, but=(verbs.in_service(flag) - {flag.safe}) | {to})
    if good.variant is not None and not override:
        raise Refused(
            missing[0].rule,
            f'flag "{flag.key}": {to} may not be safe: {told}',
            mend=f"pointsman rollback {flag.key} --to {good.variant} --reason … ({good.reason}), or as an admin --override",
        )
    why = "by an admin's override" if good.variant is not None else "no version satisfies the promotion rules"
    return Landing(
        to,
        f"the version that was named, ungoverned: {why}",
        moved=to != flag.safe,
        ungoverned=tuple(map(str, missing)),
    )

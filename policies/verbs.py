"""The operators' verbs as pure steps from one Flag to the next: switch, rollout, rollback, withdraw, restore.

Nothing here knows who asked, when, or how a step is stored. DESIGN §1 and CONTRACT §6 hold the rules.
Every step returns a Step or raises Refused (a rule forbids it), NotFound (no such variant) or Invalid
(a number out of range), and in these cases nothing has changed: a Flag is immutable. Three things hold
after every step: `safe` is not withdrawn, a rollout's candidate is not withdrawn, no generation fell.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from flags.errors import Invalid, NotFound, Refused
from flags.model import Flag, Json, Rollout, RolloutState, Shadow, Variant
from policies.schedule import Schedule

# The rule that a second pull of the same brake meets; the caller looks whether it was pulled already.
ALREADY_SAFE = "already_safe"
# What of a flag says who gets what.
SERVING = ("serve", "safe", "rollout", "withdrawn", "enabled")
ALL_PERCENT = 100.0


@dataclass(frozen=True, slots=True)
class Step:
    """What a verb made of a flag; it led from the variant `left` to `reached` (`from` and `to` in JSON)."""

    flag: Flag
    left: str | None
    reached: str | None
    changed: bool = True
    # A quarantine was lifted.
    released: bool = False


def switch(flag: Flag, name: str, *, safe: str | None = None) -> Step:
    """`name` is what everybody gets; a rollout ends. `safe` moves only where it is named.

    Targeting rules go on choosing. The generation rises when `name` was not what was served.
    """
    _usable(flag, name)
    landing = flag.safe
    if safe is not None:
        _usable(flag, safe)
        landing = safe
    # A flag with no safe version yet gets the first one that is served, as a new flag does.
    after = mirrored(replace(flag, serve=name, safe=landing or name, rollout=None))
    if flag.served != name:
        after = reborn(after, name)
    return Step(after, left=flag.served, reached=name, changed=after != flag)


def start(flag: Flag, name: str, share: float | Schedule) -> Step:
    """`name` is the candidate and gets `share` percent (two decimals) of the users, or the first of the schedule's
    steps; any other's rollout ends.

    Naming the current candidate moves its percentage only, and keeps its generation and its pause; automation
    raises it no more, unless by the schedule that is given now. The requests of a flag without a layer are not
    counted, so its steps wait for none.
    """
    rollout = share.first(name) if isinstance(share, Schedule) else Rollout(name, _share(share))
    if flag.layer is None:
        rollout = replace(rollout, min_requests=0)
    _usable(flag, name)
    if flag.served is None:
        raise Refused(
            "nothing_served",
            f'flag "{flag.key}" serves no variant, so there is nobody to share with',
            mend=f"pointsman switch {flag.key} {name}",
        )
    if name == flag.served:
        raise Refused(
            "already_served",
            f'flag "{flag.key}": "{name}" is what is served; a candidate must be another variant',
            mend=_others(flag, name) or "add a variant to roll out",
        )
    current = flag.rollout
    if current is not None and current.variant == name:
        after = replace(flag, rollout=replace(rollout, state=current.state))
        return Step(after, left=flag.served, reached=name, changed=after != flag)
    return Step(reborn(replace(flag, rollout=rollout), name), left=flag.served, reached=name)


def advance(flag: Flag) -> Step:
    """The rollout's next step; after its last, and at 100 %, the candidate is promoted.

    Raises Refused for a rollout by hand: nobody but a person moves that.
    """
    rollout = _running(flag)
    if rollout.step is None or not rollout.steps:
        raise Refused("no_steps", f'flag "{flag.key}": the rollout of {rollout.variant} has no steps')
    following = rollout.step + 1
    if following >= len(rollout.steps) or rollout.steps[following] >= ALL_PERCENT:
        return promote(flag)
    after = replace(flag, rollout=replace(rollout, step=following, percent=rollout.steps[following]))
    return Step(after, left=flag.served, reached=rollout.variant)


def settle(flag: Flag) -> Step:
    """What is served becomes `safe`: where a rollback lands from now on."""
    return Step(
        replace(flag, safe=flag.served), left=flag.safe, reached=flag.served, changed=flag.served != flag.safe
    )


def stamped(before: Flag | None, after: Flag, time: str) -> Flag:
    """`after`, with `time` as its `changed_at` if it serves otherwise than `before` (or is new), and as the time from
    which on what it serves to all does so.

    Whoever writes a flag passes it through here.
    """
    same = before is not None and all(getattr(before, name) == getattr(after, name) for name in SERVING)
    after = replace(after, changed_at=before.changed_at if same and before else time)
    if after.served is None or (before is not None and before.served == after.served):
        return after
    began = replace(after.variants[after.served], served_at=time)
    return replace(after, variants={**after.variants, after.served: began})


def pause(flag: Flag) -> Step:
    """The candidate keeps its share, and nothing raises it until it is resumed."""
    return _moved(flag, RolloutState.PAUSED)


def resume(flag: Flag) -> Step:
    """A paused rollout runs again."""
    return _moved(flag, RolloutState.RUNNING)


def promote(flag: Flag) -> Step:
    """The candidate is served to all and its rollout is over; `safe` stays where it was."""
    candidate = _running(flag).variant
    after = mirrored(replace(flag, serve=candidate, rollout=None))
    return Step(after, left=flag.served, reached=candidate)


def abort(flag: Flag) -> Step:
    """The rollout is over; its candidate is not withdrawn."""
    candidate = _running(flag).variant
    return Step(replace(flag, rollout=None), left=candidate, reached=flag.served)


def rollback(flag: Flag, *, to: str | None = None, rule: Json = None) -> Step:
    """`safe` (moved to `to` first) is the only variant served: the others are withdrawn, the rollout ends.

    `serve` keeps its name: *withdrawn → safe* diverts, so nobody else moves, and restoring brings it back.
    What only the targeting rule serves goes on (see `targeted`); `rule` is its JSON, for the refusal.
    Raises Refused where `safe` alone is served already and has been all along.
    """
    if to is not None:
        _usable(flag, to)
    landing = flag.safe if to is None else to
    bad = frozenset(name for name in in_service(flag) if name != landing)
    if landing == flag.safe and not bad and flag.rollout is None:
        return _nothing_left(flag, targeted(flag, rule))
    after = replace(
        flag,
        # A flag that serves the caller's own default has no name to divert.
        serve=flag.serve if flag.serve is not None or to is None else to,
        safe=landing,
        rollout=None,
        withdrawn=flag.withdrawn | bad,
    )
    return Step(mirrored(after), left=_left(flag, landing), reached=landing)


def withdraw(flag: Flag, name: str) -> Step:
    """Whoever would get `name` gets `safe`, and nobody else moves; a rollout of it ends."""
    _known(flag, name)
    if name == flag.safe:
        raise Refused(
            "variant_is_safe",
            f'flag "{flag.key}": {name} is the safe version, where a rollback lands; it cannot be withdrawn',
            mend=f"name another with: pointsman rollback {flag.key} --to {_choice(flag, name)} --reason …",
        )
    if name in flag.withdrawn:
        return Step(flag, left=name, reached=flag.safe, changed=False)
    after = replace(flag, withdrawn=flag.withdrawn | {name})
    # A rollout ends with its candidate, and also where everybody now gets the candidate anyway.
    if after.rollout is not None and after.rollout.variant in (name, after.served):
        after = replace(after, rollout=None)
    return Step(mirrored(after), left=name, reached=flag.safe)


def restore(flag: Flag, name: str) -> Step:
    """`name` may be served again, in a new generation, so that its old evidence does not count.

    A quarantine of its content is lifted, whatever other names that has.
    """
    content = _known(flag, name).hash
    released = content in flag.quarantined
    after = replace(flag, quarantined=flag.quarantined - {content})
    if name in flag.withdrawn:
        after = reborn(replace(after, withdrawn=flag.withdrawn - {name}), name)
    return Step(after, left=flag.safe, reached=name, changed=after != flag, released=released)


def shadow(flag: Flag, name: str, percent: float) -> Step:
    """`name` is sent a copy of `percent` (two decimals) of the requests; any other's shadow ends.

    Nobody sees what it answers, so no generation rises. Raises Refused for what serves everybody already, and for a flag
    that no route uses to answer.
    """
    wanted = Shadow(name, _share(percent))
    _usable(flag, name)
    if flag.layer is None:
        raise Refused(
            "no_layer",
            f'flag "{flag.key}" has no layer: no request is sent to its versions, so there is nothing to copy',
            mend="shadow a version of a prompt, model, retriever, index or pipeline flag",
        )
    if name == flag.served:
        raise Refused(
            "already_served",
            f'flag "{flag.key}": "{name}" is what is served; a copy of its own requests would tell nothing',
            mend=_others(flag, name) or "add a variant to shadow",
        )
    before = None if flag.shadow is None else flag.shadow.variant
    return Step(replace(flag, shadow=wanted), left=before, reached=name, changed=wanted != flag.shadow)


def unshadow(flag: Flag) -> Step:
    """Nothing is copied any more."""
    before = None if flag.shadow is None else flag.shadow.variant
    return Step(replace(flag, shadow=None), left=before, reached=None, changed=before is not None)


def mirrored(flag: Flag) -> Flag:
    """Without a shadow of what is withdrawn or quarantined, or serves everybody and tells nothing any more."""
    if flag.shadow is None:
        return flag
    variant = flag.variants[flag.shadow.variant]
    ended = variant.name in (*flag.withdrawn, flag.served) or variant.hash in flag.quarantined
    return replace(flag, shadow=None) if ended else flag


def targeted(flag: Flag, rule: Json) -> tuple[str, ...]:
    """The variants that the targeting rule may serve to some although they are not `safe`: those that it names.

    `rule` is the JSON of the flag's rule. What a rule composes (`cat`) nobody can tell beforehand.
    """
    named = _literals(rule) if flag.enabled else frozenset()
    return tuple(
        name for name in flag.variants if name in named and name != flag.safe and name not in flag.withdrawn
    )


def _literals(rule: Json) -> frozenset[str]:
    if isinstance(rule, str):
        return frozenset({rule})
    if isinstance(rule, Mapping):
        # The argument of `var` is the name of an attribute.
        return _literals([each for operator, each in rule.items() if operator != "var"])
    if isinstance(rule, Sequence):
        return frozenset().union(*map(_literals, rule))
    return frozenset()


def in_service(flag: Flag) -> frozenset[str]:
    """The variants that users get by default or by the rollout's coin."""
    names = {flag.served} | ({flag.rollout.variant} if flag.rollout else set())
    return frozenset(name for name in names if name is not None)


def _left(flag: Flag, landing: str | None) -> str | None:
    """What the rollback goes back from: what most users had, else the candidate."""
    if flag.served == landing and flag.rollout is not None:
        return flag.rollout.variant
    return flag.served


def withdrawing(flag: Flag, still: Sequence[str]) -> str:
    """The mend where a rule may still serve other versions."""
    what = f"take out what the targeting rule may serve ({', '.join(still)})"
    return f"{what}: pointsman withdraw {flag.key} {still[0]} --reason …"


def _nothing_left(flag: Flag, still: Sequence[str]) -> Step:
    if flag.serve is not None and flag.serve in flag.withdrawn:
        return Step(flag, left=flag.serve, reached=flag.safe, changed=False)
    if flag.safe is None:
        message = f'flag "{flag.key}" serves the caller\'s own default and nothing else; name one with --to'
    else:
        message = f"{flag.safe} is the safe version; name one with --to"
    choices = _names(flag, flag.safe)
    if not choices:
        raise Refused(ALREADY_SAFE, f"{message} (there is no other)", mend="add a variant to go to")
    mend = f"pointsman rollback {flag.key} --to {choices[0]} --reason …"
    if still:
        mend += f", or {withdrawing(flag, still)}"
    elif flag.targeting is not None:
        mend += (
            f", or take out one that the targeting rule serves: pointsman withdraw {flag.key} V --reason …"
        )
    raise Refused(ALREADY_SAFE, f"{message} ({', '.join(choices)})", mend=mend)


def _moved(flag: Flag, state: RolloutState) -> Step:
    rollout = _running(flag)
    after = replace(flag, rollout=replace(rollout, state=state))
    return Step(after, left=flag.served, reached=rollout.variant, changed=rollout.state is not state)


def _running(flag: Flag) -> Rollout:
    if flag.rollout is None:
        raise Refused(
            "no_rollout",
            f'flag "{flag.key}" has no rollout',
            mend=f"start one: pointsman rollout {flag.key} {_choice(flag, flag.served)} --percent 10",
        )
    return flag.rollout


def _share(percent: float) -> float:
    # Two decimals: a rollout is an exact part of 10,000, and 12.345 would silently be something else.
    # 57 * 0.01 is 0.5700000000000001: what a float leaves over is far below the next decimal.
    if not 0 <= percent <= 100 or abs(round(percent, 2) - percent) > 1e-9:
        raise Invalid("percent", f"found {percent}, expected 0 to 100 with two decimals at most")
    return round(percent, 2)


def _known(flag: Flag, name: str) -> Variant:
    if name not in flag.variants:
        names = ", ".join(flag.variants)
        raise NotFound(
            f'flag "{flag.key}": variant "{name}" is not defined (variants: {names})',
            mend="a new variant is declared in the config first: pointsman apply -f FILE",
        )
    return flag.variants[name]


def _usable(flag: Flag, name: str) -> None:
    """Raises NotFound, or Refused where a person must restore it first."""
    variant = _known(flag, name)
    if variant.hash in flag.quarantined:
        same = [
            each.name for each in flag.variants.values() if each.hash == variant.hash and each.name != name
        ]
        also = f" (as {', '.join(same)})" if same else ""
        raise Refused(
            "quarantined",
            f'flag "{flag.key}": the content of "{name}"{also} is in quarantine',
            mend=f"restore it first: pointsman restore {flag.key} {name} --reason …",
        )
    if name in flag.withdrawn:
        raise Refused(
            "variant_withdrawn",
            f'flag "{flag.key}": "{name}" is withdrawn',
            mend=f"restore it first: pointsman restore {flag.key} {name} --reason …",
        )


def reborn(flag: Flag, name: str) -> Flag:
    """With a new generation of `name`: a new life, for which no old evidence counts."""
    variant = flag.variants[name]
    reborn = replace(variant, generation=variant.generation + 1)
    return replace(flag, variants={**flag.variants, name: reborn})


def _names(flag: Flag, but: str | None) -> list[str]:
    """The variants that may be served, without `but`, the newest first (v10 before v9)."""
    able = [v for v in flag.variants.values() if v.name != but and v.name not in flag.withdrawn]
    return [v.name for v in sorted(able, key=lambda v: (v.created_at, natural(v.name)), reverse=True)]


def natural(name: str) -> list[tuple[int, str]]:
    """v10 after v9."""
    return [(int(digits or 0), text) for digits, text in re.findall(r"(\d+)|(\D+)", name)]


def _others(flag: Flag, but: str | None) -> str:
    return ", ".join(_names(flag, but))


def _choice(flag: Flag, but: str | None) -> str:
    return next(iter(_names(flag, but)), "VARIANT")

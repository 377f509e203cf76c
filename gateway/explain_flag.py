"""Why a context gets what it gets from one flag: as OFREP and the providers answer, told step by step.

Pure. Knows no route: what a route makes of its layers' flags is told by gateway.explain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import NamedTuple

from flags.compiled import WHOLE, CompiledFlag
from flags.errors import Invalid, NotFound
from flags.flagd_operators import Term
from flags.model import Context, Json, Reason, Resolution, Rollout
from flags.resolve import bucket_of, resolve
from flags.snapshot import Snapshot
from flags.targeting import RULE_FAILURES, compile_rule, data_for
from gateway.shapes import FlagExplained

# So many names close to the one that was typed are shown; a thousand would help nobody.
NAMES_SHOWN = 5
# What a rule is looked through for: a longer chain is told as a whole.
MAX_BRANCHES = 1_000


class Branch(NamedTuple):
    """Which condition of a rule's outermost `if` held: its number, counted from 1, of how many; 0: none of them."""

    number: int
    of: int
    condition: Json


def explain_flag(
    snapshot: Snapshot, key: str, context: Context, pin: str | None, now: float
) -> FlagExplained:
    """Resolve as for an app's evaluation, and say why. Raises NotFound; Invalid for a pin that is no variant.

    `now` is in Unix seconds. Without a variant the caller's own default applies.
    """
    flag = snapshot.flags.get(key)
    if flag is None:
        raise NotFound(f'flag "{key}" does not exist{_near(key, snapshot)}')
    if pin is not None and pin not in flag.flag.variants:
        names = ", ".join(flag.flag.variants)
        raise Invalid("pin", f"variant {pin!r} is not defined (variants: {names})")
    resolution = resolve(flag, context, int(now), pin)
    rule = None if flag.flag.targeting is None else snapshot.contents.get(flag.flag.targeting)
    branch = _branch(rule, key, context, int(now)) if _is_targeted(resolution) else None
    bucket = bucket_for(flag, context)
    return FlagExplained(
        flag=key,
        layer=flag.flag.layer,
        targeting_key=context.targeting_key,
        attributes=context.attributes,
        revision=snapshot.revision,
        value=resolution.value,
        variant=resolution.variant,
        reason=resolution.reason,
        why=_why(flag, resolution, bucket, branch) + diverted(flag, resolution),
        generation=resolution.generation,
        wanted=resolution.wanted,
        pinned=resolution.pinned,
        bucket=bucket,
        weight=flag.flag.rollout.weight if flag.flag.rollout else None,
        rule=rule,
        condition=branch.condition if branch and branch.number else None,
        error_code=resolution.error,
        error=resolution.message,
    )


def _near(key: str, snapshot: Snapshot) -> str:
    near = get_close_matches(key, snapshot.flags, NAMES_SHOWN) or sorted(snapshot.flags)[:NAMES_SHOWN]
    return f" (near it: {', '.join(near)})" if near else " (there is no flag)"


def _is_targeted(resolution: Resolution) -> bool:
    return resolution.reason is Reason.TARGETING_MATCH and not resolution.pinned


def _branch(rule: Json, key: str, context: Context, now: int) -> Branch | None:
    """The condition that held; None where the rule is no chain of them, or is not to be told apart."""
    chain = rule.get("if") if isinstance(rule, Mapping) else None
    if isinstance(chain, str) or not isinstance(chain, Sequence) or not 2 <= len(chain) <= MAX_BRANCHES:
        return None
    conditions = chain[: len(chain) - len(chain) % 2 : 2]
    try:
        for number, condition in enumerate(conditions, 1):
            # The rule's own idea of what is true, which is not Python's.
            asked: Term | None = compile_rule({"if": [condition, True, False]}, key)
            if asked is not None and asked(data_for(key, context, now)) is True:
                return Branch(number, len(conditions), condition)
    except RULE_FAILURES:
        return None
    return Branch(0, len(conditions), None)


def bucket_for(flag: CompiledFlag, context: Context) -> int | None:
    """Which of the 10,000 parts `context` falls into; None where no coin is tossed."""
    if flag.coin is None or not context.targeting_key:
        return None
    return bucket_of(flag.coin, context.targeting_key)


def _why(flag: CompiledFlag, resolution: Resolution, bucket: int | None, branch: Branch | None) -> str:
    """The sentence for the step that decided, in the order in which the steps are tried."""
    if resolution.reason is Reason.DISABLED:
        return "the flag is disabled: the caller's own default applies"
    if resolution.error is not None:
        return f"an error ({resolution.message}): the caller's own default applies"
    if resolution.pinned:
        return "the pin chose it"
    if resolution.reason is Reason.TARGETING_MATCH:
        return f"the targeting rule chose it{_told(branch)}"
    if resolution.reason is Reason.SPLIT and flag.flag.rollout is not None and bucket is not None:
        return tossed(flag.flag.rollout, bucket)
    default = (
        "it is served by default" if resolution.variant is not None else "the caller's own default applies"
    )
    if flag.flag.rollout is not None:
        chance = f"the rollout of {flag.flag.rollout.variant} at {flag.flag.rollout.percent:g} %"
        return f"no targeting key was given, so {chance} tossed no coin: {default}"
    return f"{'no rule matched' if flag.rule is not None else 'nothing else applies'}: {default}"


def _told(branch: Branch | None) -> str:
    if branch is None:
        return ""
    if not branch.number:
        return f" by its `else`: none of {branch.of} conditions held"
    return f": condition {branch.number} of {branch.of} held"


def tossed(rollout: Rollout, bucket: int) -> str:
    """The sentence for a rollout's coin, and on which side it fell."""
    side = "at or above" if bucket >= WHOLE - rollout.weight else "below"
    coin = f"the rollout of {rollout.variant} at {rollout.percent:g} % tossed its coin"
    return f"{coin}: bucket {bucket} of {WHOLE} lies {side} {WHOLE - rollout.weight}"


def diverted(flag: CompiledFlag, resolution: Resolution) -> str:
    """What follows that sentence where *withdrawn → safe* replaced what was chosen; else ""."""
    wanted = resolution.wanted
    if wanted is None or wanted not in flag.flag.withdrawn:
        return ""
    return f"; {wanted} was chosen, but it is withdrawn, so the safe version {flag.flag.safe} answers"

"""From a verdict to a Change: what automation writes, decided anew on the objects as they are when it is written.

Pure. Every function returns drafts; none, where somebody was faster, or where it would move past a person's decision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import msgspec

from flags.change import Draft, View
from flags.codec import document_of
from flags.ledger import Author
from flags.model import Flag, Kind, ObjectKey, RolloutState, StoredObject
from policies import verbs
from policies.case import Case, release_of, retreat_of, trial_of
from policies.exhibit import EvidenceInvalid, Watch, exhibit_from
from policies.governance.braking import record_of, taken_out
from policies.governance.card import card_keys, cards_in
from policies.governance.record import Cause, opening, record_key
from policies.governance.rules import Unmet, unmet
from policies.policy import Action, Policy
from policies.verbs import Step
from policies.verdict import Verdict

STEPS = "automation/rollout"
SOAKING = "automation/soak"
# How the reasons of alerts begin: by these, people are told what it is (policies/notices/event.py).
DRY_RUN, UNFIT, NOTHING_TO = "would have done: ", "not rolled back, ", "nothing to "


@dataclass(frozen=True, slots=True)
class Breach:
    """What a judge found: the case, the policy that found it, its verdict.

    `declared` is the policy's object as it was when the case was made, None for one that ships. `nowhere`: there is
    nothing to withdraw (what is on trial is the safe version) or to pause. `unfit`: the version that a rollback would
    land on cannot serve.
    """

    case: Case
    policy: Policy
    verdict: Verdict
    declared: StoredObject | None = None
    nowhere: bool = False
    unfit: bool = False
    # The id of the Change that a rollback will be; the record of the governed rollback lies under it.
    id: str = ""

    @property
    def author(self) -> Author:
        """In whose name it is written, and on what it rests."""
        return Author(f"policy/{self.policy.name}", self._reason, evidence=self.verdict.evidence)

    @property
    def _reason(self) -> str:
        if self.policy.dry_run:
            return f"{DRY_RUN}{self.policy.action} (dry run): {self.verdict.reason}"
        if self.unfit:
            return f"{UNFIT}the safe version does not fit or is not there: {self.verdict.reason}"
        if self.policy.action is not Action.ALERT and self.alerts:
            what = "roll back" if self.policy.action is Action.ROLLBACK else "pause"
            return f"{NOTHING_TO}{what}: {self.verdict.reason}"
        return self.verdict.reason

    @property
    def alerts(self) -> bool:
        """Whether nothing is to be done but to tell."""
        return (
            self.policy.dry_run
            or self.policy.action is Action.ALERT
            or self.nowhere
            or self.unfit
            or self.case.subject is None
        )

    @property
    def object(self) -> ObjectKey:
        """What it is about: the flag; a route where there is nothing to go back to."""
        if self.case.subject is None:
            return ObjectKey(Kind.ROUTE, self.case.routes[0])
        return ObjectKey(Kind.FLAG, self.case.subject.flag)

    def reads(self, flag: Flag | None) -> list[ObjectKey]:
        """The objects on which it is decided; `flag` as this process knows it tells whose cards."""
        keys = [self.object, ObjectKey(Kind.POLICY, self.policy.name)]
        if self.alerts or self.policy.action is not Action.ROLLBACK or flag is None:
            return keys
        return [*keys, *card_keys(flag), *([record_key(self.id)] if self.id else ())]


def deed(breach: Breach, view: View) -> Sequence[Draft]:
    """The rollback or the pause that a breach calls for; nothing where it is not so any more (`stands`)."""
    if breach.alerts or not stands(breach, view):
        return []
    subject = breach.case.subject
    assert subject is not None
    flag = view.flag(subject.flag)
    if not _cool(flag, breach.policy, view.time):
        return []
    if breach.policy.action is Action.PAUSE:
        rollout = flag.rollout
        if rollout is None or rollout.state is RolloutState.PAUSED:
            return []
        # A person who resumes it has the cooldown's time to see whether it was right.
        paused = replace(verbs.pause(flag).flag, braked_at=view.time)
        return [_draft("rollout.pause", flag, paused, view.time)]
    if subject.variant == flag.safe:
        return []
    return _rollback(breach, flag, subject.variant, view)


def _rollback(breach: Breach, flag: Flag, variant: str, view: View) -> Sequence[Draft]:
    """The rollback, and the record that goes on from it."""
    cards = cards_in(view, flag)
    found = taken_out(flag, variant, cards, view.time)
    draft = _draft("rollback", flag, found.step.flag, view.time)
    if found.landing.ungoverned:
        shouted = {**breach.verdict.evidence, "ungoverned": [*found.landing.ungoverned]}
        draft = replace(draft, evidence=shouted)
    if not breach.id:
        return [draft]
    record = record_of(
        found, breach.author, cards, time=view.time, routes=breach.case.routes, cause=_cause(breach)
    )
    return [opening(breach.id, record), replace(draft, id=breach.id)]


def _cause(breach: Breach) -> Cause:
    """What fired it, as far as its exhibit tells: a signal from outside has none."""
    policy = breach.policy
    cause = Cause(policy.name, policy.metric.name, limit=policy.limit, quantile=policy.quantile)
    try:
        exhibit = exhibit_from(breach.verdict.evidence)
    except EvidenceInvalid:
        return cause
    n, bad = exhibit.n, exhibit.bad
    if isinstance(exhibit, Watch) and exhibit.seconds:
        n, bad = sum(each[0] for each in exhibit.seconds), sum(each[1] for each in exhibit.seconds)
    return msgspec.structs.replace(cause, requests=int(n), bad=bad / n if n else None)


def braked(flag: Flag, variant: str, time: str) -> Flag:
    """`flag` with `variant` withdrawn by automation, landing on `safe` as it is: what one process does by itself."""
    plain = replace(flag, promotion=None)
    after = taken_out(plain, variant, {}, time).step.flag
    return replace(after, promotion=flag.promotion)


def told(breach: Breach, view: View) -> Sequence[Draft]:
    """The note that tells of a breach on which nothing is done."""
    if not stands(breach, view):
        return []
    return [Draft("alert", breach.object, None, affects=False)]


def stands(breach: Breach, view: View) -> bool:
    """Whether what was judged is still on trial, or still serves, in the same life, and by the same policy."""
    policy = view.objects.get(ObjectKey(Kind.POLICY, breach.policy.name))
    if (policy and policy.document) != (breach.declared and breach.declared.document):
        return False
    if breach.object not in view.objects:
        return False
    subject = breach.case.subject
    return subject is None or stands_in(breach.case, view.flag(subject.flag))


def stands_in(case: Case, flag: Flag) -> bool:
    """Whether the case's release is still on trial, or still serves, in the same life."""
    if case.control is not None:
        return trial_of(flag) == (case.subject, case.control)
    return case.subject is not None and retreat_of(flag) == case.subject


def leads_nowhere(case: Case, policy: Policy, flag: Flag | None) -> bool:
    """Whether the policy's action has nothing to act on: what is `safe` cannot be withdrawn, what is served to all not paused."""
    if flag is None or case.subject is None:
        return True
    if policy.action is Action.PAUSE:
        return flag.rollout is None
    return case.subject.variant == flag.safe


def is_done(policy: Policy, flag: Flag | None) -> bool:
    """Whether what a breach would do was done before: a rollout that is paused need not be paused."""
    rollout = flag.rollout if flag else None
    paused = rollout is not None and rollout.state is RolloutState.PAUSED
    return policy.action is Action.PAUSE and not policy.dry_run and paused


def advanced(judged: Flag, view: View) -> Sequence[Draft]:
    """The next step of the rollout that was judged; nothing where it moved meanwhile, or its hold is not over."""
    flag = _as_judged(judged, view)
    rollout = None if flag is None else flag.rollout
    if flag is None or rollout is None or not rollout.steps or rollout.state is not RolloutState.RUNNING:
        return []
    if elapsed(flag.changed_at, view.time) < rollout.hold_seconds:
        return []
    step = verbs.advance(flag)
    if hindered(flag, view):
        return []
    return [
        _draft("rollout.promote" if step.flag.rollout is None else "rollout.step", flag, step.flag, view.time)
    ]


def settled(judged: Flag, view: View) -> Sequence[Draft]:
    """What served all traffic for its soak becomes safe; nothing where it is served no more."""
    flag = _as_judged(judged, view)
    if flag is None or not soaks(flag) or elapsed(flag.changed_at, view.time) < flag.soak.seconds:
        return []
    if hindered(flag, view):
        return []
    step: Step = verbs.settle(flag)
    return [_draft("safe", flag, step.flag, view.time)]


def hindered(flag: Flag, objects: View | Mapping[ObjectKey, StoredObject]) -> tuple[Unmet, ...]:
    """The promotion rules that what automation would do next does not satisfy: to promote a candidate after its last
    step, or to make what has soaked `safe`."""
    name = flag.served
    if flag.rollout is not None:
        if verbs.advance(flag).flag.rollout is not None:
            return ()
        name = flag.rollout.variant
    if flag.promotion is None or name is None:
        return ()
    return unmet(flag, name, cards_in(objects, flag)[name])


def soaks(flag: Flag) -> bool:
    """Whether what is served to all, since a time that is known, is not `safe` yet."""
    return bool(flag.changed_at) and flag.rollout is None and retreat_of(flag) is not None


def elapsed(since: str, now: str) -> float:
    """Seconds from one RFC 3339 time to another; endless where the first is not known."""
    if not since:
        return float("inf")
    return (datetime.fromisoformat(now) - datetime.fromisoformat(since)).total_seconds()


def milliseconds(time: str) -> float:
    """Unix milliseconds of an RFC 3339 time; 0 where it is not known."""
    return datetime.fromisoformat(time).timestamp() * 1000 if time else 0.0


def _as_judged(judged: Flag, view: View) -> Flag | None:
    """The flag as it is, if nobody has changed what it serves since it was judged."""
    if ObjectKey(Kind.FLAG, judged.key) not in view.objects:
        return None
    flag = view.flag(judged.key)
    same = all(getattr(flag, name) == getattr(judged, name) for name in (*verbs.SERVING, "changed_at"))
    alive = release_of(flag, flag.served) == release_of(judged, flag.served) if flag.served and same else same
    return flag if alive else None


def _cool(flag: Flag, policy: Policy, time: str) -> bool:
    """Whether automation may act on this flag again."""
    return elapsed(flag.braked_at, time) >= policy.cooldown_seconds


def _draft(action: str, before: Flag, after: Flag, time: str) -> Draft:
    return Draft(action, ObjectKey(Kind.FLAG, before.key), document_of(verbs.stamped(before, after, time)))

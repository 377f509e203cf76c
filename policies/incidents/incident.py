"""An incident from elsewhere (a signal, drift, complaints), the policies that it meets, and what they want done. Pure.

Whoever finds one hands it to `policies.incidents.responder.Responder`, which does the deed. Knows no wire, no count and no
store. Here an incident and a policy become a `Breach`, as a judge's finding does, so that the deed takes the same governed
way (policies/act.py): cooldown, quarantine, a record, and never past a person's decision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from flags.errors import Refused
from flags.model import NOTHING, Document, Flag, Json, Kind, Layer, ObjectKey, StoredObject
from flags.snapshot import Snapshot
from policies.act import Breach, leads_nowhere
from policies.case import Case, key_of, layer_flags, retreat_of, serving_of, trial_of
from policies.pinning import pins_of
from policies.policy import Policy, outside_policies
from policies.verdict import Standing, Verdict
from policies.wayback import brake_of, has_way_back

# What the evidence of such a deed is marked by: nobody can judge it again from counts.
FORMULA = "outside/1"
# A policy about every route meets an incident about none on no more routes than this.
MOST_ROUTES = 20


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that happened elsewhere. `metric` is the policies' word for it: `signal`, `drift`, `complaint`.

    `id` tells it from others: for one id a policy alerts once. `flag` (and `variant`) or `route` say what it is about,
    as far as it says so. `source` and `name` are what a policy of the metric `signal` may ask for. `evidence` is what
    the ledger keeps: small, and without anybody's words that nobody asked to keep. `policy`: only this one is met.
    """

    metric: str
    id: str
    reason: str
    flag: str | None = None
    variant: str | None = None
    route: str | None = None
    source: str = ""
    name: str = ""
    link: str | None = None
    evidence: Document = field(default_factory=lambda: NOTHING)
    policy: str | None = None


@dataclass(frozen=True, slots=True)
class Trigger:
    """A policy about incidents: `source` and `named` narrow those of the metric `signal`. `stored` declares it, None: ships."""

    policy: Policy
    source: str | None = None
    named: str | None = None
    stored: StoredObject | None = None

    def wants(self, incident: Incident) -> bool:
        """Whether an incident is of the kind that it is about, wherever it happened."""
        if incident.metric != self.policy.metric.name or incident.policy not in (None, self.policy.name):
            return False
        if self.source is not None and self.source != incident.source:
            return False
        return self.named is None or fnmatchcase(incident.name, self.named)


@dataclass(frozen=True, slots=True)
class Called:
    """What a policy wants done about an incident: a breach, and the object that a note about it is written on."""

    breach: Breach
    on: ObjectKey


def triggers_in(stored: Mapping[str, StoredObject]) -> tuple[Trigger, ...]:
    """The triggers about incidents: those declared (`stored`, by name) and those that ship."""
    specs = {name: _spec(stored[name]) for name in sorted(stored)}
    found = outside_policies(specs)
    return tuple(
        Trigger(
            policy,
            _text(specs.get(name, NOTHING).get("source")),
            _text(specs.get(name, NOTHING).get("named")),
            None if policy.shipped else stored[name],
        )
        for name, policy in found.items()
    )


def called(
    incident: Incident, triggers: Iterable[Trigger], snapshot: Snapshot, new_id: Callable[[], str]
) -> list[Called]:
    """What the triggers that the incident meets want done, one for each trigger; nothing where it meets none."""
    happened = happened_on(incident, snapshot)
    found = []
    for trigger in triggers:
        if not trigger.wants(incident):
            continue
        routes = [route for route in happened if trigger.policy.watches(route)]
        if not happened and incident.flag is None:
            # It says nothing of where: then the policy says it.
            routes = sorted(trigger.policy.routes or ())[:MOST_ROUTES]
        if routes or (trigger.policy.routes is None and not happened):
            found.append(_called(incident, trigger, routes, snapshot, new_id()))
    return found


def happened_on(incident: Incident, snapshot: Snapshot) -> list[str]:
    """The routes that an incident is about: the one it names, else those that use the flag it names; sorted."""
    stored = snapshot.of_kind(Kind.ROUTE)
    if incident.route is not None:
        return [incident.route] if incident.route in stored else []
    if incident.flag is None:
        return []
    return sorted(
        name for name, each in stored.items() if incident.flag in layer_flags(name, _spec(each)).values()
    )


def place_of(incident: Incident, snapshot: Snapshot) -> ObjectKey:
    """What a note about an incident is written on where no policy meets it: its flag, its route, or who told of it."""
    if incident.flag is not None and incident.flag in snapshot.flags:
        return ObjectKey(Kind.FLAG, incident.flag)
    routes = happened_on(incident, snapshot)
    if routes:
        return ObjectKey(Kind.ROUTE, routes[0])
    return ObjectKey(Kind.SIGNAL, incident.source or incident.metric)


def evidence_of(incident: Incident, policy: Policy | None) -> dict[str, Json]:
    """What the ledger keeps of an incident."""
    told: dict[str, Json] = {
        "formula": FORMULA,
        "metric": incident.metric,
        "event": incident.id,
        "source": incident.source,
        "name": incident.name,
        "flag": incident.flag,
        "variant": incident.variant,
        "route": incident.route,
        "link": incident.link,
        "policy": None if policy is None else policy.name,
        "detail": incident.evidence,
    }
    return {name: value for name, value in told.items() if value not in (None, "", NOTHING)}


def _called(
    incident: Incident, trigger: Trigger, routes: Sequence[str], snapshot: Snapshot, change_id: str
) -> Called:
    policy = trigger.policy
    flag = _meant(incident, policy, routes, snapshot)
    case = None if flag is None else _case(flag, incident.variant, policy, routes)
    place = place_of(incident, snapshot)
    if case is None and place.kind is Kind.SIGNAL and routes:
        place = ObjectKey(Kind.ROUTE, routes[0])
    alone = case or Case(f"{place.kind}/{place.name}", None, None, 0, 0, (policy,), tuple(routes) or ("",))
    verdict = Verdict(
        policy.name,
        alone.key,
        Standing.BREACHED,
        1.0,
        incident.reason,
        evidence=evidence_of(incident, policy),
    )
    nowhere = case is None or leads_nowhere(alone, policy, flag)
    breach = Breach(alone, policy, verdict, trigger.stored, nowhere=nowhere, id=change_id)
    return Called(breach, place if case is None else breach.object)


def _meant(incident: Incident, policy: Policy, routes: Sequence[str], snapshot: Snapshot) -> Flag | None:
    """The flag that a deed would move: the one named, else of the first route that has something to go back from."""
    if incident.flag is not None:
        compiled = snapshot.flags.get(incident.flag)
        return None if compiled is None else compiled.flag
    for route in routes:
        found = _brake(route, policy.layer, snapshot)
        if found is not None:
            return found
    return None


def _brake(route: str, layer: Layer | None, snapshot: Snapshot) -> Flag | None:
    stored = snapshot.of_kind(Kind.ROUTE).get(route)
    if stored is None:
        return None
    keys = layer_flags(route, _spec(stored)).values()
    flags = [snapshot.flags[key].flag for key in dict.fromkeys(keys) if key in snapshot.flags]
    pins = _pins(flags, snapshot)
    wanted = Layer.PIPELINE if layer in pins else layer
    for flag in flags:
        if flag.layer is wanted and wanted is not None and has_way_back(flag):
            return flag
    # By time, as the strategy without a candidate has it: what changed last is the likeliest cause.
    order = sorted(flags, key=lambda flag: (flag.changed_at, flag.revision))
    try:
        return brake_of(route, flags, {flag.key: at for at, flag in enumerate(order)}, pins=pins)
    except Refused:
        return None


def _pins(flags: Sequence[Flag], snapshot: Snapshot) -> Mapping[Layer, str]:
    for flag in flags:
        serving = serving_of(flag) if flag.layer is Layer.PIPELINE else None
        if serving is not None:
            return pins_of(snapshot.flags[flag.key].values.get(serving))
    return {}


def _case(flag: Flag, variant: str | None, policy: Policy, routes: Sequence[str]) -> Case | None:
    """The release that is meant, if it is on trial or could go back to the safe one; None otherwise."""
    used = tuple(routes)
    trial = trial_of(flag)
    if trial is not None and variant in (None, trial[0].variant):
        weight = flag.rollout.weight if flag.rollout else 0
        return Case(key_of(trial[0]), *trial, weight, flag.revision, (policy,), used)
    retreat = retreat_of(flag)
    if retreat is not None and variant in (None, retreat.variant):
        return Case(f"{key_of(retreat)}/served", retreat, None, 0, flag.revision, (policy,), used)
    return None


def _spec(stored: StoredObject) -> Document:
    found = stored.document.get("spec", NOTHING)
    return found if isinstance(found, Mapping) else NOTHING


def _text(found: Json) -> str | None:
    return found if isinstance(found, str) else None

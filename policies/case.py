"""What is on trial now: cases, made from flags, routes and policies when one of them changes.

Pure: knows neither counts nor the store. Making is incremental, and cut into small steps, because a namespace may
have 10,000 routes.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from math import ceil
from typing import NamedTuple, TypeVar

from immutables import Map, MapMutation

from flags.model import Document, Flag, Layer
from policies.outcome import Release
from policies.pinning import Pinning, no_pins
from policies.policy import Policy

V = TypeVar("V")

# The whole of a rollout's share, in its own unit.
EVERYBODY = 10_000
# Of a flag that thousands of routes share, so many are looked at in one step: some 0.2 ms.
ROUTES_A_STEP = 200


@dataclass(frozen=True, slots=True)
class Case:
    """A release that is judged.

    A *trial* has a `control`: what the same coin gives to the others. A *watch* has none: the release serves
    everybody (or, with `subject` None, the route has nothing to go back to and can only raise an alert).
    Outcomes decided at an older revision than `revision` (the flag's last change) are no evidence.
    """

    # `flag/variant/generation` of a trial, with `/served` behind it of a watch; or `route/<name>` (names have no slash).
    key: str
    subject: Release | None
    control: Release | None
    # The candidate's part of 10,000.
    weight: int
    revision: int
    # Those that may act on it, evidence and threshold, dry runs included; none where its requests are counted only.
    policies: tuple[Policy, ...]
    # The routes whose requests count.
    routes: tuple[str, ...]
    # The first whole Unix second after the flag's last change: scores of earlier decisions are no evidence.
    since: int = 0
    # It rests: on each of its routes the pipeline pins its layer for everybody, by one of these flags.
    under: tuple[str, ...] = ()

    def share(self, policy: Policy) -> float:
        """The part of α that is this policy's: several metrics of one release share it; a dry run takes none away."""
        live = sum(not each.dry_run for each in self.policies)
        return 1.0 / max(1, live + policy.dry_run)


class Judged(NamedTuple):
    """A case, and those of its policies for which one route's requests count."""

    case: Case
    policies: tuple[Policy, ...]


@dataclass(frozen=True, slots=True)
class RouteCases:
    """What one route's requests are evidence for: trials by flag key; watches by the watched release (None: the route's own)."""

    trials: Mapping[str, Judged]
    watches: tuple[Judged, ...]


class _Found(NamedTuple):
    """What a route brings to cases: its flags, and which of them each policy would roll back (None: none can be).

    `pinned` are the flags of the layers that what its pipeline serves pins: their releases answer nobody by themselves.
    """

    flags: Mapping[Layer, str]
    policies: tuple[Policy, ...]
    blamed: Mapping[str | None, tuple[Policy, ...]]
    pinned: frozenset[str] = frozenset()


_NOTHING_FOUND = _Found({}, (), {})


@dataclass(frozen=True, slots=True)
class Docket:
    """All cases as of one snapshot. `known` are all policies by name, shipped ones included.

    The rest is what the next docket is made from, so that only what a change touches is made anew.
    """

    cases: Mapping[str, Case] = Map()
    routes: Mapping[str, RouteCases] = Map()
    known: Mapping[str, Policy] = Map()
    found: Map[str, _Found] = field(default=Map(), repr=False, compare=False)
    # Which routes use (or would use) a flag, a map as a set; and the flag's present case.
    users: Map[str, Map[str, str]] = field(default=Map(), repr=False, compare=False)
    of_flag: Map[str, Case] = field(default=Map(), repr=False, compare=False)


EMPTY = Docket()


def docket_of(
    flags: Mapping[str, Flag],
    routes: Mapping[str, Mapping[Layer, str]],
    policies: Mapping[str, Policy],
    pinning: Pinning = no_pins,
) -> Docket:
    """All cases. `routes` tells the flag of each layer (layer_flags); flags that do not exist are left out."""
    return Making(EMPTY, flags, routes, policies, pinning=pinning, changed_routes=routes).docket()


def layer_flags(route: str, spec: Document) -> dict[Layer, str]:
    """The key of the flag that each layer of `route` uses, or would use if it existed: as given, else `<route>.<layer>`."""
    return {layer: str(spec.get(layer) or f"{route}.{layer}") for layer in Layer}


def trial_of(flag: Flag) -> tuple[Release, Release] | None:
    """The candidate and its control, while the coin gives both to somebody."""
    rollout = flag.rollout
    if rollout is None or not flag.enabled or not 0 < rollout.weight < EVERYBODY:
        return None
    if flag.served is None or rollout.variant in (*flag.withdrawn, flag.served):
        return None
    return release_of(flag, rollout.variant), release_of(flag, flag.served)


def retreat_of(flag: Flag) -> Release | None:
    """What serves everybody and could go back to `safe`; None where there is nothing to go back to, or a trial runs."""
    if not flag.enabled or flag.safe is None or flag.safe in flag.withdrawn or trial_of(flag) is not None:
        return None
    serving = serving_of(flag)
    return None if serving in (None, flag.safe) else release_of(flag, str(serving))


def serving_of(flag: Flag) -> str | None:
    """The variant that everybody gets, or all but those who try a candidate; None where there is none."""
    if not flag.enabled:
        return None
    rollout = flag.rollout
    if rollout is not None and rollout.weight == EVERYBODY and rollout.variant not in flag.withdrawn:
        return rollout.variant
    return flag.served


def release_of(flag: Flag, variant: str) -> Release:
    """The present life of a variant."""
    return Release(flag.key, variant, flag.variants[variant].generation)


def key_of(release: Release) -> str:
    """The key of the trial in which `release` is the subject."""
    return f"{release.flag}/{release.variant}/{release.generation}"


class Making:
    """A docket in the making, from the one before: iterate it to the end (a pause may follow each step).

    `changed_flags` and `changed_routes` name what may differ from `before`; other flags and routes are not looked
    at. With other policies than before, everything has to be made anew: start from EMPTY. `pinning` tells what the
    versions of pipelines pin.
    """

    __slots__ = (
        "_cases", "_flags", "_found", "_of_flag", "_pinning", "_policies", "_routes", "_served", "_todo", "_users",
    )  # fmt: skip

    def __init__(  # noqa: PLR0913  # all that a docket is made from
        self,
        before: Docket,
        flags: Mapping[str, Flag],
        routes: Mapping[str, Mapping[Layer, str]],
        policies: Mapping[str, Policy],
        *,
        pinning: Pinning = no_pins,
        changed_flags: Iterable[str] = (),
        changed_routes: Iterable[str] = (),
    ) -> None:
        self._flags, self._routes, self._policies, self._pinning = flags, routes, policies, pinning
        self._cases = Map(before.cases).mutate()
        self._served = Map(before.routes).mutate()
        self._found = before.found.mutate()
        self._users = before.users.mutate()
        self._of_flag = before.of_flag.mutate()
        self._todo = self._steps(frozenset(changed_flags), tuple(changed_routes))

    def __iter__(self) -> Iterator[None]:
        """Do the work, a route or a flag a step. Iterating again goes on where it was left."""
        yield from self._todo

    def docket(self) -> Docket:
        """The docket, finished: what was not iterated yet is done now."""
        for _ in self._todo:
            pass
        return Docket(
            self._cases.finish(),
            self._served.finish(),
            Map(self._policies),
            self._found.finish(),
            self._users.finish(),
            self._of_flag.finish(),
        )

    def _steps(self, flags: frozenset[str], routes: tuple[str, ...]) -> Iterator[None]:
        dirty, touched = set(flags), set(routes)
        for flag in flags:
            touched.update(self._users.get(flag, ()))
        for route in routes:
            dirty.update(self._move(route))
            yield
        for route in touched:
            dirty.update(self._look(route))
            yield
        for flag in dirty:
            if (yield from self._recase(flag)):
                touched.update(self._users.get(flag, ()))
            yield
        for route in touched:
            self._serve(route)
            yield

    def _move(self, route: str) -> set[str]:
        """Note which flags the route uses now; all that it used or uses are to be looked at."""
        before = {*self._found.get(route, _NOTHING_FOUND).flags.values()}
        after = {*self._routes.get(route, {}).values()}
        for flag in before - after:
            _set(self._users, flag, self._users[flag].delete(route))
        for flag in after - before:
            self._users[flag] = self._users.get(flag, Map()).set(route, route)
        return before | after

    def _look(self, route: str) -> set[str]:
        """Find anew whom the route's policies would roll back, and what rests; the flags for which that is not as it was."""
        before = self._found.get(route, _NOTHING_FOUND)
        if route not in self._routes:
            self._found.pop(route, None)
            return {flag for flag in before.blamed if flag is not None}
        after = self._find(route)
        self._found[route] = after
        either = before.blamed.keys() | after.blamed.keys()
        return {
            flag for flag in either if flag is not None and before.blamed.get(flag) != after.blamed.get(flag)
        } | (before.pinned ^ after.pinned)

    def _find(self, route: str) -> _Found:
        layers = self._routes[route]
        acting = _ordered(policy for policy in self._policies.values() if policy.watches(route))
        pinned = self._pinned(layers)
        able: dict[Layer, Flag] = {}
        for layer, key in layers.items():
            flag = self._flags.get(key)
            if flag is not None and layer not in pinned and retreat_of(flag) is not None:
                able[layer] = flag
        blamed: dict[str | None, tuple[Policy, ...]] = {}
        for policy in acting:
            # Without a control, what is bounded by the control is silent.
            if policy.limit is not None:
                flag = _blame(policy, able, pinned)
                name = None if flag is None else flag.key
                blamed[name] = (*blamed.get(name, ()), policy)
        return _Found(layers, acting, blamed, frozenset(layers[layer] for layer in pinned if layer in layers))

    def _pinned(self, layers: Mapping[Layer, str]) -> Collection[Layer]:
        """The layers that a route's pipeline pins for everybody, or for all but those who try another pipeline."""
        pipeline = self._flags.get(layers.get(Layer.PIPELINE, ""))
        serving = None if pipeline is None else serving_of(pipeline)
        return () if pipeline is None or serving is None else self._pinning(pipeline.key, serving)

    def _recase(self, key: str) -> Generator[None, None, bool]:
        """Make the flag's case anew; whether it is another than before."""
        before, after = self._of_flag.get(key), (yield from self._case(key))
        if after == before:
            return False
        if before is not None:
            self._cases.pop(before.key, None)
        if after is not None:
            self._cases[after.key] = after
        _set(self._of_flag, key, after)
        return True

    def _case(self, key: str) -> Generator[None, None, Case | None]:
        flag = self._flags.get(key)
        trial, retreat = (trial_of(flag), retreat_of(flag)) if flag else (None, None)
        if flag is None or (trial is None and retreat is None):
            return None
        users, routes, policies, under = [], [], dict[str, Policy](), list[str]()
        for number, route in enumerate(self._users.get(key, ())):
            if number % ROUTES_A_STEP == ROUTES_A_STEP - 1:
                yield
            found = self._found[route]
            users.append(route)
            under += [found.flags[Layer.PIPELINE]] if key in found.pinned else []
            acting = found.policies if trial else found.blamed.get(key, ())
            if acting:
                routes.append(route)
                policies.update((policy.name, policy) for policy in acting)
        if not users:
            return None
        subject, control = trial if trial else (retreat, None)
        assert subject is not None
        weight = flag.rollout.weight if trial and flag.rollout else 0
        # Where nobody judges it its requests are counted all the same: a soak, or a rollout's step, asks for them.
        judging, used = _ordered(policies.values()), tuple(sorted(routes or users))
        since = _second_after(flag.changed_at)
        # A promoted release is counted anew: what it did on trial says nothing of its rate as the one that serves.
        key = key_of(subject) if trial else f"{key_of(subject)}/served"
        resting = tuple(sorted({*under})) if len(under) == len(users) else ()
        return Case(key, subject, control, weight, flag.revision, judging, used, since, resting)

    def _serve(self, route: str) -> None:
        """What the route's requests are evidence for."""
        found = self._found.get(route)
        alone = f"route/{route}"
        self._cases.pop(alone, None)
        if found is None:
            self._served.pop(route, None)
            return
        trials, watches = {}, []
        for flag in dict.fromkeys(found.flags.values()):
            case = self._of_flag.get(flag)
            if case is None or route not in case.routes:
                continue
            if case.control is not None:
                trials[flag] = Judged(case, found.policies)
            else:
                watches.append(Judged(case, found.blamed.get(flag, ())))
        if acting := found.blamed.get(None):
            self._cases[alone] = Case(alone, None, None, 0, 0, acting, (route,))
            watches.append(Judged(self._cases[alone], acting))
        self._served[route] = RouteCases(trials, tuple(watches))


def _blame(policy: Policy, able: Mapping[Layer, Flag], pinned: Collection[Layer]) -> Flag | None:
    """The flag that goes back: of the policy's own layer, or the pipeline that pins that; else the one whose serving
    changed last. `able` are those that can, without those that are pinned."""
    layer = Layer.PIPELINE if policy.layer in pinned else policy.layer
    if layer is not None and layer in able:
        return able[layer]
    return max(able.values(), key=lambda flag: (flag.changed_at, flag.revision), default=None)


def _second_after(changed_at: str) -> int:
    """The first whole Unix second that is not before an RFC 3339 time; 0 where the time is unknown."""
    try:
        return ceil(datetime.fromisoformat(changed_at).timestamp())
    except ValueError:
        return 0


def _ordered(policies: Iterable[Policy]) -> tuple[Policy, ...]:
    return tuple(sorted(policies, key=lambda policy: policy.name))


def _set(draft: MapMutation[str, V], key: str, value: V | None) -> None:
    """Have `value` at `key`, or nothing where it is None or empty."""
    if value:
        draft[key] = value
    else:
        draft.pop(key, None)

"""What operators do: a verb becomes a Change, and the answer waits until the fleet serves by it.

Nothing here knows HTTP or the command line, and no rule of a verb stands here (policies.verbs).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from flags.change import Committed, Draft, View
from flags.codec import document_of, flag_from
from flags.errors import FlagError, Invalid, NotFound, Refused
from flags.fleet import Acks
from flags.ledger import Author
from flags.model import Document, Flag, Json, Kind, Layer, ObjectKey, StoredObject
from flags.snapshot import Snapshot, hashes_of
from flags.store import Store
from gateway.compiling import flag_names
from gateway.declaring.declarations import Read, declare, from_document, preview, writes_of
from gateway.declaring.plan import Options
from gateway.declaring.references import check_references
from gateway.history import last_state, serving_changed_at, state_at
from gateway.retrieval.fitting import MAY_MISFIT, Fitting, may_misfit
from gateway.shapes import AppliedShape, Done
from policies import verbs
from policies.case import serving_of
from policies.pinning import pins_of
from policies.reverting import bring_back, revive
from policies.schedule import Schedule
from policies.verbs import Step
from policies.wayback import brake_of, has_way_back

# CONTRACT: a write waits this long for the workers that were alive, unless told otherwise.
WAIT_SECONDS = 5.0
# A wait is held open by the server: a minute is more than any fleet needs, and bounds what a caller can hold.
MAX_WAIT_SECONDS = 60.0

Verb = Callable[[Flag], Step]


@dataclass(frozen=True, slots=True)
class Order:
    """Who wants it, and how long to wait for the fleet. Raises Invalid for a wait out of range."""

    author: Author
    wait_seconds: float = WAIT_SECONDS

    def __post_init__(self) -> None:
        if not 0 <= self.wait_seconds <= MAX_WAIT_SECONDS:
            found = f"found {self.wait_seconds}, expected 0 to {MAX_WAIT_SECONDS:.0f}"
            raise Invalid("wait_seconds", found)


class Operations:
    """The verbs over one store. `snapshot` gives this process's newest one, `clock` counts seconds.

    All verbs raise Refused, Conflict, NotFound, Invalid and StoreUnavailable, and then nothing was written.
    """

    def __init__(
        self,
        store: Store,
        snapshot: Callable[[], Snapshot],
        clock: Callable[[], float],
        *,
        fitting: Fitting | None = None,
    ) -> None:
        self.store, self._fitting = store, fitting
        self.snapshot = snapshot
        self._clock = clock

    async def switch(self, order: Order, key: str, variant: str, *, safe: str | None = None) -> Done:
        """`variant` is served to all."""
        return await self._do(order, "switch", key, lambda flag: verbs.switch(flag, variant, safe=safe))

    async def rollout(self, order: Order, key: str, variant: str, share: float | Schedule) -> Done:
        """`variant` is the candidate, with `share` percent of the users, or with what the schedule says."""
        return await self._do(order, "rollout", key, lambda flag: verbs.start(flag, variant, share))

    async def steer(self, order: Order, key: str, action: str) -> Done:
        """Pause, resume, promote or abort the rollout."""
        steps: Mapping[str, Verb] = {
            "pause": verbs.pause,
            "resume": verbs.resume,
            "promote": verbs.promote,
            "abort": verbs.abort,
        }
        if action not in steps:
            raise Invalid("action", f'found "{action}", expected one of {", ".join(steps)}')
        return await self._do(order, f"rollout.{action}", key, steps[action])

    async def shadow(self, order: Order, key: str, variant: str, percent: float) -> Done:
        """`variant` is sent a copy of `percent` of the requests."""
        return await self._do(order, "shadow", key, lambda flag: verbs.shadow(flag, variant, percent))

    async def unshadow(self, order: Order, key: str) -> Done:
        """Nothing is copied any more."""
        return await self._do(order, "shadow", key, verbs.unshadow)

    async def rollback(self, order: Order, key: str, *, to: str | None = None, anyway: bool = False) -> Done:
        """`safe` is the only variant served. A second pull finds it done; so does a rival's.

        An index that is not there, or does not fit, is refused unless `anyway`.
        """
        seen: list[Flag] = []

        def brake(flag: Flag) -> Step:
            seen.append(flag)
            return verbs.rollback(flag, to=to, rule=self._rule(flag))

        try:
            done = await self._do(order, "rollback", key, brake, insist=True, anyway=anyway)
        except Refused as refused:
            if refused.rule != verbs.ALREADY_SAFE or not await self._was_rolled_back(seen[-1]):
                raise
            done = await self._do(order, "rollback", key, _nothing_to_do)
        # As CONTRACT has it, targeting rules go on choosing; whoever pulls the brake must know what it left.
        after = verbs.rollback(seen[-1], to=to).flag if done.changed else seen[-1]
        return msgspec.structs.replace(done, targeted=list(verbs.targeted(after, self._rule(after))))

    def _rule(self, flag: Flag) -> Json:
        """The flag's targeting rule, as far as this process has it: a brake does not wait to read one."""
        return None if flag.targeting is None else self.snapshot().contents.get(flag.targeting)

    async def rollback_route(
        self, order: Order, route: str, *, to: str | None = None, anyway: bool = False
    ) -> Done:
        """Roll back the one flag of the route that this means (wayback.brake_of)."""
        snapshot = self.snapshot()
        flags = route_flags(route, snapshot.objects)
        able = [flag.key for flag in flags if has_way_back(flag)]
        changed_at: Mapping[str, int] = {}
        if len(able) > 1:
            changed_at = await serving_changed_at(self.store, able, snapshot.position.revision)
        _, pins = pins_served(flags, snapshot)
        brake = brake_of(route, flags, changed_at, pins=pins, rules=snapshot.contents)
        return await self.rollback(order, brake.key, to=to, anyway=anyway)

    async def withdraw(self, order: Order, key: str, variant: str, *, anyway: bool = False) -> Done:
        """Whoever would get `variant` gets `safe`; `anyway` as in `rollback`."""

        def verb(flag: Flag) -> Step:
            return verbs.withdraw(flag, variant)

        return await self._do(order, "withdraw", key, verb, insist=True, anyway=anyway)

    async def restore(self, order: Order, key: str, variant: str) -> Done:
        """`variant` may be served again, and its content is in quarantine no more."""
        return await self._do(order, "restore", key, lambda flag: verbs.restore(flag, variant))

    async def apply(
        self, order: Order, document: Json, options: Options, *, dry_run: bool = False
    ) -> AppliedShape:
        """Write what a document declares, all or nothing; with `dry_run` only tell what that would be."""
        started = self._clock()
        read = from_document(document)
        warnings = await self._planned_fits(document, read, options)
        if dry_run:
            planned, committed, acks = await preview(self.store, read, options), None, Acks(0, 0)
        else:
            planned, committed = await declare(self.store, order.author, read, options)
            acks = await self.acknowledged(committed, order)
        return AppliedShape(
            changed=bool(planned.plan.drafts),
            committed=committed is not None and bool(committed.entries),
            revision=(committed or planned.view).position.revision,
            writes=writes_of(planned),
            warnings=[*planned.plan.warnings, *warnings],
            notes=list(planned.plan.notes),
            acknowledged=acks.acknowledged,
            workers=acks.workers,
            missing=list(acks.missing),
            milliseconds=self._milliseconds(started),
        )

    async def _planned_fits(self, document: Json, read: Read, options: Options) -> list[str]:
        """As `_fits`, for what a declaration would write, on what there would be then."""
        if self._fitting is None or not may_misfit(document):
            return []
        planned = await preview(self.store, read, options)
        return await self._fitting.planned(self.snapshot(), planned)

    async def revert(self, order: Order, key: ObjectKey, revision: int) -> Done:
        """The object is again what it was as of `revision`, also where it was deleted since.

        Refused where its contents were erased, or what it names is no longer there.
        """
        started = self._clock()
        then = await state_at(self.store, key, revision)
        contents = await self._contents_stand(key, then)
        if key.kind is Kind.FLAG:
            last = await last_state(self.store, key) or then
            return await self._revert_flag(order, key, then, last, contents)

        def decide(view: View) -> Sequence[Draft]:
            now = view.objects.get(key)
            after = _declared_as(then, now)
            if now is not None and now.document == after:
                return []
            check_references(key, after, view, contents)
            return [Draft("revert", key, after)]

        # All objects are read: what this one names must be there when it is written.
        committed = await self.store.change(order.author, None, decide)
        acks = await self.acknowledged(committed, order)
        return self._answer(started, key, committed, acks, None)

    async def _revert_flag(
        self, order: Order, key: ObjectKey, then: Document, last: Document, contents: Mapping[str, Json]
    ) -> Done:
        started = self._clock()
        warnings = await self._fits(key.name, lambda flag: _as_it_was(flag, then), brake=False)
        steps: list[Step] = []

        def decide(view: View) -> Sequence[Draft]:
            there = key in view.objects
            step = _as_it_was(view.flag(key.name), then) if there else _brought_back(key.name, then, last)
            steps.append(step)
            if not step.changed:
                return []
            check_references(key, step.flag, view, contents)
            before = view.flag(key.name) if there else None
            return [Draft("revert", key, document_of(verbs.stamped(before, step.flag, view.time)))]

        committed = await self.store.change(order.author, None, decide)
        acks = await self.acknowledged(committed, order)
        done = self._answer(started, key, committed, acks, steps[-1])
        return msgspec.structs.replace(done, warnings=warnings) if warnings else done

    async def _do(
        self, order: Order, action: str, key: str, verb: Verb, *, insist: bool = False, anyway: bool = False
    ) -> Done:
        started = self._clock()
        warnings = await self._fits(key, verb, brake=insist, anyway=anyway)
        target = ObjectKey(Kind.FLAG, key)
        steps: list[Step] = []

        def decide(view: View) -> Sequence[Draft]:
            before = view.flag(key)
            step = verb(before)
            # Kept for the answer: of several tries the last is the one that was written.
            steps.append(step)
            after = verbs.stamped(before, step.flag, view.time)
            return [Draft(action, target, document_of(after))] if step.changed else []

        committed = await self.store.change(order.author, [target], decide, insist=insist)
        acks = await self.acknowledged(committed, order)
        done = self._answer(started, target, committed, acks, steps[-1])
        return msgspec.structs.replace(done, warnings=warnings) if warnings else done

    async def _fits(self, key: str, verb: Verb, *, brake: bool, anyway: bool = False) -> list[str]:
        """What could not be told of an index that users would newly get. Raises Refused where it does not fit.

        Decided on this process's own snapshot, before anything is read: stores are slow, and a write must not wait
        for them between reading and writing.
        """
        flag = None if self._fitting is None else self.snapshot().flags.get(key)
        if self._fitting is None or flag is None or flag.flag.layer not in MAY_MISFIT:
            return []
        try:
            after = verb(flag.flag).flag
        except FlagError:
            return []  # the write itself says so, on the flag as it is by then
        return await self._fitting.passes(self.snapshot(), key, after, flag.flag, brake=brake, anyway=anyway)

    async def _was_rolled_back(self, flag: Flag) -> bool:
        """Whether this is a second pull of the same brake: the flag's last Change was a rollback."""
        entries = await self.store.read_log(flag.revision - 1, 1)
        return bool(entries) and entries[0].action == "rollback"

    async def acknowledged(self, committed: Committed, order: Order) -> Acks:
        """Wait for the fleet: whoever was alive at the write, or is now where nothing was written."""
        awaited = committed.workers
        if not committed.entries:
            awaited = tuple(state.info.id for state in await self.store.workers() if state.alive)
        return await self.store.acknowledged(committed.position, order.wait_seconds, awaited)

    async def _contents_stand(self, key: ObjectKey, document: Document) -> Mapping[str, Json]:
        wanted = hashes_of({key: StoredObject(key, document, 0)})
        contents = await self.store.contents(wanted)
        missing = wanted - contents.keys()
        if missing:
            raise Refused(
                "content_erased",
                f"{key}: {len(missing)} of its contents were erased ({', '.join(sorted(missing))[:200]})",
                mend="revert to another revision, or declare the version anew",
            )
        return {**pipeline_contents(self.snapshot()), **contents}

    def _answer(
        self, started: float, key: ObjectKey, committed: Committed, acks: Acks, step: Step | None
    ) -> Done:
        flag = key.kind is Kind.FLAG
        return Done(
            id=committed.entries[0].id if committed.entries else None,
            flag=key.name if flag else str(key),
            routes=routes_of(key.name, self.snapshot()) if flag else [],
            origin=step.left if step else None,
            to=step.reached if step else None,
            changed=bool(committed.entries),
            committed=bool(committed.entries),
            revision=committed.position.revision,
            acknowledged=acks.acknowledged,
            workers=acks.workers,
            missing=list(acks.missing),
            milliseconds=self._milliseconds(started),
            served=step.flag.served if step and step.flag.enabled else None,
            released=bool(step and step.released),
        )

    def _milliseconds(self, started: float) -> float:
        return round((self._clock() - started) * 1000, 3)


def routes_of(flag: str, snapshot: Snapshot) -> list[str]:
    """The names of all routes that `flag` serves, sorted."""
    routes = snapshot.of_kind(Kind.ROUTE).items()
    return sorted(name for name, stored in routes if flag in flag_names(name, stored.document))


def pipeline_contents(snapshot: Snapshot) -> dict[str, Json]:
    """What the versions of all pipelines say, by hash."""
    return {
        variant.hash: compiled.values[name]
        for compiled in snapshot.flags.values()
        if compiled.flag.layer is Layer.PIPELINE
        for name, variant in compiled.flag.variants.items()
        if name in compiled.values
    }


def route_flags(route: str, objects: Mapping[ObjectKey, StoredObject]) -> list[Flag]:
    """The flags of a route's layers, in the layers' order. Raises NotFound with the routes that exist."""
    stored = objects.get(ObjectKey(Kind.ROUTE, route))
    if stored is None:
        names = ", ".join(sorted(key.name for key in objects if key.kind is Kind.ROUTE)) or "none"
        raise NotFound(f'route "{route}" does not exist (routes: {names})')
    found = (objects.get(ObjectKey(Kind.FLAG, name)) for name in flag_names(route, stored.document))
    return [flag_from(flag.key.name, flag.document, flag.revision) for flag in found if flag is not None]


def pins_served(flags: Iterable[Flag], snapshot: Snapshot) -> tuple[str | None, Mapping[Layer, str]]:
    """The version of a route's pipeline that serves, and what it pins; None and nothing, where there is none."""
    for flag in flags:
        serving = serving_of(flag) if flag.layer is Layer.PIPELINE else None
        if serving is not None and flag.key in snapshot.flags:
            return serving, pins_of(snapshot.flags[flag.key].values.get(serving))
    return None, {}


def _nothing_to_do(flag: Flag) -> Step:
    return Step(flag, left=flag.served, reached=flag.safe, changed=False)


def _as_it_was(now: Flag, document: Document) -> Step:
    then = flag_from(now.key, document, now.revision)
    # What the file declared last stays noted, or the next start with the same file would undo the revert.
    after = revive(now, replace(then, declared=now.declared))
    return Step(after, left=now.served, reached=after.served, changed=after != now)


def _brought_back(key: str, document: Document, last: Document) -> Step:
    was, then = flag_from(key, last, 0), flag_from(key, document, 0)
    after = bring_back(replace(then, declared=was.declared), was)
    return Step(after, left=None, reached=after.served)


def _declared_as(then: Document, now: StoredObject | None) -> Document:
    """`then`, with the note of what was declared last (see _as_it_was)."""
    if now is None or "declared" not in now.document:
        return then
    return {**then, "declared": now.document["declared"]}

"""What operators do: a verb becomes a Change, and the answer waits until the fleet serves by it.

Nothing here knows HTTP or the command line, and no rule of a verb stands here (policies.verbs).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from uuid import uuid4

import msgspec

from flags.change import Committed, Draft, View
from flags.codec import document_of
from flags.errors import FlagError, Invalid, Refused
from flags.fleet import Acks
from flags.model import Flag, Json, Kind, ObjectKey
from flags.snapshot import Snapshot
from flags.store import Store
from gateway.deciding.belonging import refuse_elsewhere
from gateway.declaring.declarations import Read, declare, from_document, preview, writes_of
from gateway.declaring.plan import Options
from gateway.governed import Deed, Governed, Verb, braking, by_the_rules, quarantining, withdrawing
from gateway.history import serving_changed_at
from gateway.membership import pins_served, route_flags, routes_of
from gateway.order import Order
from gateway.retrieval.fitting import MAY_MISFIT, Fitting, may_misfit
from gateway.reverting import Reverting
from gateway.shapes import AppliedShape, Done
from gateway.switches.shipped import contents_for, flag_in
from policies import quarantine, verbs
from policies.governance.braking import record_of
from policies.governance.card import Card, card_keys, cards_in
from policies.governance.landing import has_unfit_safe
from policies.governance.record import opening, record_key
from policies.schedule import Schedule
from policies.verbs import Step
from policies.wayback import brake_of, has_way_back


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
        new_id: Callable[[], str] = lambda: uuid4().hex,
    ) -> None:
        self.store, self._fitting = store, fitting
        self.snapshot = snapshot
        self.clock, self._new_id = clock, new_id

    async def switch(self, order: Order, key: str, variant: str, *, safe: str | None = None) -> Done:
        """`variant` is served to all."""
        refuse_elsewhere(self.snapshot(), key)
        return await self._by_the_rules(
            order, "switch", key, lambda flag: verbs.switch(flag, variant, safe=safe)
        )

    async def rollout(self, order: Order, key: str, variant: str, share: float | Schedule) -> Done:
        """`variant` is the candidate, with `share` percent of the users, or with what the schedule says."""
        refuse_elsewhere(self.snapshot(), key)
        return await self._by_the_rules(order, "rollout", key, lambda flag: verbs.start(flag, variant, share))

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
        refuse_elsewhere(self.snapshot(), key)
        return await self._by_the_rules(order, f"rollout.{action}", key, steps[action])

    async def shadow(self, order: Order, key: str, variant: str, percent: float) -> Done:
        """`variant` is sent a copy of `percent` of the requests."""
        return await self._by_the_rules(
            order, "shadow", key, lambda flag: verbs.shadow(flag, variant, percent)
        )

    async def unshadow(self, order: Order, key: str) -> Done:
        """Nothing is copied any more."""
        return await self._by_the_rules(order, "shadow", key, verbs.unshadow)

    async def rollback(self, order: Order, key: str, *, to: str | None = None, anyway: bool = False) -> Done:
        """`safe` is the only variant served. A second pull finds it done; so does a rival's.

        An index that is not there, or does not fit, is refused unless `anyway`. It lands by the flag's promotion rules,
        and opens the record of a governed rollback under the Change's id.
        """
        seen: list[Flag] = []
        brake = braking(to, self._rule, override=order.override)

        def watched(flag: Flag, cards: Mapping[str, Card]) -> Governed:
            seen[:] = [flag]
            found = brake(flag, cards)
            seen.append(found.step.flag)
            return found

        change_id = self._new_id()
        try:
            done = await self._do(
                order, "rollback", key, watched, insist=True, anyway=anyway, change_id=change_id
            )
        except Refused as refused:
            if refused.rule != verbs.ALREADY_SAFE or not await self._was_rolled_back(seen[-1]):
                raise
            done = await self._do(order, "rollback", key, _nothing_to_do)
        # As CONTRACT has it, targeting rules go on choosing; whoever pulls the brake must know what it left.
        after = seen[-1]
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
        try:
            brake = brake_of(route, flags, changed_at, pins=pins, rules=snapshot.contents)
        except Refused:
            # Each serves its safe version alone; one of those may satisfy the promotion rules no more.
            unfit = next(
                (flag for flag in flags if has_unfit_safe(flag, cards_in(snapshot.objects, flag))), None
            )
            if unfit is None:
                raise
            brake = unfit
        return await self.rollback(order, brake.key, to=to, anyway=anyway)

    async def withdraw(self, order: Order, key: str, variant: str, *, anyway: bool = False) -> Done:
        """Whoever would get `variant` gets `safe`; `anyway` as in `rollback`."""
        return await self._do(order, "withdraw", key, withdrawing(variant), insist=True, anyway=anyway)

    async def restore(self, order: Order, key: str, variant: str) -> Done:
        """`variant` may be served again, and its content is in quarantine no more."""
        return await self._by_the_rules(order, "restore", key, lambda flag: verbs.restore(flag, variant))

    async def quarantine(self, order: Order, key: str, variant: str) -> Done:
        """The content of `variant` is withdrawn under all its names, and none of them may be served until it is let out."""
        # Nobody is to be kept from an audit's hold by an index: what does not fit is told.
        return await self._do(order, "quarantine", key, quarantining(variant), insist=True, anyway=True)

    async def release(self, order: Order, key: str, variant: str) -> Done:
        """The content of `variant` is in quarantine no more; it stays withdrawn until it is restored."""
        return await self._do(
            order, "quarantine.release", key, lambda flag, _: Governed(quarantine.release(flag, variant))
        )

    async def apply(
        self, order: Order, document: Json, options: Options, *, dry_run: bool = False
    ) -> AppliedShape:
        """Write what a document declares, all or nothing; with `dry_run` only tell what that would be."""
        started = self.clock()
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
        return await Reverting(self).revert(order, key, revision)

    async def _by_the_rules(self, order: Order, action: str, key: str, verb: Verb) -> Done:
        return await self._do(order, action, key, by_the_rules(verb, action, override=order.override))

    async def _do(  # noqa: PLR0913  # what every verb has in common
        self,
        order: Order,
        action: str,
        key: str,
        deed: Deed,
        *,
        insist: bool = False,
        anyway: bool = False,
        change_id: str | None = None,
    ) -> Done:
        """One Change of one flag. With a `change_id` it is a rollback, whose record is opened with it."""
        started = self.clock()
        warnings = await self.fits(key, deed, brake=insist, anyway=anyway)
        target = ObjectKey(Kind.FLAG, key)
        found: list[Governed] = []

        def decide(view: View) -> Sequence[Draft]:
            before = flag_in(view, key)
            cards = cards_in(view, before)
            governed = deed(before, cards)
            # Kept for the answer: of several tries the last is the one that was written.
            found[:] = [governed]
            if not governed.step.changed:
                return []
            after = verbs.stamped(before, governed.step.flag, view.time)
            contents = contents_for(view, key)
            draft = Draft(
                action, target, document_of(after), contents, evidence=governed.evidence, id=change_id
            )
            if change_id is None or governed.braked is None:
                return [draft]
            routes = routes_of(key, self.snapshot())
            record = record_of(governed.braked, order.author, cards, time=view.time, routes=routes)
            return [opening(change_id, record), draft]

        reads = [target, *self._cards_of(key), *([record_key(change_id)] if change_id else ())]
        committed = await self.store.change(order.author, reads, decide, insist=insist)
        acks = await self.acknowledged(committed, order)
        (governed,) = found
        done = self.answer(started, target, committed, acks, governed.step)
        lacking = [*governed.ungoverned]
        return msgspec.structs.replace(done, warnings=warnings, ungoverned=lacking if done.changed else [])

    def _cards_of(self, key: str) -> list[ObjectKey]:
        """Where the cards of a flag's versions lie, as far as this process knows them."""
        known = self.snapshot().flags.get(key)
        return [] if known is None else card_keys(known.flag)

    async def fits(self, key: str, deed: Deed, *, brake: bool, anyway: bool = False) -> list[str]:
        """What could not be told of an index that users would newly get. Raises Refused where it does not fit.

        Decided on this process's own snapshot, before anything is read: stores are slow, and a write must not wait
        for them between reading and writing.
        """
        snapshot = self.snapshot()
        flag = None if self._fitting is None else snapshot.flags.get(key)
        if self._fitting is None or flag is None or flag.flag.layer not in MAY_MISFIT:
            return []
        try:
            after = deed(flag.flag, cards_in(snapshot.objects, flag.flag)).step.flag
        except FlagError:
            return []  # the write itself says so, on the flag as it is by then
        return await self._fitting.passes(snapshot, key, after, flag.flag, brake=brake, anyway=anyway)

    async def _was_rolled_back(self, flag: Flag) -> bool:
        """Whether this is a second pull of the same brake: the flag's last Change was a rollback."""
        entries = await self.store.read_log(flag.revision - 1, 1)
        # Where that entry is archived, the first one after it is about something else.
        return bool(entries) and (entries[0].revision, entries[0].action) == (flag.revision, "rollback")

    async def acknowledged(self, committed: Committed, order: Order) -> Acks:
        """Wait for the fleet: whoever was alive at the write, or is now where nothing was written."""
        awaited = committed.workers
        if not committed.entries:
            awaited = tuple(state.info.id for state in await self.store.workers() if state.alive)
        return await self.store.acknowledged(committed.position, order.wait_seconds, awaited)

    def answer(
        self, started: float, key: ObjectKey, committed: Committed, acks: Acks, step: Step | None
    ) -> Done:
        flag = key.kind is Kind.FLAG
        return Done(
            id=committed.entries[-1].id if committed.entries else None,
            flag=key.name if flag else str(key),
            routes=routes_of(key.name, self.snapshot()) if flag else [],
            origin=step.left if step else None,
            to=step.reached if step else None,
            changed=bool(committed.entries),
            committed=bool(committed.entries),
            # Where nothing was written: what answers carry, whatever notes the ledger has had since.
            revision=committed.position.revision if committed.entries else self.snapshot().revision,
            acknowledged=acks.acknowledged,
            workers=acks.workers,
            missing=list(acks.missing),
            milliseconds=self._milliseconds(started),
            served=step.flag.served if step and step.flag.enabled else None,
            released=bool(step and step.released),
        )

    def _milliseconds(self, started: float) -> float:
        return round((self.clock() - started) * 1000, 3)


def _nothing_to_do(flag: Flag, _: Mapping[str, Card]) -> Governed:
    return Governed(Step(flag, left=flag.served, reached=flag.safe, changed=False))

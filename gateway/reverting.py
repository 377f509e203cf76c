"""An object becomes again what it was: read from the ledger, checked against what there is now, and written as a Change.

Knows the ledger's past; the verbs know nothing of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from flags.change import Draft, View
from flags.codec import document_of, flag_from
from flags.errors import Refused
from flags.model import Document, Flag, Json, Kind, ObjectKey, StoredObject
from flags.snapshot import hashes_of
from gateway.declaring.references import check_references
from gateway.governed import Governed, by_the_rules
from gateway.history import last_state, state_at
from gateway.membership import pipeline_contents
from gateway.order import Order
from gateway.shapes import Done
from policies import verbs
from policies.governance.card import cards_in
from policies.reverting import bring_back, revive
from policies.verbs import Step

if TYPE_CHECKING:
    from gateway.operations import Operations

# What is said of versions, what rollbacks did, and who may come in: each has verbs of its own.
NOT_REVERTED = frozenset({Kind.VERSION, Kind.ROLLBACK, Kind.KEY, Kind.LEDGER})
INSTEAD = "use the verb for it: approve, reject, deprecate, keys"


class Reverting:
    """Reverts over the operations of one store."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    async def revert(self, order: Order, key: ObjectKey, revision: int) -> Done:
        """The object is again what it was as of `revision`, also where it was deleted since.

        Refused where its contents were erased, or what it names is no longer there.
        """
        if key.kind in NOT_REVERTED:
            raise Refused(
                "not_reverted", f"{key} is a record of what was done, which no revert unmakes", mend=INSTEAD
            )
        started = self._operations.clock()
        then = await state_at(self._operations.store, key, revision)
        contents = await self._contents_stand(key, then)
        if key.kind is Kind.FLAG:
            last = await last_state(self._operations.store, key) or then
            return await self._revert_flag(order, key, then, last, contents)

        def decide(view: View) -> Sequence[Draft]:
            now = view.objects.get(key)
            after = _declared_as(then, now)
            if now is not None and now.document == after:
                return []
            check_references(key, after, view, contents)
            return [Draft("revert", key, after)]

        # All objects are read: what this one names must be there when it is written.
        committed = await self._operations.store.change(order.author, None, decide)
        acks = await self._operations.acknowledged(committed, order)
        return self._operations.answer(started, key, committed, acks, None)

    async def _revert_flag(
        self, order: Order, key: ObjectKey, then: Document, last: Document, contents: Mapping[str, Json]
    ) -> Done:
        started = self._operations.clock()
        free = order.override
        deed = by_the_rules(lambda flag: _as_it_was(flag, then, free=free), "revert", override=free)
        back = by_the_rules(lambda was: _brought_back(was, then, free=free), "revert", override=free)
        warnings = await self._operations.fits(key.name, deed, brake=False)
        found: list[Governed] = []

        def decide(view: View) -> Sequence[Draft]:
            before = view.flag(key.name) if key in view.objects else None
            governed = (
                back(flag_from(key.name, last, 0), cards_in(view, flag_from(key.name, then, 0)))
                if before is None
                # What was pruned since comes back with what was said of it.
                else deed(before, {**cards_in(view, before), **cards_in(view, flag_from(key.name, then, 0))})
            )
            found[:] = [governed]
            if not governed.step.changed:
                return []
            check_references(key, governed.step.flag, view, contents)
            after = verbs.stamped(before, governed.step.flag, view.time)
            return [Draft("revert", key, document_of(after), evidence=governed.evidence)]

        committed = await self._operations.store.change(order.author, None, decide)
        acks = await self._operations.acknowledged(committed, order)
        (governed,) = found
        done = self._operations.answer(started, key, committed, acks, governed.step)
        return msgspec.structs.replace(done, warnings=warnings, ungoverned=[*governed.ungoverned])

    async def _contents_stand(self, key: ObjectKey, document: Document) -> Mapping[str, Json]:
        wanted = hashes_of({key: StoredObject(key, document, 0)})
        contents = await self._operations.store.contents(wanted)
        missing = wanted - contents.keys()
        if missing:
            raise Refused(
                "content_erased",
                f"{key}: {len(missing)} of its contents were erased ({', '.join(sorted(missing))[:200]})",
                mend="revert to another revision, or declare the version anew",
            )
        return {**pipeline_contents(self._operations.snapshot()), **contents}


def _as_it_was(now: Flag, document: Document, *, free: bool) -> Step:
    then = _under_its_rules(flag_from(now.key, document, now.revision), now, free=free)
    # What the file declared last stays noted, or the next start with the same file would undo the revert.
    after = revive(now, replace(then, declared=now.declared, followed=now.followed))
    return Step(after, left=now.served, reached=after.served, changed=after != now)


def _under_its_rules(then: Flag, now: Flag, *, free: bool) -> Flag:
    """`then` under the rules that stand now: a way round them would be a revert to before there were any.

    Whoever overrides them (`free`) reverts them too; where there are none now, those of then come back.
    """
    return then if free or now.promotion is None else replace(then, promotion=now.promotion)


def _brought_back(was: Flag, document: Document, *, free: bool) -> Step:
    then = _under_its_rules(flag_from(was.key, document, 0), was, free=free)
    # It follows no file any more: the one that it came from has removed it, and would again.
    after = bring_back(replace(then, declared=was.declared, followed=None), was)
    return Step(after, left=None, reached=after.served)


def _declared_as(then: Document, now: StoredObject | None) -> Document:
    """`then`, with the note of what was declared last (see _as_it_was)."""
    if now is None or "declared" not in now.document:
        return then
    return {**then, "declared": now.document["declared"]}

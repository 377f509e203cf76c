"""Does what policies want done about an event from elsewhere: rollback, pause or alert, each once. Knows no wire.

What is written is decided anew on the objects as they are then (policies/act.py), so of two workers that are told of the
same event one does the deed and the other finds it done.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from flags.change import Committed, Draft, View
from flags.codec import document_of
from flags.errors import Refused
from flags.ledger import Author
from flags.model import Flag, Kind, ObjectKey
from flags.snapshot import Snapshot
from policies import quarantine
from policies.act import Breach, deed, is_done
from policies.brake import ALERT_EVERY_SECONDS, FIT_SECONDS, Fits, Ledger
from policies.governance.card import card_keys, cards_in
from policies.outside import Called, Event, called, evidence_of, place_of, rules_in
from policies.policy import Action
from policies.verbs import stamped

log = logging.getLogger(__name__)

# What no policy is about is told of once a minute for each name, source and place.
UNASKED_EVERY_SECONDS = 60.0


class Bell(Protocol):
    """What is asked of the measures here."""

    async def alarm(self, name: str, seconds: float) -> bool:
        """True for the one who may ring."""
        ...


@dataclass(frozen=True, slots=True)
class Response:
    """What was done about an event: `did` is `rollback`, `pause`, `quarantine`, `alert`, or `nothing` (told already).

    `policy` None where none was met. `revision` is that of the Change, None where nothing was written.
    """

    did: str
    object: str
    reason: str
    policy: str | None = None
    revision: int | None = None
    # What was wanted could not be done just now; told again later it may be.
    again: bool = False


class Responder:
    """One worker's answers to events. Keeps nothing. `snapshot` gives what is served, `new_id` ids of Changes."""

    def __init__(
        self, ledger: Ledger, bell: Bell, *, snapshot: Callable[[], Snapshot], new_id: Callable[[], str]
    ) -> None:
        self._ledger, self._bell = ledger, bell
        self._snapshot, self._new_id = snapshot, new_id
        # Asked before a rollback lands on what nobody gets now; None: everything fits.
        self.fits: Fits | None = None

    def __repr__(self) -> str:
        return f"<Responder {self._ledger!r}>"

    async def respond(self, event: Event) -> list[Response]:
        """Do what the policies that it meets want; without any, tell. Raises StoreUnavailable."""
        snapshot = self._snapshot()
        rules = rules_in(snapshot.of_kind(Kind.POLICY))
        wanted = called(event, rules, snapshot, self._new_id)
        if not wanted:
            author = Author(
                f"{event.metric}/{event.source}" if event.source else f"automation/{event.metric}",
                event.reason,
                event.link,
                evidence_of(event, None),
            )
            on = place_of(event, snapshot)
            # Nobody asked for it by a policy: a flood of such events must not fill the ledger.
            if not await self._bell.alarm(f"outside|{author.actor}|{event.name}|{on}", UNASKED_EVERY_SECONDS):
                return [Response("nothing", str(on), "told a moment ago")]
            return [await self._tell(author, on, event.metric)]
        return [await self._do(event, each, snapshot) for each in wanted]

    async def quarantine(self, event: Event, *, actor: str) -> Response:
        """Take out of service the version that an event flags. Where that cannot be (it is the safe one), tell why.

        Raises StoreUnavailable. `event.flag` and `event.variant` must name what exists.
        """
        assert event.flag is not None
        assert event.variant is not None
        flag = self._snapshot().flags[event.flag].flag
        variant, target = event.variant, ObjectKey(Kind.FLAG, event.flag)
        author = Author(actor, event.reason, event.link, evidence_of(event, None))

        def decide(view: View) -> Sequence[Draft]:
            before = view.flag(target.name)
            step = quarantine.add(before, variant, cards_in(view, before))
            braked = replace(step.flag, braked_at=view.time)
            after = document_of(stamped(before, braked, view.time))
            return [Draft("quarantine", target, after)] if step.changed else []

        try:
            done = await self._ledger.change(author, [target, *card_keys(flag)], decide, insist=True)
        except Refused as refused:
            told = replace(author, reason=f"not put into quarantine: {refused.message}: {event.reason}")
            return await self._tell(told, target, "alert")
        return _response("quarantine", target, author.reason, done)

    def meets(self, event: Event) -> bool:
        """Whether there is a policy about an event."""
        snapshot = self._snapshot()
        return bool(called(event, rules_in(snapshot.of_kind(Kind.POLICY)), snapshot, self._new_id))

    async def note(self, event: Event, action: str) -> Response:
        """Only tell of it. Raises StoreUnavailable."""
        author = Author(f"{event.metric}/{event.source}", event.reason, event.link, evidence_of(event, None))
        return await self._tell(author, place_of(event, self._snapshot()), action)

    async def _do(self, event: Event, wanted: Called, snapshot: Snapshot) -> Response:
        if is_done(wanted.breach.policy, _flag(wanted.breach, snapshot)):
            return Response("nothing", str(wanted.on), "it is paused already", wanted.breach.policy.name)
        breach = await self._fitting(wanted.breach, snapshot)
        author = replace(breach.author, link=event.link)
        if not breach.alerts:
            done = await self._ledger.change(
                author,
                breach.reads(_flag(breach, snapshot)),
                lambda view: deed(breach, view),
                insist=True,
            )
            if done.entries:
                did = next(each.action for each in done.entries if each.key == breach.object)
                log.warning("policy %s: %s of %s: %s", breach.policy.name, did, breach.object, author.reason)
                return _response(did, breach.object, author.reason, done, breach.policy.name)
            why = "automation acted a moment ago, or somebody was faster"
            author = replace(author, reason=f"nothing was done, {why}: {event.reason}")
        again = not breach.alerts
        name = f"outside|{breach.policy.id}|{event.id}"
        every = max(breach.policy.cooldown_seconds, ALERT_EVERY_SECONDS)
        if not await self._bell.alarm(name, every):
            return Response("nothing", str(wanted.on), "told already", breach.policy.name, again=again)
        plain = breach.policy.action is Action.ALERT and not breach.policy.dry_run
        told = await self._tell(author, wanted.on, event.metric if plain else "alert")
        return replace(told, policy=breach.policy.name, again=again)

    async def _tell(self, author: Author, on: ObjectKey, action: str) -> Response:
        """A note in the ledger."""
        note = Draft(action, on, None, affects=False)
        done = await self._ledger.change(author, [on], lambda _: [note], insist=True)
        log.warning("%s: %s", author.actor, author.reason)
        return _response("alert", on, author.reason, done)

    async def _fitting(self, breach: Breach, snapshot: Snapshot) -> Breach:
        """The breach, marked where a rollback would land on a version that nobody gets now and that does not fit."""
        flag = _flag(breach, snapshot)
        if self.fits is None or breach.alerts or breach.case.control is not None or flag is None:
            return breach
        if flag.safe is None or breach.policy.action is not Action.ROLLBACK:
            return breach
        try:
            async with asyncio.timeout(FIT_SECONDS):
                fits = await self.fits(flag.key, flag.safe)
        except TimeoutError:
            return breach  # a brake does not wait for stores
        return replace(breach, unfit=True) if fits is False else breach


def _flag(breach: Breach, snapshot: Snapshot) -> Flag | None:
    subject = breach.case.subject
    compiled = None if subject is None else snapshot.flags.get(subject.flag)
    return None if compiled is None else compiled.flag


def _response(did: str, on: ObjectKey, reason: str, done: Committed, policy: str | None = None) -> Response:
    revision = done.position.revision if done.entries else None
    word = "pause" if did == "rollout.pause" else did
    return Response(word if done.entries else "nothing", str(on), reason, policy, revision)

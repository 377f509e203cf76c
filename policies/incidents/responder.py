"""Does what policies want done about an incident from elsewhere: rollback, pause or alert, each once. Knows no wire.

What is written is decided anew on the objects as they are then (policies/act.py), so of two workers that are told of the
same incident one does the deed and the other finds it done.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from flags.change import Committed, Draft, View
from flags.codec import document_of
from flags.errors import Refused
from flags.ledger import Author
from flags.model import Flag, Kind, ObjectKey
from flags.snapshot import Snapshot
from policies import quarantine
from policies.act import Breach, deed, is_done
from policies.brake import ALERT_EVERY_SECONDS, FIT_SECONDS, Bell, Fits, Ledger
from policies.governance.card import card_keys, cards_in
from policies.incidents.incident import Called, Incident, called, evidence_of, place_of, triggers_in
from policies.policy import Action
from policies.verbs import stamped

log = logging.getLogger(__name__)

# Signals alike (of one name and source, about one place) are told of once a minute, and so is what no policy is about.
UNASKED_EVERY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Response:
    """What was done about an incident: `did` is `rollback`, `pause`, `quarantine`, `alert`, or `nothing` (told already).

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
    """One worker's answers to incidents. Keeps nothing. `snapshot` gives what is served, `new_id` ids of Changes."""

    def __init__(
        self, ledger: Ledger, bell: Bell, *, snapshot: Callable[[], Snapshot], new_id: Callable[[], str]
    ) -> None:
        self._ledger, self._bell = ledger, bell
        self._snapshot, self._new_id = snapshot, new_id
        # Asked before a rollback lands on what nobody gets now; None: everything fits.
        self.fits: Fits | None = None

    def __repr__(self) -> str:
        return f"<Responder {self._ledger!r}>"

    async def respond(self, incident: Incident) -> list[Response]:
        """Do what the policies that it meets want; without any, tell. Raises StoreUnavailable."""
        snapshot = self._snapshot()
        triggers = triggers_in(snapshot.of_kind(Kind.POLICY))
        wanted = called(incident, triggers, snapshot, self._new_id)
        if not wanted:
            author = Author(
                f"{incident.metric}/{incident.source}"
                if incident.source
                else f"automation/{incident.metric}",
                incident.reason,
                incident.link,
                evidence_of(incident, None),
            )
            on = place_of(incident, snapshot)
            # Nobody asked for it by a policy: a flood of such incidents must not fill the ledger.
            if not await self._bell.alarm(
                f"outside|{author.actor}|{incident.name}|{on}", UNASKED_EVERY_SECONDS
            ):
                return [Response("nothing", str(on), "told a moment ago")]
            return [await self._tell(author, on, incident.metric)]
        return [await self._do(incident, each, snapshot) for each in wanted]

    async def quarantine(self, incident: Incident, *, actor: str) -> Response:
        """Take out of service the version that an incident flags. Where that cannot be (it is the safe one), tell why.

        Raises StoreUnavailable. `event.flag` and `event.variant` must name what exists.
        """
        assert incident.flag is not None
        assert incident.variant is not None
        flag = self._snapshot().flags[incident.flag].flag
        variant, target = incident.variant, ObjectKey(Kind.FLAG, incident.flag)
        author = Author(actor, incident.reason, incident.link, evidence_of(incident, None))

        def decide(view: View) -> Sequence[Draft]:
            before = view.flag(target.name)
            step = quarantine.add(before, variant, cards_in(view, before))
            braked = replace(step.flag, braked_at=view.time)
            after = document_of(stamped(before, braked, view.time))
            return [Draft("quarantine", target, after)] if step.changed else []

        try:
            done = await self._ledger.change(author, [target, *card_keys(flag)], decide, insist=True)
        except Refused as refused:
            told = replace(author, reason=f"not put into quarantine: {refused.message}: {incident.reason}")
            return await self._tell(told, target, "alert")
        return _response("quarantine", target, author.reason, done)

    def meets(self, incident: Incident) -> bool:
        """Whether there is a policy about an incident."""
        snapshot = self._snapshot()
        return bool(called(incident, triggers_in(snapshot.of_kind(Kind.POLICY)), snapshot, self._new_id))

    async def note(self, incident: Incident, action: str) -> Response:
        """Only tell of it. Raises StoreUnavailable."""
        author = Author(
            f"{incident.metric}/{incident.source}",
            incident.reason,
            incident.link,
            evidence_of(incident, None),
        )
        return await self._tell(author, place_of(incident, self._snapshot()), action)

    async def _do(self, incident: Incident, wanted: Called, snapshot: Snapshot) -> Response:
        if is_done(wanted.breach.policy, _flag(wanted.breach, snapshot)):
            return Response("nothing", str(wanted.on), "it is paused already", wanted.breach.policy.name)
        breach = await self._fitting(wanted.breach, snapshot)
        author = replace(breach.author, link=incident.link)
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
            author = replace(author, reason=f"nothing was done, {why}: {incident.reason}")
        again = not breach.alerts
        # A storm of signals, each with an id of its own: the ledger keeps one a minute, as people are told.
        alike = f"outside|{breach.policy.id}|{incident.source}|{incident.name}|{wanted.on}"
        if incident.name and not await self._bell.alarm(alike, UNASKED_EVERY_SECONDS):
            told_just_now = "told of one like it a moment ago"
            return Response("nothing", str(wanted.on), told_just_now, breach.policy.name, again=True)
        name = f"outside|{breach.policy.id}|{incident.id}"
        every = max(breach.policy.cooldown_seconds, ALERT_EVERY_SECONDS)
        if not await self._bell.alarm(name, every):
            return Response("nothing", str(wanted.on), "told already", breach.policy.name, again=again)
        plain = breach.policy.action is Action.ALERT and not breach.policy.dry_run
        told = await self._tell(author, wanted.on, incident.metric if plain else "alert")
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

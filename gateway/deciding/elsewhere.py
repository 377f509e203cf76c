"""This worker's part in decisions that others take: their providers, what they give a request, and what they gave.

Knows requests as contexts only, and no store. `decide` stays pure: what is given is gathered before it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, NamedTuple

from flags.model import Flag, Kind, Layer, ObjectKey
from flags.snapshot import Snapshot
from gateway.deciding import tally
from gateway.deciding.belonging import deciders_of, follows
from gateway.deciding.decider import Decider
from gateway.deciding.loading import NotLoaded, load
from gateway.deciding.threads import Busy, Threads
from gateway.decision import NO_PINS, Asked, Decision, Given, Route
from gateway.route import choose
from policies.outcome import How

if TYPE_CHECKING:
    from openfeature.evaluation_context import EvaluationContext

log = logging.getLogger("pointsman.deciding")

# Calls that may wait, at the same time: with 10 ms each some 3,000 requests a second.
MOST_THREADS = 32
# A provider that has not come up by then comes up later; until then the store decides.
LOAD_SECONDS, UP_SECONDS, LOOK_SECONDS = 10.0, 5.0, 0.02
# The same kind of trouble is told in the log this often.
TELL_AGAIN_SECONDS = 60.0
# What takes longer holds up every other request of this worker; often is a tenth of the last hundred.
SLOW_SECONDS, SLOW_OF, SLOW_OFTEN = 0.005, 100, 10


class DecidedBy(NamedTuple):
    """Who decides a route, as one worker has it. `why` the store does all the same; "" where it does not."""

    provider: str
    why: str


class Elsewhere:
    """One worker's. What changes here: the providers, which flags follow one, the notes, and when trouble was told.

    `clock` counts seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.deciders: dict[str, Decider] = {}
        self.tally = tally.Tally(clock)
        # The flags that are likenesses of what one provider decides, and of which.
        self.followed: Mapping[str, str] = {}
        # The routes whose decisions nobody here may take, and why; None until this worker knows whom it trusts.
        self.refused: dict[str, str] = {}
        self.failures = 0
        self._trusted: frozenset[str] | None = None
        self._not_loaded: dict[str, str] = {}
        self._snapshot: Snapshot | None = None
        self._threads = Threads(MOST_THREADS, "pointsman-decisions")
        self._told: dict[str, float] = {}
        self._asked = self._slow = 0

    def __repr__(self) -> str:
        return f"<Elsewhere {list(self.deciders.values())} for {len(self.followed)} flags>"

    async def trust(self, references: Collection[str]) -> None:
        """Load these factories and no others; returns when their providers are up, or had their time. Never raises."""
        self._trusted = frozenset(references)
        for gone in [each for each in self.deciders if each not in self._trusted]:
            self.deciders.pop(gone).close()
        for reference in sorted(self._trusted - self.deciders.keys()):
            await self._load(reference)
        if self._snapshot is not None:
            self.follow(self._snapshot)
        until = self._clock() + UP_SECONDS
        while self._clock() < until and not all(each.is_settled for each in self.deciders.values()):  # noqa: ASYNC110  # threads of the SDK's
            await asyncio.sleep(LOOK_SECONDS)

    async def _load(self, reference: str) -> None:
        self._not_loaded.pop(reference, None)
        try:
            made = await self._threads.run(lambda: Decider(reference, load(reference)), LOAD_SECONDS)
        except NotLoaded as error:
            self._not_loaded[reference] = str(error)
        except TimeoutError:
            self._not_loaded[reference] = f"{reference} made no provider within {LOAD_SECONDS:g} s"
        except Busy:
            self._not_loaded[reference] = f"{reference}: {MOST_THREADS} calls of providers hang already"
        else:
            self.deciders[reference] = made
            return
        log.error("no decisions by a provider, the store decides: %s", self._not_loaded[reference])

    def follow(self, snapshot: Snapshot, changed: Collection[ObjectKey] | None = None) -> None:
        """What is served now: find which flags follow which provider, and which routes none here.

        `changed` are the objects that differ from the snapshot before; None: any may.
        """
        before, self._snapshot = self._snapshot, snapshot
        for key in changed or ():
            if key.kind is Kind.FLAG:
                self.tally.begin_anew(key.name)
        if before is not None and changed is not None and not _matters(before, snapshot, changed):
            return
        deciders = deciders_of(snapshot)
        if self._trusted is None:
            return
        refused = {
            route: self._not_loaded.get(reference)
            or f"this worker's config file does not name {reference}, so it is not loaded"
            for route, reference in deciders.items()
            if reference not in self.deciders
        }
        for route, why in refused.items():
            if self.refused.get(route) != why:
                log.warning("route %s: decisions are the store's: %s", route, why)
        self.refused = refused
        followed = {} if not deciders else follows(snapshot, deciders)
        self.followed = {flag: whom for flag, whom in followed.items() if whom in self.deciders}
        self.tally.forget(frozenset(self.followed))

    async def asked(self, route: Route, asked: Asked) -> Asked:
        """`asked`, with what the route's provider gives; as it is where none is here."""
        decisions = route.decisions
        decider = None if decisions is None else self.deciders.get(decisions.openfeature)
        if decisions is None or decider is None:
            return asked
        found: dict[str, Given] = {}
        context = context_of(asked)

        def ask(flag: Flag) -> Given:
            return decider.ask(flag, context, randomized=decisions.randomized)

        if decisions.blocking or decider.waits:
            why = await self._beside(lambda: gather(route, asked, ask, found), decisions.timeout_seconds)
            found = dict(found)  # a thread that is late goes on with its own
            for key in [] if why is None else missing(route, asked, found):
                found[key] = Given(None, message=why)
        else:
            began = self._clock()
            gather(route, asked, ask, found)
            self._took(self._clock() - began, decider, decisions.timeout_seconds)
        for key, given in found.items():
            if given.variant is None:
                self.failures += 1
                self._tell(
                    key,
                    "%s gave no decision on %s, the store's serves: %s",
                    decider.reference,
                    key,
                    given.message,
                )
        return asked._replace(given=found)

    def by_route(self) -> dict[str, DecidedBy]:
        """Whom each route names that does not let the store decide, and why this worker does not ask it."""
        named = {} if self._snapshot is None else deciders_of(self._snapshot)
        return {
            route: DecidedBy(reference, self._why_not(route, reference)) for route, reference in named.items()
        }

    def _why_not(self, route: str, reference: str) -> str:
        decider = self.deciders.get(reference)
        if decider is None:
            return self.refused.get(route, "it is not loaded yet")
        return "" if decider.is_asked else f"it is {decider.status}"

    async def _beside(self, work: Callable[[], None], seconds: float) -> str | None:
        """Why not all was answered; None where it was."""
        try:
            await self._threads.run(work, seconds)
        except TimeoutError:
            return f"no answer within {seconds:g} s"
        except Busy:
            return f"{MOST_THREADS} calls wait for it already"
        return None

    def note(self, decision: Decision, given: Mapping[str, Given], unit: str) -> None:
        """Of what was given: that which decided. What a pin or a pipeline chose nobody asked for."""
        route = decision.route.name
        for chosen in decision.layers:
            key = chosen.resolution.flag
            gave = given.get(key)
            if gave is None or gave.variant is None or chosen.how is How.PINNED or key not in self.followed:
                continue
            self.tally.note(tally.Noted(key, route, gave.variant, gave.how), unit)

    def _took(self, seconds: float, decider: Decider, most: float) -> None:
        if seconds > most:
            # It held every request of this worker once; nobody is to find `blocking` by an outage.
            decider.waits = True
            message = "%s held this worker for %.2f s: it is asked beside the loop now; say `blocking: true`"
            log.error(message, decider.reference, seconds)
        self._asked += 1
        self._slow += seconds > SLOW_SECONDS
        if self._asked < SLOW_OF:
            return
        if self._slow >= SLOW_OFTEN:
            message = "%s is slow: %d of the last %d requests waited over %g ms for it; say `blocking: true`"
            self._tell("slow", message, decider.reference, self._slow, self._asked, SLOW_SECONDS * 1000)
        self._asked = self._slow = 0

    def _tell(self, about: str, message: str, *args: object) -> None:
        now = self._clock()
        if self._told.get(about, -TELL_AGAIN_SECONDS) + TELL_AGAIN_SECONDS <= now:
            self._told[about] = now
            log.warning(message, *args)

    def close(self) -> None:
        """Let the providers be shut down. Idempotent."""
        for decider in self.deciders.values():
            decider.close()
        self.deciders.clear()
        self._threads.close()


def _matters(before: Snapshot, after: Snapshot, changed: Collection[ObjectKey]) -> bool:
    """Whether a route changed, or a flag came or went."""
    return any(
        key.kind is Kind.ROUTE
        or (key.kind is Kind.FLAG and (key.name in before.flags) != (key.name in after.flags))
        for key in changed
    )


def context_of(asked: Asked) -> EvaluationContext:
    """Who asks, as OpenFeature has it."""
    from openfeature.evaluation_context import EvaluationContext  # noqa: PLC0415  # it is loaded: a decider exists

    context = asked.context
    # JSON is what its attributes may be; its own type names them one by one.
    return EvaluationContext(context.targeting_key, dict(context.attributes))  # type: ignore[arg-type]


def gather(route: Route, asked: Asked, ask: Callable[[Flag], Given], found: dict[str, Given]) -> None:
    """Ask for each layer whose version nobody has chosen yet; the pipeline first, for what it pins is not asked."""
    pinned = NO_PINS
    for layer in route.layers:
        flag = layer.flag.flag
        if layer.layer not in asked.applying or layer.layer in pinned or not flag.enabled:
            continue
        pin = asked.pins.get(flag.key)
        if pin is None and (route.decisions is None or route.decisions.decides(layer.layer)):
            found[flag.key] = ask(flag)
        if layer.layer is Layer.PIPELINE and route.pinned:
            chosen = choose(layer, asked._replace(given=found))
            pinned = NO_PINS if chosen is None else route.pinned[chosen.version.release.variant]


def missing(route: Route, asked: Asked, found: Mapping[str, Given]) -> list[str]:
    """The flags that were not answered in time. (One that the pipeline pins may be among them: it is not looked at.)"""
    keys = (
        layer.flag.flag.key
        for layer in route.layers
        if layer.layer in asked.applying and (route.decisions is None or route.decisions.decides(layer.layer))
    )
    return [key for key in keys if key not in found and key not in asked.pins]

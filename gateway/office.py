"""What a worker does beside serving: it drives rollbacks to their end, tells people, runs evals, and keeps watch.

Any worker does any of it, and each deed is done once: by compare-and-set in the ledger, long work under a lease. Nothing
of it is on a request's way, and no endpoint and no rule stands here. Its parts, by what wakes them:

    a snapshot   clerk          the steps of a rollback after the switch          governing/, policies/governance
                 notices        notable entries → outbox → Slack, mail, webhooks  notices/, policies/notices
    an answer    judge          a share of live answers is scored by a route      judging/
                 drift          names and behaviour against the baseline          policies/drift
    a track      tracks         what apps say of the versions that users got      tracking/
    a person     complaints     how many different people are not content         policies/incidents
                 signals        what others' alerting sends, each once            signals/
    the clock    suites         suites that run again and again                   evals/
                 breaker_watch, chain_watch    what people must hear of           notices/

The last five find what policies may act upon; `responder` does the deed.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from gateway.evals.asking import Asking
from gateway.evals.evaluator import Evaluator
from gateway.evals.grading import Judge
from gateway.evals.schedule import Schedule
from gateway.governing.clerk import Clerk
from gateway.governing.deeds import Deeds
from gateway.governing.receipts import Receipts
from gateway.judging.online import OnlineJudge
from gateway.notices.breaker_watch import BreakerWatch
from gateway.notices.chain_watch import ChainWatch
from gateway.notices.noticeboard import Noticeboard
from gateway.signals.taking import SeenSignals, SignalTaker
from gateway.tracking.taking import TrackTaker
from policies.drift.watch import DriftWatch
from policies.incidents.complaints import Complaints
from policies.incidents.responder import Responder
from policies.lease import Lease
from policies.outcome import Outcome, Score
from policies.rounds import Rounds

if TYPE_CHECKING:
    from gateway.house import House

# Suites that are due begin at most this late; no flag's schedule is shorter than a minute.
SCHEDULE_SECONDS = 10.0


class Office:
    """One worker's. What changes here: what its parts hold."""

    def __init__(self, house: House, environ: Mapping[str, str]) -> None:
        store, measures, snapshot, away = house.store, house.measures, house.snapshot, house.degraded
        asking = Asking(house.pipeline.answer, lambda: house.serving, house.recorder.add)
        self.evaluator = Evaluator(asking, store, house.upstreams, house.shelf)
        self.judge = OnlineJudge(
            house.recorder,
            lambda route: Judge(asking, route),
            snapshot=snapshot,
            draw=random.random,
            now=house.signing.now,
        )
        self.responder = Responder(store, measures, snapshot=snapshot, new_id=lambda: uuid.uuid4().hex)
        self.responder.fits = house.lands
        self.signals = SignalTaker(
            self.responder, SeenSignals(store), snapshot=snapshot, environ=environ, now=time.time
        )
        self.complaints = Complaints(store, self.responder, snapshot)
        self.drift = DriftWatch(
            store, measures, snapshot=snapshot, away=away, clock=time.monotonic, responder=self.responder
        )
        self.notices = Noticeboard(
            store,
            environ,
            house.newest,
            away=away,
            clock=time.monotonic,
            base=environ.get("POINTSMAN_PUBLIC_URL", ""),
        )
        deeds = Deeds(
            store,
            measures,
            snapshot=snapshot,
            evaluator=self.evaluator,
            telling=Receipts(self.notices.outbox, store),
        )
        worker = house.worker.id
        self.clerk = Clerk(
            store,
            deeds,
            snapshot=snapshot,
            away=away,
            lease=lambda name: Lease(store, name, owner=worker),
        )
        breakers = house.breakers
        self.breaker_watch = BreakerWatch(
            lambda: ((guarded, each.standing(breakers.clock())) for guarded, each in breakers.all()),
            store,
            measures,
            away=away,
            clock=time.monotonic,
        )
        self.chain_watch = ChainWatch(store, self.notices)
        schedule = Schedule(self.evaluator, snapshot, measures)
        self.suites = Rounds("the suites' schedule", schedule.round, SCHEDULE_SECONDS, away=away)

        self.tracks = TrackTaker(
            store,
            house.feedback,
            snapshot=house.newest,
            users=lambda: house.automation.docket().users,
            away=away,
            now=house.signing.now,
        )

    def __repr__(self) -> str:
        return f"<Office {self.clerk!r} {self.notices!r}>"

    def start(self) -> None:
        """Begin. Call it in the running loop, once there may be a snapshot."""
        self.complaints.start()
        self.drift.start()
        self.notices.start()
        self.clerk.start()
        self.breaker_watch.rounds.start()
        self.chain_watch.rounds.start()
        self.suites.start()
        self.tracks.rounds.start()

    def wake(self) -> None:
        """There is a new snapshot: look whether it is work. Returns at once."""
        self.clerk.wake()
        self.notices.wake()

    def measured(self, outcomes: Sequence[Outcome]) -> None:
        """What the gauge has just taken."""
        self.drift.note(outcomes)

    def scored(self, scores: Sequence[Score]) -> None:
        """What people thought of answers, as the gauge has just taken it."""
        self.complaints.note(scores)

    async def aclose(self) -> None:
        """Stop all, in reverse; what was under way another worker takes up. Idempotent."""
        await self.tracks.aclose()
        await self.suites.aclose()
        await self.chain_watch.rounds.aclose()
        await self.breaker_watch.rounds.aclose()
        await self.clerk.aclose()
        await self.notices.aclose()
        await self.drift.aclose()
        await self.complaints.aclose()
        await self.judge.aclose()

"""Everything that changes in one worker is built here, handed over, and closed in reverse.

What changes: the reference to what is served (`serving`), the tables of upstreams and breakers, the recorder's
buffer, what the gauge and the automation hold, the keys, and whether we are draining. No endpoint and no rule stands here.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from flags.connect import connect, connect_listener
from flags.disk import DiskCopy
from flags.fleet import WorkerInfo
from flags.model import Json, Kind, ObjectKey
from flags.snapshot import Snapshot
from flags.store import Store
from flags.watch import Watcher
from gateway.auth import KEYLESS, NO_KEYS, Keyring
from gateway.breaking.board import BreakerBoard, BreakerShelf
from gateway.breaking.breakers import Breakers
from gateway.cache import Cache, RedisShelf
from gateway.compiling import compile_serving, spec
from gateway.deciding.making import likening_of
from gateway.decision import Serving
from gateway.dispatch import Dispatcher
from gateway.errors import NotReady
from gateway.evals.evaluator import Evaluator
from gateway.exchange import Door, Exchange
from gateway.feedback import Feedback
from gateway.figures.exemplars import Exemplars
from gateway.figures.metrics import BOUNDS
from gateway.figures.sight import Sight
from gateway.health import Health
from gateway.identity import request_ids, this_worker
from gateway.index.shelf import Shelf
from gateway.keys.stored import with_stored
from gateway.notices.noticeboard import Noticeboard
from gateway.office import Office
from gateway.operations import Operations
from gateway.overlay import overlaid
from gateway.patience import Patience
from gateway.pipeline import Pipeline
from gateway.price import Prices, load_prices, table_path
from gateway.recording import Recording
from gateway.retrieval.fitting import Fitting
from gateway.retrieval.preflight import Preflight
from gateway.retrieval.retrieve import Retrieval
from gateway.settings import Settings
from gateway.signals.taking import SignalTaker
from gateway.signing import Signing
from gateway.spec_flags import OfrepSpec
from gateway.switches.shipped import with_switches
from gateway.telemetry import Telemetry, open_telemetry
from gateway.upstream.litellm_library import Library
from gateway.upstream.making import Maker
from gateway.upstreams import Upstreams
from gateway.wires.base import Wire
from policies import judge
from policies.automation import Automation
from policies.gauge import Gauge
from policies.governance.card import cards_in
from policies.governance.landing import lands_on
from policies.measures import Measures
from policies.outcome import Outcome, Score
from policies.recorder import Recorder

# So many changes at once are a load rather than an operator's verb.
BULK = 100


class House:
    """One worker's state and its parts. `open` it in the running loop, `aclose` it in the end."""

    def __init__(self, settings: Settings, worker: WorkerInfo, *, environ: Mapping[str, str]) -> None:
        assert settings.redis is not None
        loop = asyncio.get_running_loop()
        self.settings, self.worker = settings, worker
        self.serving: Serving | None = None
        # Of the environment and the key file; `keys` are these, and those that were made here.
        self.own_keys: Keyring = NO_KEYS
        self._keys: Keyring = NO_KEYS
        # What the config file says of OFREP's doors.
        self.ofrep = OfrepSpec()
        # By which URL others reach us, as somebody said; "" where nobody did.
        self.public_url = environ.get("POINTSMAN_PUBLIC_URL", "")
        # Called when what is served may be another, and when this process stops.
        self.on_served: Callable[[], None] = lambda: None
        self.draining = asyncio.Event()
        # Whether all that the first snapshot needs has been loaded.
        self._warm = False
        self.patience = Patience(loop, clock=time.monotonic)
        self.recorder = Recorder()
        self.prices = Prices()
        self.store = Store(connect(settings.redis), settings.namespace)
        self.signing = Signing(self.store, entropy=os.urandom, now=time.time)
        self._listener = connect_listener(settings.redis)
        self.watcher = Watcher(self.store, self._listener, worker, self.swap)
        self.library = Library()
        self.upstreams = Upstreams(Maker(environ, self.patience, loop, self.library).make)
        self.shelf = Shelf(Path(settings.data_dir))
        self.breakers = Breakers(clock=time.monotonic, draw=random.random)
        self.board = BreakerBoard(self.breakers, worker.id, BreakerShelf(self.store))
        self.measures = Measures(self.store)
        self.automation = Automation(
            self.store,
            self.measures,
            away=self.degraded,
            on_divert=self.redirect,
            monotonic=time.monotonic,
        )
        self.exemplars = Exemplars(BOUNDS, now=time.time)
        self.gauge = self._gauge()
        self.recording = Recording(settings.record, now=time.time) if settings.record else None
        self.gauge.on_outcomes = self.measured
        self.sight = self._sight()
        self.cache = Cache(RedisShelf(self.store), clock=time.monotonic)
        self.gauge.on_scores = self.scored
        self.pipeline = self._pipeline()
        self.feedback = self._feedback()
        self.fitting = Fitting(Preflight(self.upstreams, self.shelf, clock=time.monotonic), self.upstreams)
        self.operations = Operations(self.store, self.snapshot, time.monotonic, fitting=self.fitting)
        self.automation.brake.fits = self.lands
        # Who decides the versions of routes whose decisions are not the store's, and our likeness of that.
        self.elsewhere = self.pipeline.elsewhere
        self.likening = likening_of(self)
        self.automation.brake.holds = self.likening.holds
        self.automation.holds_alone = self.likening.holds_alone
        self.office = Office(self, environ)
        self.pipeline.judge = self.office.judge
        # The newest snapshot as the store has it; `serving` lacks what this process diverts by itself.
        self._plain: Snapshot | None = None
        self.telemetry: Telemetry | None = open_telemetry(
            environ, worker=worker.id, namespace=settings.namespace, place=self.place
        )
        self.new_id: Callable[[], str] = request_ids(os.urandom)

    def __repr__(self) -> str:
        return (
            f"<House {self.worker.id} serving={self.serving is not None} draining={self.draining.is_set()}>"
        )

    def _gauge(self) -> Gauge:
        return Gauge(
            self.measures,
            self.recorder,
            self.worker.id,
            self.automation.docket,
            self.automation.on_counts,
            breakers=self.breakers,
        )

    def _sight(self) -> Sight:
        return Sight(
            self.measures,
            self.automation.docket,
            judge,
            away=self.degraded,
            now=time.time,
            clock=time.monotonic,
        )

    def _pipeline(self) -> Pipeline:
        return Pipeline(
            lambda: self.serving,
            Dispatcher(self.upstreams, draw=random.random, breakers=self.breakers),
            self.recorder,
            signer=lambda: self.signing.signer,
            degraded=self.impaired,
            now=time.time,
            patience=self.patience,
            cache=self.cache,
            draw=random.random,
            retrieval=Retrieval(self.upstreams, self.shelf),
        )

    def _feedback(self) -> Feedback:
        return Feedback(
            self.recorder,
            snapshot=self.snapshot,
            signer=lambda: self.signing.signer,
            decision_of=self.measures.decision_of,
            now=time.time,
            sleep=asyncio.sleep,
        )

    @property
    def keys(self) -> Keyring:
        """Who may come in: the keys of the environment, of the key file, and those that `keys create` made."""
        return self._keys

    @keys.setter
    def keys(self, own: Keyring) -> None:
        self.own_keys = own
        stored = {} if self._plain is None else self._plain.of_kind(Kind.KEY)
        self._keys = with_stored(own, stored)

    @property
    def evaluator(self) -> Evaluator:
        """Who runs suites."""
        return self.office.evaluator

    @property
    def signals(self) -> SignalTaker:
        """Who takes signals from outside."""
        return self.office.signals

    @property
    def notices(self) -> Noticeboard:
        """Who tells people."""
        return self.office.notices

    @classmethod
    async def open(cls, settings: Settings, *, environ: Mapping[str, str] = os.environ) -> House:
        """A house that follows the store; it serves as soon as a snapshot is there, from disk if Redis is away."""
        house = cls(settings, this_worker(), environ=environ)
        copy = Path(settings.data_dir) / f"snapshot-{settings.namespace}.jsonl"
        # Before the first snapshot: with it every version's price is looked up.
        house.prices = await asyncio.to_thread(load_prices, table_path())
        await house.watcher.start(DiskCopy(copy, settings.namespace))
        # The first answers carry a token too, unless Redis is away: then they do not wait for it.
        await house.signing.start()
        house.automation.start(house.gauge)
        house.gauge.start()
        house.board.start()
        house.office.start()
        house.likening.start()
        return house

    def swap(self, snapshot: Snapshot, changed: frozenset[ObjectKey] | None) -> None:
        """Serve from `snapshot` from now on: one assignment, so no request ever mixes two."""
        self._plain = snapshot
        if changed is None or any(key.kind is Kind.KEY for key in changed):
            self.keys = self.own_keys
        self.upstreams.follow(snapshot, changed)
        self._serve(snapshot, changed)
        if changed is None or any(key.kind is Kind.ROUTE for key in changed):
            self.board.wake()
        self.automation.follow(snapshot, changed)
        self.office.wake()
        if self.recording is not None:
            self.recording.stands(snapshot, changed)
        if changed is None or len(changed) > BULK:
            # What a full load made will stay: the collector need not look at it again (100 ms for 10,000 flags).
            gc.freeze()

    def redirect(self, flags: frozenset[str]) -> None:
        """Serve these flags anew: the local brake diverts some of their releases, or does so no more."""
        if self._plain is not None:
            self._serve(self._plain, frozenset(ObjectKey(Kind.FLAG, key) for key in flags))

    def _serve(self, snapshot: Snapshot, changed: frozenset[ObjectKey] | None) -> None:
        served = with_switches(overlaid(snapshot, self.automation.diversions))
        self.serving = compile_serving(served, self.serving, changed, prices=self.prices)
        self.breakers.follow(self.serving, changed)
        self.elsewhere.follow(served, changed)
        self.on_served()

    def measured(self, outcomes: Sequence[Outcome]) -> None:
        """What the gauge has just taken."""
        self.exemplars.note(outcomes)
        self.office.measured(outcomes)
        if self.recording is not None:
            self.recording.note(outcomes)

    def scored(self, scores: Sequence[Score]) -> None:
        """What people thought of answers, as the gauge has just taken it."""
        self.office.scored(scores)
        if self.recording is not None:
            self.recording.note(scores)

    def impaired(self) -> bytes | None:
        """What `x-pointsman-degraded` says: nothing while all is well."""
        if self.automation.diversions:
            return b"local-brake"
        return b"redis" if self.watcher.degraded else None

    def snapshot(self) -> Snapshot:
        """The newest snapshot. Raises NotReady before the first."""
        if self.serving is None:
            raise NotReady("starting: no flags are known yet", retry_after_seconds=1)
        return self.serving.snapshot

    def newest(self) -> Snapshot | None:
        """The newest snapshot; None before the first."""
        return None if self.serving is None else self.serving.snapshot

    async def lands(self, flag: str, variant: str) -> bool | None:
        """Whether an automatic rollback of `flag` may land on `variant`, or where the promotion rules move it then; None
        where nobody can tell."""
        snapshot = self.snapshot()
        known = snapshot.flags.get(flag)
        if known is not None and variant == known.flag.safe:
            variant = lands_on(known.flag, cards_in(snapshot.objects, known.flag)) or variant
        return await self.fitting.lands(snapshot, flag, variant)

    def arrive(self, headers: Mapping[bytes, bytes], door: Door, wire: Wire) -> Exchange:
        """A request that has just come in, traced where somebody asked for telemetry."""
        x = Exchange(self.new_id(), headers, KEYLESS, door, wire, time.monotonic)
        if self.telemetry is not None:
            x.trace = self.telemetry.begin(x)
        return x

    def diverted(self) -> Mapping[str, str]:
        """What this worker has taken out of service by itself while the store is away: the version, by flag."""
        return {key: diversion.variant for key, diversion in self.automation.diversions.items()}

    def place(self, upstream: str) -> Mapping[str, Json] | None:
        """The declared document of `upstream`, None where there is none."""
        stored = self.serving.snapshot.of_kind(Kind.UPSTREAM).get(upstream) if self.serving else None
        return None if stored is None else spec(stored.document)

    def health(self) -> Health:
        """What `/readyz` says."""
        revision = self.serving.snapshot.revision if self.serving else None
        # What is declared later is made warm while the rest is served.
        self._warm = self._warm or (revision is not None and not self.library.is_loading)
        return Health(
            revision if self._warm else None,
            self.draining.is_set(),
            self.watcher.degraded,
            self.watcher.age_seconds,
        )

    def marks(self) -> list[tuple[bytes, bytes]]:
        """The headers that every answer carries."""
        revision = self.serving.snapshot.revision if self.serving else 0
        return [(b"x-request-id", self.new_id().encode()), (b"x-pointsman-revision", b"%d" % revision)]

    def degraded(self) -> bool:
        """Whether this process serves without its store."""
        return self.watcher.degraded

    async def followed(self, seconds: float) -> None:
        """Return once all workers serve what this one does, after `seconds` at most."""
        await self.store.fleet.followed(self.snapshot().position, seconds)

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def stopping(self) -> bool:
        """Whether open streams should end, because the process does."""
        return self.draining.is_set()

    def drain(self) -> None:
        """Say that no new requests are wanted; endless answers (events) end themselves."""
        self.draining.set()
        self.on_served()

    async def aclose(self) -> None:
        """Close everything in reverse; idempotent."""
        self.drain()
        await self.likening.aclose()
        await self.office.aclose()
        await self.board.aclose()
        await self.pipeline.shadows.aclose()
        # What was measured last is still told; what it would lead to, another worker does.
        await self.gauge.aclose()
        self.elsewhere.close()
        if self.recording is not None:
            await self.recording.aclose()
        await self.automation.aclose()
        await self.signing.aclose()
        await self.watcher.aclose()
        await self.cache.aclose()
        await self.upstreams.aclose()
        await self.shelf.aclose()
        await self.library.aclose()
        if self.telemetry is not None:
            await self.telemetry.aclose()
        self.patience.aclose()
        await self._listener.aclose()
        await self.store.aclose()

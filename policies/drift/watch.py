"""Watches for drift in the background: what providers report, and how served versions behave. Knows no request.

Any worker may look; one of them does each time, and each finding is told once. Nothing here is on a request's way, and
nothing is found where data is missing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from flags.change import Draft, View
from flags.ledger import Author
from flags.model import NOTHING, Document, Flag, Kind, Layer, ObjectKey
from flags.slices import in_slices
from flags.snapshot import Snapshot
from flags.store import Store
from policies.brake import Ledger
from policies.drift.baseline import amended, baseline_of, samples_in, stands
from policies.drift.names import Names
from policies.drift.note import DRIFTING, TAKING, author_of, is_gain, metric_of, noted, of_name, of_shift
from policies.drift.registry import Registry
from policies.drift.sample import SCORE, Sample, samples_of
from policies.drift.sample import Kind as Behaviour
from policies.drift.shift import Shift, least, shifts
from policies.governance.card import Card, card_of, written
from policies.incidents.incident import Incident, triggers_in
from policies.incidents.responder import Responder
from policies.measures import Measures
from policies.outcome import Outcome, Release
from policies.policy import Action, Metric, MetricKind, metrics_in
from policies.rounds import Rounds
from policies.series import version_subject
from policies.window import joined

log = logging.getLogger(__name__)

Metrics: TypeAlias = Mapping[str, Metric]
Measured: TypeAlias = Mapping[str, Sample]

# What providers report is compared so often, and how versions behave; the second is once for the whole fleet.
NAMES_SECONDS, SHIFTS_SECONDS = 5.0, 60.0
# The spans that are compared with the baseline: busy versions are told of within the hour, quiet ones within six.
SPANS = (60, 360)
# One finding of one version is told once a day; whoever tells it has a minute, then another worker may.
TOLD_SECONDS, CLAIM_SECONDS = 86_400.0, 60.0
# Looks begin a little apart from a minute, so that the turn of the last look is over.
TURN_SECONDS = 0.9 * SHIFTS_SECONDS
# Versions of more flags than these are read with everything else, rather than by name.
NAMED_SUBJECTS = 500


@dataclass(frozen=True, slots=True)
class Served:
    """A version that is served now, and its card."""

    flag: Flag
    card: Card

    @property
    def subject(self) -> str:
        """By which its numbers are known."""
        return version_subject(Release(self.flag.key, self.card.variant, 0))


Found: TypeAlias = tuple[Served, Shift, int]


class DriftWatch:
    """One worker's watch. What changes here: the names counted and known.

    `responder` does what policies of the metric `drift` want; None: drift is told and nothing else.
    """

    def __init__(  # what the house gives to it
        self,
        store: Store,
        measures: Measures,
        *,
        snapshot: Callable[[], Snapshot],
        away: Callable[[], bool],
        clock: Callable[[], float],
        responder: Responder | None = None,
    ) -> None:
        self._ledger: Ledger = store
        self._measures, self._snapshot = measures, snapshot
        self.names, self._registry = Names(), Registry(store, clock)
        self._responder = responder
        self._rounds = (
            Rounds("the look at reported names", self.look_at_names, NAMES_SECONDS, away=away),
            Rounds("the look for shifts", self.look_at_shifts, SHIFTS_SECONDS, away=away),
        )

    def __repr__(self) -> str:
        return f"<DriftWatch {self.names!r} {self._registry!r}>"

    def note(self, outcomes: Sequence[Outcome]) -> None:
        """Count what these answers report."""
        self.names.note(outcomes)

    def start(self) -> None:
        """Begin to look."""
        for rounds in self._rounds:
            rounds.start()

    async def aclose(self) -> None:
        """Stop; what was counted and not compared is lost. May be called again."""
        for rounds in self._rounds:
            await rounds.aclose()

    async def look_at_names(self) -> int:
        """Compare what was reported since the last look; how many changes were told. Raises StoreUnavailable."""
        snapshot, told = self._snapshot(), 0
        # Few of all flags have answered since the last look.
        found = {key: each for key in self.names.flags if (each := snapshot.flags.get(key)) is not None}
        models = {key: each for key, each in found.items() if each.flag.layer is Layer.MODEL}
        for reported in self.names.take(models):
            for renamed in await self._registry.tell(reported, models[reported.release.flag].flag):
                incident = of_name(renamed)
                if await self._measures.alarm(incident.id, CLAIM_SECONDS):
                    await self._tell(incident)
                    await self._registry.settle(renamed, told=True)
                    told += 1
        return told

    async def look_at_shifts(self) -> int:
        """Take baselines that can be taken, and compare what is served with its own; how many shifts were told.

        Nothing where another worker of the fleet has just looked. Raises StoreUnavailable.
        """
        if not await self._measures.alarm("drift", TURN_SECONDS):
            return 0
        snapshot = self._snapshot()
        served = [each async for each in in_slices(served_in(snapshot))]
        metrics = metrics_in(
            {name: _spec(stored.document) for name, stored in snapshot.of_kind(Kind.METRIC).items()}
        )
        await self._take_baselines(served, metrics)
        watched = [each for each in served if each.card.baseline]
        found = 0
        for each, shift, minutes in await self._shifted(watched, metrics):
            incident = of_shift(each.flag.key, each.card.variant, each.card.hash, shift, minutes)
            gain = is_gain(shift, metrics.get(metric_of(shift) or ""))
            found += await self._tell_once(incident, acts=not gain)
        return found

    async def _shifted(self, watched: Sequence[Served], metrics: Metrics) -> list[Found]:
        """Each kind of each version that has shifted, over the shorter span where over both."""
        if not watched:
            return []
        subjects = [each.subject for each in watched] if len(watched) <= NAMED_SUBJECTS else []
        windows = await self._measures.windows(max(SPANS), subjects)
        found: dict[tuple[str, str, str], Found] = {}
        for minutes in SPANS:
            span = joined(windows[-minutes:])
            for each in watched:
                now = samples_of(span.version(each.flag.key, each.card.variant), metrics)
                for shift in shifts(samples_in(each.card), now):
                    found.setdefault((each.flag.key, each.card.variant, shift.kind), (each, shift, minutes))
        return [*found.values()]

    async def _take_baselines(self, served: Sequence[Served], metrics: Metrics) -> None:
        lacking = [each async for each in in_slices(served) if wants_baseline(each, metrics)]
        if not lacking:
            return
        totals = await self._measures.totals_of([each.subject for each in lacking])
        async for each in in_slices(lacking):
            measured = samples_of(totals.version(each.flag.key, each.card.variant), metrics)
            held = baseline_of(each.card)
            if any(kind not in held and sample.n >= least(kind) for kind, sample in measured.items()):
                await self._take(each, measured)

    async def _take(self, served: Served, measured: Measured) -> None:
        flag, card = served.flag, served.card

        def decide(view: View) -> list[Draft]:
            if ObjectKey(Kind.FLAG, flag.key) not in view.objects:
                return []
            now = view.flag(flag.key)
            variant = now.variants.get(card.variant)
            if variant is None or variant.hash != card.hash:
                return []
            held = card_of(flag.key, variant, view.objects.get(card.key))
            after = amended(now, held, measured, view.time)
            return [] if after is held else [written("baseline", after)]

        reads = [ObjectKey(Kind.FLAG, flag.key), card.key]
        await self._ledger.change(Author(DRIFTING, TAKING), reads, decide, insist=True)

    async def _tell_once(self, incident: Incident, *, acts: bool) -> bool:
        """Tell a finding, unless that was done today; whether it was told here."""
        if await self._measures.rung(f"{incident.id}|told"):
            return False
        if not await self._measures.alarm(incident.id, CLAIM_SECONDS):
            return False
        await self._tell(incident, acts=acts)
        await self._measures.alarm(f"{incident.id}|told", TOLD_SECONDS)
        return True

    async def _tell(self, incident: Incident, *, acts: bool = True) -> None:
        """Note it, and have done what policies want beyond being told."""
        note = noted(incident)

        def decide(view: View) -> list[Draft]:
            return [note] if note.key in view.objects else []

        await self._ledger.change(author_of(incident), [note.key], decide, insist=True)
        log.warning("%s", incident.reason)
        if self._responder is None or not acts:
            return
        for trigger in triggers_in(self._snapshot().of_kind(Kind.POLICY)):
            policy = trigger.policy
            # The note is the alert; that a dry run would have acted is told beside it.
            if trigger.wants(incident) and (policy.action is not Action.ALERT or policy.dry_run):
                await self._responder.respond(replace(incident, policy=policy.name))


def served_in(snapshot: Snapshot) -> Iterator[Served]:
    """Each version that somebody gets: what a flag serves, and its rollout's candidate."""
    cards = snapshot.of_kind(Kind.VERSION)
    for key, compiled in snapshot.flags.items():
        flag = compiled.flag
        names = {flag.served, flag.rollout.variant if flag.rollout else None}
        for name in sorted(names & flag.variants.keys(), key=str):
            assert name is not None
            yield Served(flag, card_of(key, flag.variants[name], cards.get(f"{key}/{name}")))


def wants_baseline(served: Served, metrics: Metrics) -> bool:
    """Whether somebody answers for the version, and its baseline lacks a kind that might be observed."""
    kinds = {
        *Behaviour,
        *(SCORE + name for name, metric in metrics.items() if metric.kind is MetricKind.SCORE),
    }
    return stands(served.flag, served.card) and not kinds <= baseline_of(served.card).keys()


def _spec(document: Document) -> Document:
    found = document.get("spec", NOTHING)
    return found if isinstance(found, dict) else NOTHING

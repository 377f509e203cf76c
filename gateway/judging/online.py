"""The online judge: samples a route's answers, has another route score them, and hands the scores to the recorder.

It begins when the answer is through, so it delays nothing; bounded, so it grows no queue. What it asks goes by
gateway.evals.asking, beside the pipeline's front door: nothing that it asks is sampled itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from flags.model import Json, Kind
from flags.snapshot import Snapshot
from gateway.ask import Ask
from gateway.compiling import spec
from gateway.decision import Decision
from gateway.errors import GatewayError
from gateway.exchange import Exchange
from gateway.feedback import metric_of
from gateway.judging.overheard import Overheard
from gateway.judging.rubric import INSTRUCTION, Unread, material, rubrics_of, scores_in
from gateway.judging.text import WIRES, text_of
from gateway.spec_rulebook import JudgeSpec
from policies.evals.grader import GraderAway
from policies.outcome import Ending, Part, Score
from policies.policy import Metric

log = logging.getLogger("pointsman.judge")

# At once in one process. What comes above that is not judged: a judge is slower than what it judges, and a sample need
# not be complete.
MOST_AT_ONCE = 4
# What is counted, beside feedback, by what became of it: answers that were scored, judges that failed or replied with
# no scores, and answers for which there was no room.
JUDGED, FAILED, BUSY = "judged", "judge_failed", "judge_busy"
# The parts of a request that are a user's answer, made for this user.
ANSWERS = frozenset({Part.WHOLE, Part.SHIELD})
PERCENT = 100.0


class Judging(Protocol):
    """A judge route (gateway.evals.grading.Judge)."""

    async def ask(self, instruction: str, material: str) -> str:
        """What it says. Raises GraderAway."""
        ...


class Scores(Protocol):
    """Where scores go (policies.recorder)."""

    def add_score(self, score: Score) -> None:
        """Take one score."""
        ...

    def heard(self, word: str) -> None:
        """Count one by what became of it."""
        ...


class Sampled(msgspec.Struct, frozen=True, gc=False):
    """A request whose answer will be judged: by whom, what was asked, when it was decided (Unix seconds)."""

    judge: JudgeSpec
    ask: Ask
    door: Overheard
    decided_at: int


class OnlineJudge:
    """One process's online judging. What changes here: what is under way, and the judges that were asked before.

    `judge` makes who asks a route; `draw` is uniform in [0, 1); `now` gives Unix seconds by Redis' clock.
    """

    def __init__(
        self,
        scores: Scores,
        judge: Callable[[str], Judging],
        *,
        snapshot: Callable[[], Snapshot],
        draw: Callable[[], float],
        now: Callable[[], float],
    ) -> None:
        self._scores, self._judge = scores, judge
        self._snapshot, self._draw, self._now = snapshot, draw, now
        self._judges: dict[str, Judging] = {}
        self._under_way: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<OnlineJudge {self.running} under way>"

    @property
    def running(self) -> int:
        """How many judgements are under way."""
        return len(self._under_way)

    def overhear(self, judge: JudgeSpec, ask: Ask, x: Exchange) -> None:
        """Toss a coin for this request; where it is to be judged, keep what goes out of its door.

        The switch `gateway.judge` may have another share in place of the judge's own.
        """
        percent = judge.percent if x.stand.judge is None else x.stand.judge
        if ask.wire.name not in WIRES or self._draw() * PERCENT >= percent:
            return
        door = Overheard(x.door)
        x.door = door
        x.sampled = Sampled(judge, ask, door, int(self._now()))

    def hear(self, sampled: Sampled, x: Exchange) -> None:
        """The request is over: judge its answer, if it has a good one and there is room."""
        x.sampled = None
        if x.ending is not Ending.OK or x.part not in ANSWERS or x.decision is None or not sampled.door.whole:
            return
        if self.running >= MOST_AT_ONCE:
            self._scores.heard(BUSY)
            return
        heard = _Heard(
            sampled, x.request_id, x.unit, x.decision, tuple(passage.text for passage in x.passages)
        )
        task = asyncio.get_running_loop().create_task(self._score(heard), name="online judge")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _score(self, heard: _Heard) -> None:
        try:
            scores = await self._scores_of(heard)
        except (GraderAway, Unread, GatewayError) as error:
            self._scores.heard(FAILED)
            log.info("answer %s was not judged: %s", heard.request_id, error)
            return
        except Exception:  # the edge: a bug of ours must cost a judgement, and be seen
            self._scores.heard(FAILED)
            log.exception("judging %s failed inside the gateway", heard.request_id)
            return
        for metric, value in scores.items():
            self._scores.add_score(heard.score(metric, value))
        if scores:
            self._scores.heard(JUDGED)

    async def _scores_of(self, heard: _Heard) -> dict[str, float]:
        sampled = heard.sampled
        answer = text_of(sampled.door.body, sampled.ask.wire.name)
        if not answer:
            return {}  # a tool's call: there is nothing said that could be judged
        snapshot = self._snapshot()
        metrics = [metric_of(name, snapshot) for name in sampled.judge.metrics]
        rubrics = rubrics_of([(metric, description_of(metric, snapshot)) for metric in metrics])
        told = material(sampled.ask.wire.question(sampled.ask), answer, heard.passages, rubrics)
        reply = await self._judge_of(sampled.judge.route).ask(INSTRUCTION, told)
        return scores_in(reply, metrics)

    def _judge_of(self, route: str) -> Judging:
        found = self._judges.get(route)
        if found is None:
            found = self._judges[route] = self._judge(route)
        return found

    async def aclose(self) -> None:
        """Break off what is under way. Idempotent."""
        for task in tuple(self._under_way):
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)


class _Heard(msgspec.Struct, frozen=True, gc=False):
    """An answer that is judged, and what scores of it go by."""

    sampled: Sampled
    request_id: str
    unit: str
    decision: Decision
    passages: Sequence[str]

    def score(self, metric: str, value: float) -> Score:
        """As a person's score, under a key of its own: a person's of the same answer and metric counts beside it."""
        return Score(
            key=f"{self.request_id}/{metric}/judge",
            route=self.decision.route.name,
            releases=self.decision.releases,
            how=self.decision.how,
            unit=self.unit,
            metric=metric,
            value=value,
            decided_at=self.sampled.decided_at,
        )


def description_of(metric: Metric, snapshot: Snapshot) -> str | None:
    """What a metric's declaration says that it is; None where it says nothing."""
    stored = snapshot.of_kind(Kind.METRIC).get(metric.name)
    found: Json = spec(stored.document).get("description") if stored is not None else None
    return found if isinstance(found, str) and found else None

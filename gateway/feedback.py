"""What somebody thought of an answer: checked, joined to the releases that answered, and handed to the recorder.

Knows no HTTP. A comment is checked and then dropped: what people write is not kept unless somebody asks for it, and
nobody can ask yet. A score that was sent twice is found where scores are counted, by its key.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Protocol

import msgspec
from msgspec import Meta

from flags.errors import Invalid, StoreUnavailable
from flags.model import Kind
from flags.snapshot import Snapshot
from gateway.auth import Caller
from gateway.compiling import spec
from gateway.errors import BadRequest, Forbidden, NotReady
from gateway.token import Decided, DecisionExpired, InvalidDecision, TokenSigner
from policies.answered import answered_from
from policies.outcome import Score
from policies.policy import BUILT_IN, Metric, MetricKind, metric_from

# What an app may know of a request before the store does: ids are flushed every 250 ms.
ONCE_MORE_SECONDS = 0.3

# What is counted of scores sent in, by what became of them.
ACCEPTED, LATE, FORGED, UNKNOWN = "accepted", "late", "forged", "unknown"


class UnknownRequest(BadRequest):
    """Raised when a request id is none of the last 100,000 of this namespace."""

    status, code = 404, "unknown_request"


class UnknownMetric(BadRequest):
    """Raised when no score of that name is declared; the message lists those that are."""

    code = "unknown_metric"


class StoreAway(NotReady):
    """Raised when a request id cannot be looked up, because Redis is away."""

    code, usual_retry_after_seconds = "store_unavailable", 1.0


class FeedbackBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One score for one answer, named by its decision token or by its request id."""

    metric: Annotated[str, Meta(min_length=1, max_length=128)]
    value: bool | float
    decision: Annotated[str, Meta(min_length=1)] | None = None
    request_id: Annotated[str, Meta(min_length=1, max_length=256)] | None = None
    comment: str | None = None


class Scores(Protocol):
    """Where scores go (policies.recorder)."""

    def add_score(self, score: Score) -> None:
        """Take one score."""
        ...

    def heard(self, word: str) -> None:
        """Count one by what became of it."""
        ...


class Feedback:
    """Takes scores in. It keeps nothing itself.

    `decision_of` looks a request id up (Measures.decision_of); `now` gives Unix seconds.
    """

    def __init__(
        self,
        scores: Scores,
        *,
        snapshot: Callable[[], Snapshot],
        signer: Callable[[], TokenSigner | None],
        decision_of: Callable[[str], Awaitable[str | None]],
        now: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self.scores, self._snapshot, self._signer = scores, snapshot, signer
        self._decision_of, self._now, self._sleep = decision_of, now, sleep

    async def take(self, body: bytes, caller: Caller) -> None:
        """Take the score that `body` holds. Raises BadRequest (404 for an unknown request), Forbidden, NotReady."""
        sent = read_body(body)
        try:
            score = await self.score_of(sent) or await self._once_more(sent)
        except BadRequest as error:
            word = word_of(error)
            if word:
                self.scores.heard(word)
            raise
        if not caller.may_use(score.route):
            raise Forbidden(f"this key may not use route {score.route}, and may not judge its answers")
        self.scores.add_score(score)
        self.scores.heard(ACCEPTED)

    async def score_of(self, sent: FeedbackBody) -> Score | None:
        """`sent`, joined to what answered; nothing is counted. None for a request id that nobody knows (yet).

        Raises UnknownMetric, BadRequest for the value, InvalidDecision, DecisionExpired, and StoreAway.
        """
        metric = metric_of(sent.metric, self._snapshot())
        value = value_of(sent.value, metric)
        decided = self._read(sent.decision) if sent.decision else await self._look_up(sent.request_id or "")
        if decided is None:
            return None
        answered = decided.answered
        return Score(
            key=f"{decided.request_id}/{metric.name}",
            route=answered.route,
            releases=answered.releases,
            how=answered.how,
            unit=answered.unit,
            metric=metric.name,
            value=value,
            decided_at=decided.decided_at,
        )

    async def _once_more(self, sent: FeedbackBody) -> Score:
        await self._sleep(ONCE_MORE_SECONDS)
        score = await self.score_of(sent)
        if score is None:
            message = "request_id: none of the last 100,000 requests of this namespace"
            raise UnknownRequest(message, param="request_id")
        return score

    def _read(self, token: str) -> Decided:
        signer = self._signer()
        if signer is None:
            raise StoreAway("decision: it cannot be checked: Redis was away since this worker started")
        return signer.read(token, int(self._now()))

    async def _look_up(self, request_id: str) -> Decided | None:
        try:
            found = await self._decision_of(request_id)
        except StoreUnavailable as error:
            raise StoreAway("request_id: cannot be looked up now; a decision token can be read") from error
        if found is None:
            return None
        answered = answered_from(found)
        return Decided(request_id, answered.decided_at, answered)


def word_of(error: BadRequest) -> str:
    """By what a score that is not taken is counted; "" where the sender alone is told."""
    if isinstance(error, DecisionExpired):
        return LATE
    if isinstance(error, InvalidDecision):
        return FORGED
    return UNKNOWN if isinstance(error, UnknownRequest) else ""


def read_body(body: bytes) -> FeedbackBody:
    """`body` as what it should be. Raises BadRequest for anything else."""
    try:
        sent = msgspec.json.decode(body, type=FeedbackBody)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"the body is no feedback: {error}") from error
    if (sent.decision is None) == (sent.request_id is None):
        found = "neither" if sent.decision is None else "both"
        raise BadRequest(f"expected decision or request_id, found {found}", param="decision")
    return sent


def metric_of(name: str, snapshot: Snapshot) -> Metric:
    """The score called `name`, declared or built in. Raises UnknownMetric with all there are."""
    declared = snapshot.of_kind(Kind.METRIC)
    built_in = {metric.name: metric for metric in BUILT_IN}
    ours = {metric.name for metric in BUILT_IN if metric.kind is not MetricKind.SCORE}
    scores = ", ".join(sorted((built_in.keys() | set(declared)) - ours))
    if name in ours:
        raise UnknownMetric(f"the gateway measures {name} itself (scores: {scores})", param="metric")
    if name not in declared:
        if name not in built_in:
            raise UnknownMetric(f"metric {name!r} is not defined (scores: {scores})", param="metric")
        return built_in[name]
    try:
        return metric_from(name, spec(declared[name].document))
    except Invalid as error:
        raise UnknownMetric(
            f"metric {name} is declared and cannot be read: {error}", param="metric"
        ) from error


def value_of(sent: bool | float, metric: Metric) -> float:  # noqa: FBT001  # a value that came over the wire
    """`sent` as the metric has it: true and false are 1 and 0. Raises BadRequest out of its range."""
    value = float(sent)
    if metric.boolean and value not in {0.0, 1.0}:
        raise BadRequest(f"value: expected true or false, found {sent:g}", param="value")
    if isinstance(sent, bool) and (metric.low, metric.high) != (0.0, 1.0):
        wanted = f"a number from {metric.low:g} to {metric.high:g}"
        raise BadRequest(f"value: expected {wanted}, found {str(sent).lower()}", param="value")
    if not metric.low <= value <= metric.high:
        raise BadRequest(f"value: expected {metric.low:g} to {metric.high:g}, found {value:g}", param="value")
    return value

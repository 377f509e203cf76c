"""Takes tracks off their stream, checks them as feedback is checked, and hands scores to the recorder.

Every worker does it, and each track is taken by one. Knows no HTTP, and answers nobody: what is no score is counted by
what was wrong with it, and told in the log once a minute.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from flags.fields import seen
from flags.slices import in_slices
from flags.snapshot import Snapshot
from flags.store import Store
from flags.tracking import Track, take
from gateway.errors import BadRequest
from gateway.feedback import (
    ACCEPTED,
    LATE,
    UNKNOWN,
    Feedback,
    FeedbackBody,
    StoreAway,
    UnknownMetric,
    metric_of,
    value_of,
    word_of,
)
from gateway.tracking.scores import Users, is_known, is_late, scores_of
from policies.outcome import Score
from policies.rounds import Rounds

log = logging.getLogger("pointsman.tracking")

# How long a track waits at most: people do not see a second. An idle look costs Redis some 20 µs.
LOOK_SECONDS = 1.0
# Tracks in one look, some 0.3 KB each; where there are more it looks again at once, so often at most in one round: then
# others have their turn, and the recorder's buffer has room for it.
PAGE = 200
LOOKS = 10
# Between two lines of the log on the same trouble.
TELL_SECONDS = 60.0

# What is counted beside feedback's own words: no such metric; a value out of its range, or nothing that can be read; no
# route that uses the flags; what a decision or a request was could not be looked up.
NO_METRIC, INVALID, NO_ROUTE, AWAY = "no_metric", "invalid", "no_route", "away"


class TrackTaker:
    """One worker's. What changes here: the tracks that are looked at once more, and when which trouble was told.

    `users` tells which routes use a flag, `away` whether Redis is known not to answer. `now` gives Unix seconds by
    Redis' clock.
    """

    def __init__(
        self,
        store: Store,
        feedback: Feedback,
        *,
        snapshot: Callable[[], Snapshot | None],
        users: Callable[[], Users],
        away: Callable[[], bool],
        now: Callable[[], float],
    ) -> None:
        self._store, self._feedback = store, feedback
        self._scores = feedback.scores
        self._snapshot, self._users, self._now = snapshot, users, now
        # Their requests may have ended in another worker, which tells of them when this one has heard of the track.
        self._again: list[Track] = []
        self._told: dict[str, float] = {}
        self.rounds = Rounds("the tracks of OpenFeature", self.round, LOOK_SECONDS, away=away)

    def __repr__(self) -> str:
        return f"<TrackTaker {len(self._again)} once more, {self.rounds!r}>"

    async def round(self) -> int:
        """Take what waits; how many tracks that were. Raises StoreUnavailable."""
        if self._snapshot() is None:
            return 0
        await self._settle_again()
        seen = page = 0
        for _ in range(LOOKS):
            tracks, unread = await take(self._store, PAGE)
            for _ in range(unread):
                self._trouble(INVALID, "a track cannot be read")
            async for track in in_slices(tracks):
                await self._hear(track)
            page = len(tracks) + unread
            seen += page
            if page < PAGE:
                break
        return seen

    async def aclose(self) -> None:
        """Stop; what was taken is counted still. Idempotent."""
        await self.rounds.aclose()
        await self._settle_again()

    async def _settle_again(self) -> None:
        again, self._again = self._again, []
        for track in again:
            await self._hear(track, last=True)

    async def _hear(self, track: Track, *, last: bool = False) -> None:
        """Make it scores. Never raises for what may stand in a track."""
        snapshot = self._snapshot()
        assert snapshot is not None
        try:
            scores = await self._scores_of(track, snapshot)
        except UnknownMetric as error:
            self._trouble(NO_METRIC, error.message)
        except BadRequest as error:
            self._trouble(word_of(error) or INVALID, f"{track.metric}: {error.message}")
        except StoreAway as error:
            self._not_yet(track, AWAY, error.message, last=last)
        else:
            for score in scores:
                self._scores.add_score(score)
                self._scores.heard(ACCEPTED)
            if not scores:
                self._nothing(track, snapshot, last=last)

    async def _scores_of(self, track: Track, snapshot: Snapshot) -> list[Score]:
        # Without a value a track says that something happened.
        value = True if track.value is None else track.value
        if track.decision:
            named = FeedbackBody(track.metric, value, decision=track.decision)
        elif track.request_id:
            named = FeedbackBody(track.metric, value, request_id=track.request_id)
        else:
            metric = metric_of(track.metric, snapshot)
            checked = value_of(value, metric)
            return scores_of(
                track, metric, checked, flags=snapshot.flags, users=self._users(), now=self._now()
            )
        score = await self._feedback.score_of(named)
        return [] if score is None else [score]

    def _nothing(self, track: Track, snapshot: Snapshot, *, last: bool) -> None:
        """Count a track that judges no release."""
        if track.request_id:
            message = f"request_id {track.request_id!r} is none of the last 100,000 requests"
            self._not_yet(track, UNKNOWN, message, last=last)
            return
        # Spelled as Python does: what was forged must make no line of its own in the log.
        told = seen([f"{got.flag} {got.variant}" for got in track.got[:5]])
        if all(is_late(got, self._now()) for got in track.got):
            self._trouble(LATE, f"{track.metric}: it is more than a week since its user got {told}")
        elif not any(is_known(got, snapshot.flags) for got in track.got):
            self._trouble(UNKNOWN, f"{track.metric}: no such version: {told}")
        else:
            where = f"route {track.route!r} does not use" if track.route else "no route uses"
            self._trouble(NO_ROUTE, f"{track.metric}: {where} {told}")

    def _not_yet(self, track: Track, word: str, message: str, *, last: bool) -> None:
        if last:
            self._trouble(word, f"{track.metric}: {message}")
        else:
            self._again.append(track)

    def _trouble(self, word: str, message: str) -> None:
        """Count what was no score, and tell it, once a minute for each kind."""
        self._scores.heard(word)
        now = self._now()
        if now - self._told.get(word, -TELL_SECONDS) >= TELL_SECONDS:
            self._told[word] = now
            log.warning("a tracked event is no score (%s): %s", word, message)

"""What people did with what a flag gave them, told to the namespace: OpenFeature's `track` on its way to a score.

Knows which versions of layer flags a user last got from this process, and the stream that tracks wait in. Knows no
metric and no route: whether a value is good, and for which release it counts, the gateway decides.

    tracker = Tracker(now=time.time, new_id=lambda: uuid.uuid4().hex, entropy=os.urandom)
    tracker.note("user-7", resolution)                  # after each evaluation of a flag that has a layer
    tracker.add("thumbs_up", 1.0, "user-7")             # `track` of the provider
    await tracker.send(store)                           # every 0.25 s, and on shutdown

Nobody's name and nothing else that was given beside the value goes to Redis: a user is a keyed hash.
"""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from math import isfinite
from typing import Annotated, NamedTuple, TypeAlias

import msgspec
from msgspec import Meta
from redis.exceptions import ResponseError

from flags.errors import StoreUnavailable
from flags.model import NOTHING, Reason, Resolution
from flags.store import Store
from flags.units import Units, unit_key

log = logging.getLogger(__name__)

# Users whose last versions are remembered, at least; twice as many at most, some 0.5 KB each. The rest are forgotten,
# those first that were not seen for longest.
USERS = 10_000
# Layer flags remembered of a user: five layers of a dozen routes. The one that came first is forgotten.
FLAGS_OF_A_USER = 64
# Tracks that wait to be sent: 4,000 a second at four sends a second. Further ones are dropped, and counted.
ROOM = 1_000
# Tracks in one call, some 0.3 KB each: Redis is busy for less than a millisecond.
PAGE = 200
# Tracks that wait in Redis for a gateway, about: a few megabytes.
WAITING = 10_000
# After no answer, and after one that will be the same for a while (a user that may only read), nothing is tried.
AWAY_SECONDS = 1.0
REFUSED_SECONDS = 10.0
# Redis' clock and the key of units are looked at anew: clocks drift, and a fail-over may bring another history.
RENEW_SECONDS = 3600.0
# Between two calls of `send` a quarter of a second goes by, two where Redis hangs; after more the clock was set, or this
# process stood still.
JUMP_SECONDS = 30.0
# As the gateway's own door for feedback has them; a decision token that the gateway made is far below.
MOST_NAME = 128
MOST_REQUEST_ID = 256
MOST_DECISION = 16_384
# Of what is read: whoever may write to Redis may write anything, and a time beyond floats would stop who reckons with it.
MOST_COUNTED = 2**53

Name: TypeAlias = Annotated[str, Meta(max_length=MOST_NAME)]


class Got(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A version that a user got. `at` in Unix seconds of Redis' clock, at most a second early."""

    flag: Name
    variant: Name
    generation: Annotated[int, Meta(ge=0, le=MOST_COUNTED)]
    reason: Reason
    at: Annotated[int, Meta(ge=0, le=MOST_COUNTED)]


class Track(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One `track`, as it waits in Redis. Without a value it only says that something happened.

    With a `decision` (token) or a `request_id` that says what is meant, else `got` and `unit` do. `route` narrows `got`.
    """

    id: Name
    metric: Name
    value: bool | float | None = None
    unit: Name = ""
    got: Annotated[tuple[Got, ...], Meta(max_length=FLAGS_OF_A_USER)] = ()
    route: Name = ""
    decision: Annotated[str, Meta(max_length=MOST_DECISION)] = ""
    request_id: Annotated[str, Meta(max_length=MOST_REQUEST_ID)] = ""


class Counts(NamedTuple):
    """Tracks since the beginning: sent; dropped for want of room; unmatched (nothing is known that they could mean);
    invalid (no name, or a value that is no number)."""

    sent: int = 0
    dropped: int = 0
    unmatched: int = 0
    invalid: int = 0


class _Seen(NamedTuple):
    """A version that a user got; `at` by our own clock."""

    variant: str
    generation: int
    reason: Reason
    at: int


class _Waiting(NamedTuple):
    """A track that was not sent; `targeting_key` and our own clock are still in it."""

    track: Track
    targeting_key: str
    seen: tuple[tuple[str, _Seen], ...]


async def take(store: Store, most: int) -> tuple[list[Track], int]:
    """Up to `most` tracks, oldest first, and how many more were there that cannot be read. Raises StoreUnavailable.

    They are gone from Redis then, and nobody else gets them; where the answer is lost on its way, so are they.
    """
    rows: list[bytes] = await store.calls.script("take", [store.keys.tracks], [most])
    tracks: list[Track] = []
    for row in rows:
        with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
            tracks.append(msgspec.json.decode(row, type=Track))
    return tracks, len(rows) - len(tracks)


class Tracker:
    """Remembers who got what, and carries tracks to Redis. What changes: both, the counts, and what is known of Redis.

    `note` and `add` may be called by any thread at any time, and wait for nothing; no lock is there that a fork could
    leave taken. `send` belongs to one task. `now` gives Unix seconds, `new_id` an id that no other track has,
    `entropy` so many random bytes (for the namespace's unit key, where nobody made it yet).
    """

    __slots__ = (
        "_dropped", "_entropy", "_invalid", "_moment", "_new_id", "_now", "_old", "_queue", "_renew_at", "_rest_until",
        "_room", "_sent", "_skew", "_told", "_under_way", "_units", "_unmatched", "_users", "_young",
    )  # fmt: skip

    def __init__(
        self,
        *,
        now: Callable[[], float],
        new_id: Callable[[], str],
        entropy: Callable[[int], bytes],
        users: int = USERS,
        room: int = ROOM,
    ) -> None:
        self._now, self._new_id, self._entropy = now, new_id, entropy
        self._users, self._room = users, room
        # Two generations in place of a list by use: an evaluation pays for one look-up, and takes no lock.
        self._young: dict[str, dict[str, _Seen]] = {}
        self._old: dict[str, dict[str, _Seen]] = {}
        self._queue: deque[_Waiting] = deque()
        self._under_way: tuple[bytes, ...] = ()
        self._sent = self._dropped = self._unmatched = self._invalid = 0
        # Read once for each `send`, not for each evaluation: rather too old than counted for a later release.
        self._moment = int(now())
        self._skew = 0
        self._units: Units | None = None
        self._renew_at = self._rest_until = 0.0
        self._told = False

    def __repr__(self) -> str:
        return f"<Tracker {len(self._young)} users, {len(self._queue)} tracks wait, {self.counts}>"

    @property
    def counts(self) -> Counts:
        """What became of all tracks so far. Where threads collide a drop may go uncounted."""
        return Counts(self._sent, self._dropped, self._unmatched, self._invalid)

    def note(self, targeting_key: str | None, resolution: Resolution) -> None:
        """Remember that this user got this. Give it only answers of flags that have a layer: others judge no release.

        Costs a quarter of a microsecond. Nobody named, or no variant: nothing is remembered.
        """
        variant = resolution.variant
        if not targeting_key or variant is None:
            return
        young = self._young
        held = young.get(targeting_key)
        if held is None:
            held = self._welcome(targeting_key, young)
        if len(held) >= FLAGS_OF_A_USER and resolution.flag not in held:
            _forget_one(held)
        held[resolution.flag] = _Seen(variant, resolution.generation, resolution.reason, self._moment)

    def _welcome(self, targeting_key: str, young: dict[str, dict[str, _Seen]]) -> dict[str, _Seen]:
        if len(young) >= self._users:
            self._old, self._young = young, {}
            young = self._young
        held = self._old.get(targeting_key)
        # Copied: a thread that still has the older generation may be writing to it.
        return young.setdefault(targeting_key, dict(held) if held else {})

    def add(
        self,
        metric: str,
        value: float | None = None,
        targeting_key: str | None = None,
        attributes: Mapping[str, object] = NOTHING,
    ) -> None:
        """Queue one `track`: the event's name, OpenFeature's value, who did it, and the details' attributes.

        Of these three are looked at, and no others are kept: `decision` (the token of an answer) or `request_id` say
        what is judged; else it is what the user last got here, of `route`'s flags only where that is given. Never
        raises: what cannot be meant is counted, see `counts`.
        """
        track = _track_from(self._new_id(), metric, value, attributes)
        if track is None:
            self._invalid += 1
            return
        known: tuple[tuple[str, _Seen], ...] = ()
        if not track.decision and not track.request_id:
            known = self._known(targeting_key or "")
            if not known:
                self._unmatched += 1
                return
        if len(self._queue) >= self._room:
            self._dropped += 1
            return
        self._queue.append(_Waiting(track, targeting_key or "", known))

    def _known(self, targeting_key: str) -> tuple[tuple[str, _Seen], ...]:
        held = self._young.get(targeting_key) or self._old.get(targeting_key)
        # Copied at once: an evaluation in another thread may add to it.
        return tuple(held.copy().items()) if held else ()

    async def send(self, store: Store) -> int:
        """Send what waits; the number of tracks that Redis took. Never raises for a Redis that is away or refuses.

        Then they wait on, and the log tells it once. What was cut off half-way comes again under the same ids, and
        counts once. Call it every 0.25 s even where nothing waits: by it the tracker knows how late it is.
        """
        now = self._now()
        if abs(now - self._moment) > JUMP_SECONDS:
            # By another clock: what was to wait until some hour of the old one might wait for ever.
            self._rest_until = self._renew_at = 0.0
        self._moment = int(now)
        if now < self._rest_until or not (self._queue or self._under_way):
            return 0
        sent = 0
        try:
            if self._units is None or now >= self._renew_at:
                await self._meet(store, now)
            while self._under_way or self._queue:
                sent += await self._send_page(store)
        except StoreUnavailable as error:
            self._fail(error, now)
        else:
            self._told = False
        return sent

    async def _meet(self, store: Store, now: float) -> None:
        """Learn the namespace's key for units, and how far Redis' clock is before ours."""
        self._units = Units(await unit_key(store, self._entropy))
        self._skew = round(datetime.fromisoformat(await store.time()).timestamp() - self._now())
        self._renew_at = now + RENEW_SECONDS

    async def _send_page(self, store: Store) -> int:
        if not self._under_way:
            page = [self._queue.popleft() for _ in range(min(PAGE, len(self._queue)))]
            self._under_way = tuple(self._packed(page))
        args: list[str | bytes | int] = [WAITING, *self._under_way]
        await store.calls.script("track", [store.keys.tracks], args)
        sent, self._under_way = len(self._under_way), ()
        self._sent += sent
        return sent

    def _packed(self, page: Iterable[_Waiting]) -> Iterable[bytes]:
        assert self._units is not None
        for track, targeting_key, seen in page:
            unit = self._units.of(targeting_key) if targeting_key else ""
            got = tuple(
                Got(flag, each.variant, each.generation, each.reason, each.at + self._skew)
                for flag, each in seen
            )
            yield msgspec.json.encode(msgspec.structs.replace(track, unit=unit, got=got))

    def _fail(self, error: StoreUnavailable, now: float) -> None:
        refused = isinstance(error.__cause__, ResponseError)
        # Whoever answers next may be another.
        self._units = None
        self._rest_until = now + (REFUSED_SECONDS if refused else AWAY_SECONDS)
        if not self._told:
            log.warning("what was tracked waits, and is dropped where there is no room for it: %s", error)
        self._told = True


def _track_from(
    track_id: str, metric: str, value: float | None, attributes: Mapping[str, object]
) -> Track | None:
    """What was said, as far as it is kept; None for a name or a value that can be none."""
    route = _text(attributes.get("route"), MOST_NAME)
    decision = _text(attributes.get("decision"), MOST_DECISION)
    request_id = _text(attributes.get("request_id"), MOST_REQUEST_ID)
    if not _text(metric, MOST_NAME) or route is None or decision is None or request_id is None:
        return None
    if value is not None and not isinstance(value, bool):
        value = _number(value)
        if value is None:
            return None
    return Track(track_id, metric, value, route=route, decision=decision, request_id=request_id)


def _number(found: object) -> float | None:
    try:
        value = float(found) if isinstance(found, int | float) else None
    except OverflowError:
        return None
    return value if value is not None and isfinite(value) else None


def _text(found: object, most: int) -> str | None:
    """`found` where it is text that can be sent; "" where there is none; None where it is something else, or too long."""
    if found is None:
        return ""
    if not isinstance(found, str) or len(found) > most:
        return None
    try:
        found.encode()
    except UnicodeEncodeError:
        return None
    return found


def _forget_one(held: dict[str, _Seen]) -> None:
    """Make room for one more."""
    for flag in list(held)[:1]:
        held.pop(flag, None)

"""People who are not content: how many different ones complained of a release lately, and what policies want done.

There is no share of them, for those who say nothing are not asked; so different people are counted within a window, in
Redis, by the whole fleet. Who named no user is told apart by request. Knows no comment (none is kept) and no wire.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from flags.call import scripts_in
from flags.canonical import digest
from flags.errors import StoreUnavailable
from flags.model import Flag, Kind
from flags.snapshot import Snapshot
from flags.store import Store
from policies.case import key_of, retreat_of, trial_of
from policies.incidents.incident import Incident, Trigger, triggers_in
from policies.incidents.responder import Responder
from policies.outcome import Release, Score
from policies.policy import COMPLAINTS, COMPLAINTS_LIMIT

log = logging.getLogger(__name__)

# Complaints that wait to be counted; more in a moment is no person's doing, and the oldest go.
CAPACITY = 1_000
# Between two counts: complaints come seldom, and nobody waits for them.
COUNT_EVERY_SECONDS = 0.25
# While Redis is away.
AGAIN_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Count:
    """What a policy counts complaints of: a release that can go back, or (None) all that answers on a route."""

    trigger: Trigger
    route: str
    release: Release | None
    name: str


class Complaints:
    """One worker's count. What changes here: the complaints that are not counted yet, and the task."""

    def __init__(self, store: Store, responder: Responder, snapshot: Callable[[], Snapshot]) -> None:
        self._store, self._responder, self._snapshot = store, responder, snapshot
        self._script = scripts_in("policies")["complaints"]
        self._waiting: deque[Score] = deque(maxlen=CAPACITY)
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Complaints {len(self._waiting)} waiting>"

    def note(self, scores: Iterable[Score]) -> None:
        """Take the complaints among scores. Returns at once."""
        found = [score for score in scores if score.metric == COMPLAINTS and score.value == 1.0]
        if found:
            self._waiting.extend(found)
            self._wake.set()

    def start(self) -> None:
        """Begin to count."""
        self._task = asyncio.create_task(self._run(), name="complaints")

    async def aclose(self) -> None:
        """Stop; what waits is lost. May be called again."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def count(self) -> None:
        """Count what waits, and do what policies want about it. Raises StoreUnavailable, and then it waits still."""
        taken = list(self._waiting)
        snapshot = self._snapshot()
        groups: dict[str, tuple[Count, set[str]]] = {}
        triggers = triggers_in(snapshot.of_kind(Kind.POLICY))
        for score in taken:
            for count in counts_of(score, triggers, snapshot):
                groups.setdefault(count.name, (count, set()))[1].add(_who(score))
        for count, people in await self._counted(groups):
            if people >= _limit(count.trigger):
                await self._responder.respond(incident_of(count, people))
        for score in taken:
            # By identity: others may have come meanwhile, and the oldest may have gone.
            if self._waiting and self._waiting[0] is score:
                self._waiting.popleft()

    async def _counted(self, groups: Mapping[str, tuple[Count, set[str]]]) -> list[tuple[Count, int]]:
        if not groups:
            return []
        keys, args = [], list[str | bytes | int]()
        for count, people in groups.values():
            policy = count.trigger.policy
            keys.append(self._store.keys.complaints(policy.id, count.name.partition("|")[2]))
            args += [round(policy.window_seconds * 1000), len(people), *sorted(people)]
        found = await self._store.calls.script(self._script, keys, args)
        return [(count, int(n)) for (count, _), n in zip(groups.values(), found, strict=True)]

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self.count()
            except StoreUnavailable as error:
                log.info("complaints wait for Redis: %s", error)
                await asyncio.sleep(AGAIN_SECONDS)
                self._wake.set()
            except Exception:  # the background loop's edge: what went wrong once must not be the last
                log.exception("%d complaints could not be counted; going on", len(self._waiting))
                self._waiting.clear()
            await asyncio.sleep(COUNT_EVERY_SECONDS)


def counts_of(score: Score, triggers: Sequence[Trigger], snapshot: Snapshot) -> list[Count]:
    """What a complaint counts for: of each policy about its route one count. Pure."""
    found = []
    for trigger in triggers:
        policy = trigger.policy
        if policy.metric.name != COMPLAINTS or not policy.watches(score.route):
            continue
        release = _blamed(score, trigger, snapshot)
        if release is None:
            answered = [key_of(each) for each in score.releases]
            about = f"route/{score.route}/{digest(answered)[:12]}"
        else:
            about = key_of(release)
        found.append(Count(trigger, score.route, release, f"{policy.id}|{about}"))
    return found


def incident_of(count: Count, people: int) -> Incident:
    """So many people's complaints as what policies are about."""
    policy, release = count.trigger.policy, count.release
    what = f"what route {count.route} answers" if release is None else f"{release.variant} of {release.flag}"
    reason = (
        f"{people} different people complained of {what} within {policy.window_seconds:g} s "
        f"(limit {_limit(count.trigger):g})"
    )
    return Incident(
        COMPLAINTS,
        count.name.partition("|")[2],
        reason,
        flag=None if release is None else release.flag,
        variant=None if release is None else release.variant,
        route=count.route,
        policy=policy.name,
        evidence={"people": people, "limit": _limit(count.trigger), "window_seconds": policy.window_seconds},
    )


def _blamed(score: Score, trigger: Trigger, snapshot: Snapshot) -> Release | None:
    """The release among those that answered that could go back: of the policy's layer, else the one changed last."""
    able: list[Flag] = []
    by_flag = {each.flag: each for each in score.releases}
    for key, release in by_flag.items():
        compiled = snapshot.flags.get(key)
        if compiled is not None and _can_go_back(compiled.flag, release):
            able.append(compiled.flag)
    wanted = [flag for flag in able if flag.layer is trigger.policy.layer]
    chosen = max(wanted or able, key=lambda flag: (flag.changed_at, flag.revision), default=None)
    return None if chosen is None else by_flag[chosen.key]


def _can_go_back(flag: Flag, release: Release) -> bool:
    trial = trial_of(flag)
    return (trial is not None and trial[0] == release) or retreat_of(flag) == release


def _limit(trigger: Trigger) -> float:
    return COMPLAINTS_LIMIT if trigger.policy.limit is None else trigger.policy.limit


def _who(score: Score) -> str:
    return score.unit or f"#{score.key.rpartition('/')[0]}"

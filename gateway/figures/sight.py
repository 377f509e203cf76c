"""What this worker sees of the fleet's numbers: totals, windows and verdicts, asked for when somebody looks.

Reads only. While the store is away the last answers hold, marked as stale. Knows no HTTP and no shape.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar, cast

from flags.errors import StoreUnavailable
from policies.case import Case, Docket
from policies.counts import CaseCounts, Second
from policies.policy import Policy
from policies.verdict import Verdict
from policies.window import Window

Value = TypeVar("Value")

# Several screens that look at once cost Redis one reading; a person sees no difference.
FRESH_SECONDS = 0.5
# Answers kept for the time that the store is away: the spans and flags that somebody asked for.
KEPT = 64
# A namespace with 10,000 routes has as many cases, most of them with nothing to go back to: trials come first.
# Each is a trip to Redis (0.1 ms), and who looks at the status waits for all of them.
MOST_CASES = 500
# What a watch's alarm is recomputed from: an hour.
SECONDS = 3_600


MINUTE = 60


class Readings(Protocol):
    """What is asked of policies.measures.Measures here."""

    async def totals(self) -> Window:
        """All numbers since ever."""
        ...

    async def windows(self, minutes: int, subjects: Sequence[str]) -> list[Window]:
        """One Window a minute, newest last; with `subjects` of these alone."""
        ...

    async def counts(self, cases: Sequence[str]) -> dict[str, CaseCounts]:
        """The fleet's counts by case key."""
        ...

    async def seconds(self, case: str, policy_id: str, limit: int) -> tuple[Second, ...]:
        """The latest finished seconds of a policy in a case."""
        ...


class Judge(Protocol):
    """What is asked of policies.judge here."""

    def judge(self, case: Case, policy: Policy, counts: CaseCounts, now_ms: int) -> Verdict:
        """One policy's verdict on one case."""
        ...

    def needs_seconds(self, case: Case, policy: Policy, counts: CaseCounts, now_ms: int) -> bool:
        """Whether it cannot be told without the latest seconds."""
        ...


@dataclass(frozen=True, slots=True)
class Judgement:
    """One case as of now: what was counted, and each policy's verdict."""

    case: Case
    counts: CaseCounts
    verdicts: tuple[tuple[Policy, Verdict], ...]


@dataclass(frozen=True, slots=True)
class Seen(Generic[Value]):
    """What was read; `stale`: the store is away, this is the last that was known."""

    value: Value
    stale: bool = False


@dataclass(frozen=True, slots=True)
class _Held:
    at: float
    value: object


class Sight:
    """Reads the fleet's numbers. What changes here: the last answers.

    `away` tells that the store is known not to answer (then nobody waits for it), `now` counts Unix seconds,
    `clock` seconds of any kind.
    """

    def __init__(
        self,
        readings: Readings,
        docket: Callable[[], Docket],
        judge: Judge,
        *,
        away: Callable[[], bool],
        now: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        self._readings, self._docket, self._judge = readings, docket, judge
        self._away, self._now, self._clock = away, now, clock
        self._held: dict[tuple[str, object], _Held] = {}

    def __repr__(self) -> str:
        return f"<Sight {len(self._held)} answers held>"

    # `away` below: the caller knows that the store does not answer.

    async def totals(self, *, away: bool = False) -> Seen[Window]:
        """All numbers since ever; empty ones where nothing is known."""
        return await self._look(("totals", None), self._readings.totals, Window(), away=away)

    async def windows(
        self, minutes: int, subjects: Sequence[str] = (), *, away: bool = False
    ) -> Seen[Sequence[Window]]:
        """The last minutes, oldest first, of everything or of some subjects; none where nothing is known."""
        key = ("windows", (minutes, *subjects))
        nothing: Sequence[Window] = ()
        seen = await self._look(key, lambda: self._windows(minutes, subjects), nothing, away=away)
        if seen.stale and not seen.value:
            return Seen(self._longest()[-minutes:], stale=True)
        return seen

    async def judgements(self, flag: str | None = None, *, away: bool = False) -> Seen[Sequence[Judgement]]:
        """Every case, or those of one flag, judged by what the fleet counted."""
        nothing: Sequence[Judgement] = ()
        return await self._look(("judgements", flag), lambda: self._judged(flag), nothing, away=away)

    async def _look(
        self,
        key: tuple[str, object],
        read: Callable[[], Awaitable[Value]],
        nothing: Value,
        *,
        away: bool = False,
    ) -> Seen[Value]:
        held = self._held.get(key)
        # What is held under a key was read by that key's own `read`.
        last = nothing if held is None else cast("Value", held.value)
        if away or self._away():
            return Seen(last, stale=True)
        if held is not None and self._clock() - held.at < FRESH_SECONDS:
            return Seen(last)
        try:
            value = await read()
        except StoreUnavailable:
            return Seen(last, stale=True)
        self._held.pop(key, None)
        self._held[key] = _Held(self._clock(), value)
        if len(self._held) > KEPT:
            del self._held[next(iter(self._held))]
        return Seen(value)

    async def _windows(self, minutes: int, subjects: Sequence[str]) -> Sequence[Window]:
        *finished, running = await self._readings.windows(minutes, subjects) or [Window()]
        # As long as it has lasted, by our clock, which need not be Redis' own.
        lasted = min(MINUTE, max(1, round(self._now() - running.start)))
        return [*finished, replace(running, seconds=lasted)]

    def _longest(self) -> Sequence[Window]:
        """The longest span that somebody asked for before the store went away."""
        # Those of everything: their key is the span alone.
        found = [
            held.value
            for (what, which), held in self._held.items()
            if what == "windows" and isinstance(which, tuple) and len(which) == 1
        ]
        return max(cast("list[Sequence[Window]]", found), key=len, default=())

    async def _judged(self, flag: str | None) -> Sequence[Judgement]:
        cases = first(self._docket().cases.values(), flag)
        counts = await self._readings.counts([case.key for case in cases])
        now_ms = int(self._now() * 1000)
        return [await self._judgement(case, counts.get(case.key, CaseCounts()), now_ms) for case in cases]

    async def _judgement(self, case: Case, counts: CaseCounts, now_ms: int) -> Judgement:
        verdicts = []
        for policy in case.policies:
            seen = await self._with_seconds(case, policy, counts, now_ms)
            verdicts.append((policy, self._judge.judge(case, policy, seen, now_ms)))
        return Judgement(case, counts, tuple(verdicts))

    async def _with_seconds(self, case: Case, policy: Policy, counts: CaseCounts, now_ms: int) -> CaseCounts:
        """`counts`, with the seconds that this verdict is made from where it needs them."""
        held = counts.policies.get(policy.id)
        if held is None or held.seconds or not self._judge.needs_seconds(case, policy, counts, now_ms):
            return counts
        seconds = await self._readings.seconds(case.key, policy.id, SECONDS)
        return replace(counts, policies={**counts.policies, policy.id: replace(held, seconds=seconds)})


def first(cases: Iterable[Case], flag: str | None) -> list[Case]:
    """The cases to look at: of one flag, or all up to a bound; trials first, then watches, then mere routes."""
    wanted = [case for case in cases if flag is None or (case.subject and case.subject.flag == flag)]
    return sorted(wanted, key=lambda case: (case.subject is None, case.control is None, case.key))[
        :MOST_CASES
    ]

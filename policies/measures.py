"""What the fleet has measured, in Redis: added to in one call, and read. Knows no rule of judgement.

All calls are bounded in time and may be repeated; all raise StoreUnavailable when Redis is away.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from flags.call import CALL_SECONDS, Reply, scripts_in
from flags.slices import in_slices
from flags.store import Store
from policies.answered import answered_from
from policies.counts import Batch, CaseCounts, Second
from policies.kept import THRESHOLDS, case_counts, seconds_from, thresholds_from
from policies.pending import units_in
from policies.tally import SECONDS_KEPT
from policies.window import Window, window_of

# What Redis may take for each number, unit or id of a batch; it takes 1 to 3 µs on an idle machine.
ITEM_SECONDS = 0.00002
# flush.lua keeps 6 hours.
MINUTES_KEPT = 360
# Minutes read in one call, so that neither Redis nor we are busy for long.
PAGE_MINUTES = 15
# Subjects read in one call, some 4 KB each.
PAGE_SUBJECTS = 200
# Cases read in one call, likewise: some 100 KB each at most.
PAGE_CASES = 20

_MEASURES = msgspec.msgpack.Decoder(dict[str, float])


@dataclass(frozen=True, slots=True)
class Broken:
    """The fleet's calls of one `route|target` in the last 30 s, by the workers' breakers; `workers` saw failures."""

    calls: int = 0
    failures: int = 0
    workers: int = 0


@dataclass(frozen=True, slots=True)
class Flushed:
    """The answer to a flush: the fleet's counts of every case that the batch touched, and Redis' clock.

    `new` is False where this batch had been counted before. `duplicates` is the number of its scores that were known.
    """

    counts: Mapping[str, CaseCounts]
    now_ms: int
    duplicates: int
    breakers: Mapping[str, Broken]
    new: bool = True


class Measures:
    """The measurements of one namespace. Safe to share between tasks; keeps no state of its own."""

    __slots__ = ("_calls", "_keys", "_scripts")

    def __init__(self, store: Store) -> None:
        self._calls, self._keys = store.calls, store.keys
        self._scripts = scripts_in("policies")

    def __repr__(self) -> str:
        return f"Measures({self._keys.namespace!r}, {self._calls!r})"

    async def flush(self, batch: Batch) -> Flushed:
        """Count `batch`, once however often it is sent."""
        keys = self._keys
        names = [
            keys.totals,
            keys.batch(batch.worker),
            keys.requests,
            keys.request_order,
            keys.decisions,
            keys.breaking,
        ]
        args: list[str | bytes | int] = [keys.prefix, msgspec.msgpack.encode(batch)]
        seconds = CALL_SECONDS + ITEM_SECONDS * _items(batch)
        answer = await self._calls.script(self._scripts["flush"], names, args, seconds=seconds)
        new, now_ms, duplicates, cases, breakers = answer
        return Flushed(_cases(cases), int(now_ms), int(duplicates), _breakers(breakers), bool(new))

    # Evidence

    async def counts(self, cases: Iterable[str]) -> dict[str, CaseCounts]:
        """The fleet's counts by case key; cases without any are left out."""
        found: dict[str, CaseCounts] = {}
        wanted = [*cases]
        for at in range(0, len(wanted), PAGE_CASES):
            page = wanted[at : at + PAGE_CASES]
            keys = [self._keys.evidence(case) for case in page]
            args: list[str | bytes | int] = [self._keys.prefix, *page]
            found |= _cases(await self._calls.script(self._scripts["counts"], keys, args))
        return found

    async def seconds(self, case: str, policy_id: str, limit: int = SECONDS_KEPT) -> tuple[Second, ...]:
        """The latest finished seconds of a watch or threshold, oldest first, at most `limit` (≥ 1) of them."""
        return seconds_from(await self._rows(case, policy_id, limit))

    async def fix_thresholds(self, case: str, policy_id: str, values: Sequence[float]) -> tuple[float, ...]:
        """Fix a case's thresholds, once; answers those that hold, be they another worker's."""
        args: list[str | bytes | int] = [THRESHOLDS + policy_id, msgspec.msgpack.encode(tuple(values))]
        return thresholds_from(
            await self._calls.script(self._scripts["fix"], [self._keys.evidence(case)], args)
        )

    # For people

    async def totals(self, subjects: Sequence[str] = ()) -> Window:
        """All numbers since ever; `subjects` narrows them as those of `windows`."""
        if not subjects:
            return await _window(await self._hash(self._keys.totals), 0, 0)
        found = await self._calls.run(lambda redis: redis.hmget(self._keys.totals, [*subjects]))
        held = {name.encode(): text for name, text in zip(subjects, found, strict=True) if text is not None}
        return await _window(held, 0, 0)

    async def totals_of(self, subjects: Sequence[str]) -> Window:
        """The numbers since ever of these subjects alone (series.route_subject, series.version_subject)."""
        found: dict[bytes, bytes] = {}
        for at in range(0, len(subjects), PAGE_SUBJECTS):
            page = [*subjects[at : at + PAGE_SUBJECTS]]
            held = await self._of_totals(page)
            found |= {name.encode(): each for name, each in zip(page, held, strict=True) if each is not None}
        return await _window(found, 0, 0)

    async def windows(self, minutes: int = MINUTES_KEPT, subjects: Sequence[str] = ()) -> list[Window]:
        """The last `minutes` (at most 360), one Window a minute, the running one last; quiet ones are empty.

        `subjects` narrows them (series.route_subject, series.version_subject): hours of everything are many numbers.
        """
        found: list[Window] = []
        newest, left = 0, min(minutes, MINUTES_KEPT)
        while left > 0:
            args: list[str | bytes | int] = [
                self._keys.prefix,
                newest,
                min(left, PAGE_MINUTES),
                *subjects,
            ]
            _, first, *pages = await self._calls.script(self._scripts["windows"], [self._keys.totals], args)
            for back, page in enumerate(pages):
                found.append(await _window(_pairs(page), (first - back) * 60, 60))
            newest, left = first - len(pages), left - len(pages)
        return found[::-1]

    async def decision_of(self, request_id: str) -> str | None:
        """What answered one of the last 100,000 requests, to be read by `answered.answered_from`; None: unknown."""
        held = await self._calls.run(lambda redis: redis.hget(self._keys.requests, request_id))
        if held is None:
            return None
        which, at, unit = held.decode().split("/", 2)
        text = await self._calls.run(lambda redis: redis.hget(self._keys.decisions, f"t{which}"))
        if text is None:
            return None
        return msgspec.structs.replace(answered_from(text), unit=unit, decided_at=int(at)).text()

    async def alarm(self, name: str, seconds: float) -> bool:
        """True for the one who may ring: the first to ask in `seconds`."""
        milliseconds = max(1, round(seconds * 1000))
        key = self._keys.alarm(name)
        return bool(await self._calls.run(lambda redis: redis.set(key, b"1", nx=True, px=milliseconds)))

    async def rung(self, name: str) -> bool:
        """Whether somebody has rung, and the time of that is not over."""
        key = self._keys.alarm(name)
        return bool(await self._calls.run(lambda redis: redis.exists(key)))

    async def breaking(self) -> dict[str, Broken]:
        """The fleet's breaker counts of the last 30 s by `route|target`; quiet ones are left out."""
        return _breakers(await self._calls.script(self._scripts["breaking"], [self._keys.breaking]))

    async def _of_totals(self, subjects: list[str]) -> list[bytes | None]:
        held: list[bytes | None] = await self._calls.run(
            lambda redis: redis.hmget(self._keys.totals, subjects)
        )
        return held

    async def _hash(self, key: str) -> dict[bytes, bytes]:
        fields: dict[bytes, bytes] = await self._calls.run(lambda redis: redis.hgetall(key))
        return fields

    async def _rows(self, case: str, policy_id: str, limit: int) -> list[bytes]:
        key = self._keys.seconds(case, policy_id)
        rows: list[bytes] = await self._calls.run(lambda redis: redis.lrange(key, -limit, -1))
        return rows


def _items(batch: Batch) -> int:
    """How many things Redis has to look at, about."""
    gains = [*batch.cases, *(case for score in batch.scores for case in score.cases)]
    series = sum(len(measures) for measures in batch.series.values())
    ids = sum(words.count(" ") + 1 for _, words in batch.requests)
    return series + ids + sum(map(units_in, gains)) + 100 * len(gains) + 20 * len(batch.scores)


def _pairs(flat: Sequence[Reply]) -> dict[Reply, Reply]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _cases(flat: Sequence[Reply]) -> dict[str, CaseCounts]:
    rows = zip(flat[::3], flat[1::3], flat[2::3], strict=True)
    return {
        case.decode(): case_counts(
            _pairs(fields), {policy.decode(): found for policy, found in _pairs(seconds).items()}
        )
        for case, fields, seconds in rows
    }


def _breakers(flat: Sequence[Reply]) -> dict[str, Broken]:
    rows = zip(flat[::4], flat[1::4], flat[2::4], flat[3::4], strict=True)
    return {
        target.decode(): Broken(int(calls), int(bad), int(workers)) for target, calls, bad, workers in rows
    }


async def _window(packed: Mapping[bytes, bytes], start: int, seconds: int) -> Window:
    """A Window from measures by subject, as flush.lua keeps them; in slices, for there may be many."""
    items = in_slices(packed.items())
    subjects = {subject.decode(): _MEASURES.decode(measures) async for subject, measures in items}
    return window_of(subjects, start, seconds)

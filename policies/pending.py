"""What the next batch will carry: additions that merge while they wait. Knows no store and no clock.

However long it waits it stays small: sums by name, and lists that have a bound.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from zlib import crc32

from policies.answered import Answered
from policies.counts import Batch, CaseGain, EventGain, PolicyGain, ScoreGain
from policies.outcome import NO_REQUEST, Ending, Outcome
from policies.series import Kind, Series, Sums, measures_of
from policies.tally import UNITS_ENOUGH

# Ids of requests in a batch: a full buffer of outcomes. Of more the oldest cannot be found by feedback.
IDS_KEPT = 10_000
# Scores in a batch; further ones are dropped, and counted as such.
SCORES_KEPT = 10_000
# Named units in a batch: Redis is busy for 1 to 2 µs with each.
UNITS_KEPT = 20_000
# Kinds of outcomes told apart while they wait.
KINDS_KEPT = 1_000


class Pending:
    """Additions that were not sent yet. What changes: all of them, by `add…`."""

    __slots__ = ("_breakers", "_cases", "_ids", "_kinds", "_scores", "_thinned", "series")

    def __init__(self) -> None:
        self.series = Series()
        self._kinds: Sums[Kind] = Sums()
        self._cases: dict[tuple[str, int], CaseGain] = {}
        self._ids: deque[tuple[str, str]] = deque(maxlen=IDS_KEPT)
        self._scores: list[ScoreGain] = []
        self._breakers: dict[str, tuple[int, int]] = {}
        # Of the units one in 2 to the power of this is kept.
        self._thinned = 0

    def __repr__(self) -> str:
        return f"<Pending {len(self._cases)} cases, {len(self._ids)} ids, {len(self._scores)} scores>"

    @property
    def empty(self) -> bool:
        """Whether there is nothing to tell."""
        return not (self.series or self._kinds or self._cases or self._ids or self._scores or self._breakers)

    def gains(self, case: str) -> list[CaseGain]:
        """What was gained for one case, by weight; to be read before anything is added."""
        return [gain for (key, _), gain in self._cases.items() if key == case]

    def add_cases(self, gains: Iterable[CaseGain]) -> None:
        """Add gains; they may be changed from now on."""
        for gain in gains:
            key = (gain.case, gain.weight)
            held = self._cases.get(key)
            if held is None:
                self._cases[key] = gain
            else:
                _merge(held, gain)
        self._thin()

    def add_outcomes(self, groups: Mapping[Kind, Sequence[Outcome]]) -> None:
        """Count outcomes for people, and note what answered each request, for feedback by its id."""
        for kind, group in groups.items():
            self._kinds.add(kind, measures_of(kind, group))
            route, releases, how, ending, _, part = kind
            if part not in NO_REQUEST and ending is not Ending.REFUSED:
                text = Answered(route, releases, how).text()
                self._ids.extend((text, _word(each)) for each in group)
        if len(self._kinds) > KINDS_KEPT:
            self._tell()

    def add_score(self, score: ScoreGain) -> bool:
        """Add a score; False where there is no room."""
        if len(self._scores) >= SCORES_KEPT:
            return False
        self._scores.append(score)
        return True

    def add_breakers(self, gains: Mapping[str, tuple[int, int]]) -> None:
        """Add calls and failures by `route|target`."""
        for target, (calls, failures) in gains.items():
            held = self._breakers.get(target, (0, 0))
            self._breakers[target] = held[0] + calls, held[1] + failures

    def batch(self, worker: str, number: int) -> Batch:
        """All of it, to be sent; nothing may be added any more."""
        self._tell()
        requests: dict[str, list[str]] = {}
        for text, word in self._ids:
            requests.setdefault(text, []).append(word)
        return Batch(
            worker,
            number,
            self.series,
            list(self._cases.values()),
            [(text, " ".join(words)) for text, words in requests.items()],
            self._scores,
            self._breakers,
        )

    def _tell(self) -> None:
        """Tell each kind's numbers to its route and versions: once a batch, for it is dear."""
        for kind, measures in self._kinds.items():
            self.series.tell(kind, measures)
        self._kinds.clear()

    def _thin(self) -> None:
        """Keep the units few: half of them go, by their name alone, so that no arm gains by it."""
        while sum(map(units_in, self._cases.values())) > UNITS_KEPT:
            self._thinned += 1
            for gain in self._cases.values():
                for policy in gain.policies:
                    for event in policy.events:
                        event.candidate_units = _some(event.candidate_units, self._thinned)
                        event.control_units = _some(event.control_units, self._thinned)


def units_in(gain: CaseGain) -> int:
    """How many units it names for its events."""
    return sum(
        (len(event.candidate_units) + len(event.control_units)) // 2
        for policy in gain.policies
        for event in policy.events
    )


def _word(outcome: Outcome) -> str:
    """`id/age/unit`; a second is added for the time until the flush: rather too old than counted for a later release."""
    return f"{outcome.request_id}/{int(outcome.seconds) + 1}/{outcome.unit}"


def _merge(held: CaseGain, more: CaseGain) -> None:
    """Add one gain of a case to another of the same weight."""
    held.candidate += more.candidate
    held.control += more.control
    held.met_plain += more.met_plain
    held.met = list(dict.fromkeys([*held.met, *more.met]))[:UNITS_ENOUGH]
    policies = {(policy.policy, policy.kind): policy for policy in held.policies}
    for policy in more.policies:
        known = policies.get((policy.policy, policy.kind))
        if known is None:
            held.policies.append(policy)
        else:
            _merge_policy(known, policy)


def _merge_policy(held: PolicyGain, more: PolicyGain) -> None:
    held.n += more.n
    held.bad += more.bad
    held.control_n += more.control_n
    held.control_bad += more.control_bad
    held.bets = [a + b for a, b in zip_longest(held.bets, more.bets, fillvalue=0.0)]
    held.odds = more.odds
    for mine, other in zip(held.events, more.events, strict=False):
        _merge_event(mine, other)
    held.events.extend(more.events[len(held.events) :])


def _merge_event(held: EventGain, more: EventGain) -> None:
    held.candidate += more.candidate
    held.control += more.control
    held.plain_candidate += more.plain_candidate
    held.plain_control += more.plain_control
    if more.candidate_units or more.control_units:
        known = {*held.candidate_units[::2], *held.control_units[::2]}
        held.control_units = held.control_units + _others(more.control_units, known)
        held.candidate_units = held.candidate_units + _others(more.candidate_units, known)


def _others(listed: Sequence[str | float], known: set[str | float]) -> list[str | float]:
    """The units that are not known, with their masses; they are now."""
    found: list[str | float] = []
    for unit, mass in zip(listed[::2], listed[1::2], strict=True):
        if unit not in known:
            known.add(unit)
            found += (unit, mass)
    return found


def _some(listed: Sequence[str | float], halvings: int) -> list[str | float]:
    """The units with so many zero bits at the end of their checksum, with their masses."""
    mask = (1 << halvings) - 1
    found: list[str | float] = []
    for unit, mass in zip(listed[::2], listed[1::2], strict=True):
        if not crc32(str(unit).encode()) & mask:
            found += (unit, mass)
    return found

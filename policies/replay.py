"""What policies would have done with recorded outcomes, and when. Pure: no store, no clock; time is the record's.

The same functions judge as in the gateway: observe, a Tally in place of Redis, judge. Outcomes are taken in batches
as the gauge flushes them. A rollback takes effect at once: later lines of what it took back are passed over.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from math import ceil

import msgspec

from flags.model import Flag
from policies import evidence
from policies.case import EMPTY, Case, docket_of
from policies.counts import CaseCounts, CaseGain
from policies.judge import judge, needs_seconds
from policies.observe import observe, observe_score, value_of
from policies.outcome import NO_REQUEST, Ending, How, Outcome, Release, Score
from policies.policy import Action, Method, Policy
from policies.record import Malformed, Recorded, State, read_lines, state_told_by
from policies.tally import Tally
from policies.verdict import Standing, Verdict

# As the gauge flushes: this often, and at once after a failure.
FLUSH_EVERY_SECONDS = 0.25
# Quantiles are fixed from the control's latest 1,000 observations, as soon as there are 200 (notes/evidence.md).
QUANTILES_FROM, QUANTILES_OF = 200, 1_000
# A file is held in memory: some 600 MB at this many lines.
MOST_LINES = 1_000_000
# Of malformed lines so many are told; the rest is counted.
MOST_TOLD = 20


@dataclass(frozen=True, slots=True)
class Fired:
    """One breach: when, at which request of the file and of the judged release, and what it would have done."""

    time: float
    request: int
    judged: int
    policy: str
    case: str
    action: Action
    dry_run: bool
    ratio: float
    reason: str


@dataclass(frozen=True, slots=True)
class Report:
    """What replay found. `verdicts` are the last ones of the policies that did not fire, by case and policy."""

    requests: int
    scores: int
    # Lines of what had been taken back by then.
    passed_over: int
    seconds: float
    fired: tuple[Fired, ...]
    verdicts: tuple[Verdict, ...]
    malformed: int
    told: tuple[Malformed, ...]


def replay(lines: Iterable[bytes | str], policies: Mapping[str, Policy]) -> Report:
    """Run `policies` (by name) over the lines of a recording (record.py). Lines that cannot be read are told."""
    recorded: list[Recorded] = []
    malformed = 0
    told: list[Malformed] = []
    for line in islice(read_lines(lines), MOST_LINES):
        if isinstance(line, Recorded):
            recorded.append(line)
        else:
            malformed += 1
            told += [line] if len(told) < MOST_TOLD else []
    run = _Run(policies)
    if not any(isinstance(line.what, State) for line in recorded):
        run.stands(state_told_by([line.what for line in recorded if isinstance(line.what, Outcome)]))
    # Several workers write to one file, each a little later than it happened.
    for line in sorted(recorded, key=lambda line: line.time):
        run.take(line.time, line.what)
    run.finish()
    times = [line.time for line in recorded if not isinstance(line.what, State)]
    seconds = max(times) - min(times) if times else 0.0
    return Report(
        run.requests,
        run.scores,
        run.passed_over,
        seconds,
        tuple(run.fired),
        tuple(run.last.values()),
        malformed,
        tuple(told),
    )


class _Run:
    """One replay. What changes here: all of it, line by line."""

    def __init__(self, policies: Mapping[str, Policy]) -> None:
        self._policies, self._state, self._docket = policies, State({}, {}), EMPTY
        self._tallies: dict[str, Tally] = {}
        self._batch: list[Outcome] = []
        self._flushed = self._now = 0.0
        self._gone: set[Release] = set()
        # By release and metric: what the quantiles of a control are taken from.
        self._values: defaultdict[tuple[Release, str], deque[float]] = defaultdict(
            lambda: deque(maxlen=QUANTILES_OF)
        )
        self._rung: set[tuple[str, str]] = set()
        # Keys of scores: who sends one twice is counted once, as in the gateway.
        self._scored: set[str] = set()
        self.fired: list[Fired] = []
        self.last: dict[tuple[str, str], Verdict] = {}
        self.requests = self.scores = self.passed_over = 0
        self._judged = Counter[Release]()

    def stands(self, state: State) -> None:
        """The flags and routes in `state` stand so from now on, the others as before."""
        self._flush()
        before = self._state
        self._state = State(
            {**before.flags, **state.flags}, {**before.routes, **state.routes}, {**before.pins, **state.pins}
        )
        self._docket = docket_of(self._state.flags, self._state.routes, self._policies, self._state.pinning)
        self._fix_thresholds()

    def take(self, time: float, what: Outcome | Score | State) -> None:
        """One line."""
        self._now = time
        if isinstance(what, State):
            self.stands(what)
            return
        if not self._gone.isdisjoint(what.releases):
            self.passed_over += 1
            return
        what = what if what.how else _with_how(what, self._state.flags)
        if isinstance(what, Score):
            if what.key in self._scored:
                return
            self._scored.update([what.key] if what.key else [])
            self.scores += 1
            self._flush()
            self._add(observe_score(what, self._docket))
            return
        self.requests += what.part not in NO_REQUEST
        self._judged.update(what.releases)
        self._batch.append(what)
        if what.ending is Ending.FAILED or not 0 <= time - self._flushed < FLUSH_EVERY_SECONDS:
            self._flush()

    def finish(self) -> None:
        """The end of the record: the running seconds are over."""
        self._flush()
        for key, tally in [*self._tallies.items()]:
            tally.finish()
            if key in self._docket.cases:
                self._judge(key, tally)

    def _flush(self) -> None:
        batch, self._batch, self._flushed = self._batch, [], self._now
        if batch:
            self._add(observe(batch, self._docket, self._thresholds))
            self._remember(batch)

    def _add(self, gains: Sequence[CaseGain]) -> None:
        for gain in gains:
            self._tally(gain.case).add(gain, self._now_ms)
        for gain in gains:
            if gain.case in self._docket.cases:
                self._judge(gain.case, self._tally(gain.case))

    @property
    def _now_ms(self) -> int:
        return int(self._now * 1000)

    def _tally(self, key: str) -> Tally:
        return self._tallies.setdefault(key, Tally(key))

    def _thresholds(self, case: str, policy: str) -> Sequence[float]:
        return self._tally(case).fix(policy, ())

    def _judge(self, key: str, tally: Tally) -> None:
        """Judge all policies of a case; the largest evidence acts first, and alone where it rolls back."""
        case, counts = self._docket.cases[key], tally.counts
        found = [(policy, _verdict(case, policy, counts, self._now_ms)) for policy in case.policies]
        breaches = []
        for policy, verdict in found:
            self.last[key, policy.name] = verdict
            if verdict.standing is Standing.BREACHED and (key, policy.name) not in self._rung:
                breaches.append((policy, verdict))
        for policy, verdict in sorted(breaches, key=lambda each: -each[1].ratio):
            self._fire(case, policy, verdict)
            if policy.action is Action.ROLLBACK and not policy.dry_run and case.subject is not None:
                self._take_back(case.subject)
                return

    def _fire(self, case: Case, policy: Policy, verdict: Verdict) -> None:
        self._rung.add((case.key, policy.name))
        self.last.pop((case.key, policy.name), None)
        subject = case.subject
        judged = self._judged[subject] if subject is not None else self.requests
        self.fired.append(
            Fired(
                self._now,
                self.requests,
                judged,
                policy.name,
                case.key,
                policy.action if subject is not None else Action.ALERT,
                policy.dry_run,
                verdict.ratio,
                verdict.reason,
            )
        )

    def _take_back(self, subject: Release) -> None:
        """Withdraw it, as the brake does: whoever would get it gets `safe`."""
        self._gone.add(subject)
        flag = self._state.flags[subject.flag]
        after = replace(flag, withdrawn=flag.withdrawn | {subject.variant})
        flags = {**self._state.flags, flag.key: after}
        self.stands(State(flags, {}))

    def _remember(self, batch: Sequence[Outcome]) -> None:
        """Keep what the control's quantiles may be taken from."""
        metrics = {policy.metric.name for policy in self._policies.values() if evidence.quantiles_of(policy)}
        for outcome in batch:
            for name in metrics:
                value = value_of(outcome, name)
                if value is not None:
                    for release in outcome.releases:
                        self._values[release, name].append(value)
        self._fix_thresholds()

    def _fix_thresholds(self) -> None:
        for key, case in self._docket.cases.items():
            for policy in case.policies if case.control is not None else ():
                wanted = evidence.quantiles_of(policy)
                if wanted and case.control and not self._thresholds(key, policy.id):
                    values = sorted(self._values[case.control, policy.metric.name])
                    if len(values) >= QUANTILES_FROM:
                        told = [values[ceil(q * len(values)) - 1] for q in wanted]
                        self._tally(key).fix(policy.id, told)


def _verdict(case: Case, policy: Policy, counts: CaseCounts, now_ms: int) -> Verdict:
    """As the brake asks: a watch's seconds only where its detector has reached the alarm, for they take long to weigh."""
    found = counts.policies.get(policy.id)
    if found is not None and case.control is None and policy.method is Method.EVIDENCE:
        bare = replace(counts, policies={**counts.policies, policy.id: replace(found, seconds=())})
        if not needs_seconds(case, policy, bare, now_ms):
            return judge(case, policy, bare, now_ms)
    return judge(case, policy, counts, now_ms)


def _with_how(what: Outcome | Score, flags: Mapping[str, Flag]) -> Outcome | Score:
    """A line that does not say how its releases were chosen: by the coin, where there was one."""
    return msgspec.structs.replace(
        what, how="".join(_how(each, flags.get(each.flag)) for each in what.releases)
    )


def _how(release: Release, flag: Flag | None) -> str:
    if flag is None or flag.rollout is None or release.variant not in (flag.rollout.variant, flag.served):
        return How.PLAIN.value
    return How.COIN.value

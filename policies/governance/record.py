"""The record of one governed rollback: what was done, step by step, and what is still to do. Pure.

The object is `rollback/<id of its Change>`; it is opened by that very Change, so no crash can lose it, and every step
is written into it once, whoever did it. DESIGN §6.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

import msgspec

from flags.change import Draft
from flags.errors import Invalid
from flags.model import Document, Json, Kind, ObjectKey

# In whose name the record is opened and its steps are written.
PROCEDURE = "automation/procedure"


class StepName(StrEnum):
    """The steps, in order; among them the six ticks of the procedure (log and changelog are one step of DESIGN's)."""

    LOCATE = "locate"
    RESTORE = "restore"
    ACKNOWLEDGE = "acknowledge"
    EVALUATE = "evaluate"
    LOG = "log"
    CHANGELOG = "changelog"
    NOTIFY = "notify"
    HELPED = "helped"


class StepState(StrEnum):
    """`failed` is final as well: it was done, and what it found is bad (a suite that does not pass)."""

    OPEN = "open"
    DONE = "done"
    FAILED = "failed"


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One step: when it was done, what it found, and where more stands."""

    state: StepState = StepState.OPEN
    time: str = ""
    detail: str = ""
    link: str | None = None
    # Tries that came to nothing; `time` is that of the last one while the step is open.
    attempts: int = 0
    # Tries that began, where one may end its worker: those that are not among `attempts` were lost with theirs.
    begun: int = 0


class Cause(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What fired it: a policy and its metric; `requests` are those of the bad version that proved it, `bad` how bad it
    was on them, in the metric's own unit. All empty where a person did it."""

    policy: str = ""
    metric: str = ""
    requests: int = 0
    bad: float | None = None
    limit: float | None = None
    # Of a latency policy: the quantile that the limit bounds.
    quantile: float = 0.95


class Figures(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a version did, as far as it is needed to tell whether a rollback helped: numbers and sums (seconds, USD, the
    cause's score). `judged` requests ended well or failed. `buckets` are of seconds, only where the cause bounds those."""

    judged: float = 0.0
    failed: float = 0.0
    answers: float = 0.0
    seconds: float = 0.0
    priced: float = 0.0
    cost_usd: float = 0.0
    scores: float = 0.0
    score: float = 0.0
    buckets: dict[str, float] = {}


class Noted(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The figures as of the Change: of the version landed on since ever, and of the one that was left, lately."""

    landing: Figures
    left: Figures


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a rollback did (`origin` is `from` in JSON), and its steps. `extra` are ticks that people add, such as `ci`."""

    flag: str
    origin: str | None
    to: str | None
    hash: str
    label: str
    reason: str
    actor: str
    at: str
    link: str | None = None
    routes: list[str] = []
    ungoverned: list[str] = []
    cause: Cause = Cause()
    steps: dict[StepName, Step] = {}
    extra: dict[str, Step] = {}
    # The revision of the entry that opened it: where all workers are to stand. 0: nobody has looked yet.
    opened: int = 0
    noted: Noted | None = None
    # When nothing was left to do; "" while there is work.
    closed: str = ""


def record_key(change_id: str) -> ObjectKey:
    """Where the record of the rollback with this Change is stored."""
    return ObjectKey(Kind.ROLLBACK, change_id)


def record_from(document: Document) -> Record:
    """The record that a stored document holds. Raises Invalid."""
    try:
        return msgspec.convert(document, Record)
    except msgspec.ValidationError as error:
        raise Invalid("", f"this is no record of a rollback: {error}") from None


def document_of(record: Record) -> dict[str, Json]:
    """The document that `record_from` reads back."""
    document: dict[str, Json] = msgspec.to_builtins(record)
    return document


def opening(change_id: str, record: Record) -> Draft:
    """The draft that opens a record, in the same Change as the rollback itself and before it: so the Change's position is
    that of the entry that everybody serves by. What proves the rollback stands once, in its own entry."""
    key, document = record_key(change_id), document_of(record)
    return Draft("rollback.open", key, document, affects=False, actor=PROCEDURE, evidence={})


def step_of(record: Record, name: StepName) -> Step:
    """How far a step is."""
    return record.steps.get(name, Step())


def open_steps(record: Record) -> Iterator[StepName]:
    """What is still to be done, in order."""
    return (name for name in StepName if step_of(record, name).state is StepState.OPEN)


def stepped(record: Record, name: StepName, step: Step) -> Record:
    """With one step as it came out."""
    return msgspec.structs.replace(record, steps={**record.steps, name: step})


def seen(record: Record, revision: int) -> Record:
    """With the revision at which it was met first, before anything is written into it: see `Record.opened`."""
    return record if record.opened else msgspec.structs.replace(record, opened=revision)


def is_over(document: Document) -> bool:
    """Whether a stored record is no work any more; looked at often, so not parsed."""
    return bool(document.get("closed"))

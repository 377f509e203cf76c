"""What operators get back of versions, as JSON: records, rules, approvals, differences. Shapes only, no behaviour.

The fields of a record are those of `notes/governance.md`; what follows them is ours. Free JSON is `Any`: msgspec cannot
take our recursive Json.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from gateway.shapes import LastGoodShape


class UnmetShape(msgspec.Struct, frozen=True):
    """A rule that a version does not satisfy: what was found, and the command (or the line in the config) that mends it."""

    rule: str
    message: str
    mend: str


class RuleShape(msgspec.Struct, frozen=True):
    """One rule that the flag asks of its versions, and whether this one satisfies it; `mend` is "" where it does."""

    rule: str
    met: bool
    message: str
    mend: str


class SaidShape(msgspec.Struct, frozen=True):
    """What somebody said of a version. `role` is what the person was then."""

    by: str
    role: str
    at: str
    reason: str
    link: str | None


class ApprovalShape(msgspec.Struct, frozen=True):
    """One approval. `counts`: by a role that the rules ask for, and not by the author."""

    by: str
    role: str
    at: str
    reason: str
    link: str | None
    counts: bool


class EvaluationShape(msgspec.Struct, frozen=True):
    """The newest run of one suite. `passed` null: it could not be evaluated, which is no pass.

    `stale`: it is not of the suite that the flag's rules name now, so it counts for nothing. `report` is the id of the report,
    `report_link` where to read it.
    """

    suite: str
    suite_hash: str
    passed: bool | None
    pass_rate: float
    score: float
    cases: int
    not_evaluated: int
    repeat: int
    at: str
    by: str
    report: str
    report_link: str
    stale: bool


class VersionRecord(msgspec.Struct, frozen=True):
    """Everything that is known of a version but its content. `id` is `<flag>/<name>@<first 12 of the hash>`.

    `percent` is the share of the users that get it by serve and rollout. `eval_status` is by the current suite.
    `last_known_good_reason` says why it is the last known good version, or why it is not.
    """

    id: str
    name: str
    version: str
    hash: str
    created_at: str
    environment: str
    created_by: str
    tags: list[str]
    notes: str | None
    deprecated: bool
    approved_by: list[str]
    approved_at: str | None
    eval_status: Literal["pending", "passed", "failed"]
    source_file_uri: str | None
    semantic_diff_from: str | None
    flag: str
    stage: str
    generation: int
    # When it last began to be what is served to all; null if never.
    served_at: str | None
    percent: float
    # Of served, safe, candidate, shadowed.
    marks: list[str]
    withdrawn: bool
    quarantined: bool
    evaluations: list[EvaluationShape]
    approvals: list[ApprovalShape]
    rejection: SaidShape | None
    deprecation: SaidShape | None
    rules: list[RuleShape]
    unmet: list[UnmetShape]
    last_known_good: bool
    last_known_good_reason: str


class VersionDetail(VersionRecord, frozen=True):
    """One version with its content; `erased`: that was taken out of the store, only its hash is left."""

    content: Any = None
    erased: bool = False


class PromotionShape(msgspec.Struct, frozen=True):
    """The rules of a flag. `suite` is the hash of the suite, null where no evals are asked for."""

    evals: str
    suite: str | None
    min_pass_rate: float
    min_score: float | None
    approvals: int
    roles: list[str]
    strict: bool
    environment: str


class VersionList(msgspec.Struct, frozen=True):
    """The versions of a flag, the newest first. `ungoverned` says what the safe version itself lacks."""

    flag: str
    layer: str | None
    serve: str | None
    safe: str | None
    served: str | None
    promotion: PromotionShape | None
    last_known_good: LastGoodShape
    ungoverned: list[str]
    versions: list[VersionRecord]
    revision: int


class Marked(msgspec.Struct, frozen=True):
    """How a version stands after something was said of it; `changed` false: it had been said before.

    `warnings`: what this means for what is served and for the next rollback.
    """

    flag: str
    variant: str
    hash: str
    stage: str
    changed: bool
    committed: bool
    revision: int
    approvals: list[ApprovalShape]
    unmet: list[UnmetShape]
    last_known_good: LastGoodShape
    warnings: list[str]


class DiffPart(msgspec.Struct, frozen=True):
    """One place of two contents where they differ: lines of a unified diff. What no eye sees is spelt out (`\\u202e`)."""

    path: str
    lines: list[str]


class ContentDiff(msgspec.Struct, frozen=True, rename={"before": "from", "after": "to"}):
    """How the content of one version differs from another's; `text` is all parts, for people."""

    flag: str
    before: str
    after: str
    from_hash: str
    to_hash: str
    same: bool
    parts: list[DiffPart]
    text: str

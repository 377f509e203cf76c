"""The documents of the rulebook: promotion rules, versions' records, who is told, who may signal, who judges live answers.

Shapes only, no behaviour; as gateway.spec, of which they are a part.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from gateway.spec_base import Name, Seconds, SecretRef, Spec, Target


class RecordSpec(Spec, frozen=True):
    """What is told of a version beside its content. `semver` as SemVer 2.0.0; `hash` is checked against the content.

    `deprecated` holds as if a person had said so, and `created_by` may not approve it either. What else a file tells of
    its evals, approvals and making is kept and counts for nothing: the ledger knows what happened.
    """

    semver: str | None = None
    hash: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")] | None = None
    notes: str | None = None
    tags: list[str] = []
    # A file or URL where it was written.
    source: str | None = None
    environment: Literal["dev", "staging", "prod"] | None = None
    # The version that it was derived from.
    semantic_diff_from: str | None = None
    created_by: str | None = None
    created_at: str | None = None
    eval_status: Literal["pending", "passed", "failed"] | None = None
    approved_by: str | list[str] | None = None
    approved_at: str | None = None
    deprecated: bool = False
    quarantined: bool = False


class SuiteSpec(Spec, frozen=True):
    """A suite that was read in already: the file that it came from, and what that held, nothing left to read."""

    file: str
    suite: dict[str, object]


class PromotionSpec(Spec, frozen=True):
    """What a version must satisfy before it may be safe, or a rollout of it be promoted.

    `evals` is a suite in promptfoo's format, relative to the config file. A run passes when `min_pass_rate` of its cases
    (each asked `repeat` times) pass and their mean score is at least `min_score`. It is asked through `route` (where the
    flag serves several), its rubrics are judged by the route `judge`, meanings compared by `embedding`. `every_seconds`
    runs it again and again against what is served. `approvals` people with one of `roles` (approver or admin, where none
    is named), none of them its author, must have approved the version. With `strict`, `switch` is refused as well.
    """

    evals: str | SuiteSpec | None = None
    min_pass_rate: Annotated[float, Meta(ge=0, le=1)] = 0.95
    min_score: Annotated[float, Meta(ge=0, le=1)] | None = None
    repeat: Annotated[int, Meta(ge=1, le=100)] = 1
    route: Name | None = None
    judge: Name | None = None
    embedding: Target | None = None
    approvals: Annotated[int, Meta(ge=0, le=100)] = 0
    roles: list[Literal["viewer", "operator", "approver", "admin"]] = []
    strict: bool = False
    every_seconds: Annotated[float, Meta(ge=60, le=31_536_000, description="seconds")] | None = None
    environment: Literal["dev", "staging", "prod"] = "prod"


class JudgeSpec(Spec, frozen=True):
    """A share of a route's live answers is judged by another route; its scores count as people's do.

    `metrics` are scores: `accuracy` and `hallucination`, or declared ones, whose `description` is the rubric.
    """

    percent: Annotated[float, Meta(gt=0, le=100)]
    route: Name
    metrics: Annotated[list[Name], Meta(min_length=1, max_length=10)]


class NotifySpec(Spec, frozen=True):
    """Who is told of what happens. A Slack URL is itself a secret, so it may be a reference.

    `slack` and `cloudevents` post to `url` (the latter signed by `secret`); `email` sends by SMTP to `to`; `stdout` writes
    a line to the server's own output. `events` are those that are told; all, where none is named. `routes` narrows them.
    """

    kind: Literal["slack", "cloudevents", "email", "stdout"]
    url: str | None = None
    secret: SecretRef | None = None
    # What an event is told as: a template over its fields, in place of our own words.
    template: str | None = None
    events: list[str] = []
    routes: list[Name] = []
    # SMTP.
    host: str | None = None
    port: Annotated[int, Meta(ge=1, le=65_535)] | None = None
    tls: Literal["starttls", "tls", "none"] = "starttls"
    user: str | None = None
    password: SecretRef | None = None
    sender: str | None = None
    to: list[str] = []
    timeout_seconds: Seconds = 10.0


class SignalSpec(Spec, frozen=True):
    """Who may send signals from outside, and how they are signed: HMAC-SHA256 of the body, or the secret as a bearer token.

    What comes of a signal is a policy's matter (`metric: signal`); without one it alerts. `route`, `flag` say what it is
    about, where it does not say so itself.
    """

    secret: SecretRef
    route: Name | None = None
    flag: Name | None = None

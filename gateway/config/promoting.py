"""Promotion rules as a config file has them, and as a flag holds them: the suite is read in, so that any worker can run it.

Knows files only through the reader of suites; no store.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from flags.canonical import digest
from flags.errors import Invalid
from flags.model import Document, Embedding, Json, Layer, Promotion
from gateway.config.files import below
from gateway.spec_rulebook import PromotionSpec, RecordSpec, SuiteSpec
from policies.evals.suite import suite_from
from policies.governance.rules import SEMVER

USUAL = PromotionSpec()
# What may stand beside a version's content; no layer's content has a field of these names.
RECORD_FIELDS = frozenset(RecordSpec.__struct_fields__)


def apart(value: Json, layer: Layer | None) -> tuple[Json, Mapping[str, Json]]:
    """A variant as the file has it, parted into its content (or `{file: …}`) and the record beside it.

    Only a layer's: the value of a plain flag may have any fields, and its records stand in `records` alone.
    """
    if layer is None or not isinstance(value, Mapping):
        return value, {}
    content = {name: each for name, each in value.items() if name not in RECORD_FIELDS}
    return content, {name: each for name, each in value.items() if name in RECORD_FIELDS}


def suite_of(spec: PromotionSpec, folder: Path | None) -> tuple[str, Json]:
    """The name and the resolved document of the suite that rules name; "" and None without one. Raises Invalid.

    A file that is missing, malformed or empty is refused: rules whose evals nobody can run hold nothing.
    """
    if spec.evals is None:
        return "", None
    if isinstance(spec.evals, SuiteSpec):
        # Already resolved by whoever sent it.
        suite_from(spec.evals.suite, name=spec.evals.file)  # type: ignore[arg-type]  # JSON already
        return spec.evals.file, spec.evals.suite  # type: ignore[return-value]
    if folder is None:
        raise Invalid("evals", "there is no folder here to read files from", mend="send {file, suite}")
    # Heavy, and only files with evals need it.
    from gateway.evals.reading import read_suite  # noqa: PLC0415

    try:
        path = below(folder, spec.evals)
    except Invalid as error:
        raise error.under("evals") from None
    document = read_suite(path)
    return spec.evals, suite_from(document, name=spec.evals).document


def promotion_of(spec: PromotionSpec, name: str, suite: Json) -> Promotion:
    """The rules as a flag holds them."""
    return Promotion(
        suite=None if suite is None else digest(suite),
        evals=name,
        min_pass_rate=spec.min_pass_rate,
        min_score=spec.min_score,
        repeat=spec.repeat,
        route=spec.route,
        judge=spec.judge,
        embedding=None
        if spec.embedding is None
        else Embedding(spec.embedding.upstream, spec.embedding.model),
        approvals=spec.approvals,
        roles=tuple(spec.roles),
        strict=spec.strict,
        every_seconds=spec.every_seconds,
        environment=spec.environment,
    )


def written_out(promotion: Promotion, suite: Json) -> dict[str, Json]:
    """The rules as a config document has them, the suite in it; one whose content is not at hand is told by its hash."""
    evals: Json = None
    if promotion.suite is not None:
        evals = {"file": promotion.evals, "suite": suite}
        if suite is None:
            evals = f"{promotion.evals} ({promotion.suite})"
    found: dict[str, Json] = {
        "evals": evals,
        "min_pass_rate": promotion.min_pass_rate,
        "min_score": promotion.min_score,
        "repeat": promotion.repeat,
        "route": promotion.route,
        "judge": promotion.judge,
        "embedding": None if promotion.embedding is None else {**promotion.embedding._asdict()},
        "approvals": promotion.approvals,
        "roles": [*promotion.roles],
        "strict": promotion.strict,
        "every_seconds": promotion.every_seconds,
        "environment": promotion.environment,
    }
    usual: Mapping[str, Json] = {
        "min_pass_rate": USUAL.min_pass_rate,
        "repeat": 1,
        "approvals": 0,
        "roles": [],
        "strict": False,
        "environment": USUAL.environment,
    }
    return {field: value for field, value in found.items() if value is not None and value != usual.get(field)}


def told_by_hash(document: Document) -> dict[str, Json]:
    """A flag's document with its suite named by its hash: two are compared, and a suite may be long."""
    promotion = document.get("promotion")
    evals = promotion.get("evals") if isinstance(promotion, Mapping) else None
    if not isinstance(promotion, Mapping) or not isinstance(evals, Mapping):
        return {**document}
    named = f"{evals.get('file')} ({digest(evals.get('suite'))})"
    return {**document, "promotion": {**promotion, "evals": named}}


def promotion_problems(path: str, spec: PromotionSpec) -> Iterator[Invalid]:
    """Thresholds of evals that are not there, and approvals that nobody could give."""
    if spec.evals is None:
        asked = {
            "min_score": spec.min_score is not None,
            "min_pass_rate": spec.min_pass_rate != USUAL.min_pass_rate,
            "judge": spec.judge is not None,
            "embedding": spec.embedding is not None,
            "every_seconds": spec.every_seconds is not None,
        }
        for name in (name for name, there in asked.items() if there):
            yield Invalid(
                f"{path}.{name}", "there are no evals that it could be about", mend="add evals: FILE"
            )
    for index, role in enumerate(spec.roles):
        if role in ("viewer", "operator"):
            yield Invalid(
                f"{path}.roles[{index}]", f"{role}s may not approve", mend="name approver, admin, or both"
            )
    if spec.roles and not spec.approvals:
        yield Invalid(f"{path}.roles", "no approvals are asked for", mend="add approvals: 1")


def record_problems(
    path: str, record: RecordSpec, content: Json, known: Mapping[str, object]
) -> Iterator[Invalid]:
    """A version number that is none, and a hash that is another's."""
    if record.semver is not None and not SEMVER.fullmatch(record.semver):
        yield Invalid(f"{path}.semver", f"expected a version such as 1.2.0, found {record.semver!r}")
    if record.hash is not None and record.hash != digest(content):
        message = f"the content's hash is {digest(content)}, the record says {record.hash}"
        yield Invalid(f"{path}.hash", message, mend="remove it, or restore the content that it was taken of")
    if record.quarantined:
        yield Invalid(
            f"{path}.quarantined",
            "a quarantine is operated, not declared",
            mend="remove it, and: pointsman quarantine add FLAG VARIANT --reason …",
        )
    if record.semantic_diff_from is not None and record.semantic_diff_from not in known:
        yield Invalid(
            f"{path}.semantic_diff_from", f"variant {record.semantic_diff_from!r} is not defined here"
        )

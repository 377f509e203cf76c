"""What operators see of versions: records, rules with what is missing, the last known good one and why. Pure.

Made from a flag and the cards of its versions, by the rules of policies.governance; knows no store.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, cast

from flags.errors import NotFound, Refused
from flags.model import Flag, Json, Promotion
from flags.snapshot import Snapshot
from gateway.shapes import LastGoodShape
from gateway.versions.differing import diff_text, differences
from gateway.versions.marking import variant_of
from gateway.versions.shapes import (
    ApprovalShape,
    ContentDiff,
    DiffPart,
    EvaluationShape,
    Marked,
    PromotionShape,
    RuleShape,
    SaidShape,
    UnmetShape,
    VersionDetail,
    VersionList,
    VersionRecord,
)
from policies.governance.card import Card, Evaluation, Mark, cards_in, roles_in
from policies.governance.rules import (
    LastGood,
    Rule,
    Unmet,
    counted,
    eval_status,
    last_known_good,
    newest_first,
    semver_of,
    stage_of,
    unmet,
)

# How much of a hash tells versions of one flag apart, for people.
ID_DIGITS = 12
ALL_PERCENT = 100.0
# Where reports are read: gateway.http.eval_desk.
REPORTS = "/admin/v1/evals"


@dataclass(frozen=True, slots=True)
class Life:
    """A flag with all that was said of its versions, and the last known good one of them."""

    flag: Flag
    cards: Mapping[str, Card]
    good: LastGood

    @classmethod
    def of(cls, flag: Flag, cards: Mapping[str, Card]) -> Life:
        """Decided once for all views."""
        return cls(flag, cards, last_known_good(flag, cards))

    def unmet(self, name: str) -> tuple[Unmet, ...]:
        """The rules that one version does not satisfy."""
        return unmet(self.flag, name, self.cards[name])


def life_in(snapshot: Snapshot, key: str) -> Life:
    """A flag's versions as of a snapshot. Raises NotFound with the flags that there are."""
    found = snapshot.flags.get(key)
    if found is None:
        names = sorted(snapshot.flags)
        # Enough to recognise a slip of the finger.
        known = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
        raise NotFound(
            f'flag "{key}" does not exist (known: {known or "none"})', mend=snapshot.problems.get(key)
        )
    return Life.of(found.flag, cards_in(snapshot.objects, found.flag))


def version_list(life: Life) -> VersionList:
    """All versions of a flag, the newest first."""
    flag = life.flag
    return VersionList(
        flag=flag.key,
        layer=flag.layer,
        serve=flag.serve,
        safe=flag.safe,
        served=flag.served if flag.enabled else None,
        promotion=_promotion(flag.promotion),
        last_known_good=last_good_shape(life.good),
        ungoverned=ungoverned(life),
        versions=[version_record(life, variant.name) for variant in newest_first(flag)],
        revision=flag.revision,
    )


def version_detail(life: Life, name: str, contents: Mapping[str, Json]) -> VersionDetail:
    """One version with its content. Raises NotFound."""
    content = variant_of(life.flag, name).hash
    record = version_record(life, name)
    fields = {each: getattr(record, each) for each in VersionRecord.__struct_fields__}
    return VersionDetail(**fields, content=contents.get(content), erased=content not in contents)


def version_record(life: Life, name: str) -> VersionRecord:
    """Everything that is known of one version but its content. Raises NotFound."""
    flag, variant = life.flag, variant_of(life.flag, name)
    card = life.cards[name]
    return VersionRecord(
        id=f"{flag.key}/{name}@{variant.hash[:ID_DIGITS]}",
        name=name,
        version=semver_of(name, card),
        hash=variant.hash,
        created_at=variant.created_at,
        environment=_text(card, "environment") or (flag.promotion or Promotion()).environment,
        created_by=variant.created_by,
        tags=_texts(card.record.get("tags")),
        notes=_text(card, "notes"),
        deprecated=card.is_deprecated,
        approved_by=[mark.by for mark in card.approvals],
        approved_at=max((mark.at for mark in card.approvals), default=None),
        eval_status=cast("Literal['pending', 'passed', 'failed']", eval_status(flag, card)),
        source_file_uri=_text(card, "source"),
        semantic_diff_from=_text(card, "semantic_diff_from"),
        flag=flag.key,
        stage=stage_of(flag, name, card).value,
        generation=variant.generation,
        served_at=variant.served_at or None,
        percent=percent_of(flag, name),
        marks=marks_of(flag, name),
        withdrawn=name in flag.withdrawn,
        quarantined=variant.hash in flag.quarantined,
        evaluations=[_evaluation(flag, run) for run in _newest(card.evaluations.values())],
        approvals=approvals_of(flag, card),
        rejection=_said(card.rejected),
        deprecation=_said(card.deprecated),
        rules=_rules(life, name),
        unmet=_unmet(life.unmet(name)),
        last_known_good=name == life.good.variant,
        last_known_good_reason=why_good(life, name),
    )


def marked(life: Life, name: str, *, changed: bool, revision: int, warnings: list[str]) -> Marked:
    """How a version stands after something was said of it."""
    card = life.cards[name]
    return Marked(
        flag=life.flag.key,
        variant=name,
        hash=card.hash,
        stage=stage_of(life.flag, name, card).value,
        changed=changed,
        committed=changed,
        revision=revision,
        approvals=approvals_of(life.flag, card),
        unmet=_unmet(life.unmet(name)),
        last_known_good=last_good_shape(life.good),
        warnings=warnings,
    )


def content_diff(flag: Flag, before: str, after: str, contents: Mapping[str, Json]) -> ContentDiff:
    """How the contents of two versions differ. Raises NotFound, and Refused where one of them was erased."""
    old, new = variant_of(flag, before), variant_of(flag, after)
    gone = [each.name for each in (old, new) if each.hash not in contents]
    if gone:
        raise Refused("content_erased", f'flag "{flag.key}": the content of {" and ".join(gone)} was erased')
    parts = differences(flag.layer, contents[old.hash], contents[new.hash])
    return ContentDiff(
        flag=flag.key,
        before=before,
        after=after,
        from_hash=old.hash,
        to_hash=new.hash,
        same=old.hash == new.hash,
        parts=[DiffPart(part.path, part.lines) for part in parts],
        text=diff_text(parts, before, after),
    )


def last_good_shape(good: LastGood) -> LastGoodShape:
    """The last known good version, and why it is that one."""
    return LastGoodShape(good.variant, good.reason)


def ungoverned(life: Life) -> list[str]:
    """What the version that is `safe` lacks itself; nothing where all is well, or no rules are."""
    return [] if life.flag.safe is None else [str(each) for each in life.unmet(life.flag.safe)]


def why_good(life: Life, name: str) -> str:
    """Why this version is the last known good one, or why it is not."""
    if name == life.good.variant:
        return life.good.reason
    if life.flag.promotion is None:
        return f"not it: {life.good.reason}" + (f" ({life.good.variant})" if life.good.variant else "")
    missing = life.unmet(name)
    if missing:
        return f"not it: {'; '.join(map(str, missing))}"
    return f"not it: {life.good.variant} is newer, and satisfies every rule as well"


def percent_of(flag: Flag, name: str) -> float:
    """The share of the users that get a version by serve and rollout; targeting and pins are not counted."""
    rollout = flag.rollout
    if not flag.enabled:
        return 0.0
    if rollout is not None and name == rollout.variant:
        return rollout.percent
    if name != flag.served:
        return 0.0
    return ALL_PERCENT if rollout is None else round(ALL_PERCENT - rollout.percent, 2)


def marks_of(flag: Flag, name: str) -> list[str]:
    """What a version is to its flag: served, safe, candidate, shadowed."""
    found = (
        ("served", flag.enabled and name == flag.served),
        ("safe", name == flag.safe),
        ("candidate", flag.rollout is not None and name == flag.rollout.variant),
        ("shadowed", flag.shadow is not None and name == flag.shadow.variant),
    )
    return [word for word, holds in found if holds]


def approvals_of(flag: Flag, card: Card) -> list[ApprovalShape]:
    """Who approved a version, and whose approval counts."""
    counts = counted(flag, card)
    return [
        ApprovalShape(mark.by, mark.role, mark.at, mark.reason, mark.link, mark.by in counts)
        for mark in card.approvals
    ]


def _rules(life: Life, name: str) -> list[RuleShape]:
    """Every rule that is asked, in order; one that is missed twice says so twice."""
    promotion = life.flag.promotion
    if promotion is None:
        return []
    missing = life.unmet(name)
    found = []
    for rule in Rule:
        lacking = [each for each in missing if each.rule is rule]
        found += [_missed(each) for each in lacking]
        if not lacking and _asked(rule, promotion):
            told = _met(rule, promotion, life.cards[name])
            found.append(RuleShape(rule.value, met=True, message=told, mend=""))
    return found


def _missed(lacking: Unmet) -> RuleShape:
    return RuleShape(lacking.rule.value, met=False, message=lacking.message, mend=lacking.mend)


def _asked(rule: Rule, promotion: Promotion) -> bool:
    if rule is Rule.EVAL_PASSED:
        return promotion.suite is not None
    return rule is not Rule.APPROVED or promotion.approvals > 0


def _met(rule: Rule, promotion: Promotion, card: Card) -> str:
    """What satisfies a rule, where there is something to show for it."""
    run = card.evaluations.get(promotion.suite) if promotion.suite else None
    if rule is Rule.EVAL_PASSED and run is not None:
        return f"pass rate {run.pass_rate:.3g}, score {run.score:.3g} on {promotion.evals or run.suite[:ID_DIGITS]}"
    return roles_in(card.approvals) if rule is Rule.APPROVED else ""


def _promotion(rules: Promotion | None) -> PromotionShape | None:
    if rules is None:
        return None
    return PromotionShape(
        evals=rules.evals,
        suite=rules.suite,
        min_pass_rate=rules.min_pass_rate,
        min_score=rules.min_score,
        approvals=rules.approvals,
        roles=list(rules.roles),
        strict=rules.strict,
        environment=rules.environment,
    )


def _evaluation(flag: Flag, run: Evaluation) -> EvaluationShape:
    current = None if flag.promotion is None else flag.promotion.suite
    return EvaluationShape(
        suite=run.name or run.suite[:ID_DIGITS],
        suite_hash=run.suite,
        passed=run.passed,
        pass_rate=run.pass_rate,
        score=run.score,
        cases=run.cases,
        not_evaluated=run.not_evaluated,
        repeat=run.repeat,
        at=run.at,
        by=run.by,
        report=run.report,
        report_link=f"{REPORTS}/{run.report}",
        stale=current is not None and run.suite != current,
    )


def _newest(runs: Iterable[Evaluation]) -> list[Evaluation]:
    return sorted(runs, key=lambda run: run.at, reverse=True)


def _said(mark: Mark | None) -> SaidShape | None:
    return None if mark is None else SaidShape(mark.by, mark.role, mark.at, mark.reason, mark.link)


def _unmet(found: Iterable[Unmet]) -> list[UnmetShape]:
    return [UnmetShape(each.rule.value, each.message, each.mend) for each in found]


def _text(card: Card, name: str) -> str | None:
    found = card.record.get(name)
    return found if isinstance(found, str) else None


def _texts(found: Json) -> list[str]:
    return [each for each in found if isinstance(each, str)] if isinstance(found, list | tuple) else []

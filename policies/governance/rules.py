"""What a version must satisfy before it may be safe, and which one is the last known good. Pure; DESIGN §1.

Each rule has a name, by which every refusal tells it. A flag without rules asks for nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from flags.model import Flag, Promotion, Variant
from policies.governance.card import Card, roles_in
from policies.verbs import natural

# Whose approvals count where a flag's rules name no roles.
USUAL_ROLES = ("approver", "admin")
# SemVer 2.0.0, as its own page gives it.
SEMVER = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
    r"(-(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*)?"
    r"(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?"
)
# v7, v1.2, 1.2.3: names that say a version themselves.
NUMBERED = re.compile(r"v?(\d+)(?:\.(\d+))?(?:\.(\d+))?", re.IGNORECASE)


# What every refusal offers at last.
OVERRIDE = " (an admin may override in an emergency: --override, with a reason)"


class Rule(StrEnum):
    """The rules, in the order in which they are looked at."""

    RECORD = "valid_record"
    EVAL_PASSED = "eval_passed"
    APPROVED = "approved"
    NOT_REJECTED = "not_rejected"
    NOT_DEPRECATED = "not_deprecated"
    IN_SERVICE = "not_withdrawn"


class Stage(StrEnum):
    """Where in its life a version stands."""

    DRAFT = "draft"
    EVALUATED = "evaluated"
    APPROVED = "approved"
    PRODUCTION = "production"
    SUPERSEDED = "superseded"
    REJECTED = "rejected"
    DEPRECATED = "deprecated"
    WITHDRAWN = "withdrawn"
    QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True)
class Unmet:
    """A rule that a version does not satisfy: what was found, and what it would take."""

    rule: Rule
    message: str
    mend: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.message}"


@dataclass(frozen=True, slots=True)
class LastGood:
    """The last known good version and why it is that one; None where rules exist that nothing satisfies.

    `unmet` tells of each other version what is missing.
    """

    variant: str | None
    reason: str
    unmet: Mapping[str, tuple[Unmet, ...]]


def unmet(flag: Flag, name: str, card: Card) -> tuple[Unmet, ...]:
    """The rules that a version does not satisfy; none where the flag has no rules."""
    rules = flag.promotion
    if rules is None:
        return ()
    variant = flag.variants[name]
    found = (
        *_record_problems(flag, variant, card),
        _eval_problem(flag, rules, name, card),
        _approval_problem(flag, rules, variant, card),
        _mark_problem(flag, name, card),
        _service_problem(flag, variant),
    )
    return tuple(each for each in found if each is not None)


def last_known_good(flag: Flag, cards: Mapping[str, Card], *, but: Collection[str] = ()) -> LastGood:
    """The newest version that satisfies the rules, without those of `but`; where there are no rules, `safe` itself."""
    if flag.promotion is None:
        return LastGood(flag.safe, "the flag has no promotion rules, so its safe version counts as it", {})
    missing: dict[str, tuple[Unmet, ...]] = {}
    for variant in newest_first(flag):
        if variant.name in but:
            continue
        found = unmet(flag, variant.name, cards[variant.name])
        if not found:
            return LastGood(variant.name, _why_good(flag.promotion, cards[variant.name]), missing)
        missing[variant.name] = found
    return LastGood(None, "no version satisfies the promotion rules", missing)


def stage_of(flag: Flag, name: str, card: Card) -> Stage:
    """Where in its life a version stands: what was last said or done that matters most."""
    variant, rules = flag.variants[name], flag.promotion or Promotion()
    if variant.hash in flag.quarantined:
        return Stage.QUARANTINED
    if card.is_deprecated:
        return Stage.DEPRECATED
    if name in flag.withdrawn:
        return Stage.WITHDRAWN
    if name == flag.served:
        return Stage.PRODUCTION
    if variant.served_at:
        return Stage.SUPERSEDED
    if card.rejected is not None:
        return Stage.REJECTED
    enough = max(1, rules.approvals)
    if len(counted(flag, card)) >= enough:
        return Stage.APPROVED
    return Stage.EVALUATED if eval_status(flag, card) == "passed" else Stage.DRAFT


def eval_status(flag: Flag, card: Card) -> str:
    """`pending`, `passed` or `failed`, on the current suite where the flag's rules name one, else on the newest run."""
    rules = flag.promotion
    run = card.newest if rules is None or rules.suite is None else card.evaluations.get(rules.suite)
    if run is None or run.passed is None:
        return "pending"
    if rules is not None and rules.suite is not None:
        if run.passed and _meets(rules, run.pass_rate, run.score):
            return "passed" if run.repeat >= rules.repeat else "pending"
        return "failed"
    return "passed" if run.passed else "failed"


def counted(flag: Flag, card: Card) -> list[str]:
    """Who has approved a version so that it counts: with a role that the rules name, and not its author."""
    roles = (flag.promotion.roles if flag.promotion else ()) or USUAL_ROLES
    authors = {*map(person, authors_of(flag.variants[card.variant], card))}
    people = {person(mark.by): mark.by for mark in card.approvals if mark.role in roles}
    return [by for name, by in people.items() if name not in authors]


def person(name: str) -> str:
    """Whom a name means: nobody is two people by writing it in capitals."""
    return name.casefold()


def author_of(variant: Variant) -> str:
    """Who declared it first: the actor of that Change."""
    return variant.created_by


def authors_of(variant: Variant, card: Card) -> tuple[str, ...]:
    """Whose approvals of it do not count: who declared it, and who its record says made it."""
    return (author_of(variant), *card.authors)


def semver_of(name: str, card: Card) -> str:
    """The SemVer that its author declared, else the one that its name says (v7 is 7.0.0), else 0.0.0-<name>."""
    declared = card.record.get("semver")
    if isinstance(declared, str):
        return declared
    numbered = NUMBERED.fullmatch(name)
    if numbered is not None:
        return ".".join(str(int(part or 0)) for part in numbered.groups())
    return "0.0.0-" + re.sub(r"[^0-9A-Za-z-]+", "-", name).strip("-")


def newest_first(flag: Flag) -> list[Variant]:
    """The versions by age, the newest first; of those declared together v10 before v9."""
    return sorted(
        flag.variants.values(), key=lambda each: (each.created_at, natural(each.name)), reverse=True
    )


def _record_problems(flag: Flag, variant: Variant, card: Card) -> Sequence[Unmet | None]:
    mend = f"declare its record: flags.{flag.key}.records.{variant.name}"
    found = []
    semver = semver_of(variant.name, card)
    if not SEMVER.fullmatch(semver):
        found.append(
            Unmet(Rule.RECORD, f"its record's semver is {semver!r}, expected one such as 1.2.0", mend)
        )
    declared = card.record.get("hash")
    if declared is not None and declared != variant.hash:
        found.append(
            Unmet(Rule.RECORD, f"its record names the hash {declared}, its content has {variant.hash}", mend)
        )
    if not variant.created_at:
        found.append(Unmet(Rule.RECORD, "it is not known when it was declared", mend))
    return found


def _eval_problem(flag: Flag, rules: Promotion, name: str, card: Card) -> Unmet | None:
    if rules.suite is None:
        return None
    mend = f"pointsman eval run {flag.key} {name}"
    suite = rules.evals or rules.suite[:12]
    run = card.evaluations.get(rules.suite)
    if run is None:
        older = card.newest
        message = f"it has not passed the suite {suite}"
        if older is not None:
            message = (
                f"its evals are of another suite ({older.suite[:12]}) than the current {suite}"
                f" ({rules.suite[:12]})"
            )
        return Unmet(Rule.EVAL_PASSED, message, mend)
    if run.passed is None:
        message = f"the suite {suite} could not be evaluated ({run.not_evaluated} of {run.cases} cases)"
        return Unmet(Rule.EVAL_PASSED, message, mend)
    if not run.passed or not _meets(rules, run.pass_rate, run.score):
        least = "" if rules.min_score is None else f", score {run.score:.3g} of {rules.min_score:g}"
        message = f"it did not pass the suite {suite}: pass rate {run.pass_rate:.3g} of {rules.min_pass_rate:g}{least}"
        return Unmet(Rule.EVAL_PASSED, message, mend)
    if run.repeat < rules.repeat:
        # A gate is judged over its repeats: fewer were luck.
        message = f"each case of the suite {suite} was asked {run.repeat} of {rules.repeat} times"
        return Unmet(Rule.EVAL_PASSED, message, mend)
    return None


def _approval_problem(flag: Flag, rules: Promotion, variant: Variant, card: Card) -> Unmet | None:
    people = counted(flag, card)
    if len(people) >= rules.approvals:
        return None
    roles = " or ".join(rules.roles or USUAL_ROLES)
    author = " and ".join(dict.fromkeys(each for each in authors_of(variant, card) if each)) or "unknown"
    message = (
        f"{len(people)} of {rules.approvals} approvals by {roles}, other than its author {author}"
        f" (approved by: {roles_in(card.approvals) or 'nobody'})"
    )
    return Unmet(Rule.APPROVED, message, f"pointsman approve {flag.key} {variant.name}")


def _mark_problem(flag: Flag, name: str, card: Card) -> Unmet | None:
    if card.deprecated is not None:
        message = f"it was deprecated by {card.deprecated.by}: {card.deprecated.reason}"
        return Unmet(Rule.NOT_DEPRECATED, message, f"pointsman deprecate {flag.key} {name} --undo")
    if card.is_deprecated:
        return Unmet(
            Rule.NOT_DEPRECATED, "its record declares it deprecated", "take that out of its record, and apply"
        )
    if card.rejected is not None:
        message = f"it was rejected by {card.rejected.by}: {card.rejected.reason}"
        return Unmet(Rule.NOT_REJECTED, message, f"pointsman approve {flag.key} {name}")
    return None


def _service_problem(flag: Flag, variant: Variant) -> Unmet | None:
    mend = f"pointsman restore {flag.key} {variant.name} --reason …"
    if variant.hash in flag.quarantined:
        return Unmet(Rule.IN_SERVICE, "its content is in quarantine", mend)
    if variant.name in flag.withdrawn:
        return Unmet(Rule.IN_SERVICE, "it is withdrawn", mend)
    return None


def _meets(rules: Promotion, pass_rate: float, score: float) -> bool:
    return pass_rate >= rules.min_pass_rate and (rules.min_score is None or score >= rules.min_score)


def _why_good(rules: Promotion, card: Card) -> str:
    reasons = []
    run = card.evaluations.get(rules.suite) if rules.suite else None
    if run is not None:
        reasons.append(
            f"passed {rules.evals or run.suite[:12]} (pass rate {run.pass_rate:.3g}, score {run.score:.3g})"
        )
    if card.approvals:
        reasons.append(f"was approved by {roles_in(card.approvals)}")
    told = " and ".join(reasons) or "satisfies every rule"
    return f"the newest version that {told}, and is neither deprecated, withdrawn nor quarantined"

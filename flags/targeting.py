"""Targeting rules: JSONLogic with flagd's data around it.

Knows no variants and not how a flag uses the result.
"""

from __future__ import annotations

from collections.abc import Mapping

from flags.coercion import Value
from flags.errors import Invalid
from flags.flagd_operators import Term
from flags.logic import MAX_DEPTH, Site, compiled
from flags.model import Context, Document, Json

# What a rule can raise on data that its author did not think of. flagd's answer to each is PARSE_ERROR.
RULE_FAILURES = (ArithmeticError, AttributeError, Invalid, LookupError, RecursionError, TypeError, ValueError)

# Nodes of a rule after its references are expanded: references to references multiply, and a rule lies in
# memory once for each flag and worker.
MAX_NODES = 20_000


def compile_rule(rule: Json, flag: str, *, strict: bool = False) -> Term | None:
    """The rule of `flag` as a function of what `data_for` makes.

    None for the empty rule, which flagd takes as none. Raises Invalid, with the path inside the rule, for
    what is no rule. `strict` is for rules about to be written: an unknown operator is refused, where flagd
    (and the lenient way) fails only when an evaluation reaches it.
    """
    if not isinstance(rule, Mapping):
        raise Invalid(
            "", f"a targeting rule is an object, for example {{'if': […]}}; found {type(rule).__name__}"
        )
    if not rule:
        return None
    if strict and len(rule) != 1:
        raise Invalid(
            "", f"a rule is one operator with its arguments; found {len(rule)} members: {', '.join(rule)}"
        )
    try:
        site = Site(flag, strict=strict)
        return site.steps.begun(compiled(rule, site))
    except RecursionError:
        # Plain data may nest deeper than operators are allowed to.
        raise Invalid("", f"nests deeper than {MAX_DEPTH} levels") from None


def data_for(flag: str, context: Context, now: int) -> dict[str, Value]:
    """The root scope: the context's attributes with `$flagd` and `targetingKey` over them.

    `now` is in Unix seconds.
    """
    return {
        **context.attributes,
        "$flagd": {"flagKey": flag, "timestamp": now},
        "targetingKey": context.targeting_key,
    }


def expanded(rule: Json, evaluators: Document) -> Json:
    """`rule` with every `{"$ref": NAME}` replaced by that evaluator, and theirs in turn.

    Raises Invalid for an unknown name, a cycle, and rules that grow past MAX_NODES. (flagd replaces text, so
    there a reference inside an evaluator works or not by the order of names; here it always works.)
    """
    return _Expansion(evaluators).of(rule, ())


class _Expansion:
    """One walk through a rule; counts the nodes it has made so far."""

    __slots__ = ("evaluators", "nodes")

    def __init__(self, evaluators: Document) -> None:
        self.evaluators = evaluators
        self.nodes = 0

    def __repr__(self) -> str:
        return f"<expansion of {len(self.evaluators)} evaluators, {self.nodes} nodes so far>"

    def of(self, rule: Json, open_names: tuple[str, ...], depth: int = 0) -> Json:
        """`rule` expanded, inside the evaluators `open_names`."""
        self.nodes += 1
        if self.nodes > MAX_NODES or depth > MAX_DEPTH:
            raise Invalid(
                "", f"the rule grows past {MAX_NODES} nodes or {MAX_DEPTH} levels once $ref is expanded"
            )
        if isinstance(rule, Mapping):
            if set(rule) == {"$ref"}:
                return self._referenced(rule["$ref"], open_names, depth)
            return {name: self.of(value, open_names, depth + 1) for name, value in rule.items()}
        if isinstance(rule, (list, tuple)):
            return [self.of(value, open_names, depth + 1) for value in rule]
        return rule

    def _referenced(self, name: Json, open_names: tuple[str, ...], depth: int) -> Json:
        if not isinstance(name, str) or name not in self.evaluators:
            known = ", ".join(self.evaluators) or "none"
            raise Invalid("", f"$ref {name!r} names no evaluator ($evaluators: {known})")
        if name in open_names:
            raise Invalid("", f"$ref goes in a circle: {' → '.join((*open_names, name))}")
        return self.of(self.evaluators[name], (*open_names, name), depth + 1)

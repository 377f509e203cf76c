"""JSONLogic compiled once to closures: a rule becomes a function of the evaluation context.

Knows no flag's variants. Semantics follow flagd's Python core: an object with other than one member is plain
data, arguments are evaluated from left to right, and an operator that nobody knows fails when it is reached,
not before.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TypeAlias

from flags import forms, scope
from flags.coercion import Value, equal
from flags.errors import Invalid
from flags.flagd_operators import Term, drawn, ends_with, keyed_draw, starts_with, user_draw
from flags.operators import OPERATORS, Operator
from flags.semver import against, compared
from flags.steps import Steps

# Levels of operators and arrays (an operator and its arguments are two), with three Python frames a level at
# most.
MAX_DEPTH = 200


@dataclass(frozen=True, slots=True)
class Site:
    """Where in which rule we are.

    `root`: the scope is the evaluation context, not an item of `map` and its kin. `steps` counts for the whole rule.
    """

    flag: str
    path: str = ""
    depth: int = 0
    root: bool = True
    strict: bool = False
    steps: Steps = field(default_factory=Steps)

    def inside(self, step: str | int) -> Site:
        """One level deeper, at the member or argument `step`."""
        path = f"{self.path}.{step}" if self.path else str(step)
        return Site(self.flag, path, self.depth + 1, self.root, self.strict, self.steps)


Form: TypeAlias = Callable[[Sequence[Value], Site], Term]


def compiled(rule: Value, site: Site) -> Term:
    """`rule` as a function of its scope.

    Raises Invalid where it nests too deep or, if strict, is surely a mistake.
    """
    if site.depth > MAX_DEPTH:
        raise Invalid(site.path, f"nests deeper than {MAX_DEPTH} levels")
    if isinstance(rule, list):
        return _array(rule, site)
    if not isinstance(rule, dict) or len(rule) != 1:
        return lambda _: rule
    (name, arguments), *_ = rule.items()
    site = site.inside(name)
    return _operation(name, arguments if isinstance(arguments, list) else [arguments], site)


def is_constant(rule: Value) -> bool:
    """Whether `rule` gives itself in every scope."""
    if isinstance(rule, list):
        return all(map(is_constant, rule))
    return not isinstance(rule, dict) or len(rule) != 1


def _array(items: list[Value], site: Site) -> Term:
    terms = [compiled(item, site.inside(index)) for index, item in enumerate(items)]
    return lambda data: [term(data) for term in terms]


def _operation(name: str, arguments: list[Value], site: Site) -> Term:
    if name in FORMS:
        return FORMS[name](arguments, site)
    terms = _terms(arguments, site)
    if name in SCOPED:
        operator = SCOPED[name]
        return lambda data: operator(data, *[term(data) for term in terms])
    if name in PLAIN:
        return called(PLAIN[name], terms)
    return _unknown(name, site)


def _terms(arguments: Sequence[Value], site: Site) -> list[Term]:
    return [compiled(argument, site.inside(index)) for index, argument in enumerate(arguments)]


def called(operator: Operator, terms: Sequence[Term]) -> Term:
    """`operator` over the values of `terms`; the usual numbers of arguments without a list in between."""
    if len(terms) == 1:
        (only,) = terms
        return lambda data: operator(only(data))
    if len(terms) == 2:
        first, second = terms
        return lambda data: operator(first(data), second(data))
    return lambda data: operator(*[term(data) for term in terms])


def _unknown(name: str, site: Site) -> Term:
    known = sorted({*FORMS, *SCOPED, *PLAIN})
    close = difflib.get_close_matches(name, known, n=1)
    mend = f"did you mean {close[0]!r}?" if close else f"known operators: {', '.join(known)}"
    error = Invalid(site.path, f"{name!r} is no operator", mend=mend)
    if site.strict:
        raise error

    def run(_: Value) -> Value:
        raise error

    return run


def _choice(arguments: Sequence[Value], site: Site) -> Term:
    return forms.choice(_terms(arguments, site))


def _both(arguments: Sequence[Value], site: Site) -> Term:
    return forms.both(_terms(arguments, site))


def _either(arguments: Sequence[Value], site: Site) -> Term:
    return forms.either(_terms(arguments, site))


def _each(build: Callable[[Sequence[Term], Steps], Term]) -> Form:
    """A form whose second argument is evaluated once for each item, the item being its scope."""

    def form(arguments: Sequence[Value], site: Site) -> Term:
        here = [compiled(argument, site.inside(0)) for argument in arguments[:1]]
        items = [compiled(argument, replace(site.inside(1), root=False)) for argument in arguments[1:2]]
        return build([*here, *items], site.steps.counted())

    return form


def _reduction(arguments: Sequence[Value], site: Site) -> Term:
    step = [compiled(argument, replace(site.inside(1), root=False)) for argument in arguments[1:2]]
    start = arguments[2] if len(arguments) > 2 else None
    items = [compiled(argument, site.inside(0)) for argument in arguments[:1]]
    return forms.reduced(items + step, start, site.steps.counted())


def _variable(arguments: Sequence[Value], site: Site) -> Term:
    constant = 0 < len(arguments) <= 2 and all(map(is_constant, arguments))
    if not constant or not isinstance(arguments[0], str):
        # More than two arguments fail, as they do in the oracle.
        terms = _terms(arguments, site)
        return lambda data: scope.read(data, *[term(data) for term in terms])
    return _constant_variable(arguments[0], arguments[1] if len(arguments) > 1 else None, site)


def _constant_variable(name: str, default: Value, site: Site) -> Term:
    if name == "":
        return lambda data: data
    path = name.split(".")
    if not site.root or len(path) > 1:
        return _fixed_path(name, path, default, site)
    if default is None:
        return lambda data: data.get(name)

    def run(data: Value) -> Value:
        value = data.get(name)
        return default if value is None else value

    return run


def _fixed_path(name: str, path: list[str], default: Value, site: Site) -> Term:
    # At the root nothing that a request sends can be in its place, so the flag's key is known now.
    if site.root and name == "$flagd.flagKey":
        flag = site.flag
        return lambda _: flag
    return lambda data: scope.walked(data, path, default)


# `var`, `==`, `in`, `fractional` and `sem_ver` with constants are what rules are made of. Their general forms
# cost two to four times as much; that these answer the same is property-tested against the oracle.


def _equality(arguments: Sequence[Value], site: Site) -> Term:
    terms = _terms(arguments, site)
    if len(arguments) != 2 or not isinstance(arguments[1], str):
        return called(PLAIN["=="], terms)
    term, wanted = terms[0], arguments[1]

    def run(data: Value) -> bool:
        value = term(data)
        return value == wanted if type(value) is str else equal(value, wanted)

    return run


def _membership(arguments: Sequence[Value], site: Site) -> Term:
    terms = _terms(arguments, site)
    haystack = arguments[1] if len(arguments) == 2 else None
    if not isinstance(haystack, list) or not all(isinstance(item, str) for item in haystack):
        return called(PLAIN["in"], terms)
    term, members = terms[0], frozenset(haystack)

    def run(data: Value) -> bool:
        value = term(data)
        return type(value) is str and value in members

    return run


def _fraction(arguments: Sequence[Value], site: Site) -> Term:
    if not arguments or not all(map(is_constant, arguments[1:])):
        return _computed_fraction(arguments, site)
    first, fractions = arguments[0], arguments[1:]
    if not isinstance(first, list):
        return keyed_draw(compiled(first, site.inside(0)), fractions)
    if site.root and is_constant(first):
        return user_draw(site.flag, arguments)
    return _computed_fraction(arguments, site)


def _computed_fraction(arguments: Sequence[Value], site: Site) -> Term:
    terms = _terms(arguments, site)
    return lambda data: drawn(data, *[term(data) for term in terms])


def _version(arguments: Sequence[Value], site: Site) -> Term:
    terms = _terms(arguments, site)
    if len(arguments) != 3 or not all(map(is_constant, arguments[1:])):
        return called(_version_order, terms)
    compare, first = against(*arguments[1:]), terms[0]
    return lambda data: compare(first(data))


def _version_order(
    first: Value = None, sign: Value = None, second: Value = None, *more: Value
) -> bool | None:
    return None if more else compared(first, sign, second)


FORMS: Mapping[str, Form] = MappingProxyType(
    {
        "if": _choice,
        "?:": _choice,
        "and": _both,
        "or": _either,
        "map": _each(forms.mapped),
        "filter": _each(forms.filtered),
        "all": _each(forms.every),
        "some": _each(forms.some),
        "none": _each(forms.none),
        "reduce": _reduction,
        "var": _variable,
        "==": _equality,
        "in": _membership,
        "fractional": _fraction,
        "sem_ver": _version,
    }
)

SCOPED: Mapping[str, Operator] = MappingProxyType(
    {"missing": scope.missing, "missing_some": scope.missing_some}
)

PLAIN: Mapping[str, Operator] = MappingProxyType(
    {**OPERATORS, "starts_with": starts_with, "ends_with": ends_with}
)

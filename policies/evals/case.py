"""A case of a suite and its assertions, as promptfoo writes them. Knows no file: everything stands in the document.

A form that is wrong is refused, with its path. What is right in promptfoo and lacking here is kept by its name, so that
the case is told as not evaluated: dropping it would turn a check that nobody makes into a pass.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from flags.errors import Invalid
from flags.model import Json

NO_VARS: Mapping[str, Json] = MappingProxyType({})
# promptfoo's own; sets stand within a case only, one deep.
SET = "assert-set"
NEEDS_VALUE = frozenset(
    {"equals", "contains", "icontains", "contains-all", "contains-any", "icontains-all", "icontains-any"}
    | {"starts-with", "regex", "similar", "llm-rubric", "factuality"}
)
NEEDS_THRESHOLD = frozenset({"latency", "cost"})
TYPES = NEEDS_VALUE | NEEDS_THRESHOLD | {"is-json", "contains-json", "context-faithfulness"}
# `provider` names who grades: here that is the suite's judge, for all.
_ASSERTION_FIELDS = frozenset(
    {"type", "value", "threshold", "weight", "metric", "provider", "contextValue", "assert"}
)
_CASE_FIELDS = frozenset({"description", "vars", "assert", "threshold", "options", "metadata"})
# They choose among prompts and providers, which the version under test takes the place of.
_CASE_IGNORED = frozenset({"provider", "providers", "prompts"})
_OPTIONS = frozenset({"prefix", "suffix", "disableVarExpansion", "disableDefaultAsserts"})
_OPTIONS_IGNORED = frozenset({"provider", "storeOutputAs", "repeat", "delay", "maxConcurrency"})


@dataclass(frozen=True, slots=True)
class Assertion:
    """What an answer must be. `type` is without `not-`, which is `negated`; `weight` 0 counts for its metric only.

    `threshold` is in the type's own unit: milliseconds (latency), US dollars (cost), else 0 to 1. `lacks` names what is
    asked for and not done here: such an assertion is not evaluated. `asserts` are those of an `assert-set`.
    """

    type: str
    value: Json = None
    threshold: float | None = None
    weight: float = 1.0
    metric: str | None = None
    negated: bool = False
    context: Json = None
    asserts: tuple[Assertion, ...] = ()
    lacks: str | None = None

    @property
    def name(self) -> str:
        """Its type as it is written, `not-` included."""
        return f"not-{self.type}" if self.negated else self.type


@dataclass(frozen=True, slots=True)
class Case:
    """A question and what its answer must be. `number` counts from 1, arrays of variables unfolded.

    With a `threshold` it passes when its score reaches that, else when all its assertions pass. `lacks` names what in the
    case is not done here.
    """

    number: int
    description: str = ""
    vars: Mapping[str, Json] = field(default_factory=lambda: NO_VARS)
    asserts: tuple[Assertion, ...] = ()
    threshold: float | None = None
    prefix: str = ""
    suffix: str = ""
    metadata: Mapping[str, Json] = field(default_factory=lambda: NO_VARS)
    lacks: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Its description, else its number: what people find it by."""
        return self.description or f"case {self.number}"


def case_from(document: Mapping[str, Json], number: int, path: str) -> Case:
    """The case in `document`, whose defaults are merged. Raises Invalid with the path."""
    options = mapping_at(document, "options", path)
    variables = mapping_at(document, "vars", path)
    asserts = tuple(
        assertion_from(each, f"{path}.assert[{at}]")
        for at, each in enumerate(list_at(document, "assert", path))
    )
    threshold = number_at(document, "threshold", path)
    if threshold is not None and not 0 <= threshold <= 1:
        raise Invalid(f"{path}.threshold", f"{threshold:g} is not between 0 and 1")
    return Case(
        number,
        description=text_at(document, "description", path) or "",
        vars=variables,
        asserts=asserts,
        threshold=threshold,
        prefix=text_at(options, "prefix", f"{path}.options") or "",
        suffix=text_at(options, "suffix", f"{path}.options") or "",
        metadata=mapping_at(document, "metadata", path),
        lacks=tuple(_lacks(document, options, variables)),
    )


def assertion_from(found: Json, path: str, *, within: bool = False) -> Assertion:
    """The assertion in `found`; `within` a set there is no other set. Raises Invalid with the path."""
    if not isinstance(found, Mapping):
        raise Invalid(path, "expected an assertion: a mapping with `type`")
    written = text_at(found, "type", path)
    if not written:
        raise Invalid(path, "an assertion has no `type`", mend="name one, for example `contains`")
    kind = written.removeprefix("not-")
    weight = number_at(found, "weight", path)
    if weight is not None and weight < 0:
        raise Invalid(f"{path}.weight", f"{weight} is below 0")
    threshold = number_at(found, "threshold", path)
    asserts = list_at(found, "assert", path)
    lacks = _lacking(found, kind, within=within)
    if lacks is None:
        # What we lack may count in any unit: a Levenshtein distance, a perplexity.
        _check_threshold(threshold, kind, path)
        _check_complete(found, kind, path)
    return Assertion(
        kind,
        value=found.get("value"),
        threshold=threshold,
        weight=1.0 if weight is None else weight,
        metric=text_at(found, "metric", path),
        negated=written != kind,
        context=found.get("contextValue"),
        asserts=()
        if lacks
        else tuple(
            assertion_from(each, f"{path}.assert[{at}]", within=True) for at, each in enumerate(asserts)
        ),
        lacks=lacks,
    )


def _check_threshold(threshold: float | None, kind: str, path: str) -> None:
    most = None if kind in NEEDS_THRESHOLD else 1.0
    if threshold is not None and (threshold < 0 or (most is not None and threshold > most)):
        raise Invalid(f"{path}.threshold", f"{threshold:g} is not between 0 and {most or 'infinity'}")


def _check_complete(found: Mapping[str, Json], kind: str, path: str) -> None:
    if kind in NEEDS_VALUE and found.get("value") in (None, "", []):
        raise Invalid(path, f"{kind} has no `value`", mend="say what the answer is compared with")
    if kind in NEEDS_THRESHOLD and found.get("threshold") is None:
        unit = "milliseconds" if kind == "latency" else "US dollars"
        raise Invalid(path, f"{kind} has no `threshold`", mend=f"give the most that it may be, in {unit}")
    if kind == SET and not found.get("assert"):
        raise Invalid(path, "the assert-set has no assertions in `assert`")


def _lacking(found: Mapping[str, Json], kind: str, *, within: bool) -> str | None:
    """What the assertion asks for and we lack."""
    if kind not in TYPES and (kind != SET or within):
        return f"assertion type {shown(kind)}"
    unknown = sorted(found.keys() - _ASSERTION_FIELDS)
    if unknown:
        return f"{kind} with {shown(unknown[0])}"
    code = code_in(found.get("value")) or code_in(found.get("contextValue"))
    return f"{kind} with {shown(code)}, which is not read here: code is never run" if code else None


def _lacks(
    document: Mapping[str, Json], options: Mapping[str, Json], variables: Mapping[str, Json]
) -> list[str]:
    names = [shown(name) for name in document if name not in _CASE_FIELDS | _CASE_IGNORED]
    names += [f"options.{name}"[:80] for name in options if name not in _OPTIONS | _OPTIONS_IGNORED]
    for name, value in variables.items():
        code = code_in(value)
        if code:
            names.append(
                f"variable {shown(name)} from {shown(code)}, which is not read here: code is never run"
            )
    return names


def code_in(value: Json) -> str | None:
    """A reference that was left unread, because what it names would have to be run."""
    if isinstance(value, str):
        return value if value.startswith(("file://", "exec:", "python:", "package:")) else None
    return None


def shown(name: object) -> str:
    """A name as a message quotes it, short."""
    return repr(str(name)[:60])


def text_at(document: Mapping[str, Json], name: str, path: str) -> str | None:
    """The text under `name`; None where there is none. Numbers are taken as they are written. Raises Invalid."""
    found = document.get(name)
    if isinstance(found, bool) or not isinstance(found, (str, int, float, type(None))):
        raise Invalid(f"{path}.{name}", "expected a text")
    return None if found is None else str(found)


def number_at(document: Mapping[str, Json], name: str, path: str) -> float | None:
    """The number under `name`; None where there is none. Raises Invalid."""
    found = document.get(name)
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, (int, float)) or not math.isfinite(found):
        raise Invalid(f"{path}.{name}", f"expected a number, found {shown(found)}")
    return float(found)


def mapping_at(document: Mapping[str, Json], name: str, path: str) -> Mapping[str, Json]:
    """The mapping under `name`; an empty one where there is none. Raises Invalid."""
    found = document.get(name)
    if found is None:
        return NO_VARS
    if not isinstance(found, Mapping):
        raise Invalid(f"{path}.{name}" if path else name, "expected a mapping")
    return found


def list_at(document: Mapping[str, Json], name: str, path: str) -> Sequence[Json]:
    """The list under `name`; an empty one where there is none. Raises Invalid."""
    found = document.get(name)
    if found is None:
        return ()
    if isinstance(found, (str, Mapping)) or not isinstance(found, Sequence):
        raise Invalid(f"{path}.{name}" if path else name, "expected a list")
    return found

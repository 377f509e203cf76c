"""A resolved promptfoo document becomes a Suite, its defaults merged and its arrays of variables unfolded. Knows no file.

Format: promptfoo's configuration reference. `providers` and all that concerns running promptfoo itself are not looked at:
the version under test takes their place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

from flags.canonical import digest
from flags.errors import Invalid
from flags.model import Json
from policies.evals.case import Assertion, Case, case_from, list_at, mapping_at, shown, text_at

__all__ = ["Assertion", "Case", "Suite", "suite_from"]

# Ten times the largest run that is measured; more is a data set, and is asked in parts.
CASES_MAX = 10_000
_READ = frozenset({"description", "prompts", "tests", "defaultTest", "assertionTemplates"})
_IGNORED = frozenset(
    {
        "$schema",
        "providers",
        "targets",
        "env",
        "evaluateOptions",
        "commandLineOptions",
        "outputPath",
        "sharing",
    }
    | {"tags", "metadata", "writeLatestResults", "derivedMetrics", "tracing"}
)
# Variables, schemas and sets of assertions nest a dozen deep at most; each level costs some frames wherever they are walked.
DEPTH_MAX = 64
# `$ref` of an assertion leads to a template, which may lead on; a circle does not end.
_REFERENCES_MAX = 10


@dataclass(frozen=True, slots=True)
class Suite:
    """Cases, and the prompt by which they are asked where the document has one. `hash` names its content.

    `document` is the resolved document: `suite_from(suite.document)` is the same suite.
    """

    name: str
    hash: str
    cases: tuple[Case, ...]
    prompt: Json
    document: Json


def suite_from(document: Json, *, name: str = "") -> Suite:
    """The suite in a resolved document (a mapping, or a bare list of tests). Raises Invalid with the path.

    A suite without cases is refused, for nobody can pass it; so is what would leave cases out (`scenarios`).
    """
    _check_depth(document)
    whole: Mapping[str, Json]
    whole = document if isinstance(document, Mapping) else {"tests": document}
    _check_sections(whole)
    default = mapping_at(whole, "defaultTest", "")
    cases = tuple(_cases(whole, default))
    if not cases:
        raise Invalid("tests", "there are no cases in this suite", mend="give one test at least")
    described = text_at(whole, "description", "suite")
    return Suite(name or described or "suite", digest(document), cases, _prompt(whole), document)


def _check_depth(document: Json) -> None:
    """Level by level, since what nests too deeply cannot be walked by calls."""
    level: list[Json] = [document]
    for _ in range(DEPTH_MAX):
        level = [inner for each in level for inner in _inner(each)]
        if not level:
            return
    raise Invalid("", f"this suite is nested more than {DEPTH_MAX} levels deep")


def _inner(value: Json) -> Iterable[Json]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, Sequence) and not isinstance(value, str) else ()


def _check_sections(whole: Mapping[str, Json]) -> None:
    for section, value in whole.items():
        if section not in _READ | _IGNORED and value not in (None, [], {}):
            raise Invalid(
                section,
                f"{shown(section)} is not evaluated here",
                mend="write its cases as `tests`, or run the suite with `eval promptfoo`",
            )


def _prompt(whole: Mapping[str, Json]) -> Json:
    """The first prompt: a text, a chat, or what it is written as; None where there is none."""
    found = whole.get("prompts")
    if isinstance(found, str):
        return found
    prompts = list_at(whole, "prompts", "")
    first = prompts[0] if prompts else None
    return first.get("raw", first) if isinstance(first, Mapping) else first


def _cases(whole: Mapping[str, Json], default: Mapping[str, Json]) -> Iterator[Case]:
    number = 0
    for at, found in enumerate(list_at(whole, "tests", "")):
        path = f"tests[{at}]"
        if not isinstance(found, Mapping):
            raise Invalid(path, "expected a test: a mapping with `vars` and `assert`")
        merged = _merged(found, default, path, whole)
        for variables in _unfolded(merged, path):
            number += 1
            if number > CASES_MAX:
                raise Invalid("tests", f"there are more than {CASES_MAX} cases", mend="split the suite")
            yield case_from({**merged, "vars": variables}, number, path)


def _merged(
    test: Mapping[str, Json], default: Mapping[str, Json], path: str, whole: Mapping[str, Json]
) -> Mapping[str, Json]:
    """A test over `defaultTest`, as promptfoo merges them: its assertions come after the default's."""
    both = ((default, "defaultTest"), (test, path))
    merged: dict[str, Json] = {**default, **{name: each for name, each in test.items() if each is not None}}
    for name in ("vars", "options", "metadata"):
        merged[name] = {key: value for each, at in both for key, value in mapping_at(each, name, at).items()}
    alone = mapping_at(test, "options", path).get("disableDefaultAsserts") is True
    merged["assert"] = [
        _dereferenced(found, whole, f"{at}.assert")
        for each, at in (both[1:] if alone else both)
        for found in list_at(each, "assert", at)
    ]
    return merged


def _dereferenced(found: Json, whole: Mapping[str, Json], path: str) -> Json:
    """An assertion in whose place stands `$ref: "#/assertionTemplates/NAME"`."""
    for _ in range(_REFERENCES_MAX):
        reference = found.get("$ref") if isinstance(found, Mapping) else None
        if not isinstance(reference, str):
            return found
        found = whole
        for step in reference.removeprefix("#/").split("/"):
            found = found.get(step) if isinstance(found, Mapping) else None
        if found is None:
            raise Invalid(path, f"$ref {shown(reference)} leads to nothing in this suite")
    raise Invalid(path, "$ref leads round in a circle")


def _unfolded(test: Mapping[str, Json], path: str) -> Iterator[Mapping[str, Json]]:
    """Each combination of variables that are lists, as promptfoo asks them, unless `disableVarExpansion`."""
    variables = mapping_at(test, "vars", path)
    if mapping_at(test, "options", path).get("disableVarExpansion") is True:
        yield variables
        return
    choices = [_choices(value) for value in variables.values()]
    if prod(len(each) for each in choices) > CASES_MAX:
        raise Invalid(f"{path}.vars", f"its lists unfold to more than {CASES_MAX} cases")
    for chosen in product(*choices):
        yield dict(zip(variables, chosen, strict=True))


def _choices(value: Json) -> Sequence[Json]:
    if isinstance(value, Sequence) and not isinstance(value, str) and value:
        return value
    return (value,)

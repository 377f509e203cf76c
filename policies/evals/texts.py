"""Assertions that compare an answer's text, as promptfoo does. Pure; knows no regular expression and no schema."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from flags.canonical import canonical
from flags.errors import Invalid
from flags.model import Json
from policies.evals.verdict import Found, NotEvaluated, brief, plainly

# What was expected is quoted so far.
SHOWN_CHARS = 80


def spelled(value: Json) -> str:
    """A value as a text; numbers and booleans as JSON (and JavaScript) write them."""
    if isinstance(value, str):
        return value
    try:
        return canonical(value).decode()
    except Invalid as error:
        raise NotEvaluated(f"the value {error.message}") from None


def equals(value: Json, text: str) -> Found:
    """The text is the value; a list or mapping is compared with the text's JSON."""
    if isinstance(value, str) or not isinstance(value, (Sequence, Mapping)):
        return plainly(text == spelled(value), f"expected {_quoted(value)}")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return Found(passed=False, score=0.0, reason="the answer is no JSON")
    return plainly(_same(found, value), f"expected the JSON {_quoted(value)}")


def contains(value: Json, text: str) -> Found:
    """The value stands in the text."""
    return plainly(spelled(value) in text, f"{_quoted(value)} is looked for")


def icontains(value: Json, text: str) -> Found:
    """The value stands in the text, in whatever case."""
    return plainly(spelled(value).lower() in text.lower(), f"{_quoted(value)} is looked for")


def contains_all(value: Json, text: str) -> Found:
    """All values stand in the text."""
    missing = [each for each in _values(value) if each not in text]
    return plainly(not missing, _missing(missing))


def contains_any(value: Json, text: str) -> Found:
    """One of the values stands in the text."""
    return plainly(any(each in text for each in _values(value)), f"one of {_quoted(value)} is looked for")


def icontains_all(value: Json, text: str) -> Found:
    """All values stand in the text, in whatever case."""
    missing = [each for each in _values(value) if each.lower() not in text.lower()]
    return plainly(not missing, _missing(missing))


def icontains_any(value: Json, text: str) -> Found:
    """One of the values stands in the text, in whatever case."""
    found = any(each.lower() in text.lower() for each in _values(value))
    return plainly(found, f"one of {_quoted(value)} is looked for")


def starts_with(value: Json, text: str) -> Found:
    """The text begins with the value."""
    return plainly(text.startswith(spelled(value)), f"it should begin with {_quoted(value)}")


TEXTS: Mapping[str, Callable[[Json, str], Found]] = MappingProxyType(
    {
        "equals": equals,
        "contains": contains,
        "icontains": icontains,
        "contains-all": contains_all,
        "contains-any": contains_any,
        "icontains-all": icontains_all,
        "icontains-any": icontains_any,
        "starts-with": starts_with,
    }
)


def _same(found: Json, value: Json) -> bool:
    """Whether two values are the same JSON, in which true is not 1, but 1.0 is."""
    try:
        return canonical(found) == canonical(value)
    except Invalid:
        return False


def _values(value: Json) -> list[str]:
    """The texts of a list, or of a line of comma-separated ones in which quotes hold commas."""
    if isinstance(value, str):
        found = [
            each.strip() for each in next(csv.reader([value.replace("\n", " ")], skipinitialspace=True), [])
        ]
    elif isinstance(value, Sequence):
        found = [spelled(each) for each in value]
    else:
        found = [spelled(value)]
    found = [each for each in found if each]
    if not found:
        raise NotEvaluated("there is nothing to look for", mend="give a list of texts")
    return found


def _missing(missing: Sequence[str]) -> str:
    return f"missing: {brief(', '.join(missing), SHOWN_CHARS)}" if missing else "all are there"


def _quoted(value: Json) -> str:
    return repr(brief(spelled(value), SHOWN_CHARS))

"""Reading a document's fields strictly.

Each reader returns the type it names, or raises Invalid with the path.

Knows JSON and paths, not what any document means. "Nothing" in a message is null or a field left out.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import TypeVar

from flags.errors import Invalid
from flags.model import NAME, Document, Json

SHA256 = re.compile(r"[0-9a-f]{64}")
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")

Choice = TypeVar("Choice", bound=StrEnum)


def joined(path: str, step: str) -> str:
    """The path of the field `step` of the document at `path`."""
    return f"{path}.{step}" if path else step


def check_name(name: str, path: str, noun: str) -> None:
    """Raises Invalid unless `name` is one (CONTRACT: names)."""
    if not NAME.fullmatch(name):
        rule = "letters, digits, '.', '_' and '-', beginning with a letter or digit, 128 at most"
        raise Invalid(path, f"{seen(name)} is no name for a {noun}: expected {rule}")


def check_fields(document: Document, known: frozenset[str], path: str) -> None:
    """Raises Invalid for the first field that is not `known`."""
    for name in document:
        if name not in known:
            raise Invalid(joined(path, name), "unknown field", mend=did_you_mean(name, known))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The mend for a name that is not there: the nearest one, else all there are."""
    names = sorted(known)
    return _nearest(name, names) or f"known: {', '.join(names)}"


def _nearest(name: str, names: Iterable[str]) -> str | None:
    lowered = {known.lower(): known for known in names}
    near = difflib.get_close_matches(name.lower(), lowered, n=1)
    return f"did you mean {lowered[near[0]]!r}?" if near else None


def undefined(path: str, name: str, variants: Iterable[str]) -> Invalid:
    """The error for a variant that the flag does not have."""
    known = list(variants)
    message = f"variant {seen(name)} is not defined (variants: {', '.join(known)})"
    return Invalid(path, message, mend=_nearest(name, known))


def object_of(found: Json, path: str) -> Document:
    """`found` as an object."""
    if not isinstance(found, Mapping):
        raise Invalid(path, f"expected an object, found {seen(found)}")
    return found


def text_of(found: Json, path: str) -> str | None:
    """`found` as a string; None for nothing."""
    if found is None or isinstance(found, str):
        return found
    raise Invalid(path, f"expected a string, found {seen(found)}")


def texts_of(found: Json, path: str) -> list[str]:
    """`found` as an array of strings; empty for nothing."""
    if found is None:
        return []
    if isinstance(found, (list, tuple)) and all(isinstance(item, str) for item in found):
        return list(found)
    raise Invalid(path, f"expected an array of names, found {seen(found)}")


def hash_of(found: Json, path: str) -> str | None:
    """`found` as a SHA-256 in lower-case hex; None for nothing."""
    value = text_of(found, path)
    if value is not None and not SHA256.fullmatch(value):
        raise Invalid(path, f"expected a SHA-256 in hex (64 digits), found {seen(value)}")
    return value


def time_of(found: Json, path: str) -> str:
    """`found` as a time in RFC 3339; "" for nothing."""
    value = text_of(found, path) or ""
    if value and not RFC3339.fullmatch(value):
        raise Invalid(path, f"expected a time such as 2030-01-31T12:00:00Z, found {seen(value)}")
    return value


def boolean_of(found: Json, path: str) -> bool:
    """`found` as a boolean; 0 and 1 are none."""
    if isinstance(found, bool):
        return found
    raise Invalid(path, f"expected true or false, found {seen(found)}")


def count_of(found: Json, path: str, *, at_least: int) -> int:
    """`found` as an integer from `at_least` on; true is none, though Python counts it as 1."""
    if isinstance(found, int) and not isinstance(found, bool) and found >= at_least:
        return found
    raise Invalid(path, f"expected an integer from {at_least} on, found {seen(found)}")


def number_of(found: Json, path: str, expected: str) -> int | float:
    """`found` as a number; `expected` is what the message says was wanted."""
    if isinstance(found, (int, float)) and not isinstance(found, bool):
        return found
    raise Invalid(path, f"expected {expected}, found {seen(found)}")


def choice_of(kind: type[Choice], found: Json, path: str) -> Choice:
    """`found` as one of the words of `kind`."""
    names = [member.value for member in kind]
    if isinstance(found, str) and found in names:
        return kind(found)
    mend = did_you_mean(str(found), names)
    raise Invalid(path, f"expected one of {', '.join(names)}; found {seen(found)}", mend=mend)


def scalars_of(found: Json, path: str) -> Document:
    """A flat object, as flagd and OpenFeature have metadata."""
    document = object_of({} if found is None else found, path)
    for name, value in document.items():
        if not isinstance(value, (bool, int, float, str)):
            raise Invalid(joined(path, name), f"expected a boolean, number or string, found {seen(value)}")
    return dict(document)


def seen(found: Json) -> str:
    """A short spelling of what was found, for messages."""
    spelled = "nothing" if found is None else repr(found)
    return spelled if len(spelled) <= 80 else f"{spelled[:77]}..."

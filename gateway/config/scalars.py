"""One scalar of a YAML text as JSON, YAML 1.1's surprises refused. Knows scalars only."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from yaml import events
from yaml.nodes import ScalarNode
from yaml.resolver import Resolver

from flags.model import Json

# Beyond it, JSON's readers disagree about an integer (RFC 8785, I-JSON).
INTEGER_MAX = 2**53
_TAG = "tag:yaml.org,2002:"
_DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9_]*)|0x[0-9a-fA-F_]+|0o[0-7]+")
_BOOLEANS: Mapping[str, bool] = MappingProxyType(
    {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
)


class Misread(Exception):
    """Raised when a scalar is not what its author meant, or nothing that JSON has."""

    def __init__(self, message: str, mend: str) -> None:
        super().__init__(message)
        self.message = message
        self.mend = mend


def tag_of(event: events.ScalarEvent, resolver: Resolver) -> str:
    """What YAML takes the scalar for: `str`, `int`, `bool`, `merge`…, or a tag in full that is none of YAML's."""
    tag = event.tag
    if tag is None or tag == "!":
        tag = resolver.resolve(ScalarNode, event.value, event.implicit)  # type: ignore[no-untyped-call]
    return str(tag).removeprefix(_TAG)


def value_of(tag: str, text: str) -> Json:
    """The JSON value of `text`. Raises Misread."""
    convert = _CONVERT.get(tag)
    if convert is None:
        raise Misread(f"tag {tag} is not taken here", "remove it")
    return convert(text)


def _boolean(text: str) -> Json:
    if text not in _BOOLEANS:
        raise Misread(f"YAML reads {text} as a boolean", f'quote it ("{text}"), or write true or false')
    return _BOOLEANS[text]


def _integer(text: str) -> Json:
    if not _DECIMAL.fullmatch(text):
        raise Misread(f"YAML reads {text[:40]} as a number of another base", f'quote it: "{text[:40]}"')
    digits = text.replace("_", "")
    if len(digits) > 20 or abs(int(digits, 0)) > INTEGER_MAX:
        raise Misread("an integer beyond 2^53, which JSON's readers round", f'quote it: "{text[:40]}"')
    return int(digits, 0)


def _float(text: str) -> Json:
    cleaned = text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan")
    try:
        number = float(cleaned)
    except ValueError:
        raise Misread(
            f"YAML reads {text[:40]} as a number of another base", f'quote it: "{text[:40]}"'
        ) from None
    if not math.isfinite(number):
        raise Misread(f"{text[:40]} is no number that JSON has", "write a finite number")
    return number


def _text(text: str) -> Json:
    return text


# A date is the text that was written: JSON has none.
_CONVERT: Mapping[str, Callable[[str], Json]] = MappingProxyType(
    {
        "str": _text,
        "timestamp": _text,
        "value": _text,
        "null": lambda _: None,
        "bool": _boolean,
        "int": _integer,
        "float": _float,
    }
)

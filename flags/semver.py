"""Semantic versions as flagd's `sem_ver` reads and compares them. Knows no rule and no flag."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from flags.coercion import Value

# SemVer 2.0.0: no leading zeros in numbers; identifiers of letters, digits and hyphens.
NUMBER = r"(?:0|[1-9][0-9]*)"
PRERELEASE = rf"(?:{NUMBER}|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
BUILD = r"[0-9A-Za-z-]+"
# flagd's leniency: a leading v, and minor and patch may be left out.
VERSION = re.compile(
    rf"[vV]?({NUMBER})(?:\.({NUMBER})(?:\.({NUMBER}))?)?"
    rf"(?:-({PRERELEASE}(?:\.{PRERELEASE})*))?(?:\+{BUILD}(?:\.{BUILD})*)?"
)

# An identifier sorts as (0, number, "") or (1, 0, text): numbers come before words.
Identifier: TypeAlias = tuple[int, int, str]


class Version(NamedTuple):
    """A version in its order of precedence: as tuples compare, so do versions. Build metadata is left out."""

    major: int
    minor: int
    patch: int
    released: bool
    prerelease: tuple[Identifier, ...]


def version_of(value: Value) -> Version | None:
    """`value` as a version; None where it is none. `v1.2` is 1.2.0; numbers are read as their text."""
    found = VERSION.fullmatch(value if isinstance(value, str) else str(value))
    if found is None:
        return None
    major, minor, patch, prerelease = found.groups()
    try:
        identifiers = tuple(_identifier(part) for part in prerelease.split(".")) if prerelease else ()
        return Version(int(major), int(minor or 0), int(patch or 0), not prerelease, identifiers)
    except ValueError:
        # Python refuses to read integers of more than 4,300 digits.
        return None


def _identifier(part: str) -> Identifier:
    return (0, int(part), "") if part.isdigit() else (1, 0, part)


SIGNS: Mapping[str, Callable[[Version, Version], bool]] = MappingProxyType(
    {
        "=": operator.eq,
        "!=": operator.ne,
        "<": operator.lt,
        "<=": operator.le,
        ">": operator.gt,
        ">=": operator.ge,
        "^": lambda a, b: a[:1] == b[:1],
        "~": lambda a, b: a[:2] == b[:2],
    }
)


def compared(first: Value, sign: Value, second: Value) -> bool | None:
    """`first sign second`, as `sem_ver` has it; None for what is no version or no sign."""
    return against(sign, second)(first)


def against(sign: Value, second: Value) -> Callable[[Value], bool | None]:
    """The comparison with a fixed sign and version, which nearly every rule has: they are read once."""
    compare = SIGNS.get(sign) if isinstance(sign, str) else None
    limit = version_of(second)

    def run(first: Value) -> bool | None:
        version = version_of(first)
        if version is None or limit is None or compare is None:
            return None
        return compare(version, limit)

    return run

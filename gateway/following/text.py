"""A flagd file read for following: its flags, each with the hash of its text there. Knows files; no store, and writes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flags.canonical import digest
from flags.errors import Invalid
from flags.flagd.reading import declarations_from
from flags.model import Json
from gateway.config.declaration import ConfigInvalid, Declaration, DeclaredFlag, Known, Problem
from gateway.config.files import Source, read_source
from gateway.config.loading import declaration_from
from gateway.config.places import Fault, Unreadable, line_of
from gateway.switches.table import MIXED


@dataclass(frozen=True, slots=True)
class TextFlag:
    """A flag as the file has it, and the hash of all that the file says of it."""

    declared: DeclaredFlag
    text: str


@dataclass(frozen=True, slots=True)
class FileText:
    """A file that was read.

    `left` tells of the flags that cannot be ours, because of their names, and of what is taken and most likely a slip.
    """

    flags: Mapping[str, TextFlag]
    left: tuple[str, ...] = ()


def read_flagd(path: Path, known: Known) -> FileText:
    """The flags of the file at `path`. Raises ConfigInvalid with what is wrong, files and lines named.

    `known` is what the store has and the versions of layer flags may refer to.
    """
    name = str(path)
    try:
        source = read_source(path, name)
    except Unreadable as error:
        raise ConfigInvalid((_of_fault(name, error.fault),)) from None
    if source.faults:
        raise ConfigInvalid(tuple(_of_fault(name, fault) for fault in source.faults))
    left: list[Invalid] = []
    try:
        declared = declarations_from(source.value, left.append, mixed=MIXED)
        texts = {str(each["key"]): digest(each) for each in declared}
    except Invalid as error:
        raise ConfigInvalid((_of_invalid(source, error),)) from None
    declaration = _declared({str(each.pop("key")): each for each in declared}, source, known)
    return FileText(
        {key: TextFlag(declaration.flags[key], text) for key, text in texts.items()},
        (*(str(_of_invalid(source, error)) for error in left), *declaration.warnings),
    )


def _declared(flags: Mapping[str, Json], source: Source, known: Known) -> Declaration:
    if not flags:
        return Declaration({}, {})
    try:
        return declaration_from({"flags": flags}, known, name=source.name)
    except ConfigInvalid as error:
        problems = (
            Problem(p.file, line_of(source.root, p.path), p.path, p.message, p.mend) for p in error.problems
        )
        raise ConfigInvalid(tuple(problems)) from None


def _of_invalid(source: Source, error: Invalid) -> Problem:
    return Problem(source.name, line_of(source.root, error.path), error.path, error.message, error.mend)


def _of_fault(name: str, fault: Fault) -> Problem:
    return Problem(name, fault.line, fault.path, fault.message, fault.mend)

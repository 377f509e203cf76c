"""Flags and their contents become a flagd file (schema v0) that answers as they do. Knows documents only.

What came from such a file is written as it was, wherever that still says what the flag is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from flags.canonical import digest
from flags.errors import Invalid, NotFound
from flags.flagd.marks import Marks, operated_marks
from flags.flagd.rules import composed, same_rule, taken_apart
from flags.flagd.spelling import SYNCED
from flags.model import NOTHING, Document, Flag, Json
from flags.targeting import expanded

SCHEMA = "https://flagd.dev/schema/v0/flags.json"


def document_from(flags: Iterable[Flag], contents: Mapping[str, Json]) -> dict[str, Json]:
    """A flagd file that answers as these flags do now, and that reads back as what they are.

    Only the reason of a rollout differs (flagd knows no SPLIT). `contents` are values, rules and spellings by hash.
    Raises NotFound where it lacks a rule. A variant whose content was erased is left out, and so is a flag that has
    none left, for flagd refuses a whole file for it.
    """
    listed = [flag for flag in flags if any(v.hash in contents for v in flag.variants.values())]
    writing = _Writing(contents, _shared_metadata(listed, contents))
    written = {flag.key: writing.flag(flag) for flag in listed}
    document: dict[str, Json] = {"$schema": SCHEMA}
    if writing.metadata:
        document["metadata"] = dict(writing.metadata)
    if writing.evaluators:
        document["$evaluators"] = dict(sorted(writing.evaluators.items()))
    return document | {"flags": written}


def _shared_metadata(flags: Sequence[Flag], contents: Mapping[str, Json]) -> Document:
    """The file metadata that all flags have: only then nobody gets metadata that are not theirs."""
    shared = [_spelling(flag, contents).get("file_metadata") for flag in flags]
    first = shared[0] if shared else None
    if not isinstance(first, Mapping) or any(each != first for each in shared):
        return NOTHING
    return first if all(first.keys() <= flag.metadata.keys() for flag in flags) else NOTHING


def _spelling(flag: Flag, contents: Mapping[str, Json]) -> Document:
    found = contents.get(flag.written) if flag.written else None
    return found if isinstance(found, Mapping) else NOTHING


@dataclass(slots=True)
class _Writing:
    """One file in the making. What changes here: the evaluators that its flags refer to."""

    contents: Mapping[str, Json]
    metadata: Document
    evaluators: dict[str, Json]

    def __init__(self, contents: Mapping[str, Json], metadata: Document) -> None:
        self.contents, self.metadata, self.evaluators = contents, metadata, {}

    def flag(self, flag: Flag) -> dict[str, Json]:
        """The flag, marked where it would read back as another."""
        spelling = _spelling(flag, self.contents)
        own = self._own_metadata(flag, spelling)
        values = {name: self.contents[v.hash] for name, v in flag.variants.items() if v.hash in self.contents}
        written: dict[str, Json] = {
            "state": "ENABLED" if flag.enabled else "DISABLED",
            "variants": values,
        }
        if not (spelling.get("no_default") and flag.served is None):
            written["defaultVariant"] = _default(flag.served, spelling)
        rule = self._rule(flag, spelling)
        targeting = composed(flag, rule)
        if targeting is not None:
            written["targeting"] = targeting
        elif "targeting" in spelling and not spelling["targeting"]:
            written["targeting"] = spelling["targeting"]
        marks = _marks(flag, values, rule, targeting).scalars()
        if own is not None or marks:
            written["metadata"] = {**(own or {}), **marks}
        return written | {name: spelling[name] for name in SYNCED if name in spelling}

    def _own_metadata(self, flag: Flag, spelling: Document) -> Document | None:
        """The flag's metadata without what it has of the file's; None: it needs none."""
        own = spelling.get("metadata")
        if isinstance(own, Mapping) and {**self.metadata, **own} == flag.metadata:
            return own
        if own is None and "metadata" in spelling and self.metadata == flag.metadata:
            return None
        return {k: v for k, v in flag.metadata.items() if not _same(self.metadata.get(k), v)} or None

    def _rule(self, flag: Flag, spelling: Document) -> Json:
        """The flag's rule: as it was written, with its evaluators beside it, where it still is that rule."""
        self._keep_evaluators(spelling)
        if flag.targeting is None:
            return None
        if flag.targeting not in self.contents:
            raise NotFound(f"flag {flag.key!r}: its targeting rule {flag.targeting} is not there")
        written = spelling.get("targeting")
        try:
            if written and digest(expanded(written, self.evaluators)) == flag.targeting:
                return written
        except Invalid:
            pass  # it refers to what another file means otherwise: the rule itself is written out
        return self.contents[flag.targeting] or None

    def _keep_evaluators(self, spelling: Document) -> None:
        found = spelling.get("evaluators")
        for name, rule in found.items() if isinstance(found, Mapping) else ():
            self.evaluators.setdefault(name, rule)


def _marks(flag: Flag, names: Iterable[str], rule: Json, targeting: Json) -> Marks:
    """What must be told beside the rest, so that reading it gives the flag again."""

    def reads_back(marks: Marks) -> bool:
        found, its_rule = taken_apart(flag.key, names, flag.served, targeting, marks)
        same = all(getattr(found, name) == getattr(flag, name) for name in ("serve", "safe", "withdrawn"))
        return same and (found.rollout is None) == (flag.rollout is None) and same_rule(its_rule, rule)

    base = operated_marks(flag)
    return next((each for each in (base, *_candidates(flag, base)) if reads_back(each)), base)


def _candidates(flag: Flag, base: Marks) -> Iterable[Marks]:
    """More and more of what could be told, the least first."""
    withdrawn = ",".join(sorted(flag.withdrawn))
    more: tuple[dict[str, Json], ...] = (
        {"plain": True},
        {"safe": flag.safe},
        {"safe": flag.safe, "plain": True},
        {"safe": flag.safe, "withdrawn": withdrawn},
        {"serve": flag.serve},
        {"serve": flag.serve, "safe": flag.safe, "withdrawn": withdrawn},
        {"serve": flag.serve, "safe": flag.safe, "withdrawn": withdrawn, "plain": True},
    )
    for each in more:
        yield msgspec.structs.replace(base, **each)


def _default(served: str | None, spelling: Document) -> Json:
    given = spelling.get("default")
    if isinstance(given, bool) and served == str(given).lower():
        return given
    return "" if given == "" and served is None else served


def _same(left: Json, right: Json) -> bool:
    # 1 and true are equal to Python, and not to who reads a flag's metadata.
    return left == right and type(left) is type(right)

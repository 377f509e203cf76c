"""A flagd file becomes a config document of ours, and a report of what was taken and what was not.

Pure: the document is passed in; what comes out is checked by whoever loads it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from flags.errors import Invalid
from flags.fields import joined
from flags.flagd.marks import PREFIX
from flags.flagd.reading import declarations_from
from flags.model import Json
from gateway.importing.report import Malformed, Notes, Report
from gateway.switches.table import MIXED

# Fields that a config of ours has otherwise, or not at all.
_ONLY_FLAGD = ("$schema", "$evaluators")
RULE_MEND = "mend its rule; flagd answers PARSE_ERROR for it"
NAMES_MEND = "rename it: letters, digits, '.', '_' and '-', beginning with a letter or digit, 128 at most"


def looks_like_flagd(document: Json) -> bool:
    """Whether a document is flagd's and not a config of ours."""
    if not isinstance(document, Mapping) or "flags" not in document:
        return False
    flags = document["flags"]
    listed = (
        flags.values() if isinstance(flags, Mapping) else flags if isinstance(flags, (list, tuple)) else ()
    )
    return any(name in document for name in _ONLY_FLAGD) or any(
        isinstance(each, Mapping) and "defaultVariant" in each for each in listed
    )


def from_flagd(document: Json) -> tuple[dict[str, Json], Report]:
    """Our config document, and the report. Raises Malformed with what is wrong with the file."""
    notes = Notes()
    try:
        declared = declarations_from(
            document, lambda each: _leave(notes, each), leave_rules=True, mixed=MIXED
        )
    except Invalid as error:
        raise Malformed((error,)) from None
    if not declared:
        mend = "add a flag to it, with a name of letters, digits, '.', '_' and '-'"
        raise Malformed((Invalid("flags", "there is no flag that can be taken", mend=mend),))
    assert isinstance(document, Mapping)
    for each in declared:
        _tell(each, _metadata_of(document, str(each["key"])), notes)
    evaluators = document.get("$evaluators")
    for name in evaluators if isinstance(evaluators, Mapping) else ():
        notes.taken(f"$evaluators.{name}", "in the rules that refer to it; an export writes it as it was")
    if document.get("metadata"):
        notes.taken("metadata", "in the metadata of each flag; an export writes them as they were")
    flags: dict[str, Json] = {str(each.pop("key")): each for each in declared}
    return {"flags": flags}, notes.report()


def _leave(notes: Notes, error: Invalid) -> None:
    notes.left(
        error.path, error.message, error.mend or (RULE_MEND if ".targeting" in error.path else NAMES_MEND)
    )


def upstreams_named(document: Mapping[str, Json]) -> frozenset[str]:
    """The upstreams that the imported layer flags name: a flagd file has none, so they must be declared elsewhere."""
    return frozenset(_named(document.get("flags")))


def _named(value: Json) -> Iterator[str]:
    if isinstance(value, Mapping):
        found = value.get("upstream")
        if isinstance(found, str):
            yield found
        for each in value.values():
            yield from _named(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _named(each)


def _metadata_of(document: Mapping[str, Json], key: str) -> Mapping[str, Json]:
    flags = document.get("flags")
    if isinstance(flags, Mapping):
        flag = flags.get(key)
    else:
        listed = flags if isinstance(flags, (list, tuple)) else ()
        flag = next((each for each in listed if isinstance(each, Mapping) and each.get("key") == key), None)
    found = flag.get("metadata") if isinstance(flag, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _tell(declared: Mapping[str, Json], metadata: Mapping[str, Json], notes: Notes) -> None:
    key = declared["key"]
    path = joined("flags", str(key))
    served = declared["serve"]
    notes.taken(path, f"serves {served}" if served else "serves the caller's own default")
    rollout = declared.get("rollout")
    if isinstance(rollout, Mapping):
        variant, percent = rollout["variant"], rollout.get("percent")
        if "steps" in rollout:
            notes.taken(f"{path}.targeting", f"the rollout of {variant}, at the first of its steps")
        else:
            notes.taken(f"{path}.targeting", f"the rollout of {variant} at {percent} %")
        if f"{PREFIX}steps" in metadata and "steps" not in rollout:
            mend = (
                f"give it steps again: pointsman rollout {key} {variant} --steps {metadata[f'{PREFIX}steps']}"
            )
            notes.changed(
                f"{path}.targeting",
                f"the rollout of {variant} stands at {percent} %, past the first of its steps: it goes on by hand",
                mend,
            )
    withdrawn = declared.get("withdrawn")
    if isinstance(withdrawn, list):
        notes.taken(f"{path}", f"withdrawn: {', '.join(map(str, withdrawn))}")
    for name in sorted(_named(declared.get("variants"))) if declared.get("layer") else ():
        notes.left(f"{path}.variants", f"upstream {name}: a flagd file has none", f"declare upstreams.{name}")

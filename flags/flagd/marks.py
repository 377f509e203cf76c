"""What no flagd rule can say of a flag, as scalars `pointsman.*` in its metadata. Pure; knows flags, no file.

A file that we export carries them, and reading it takes them out again: no caller of a flag ever sees one.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from flags.errors import Invalid
from flags.fields import did_you_mean, seen
from flags.model import Document, Flag, Json, Soak

PREFIX = "pointsman."


class Marks(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One flag's marks; what is None is told by the rest of the flag. Lists are texts with commas: names hold none."""

    layer: str | None = None
    serve: str | None = None
    safe: str | None = None
    withdrawn: str | None = None
    # Its targeting is a rule of its own, though it has the form of a rollout.
    plain: bool = False
    steps: str | None = None
    hold_seconds: float | None = None
    min_requests: int | None = None
    shadow: str | None = None
    shadow_percent: float | None = None
    soak_seconds: float | None = None
    soak_requests: int | None = None

    def scalars(self) -> dict[str, Json]:
        """As they stand in metadata."""
        return {f"{PREFIX}{name}": value for name, value in msgspec.to_builtins(self).items()}

    @property
    def withdrawn_names(self) -> frozenset[str] | None:
        """The withdrawn names; None where they are not told here."""
        return None if self.withdrawn is None else frozenset(filter(None, self.withdrawn.split(",")))


def parted(metadata: Document, path: str) -> tuple[dict[str, Json], Marks]:
    """A flag's own metadata without the marks, and these. Raises Invalid for a mark that is none."""
    marks = {name: value for name, value in metadata.items() if name.startswith(PREFIX)}
    plain = {name: value for name, value in metadata.items() if name not in marks}
    return plain, _marks_from(marks, path)


def _marks_from(found: Mapping[str, Json], path: str) -> Marks:
    known = [f"{PREFIX}{name}" for name in Marks.__struct_fields__]
    for name in found:
        if name not in known:
            raise Invalid(f"{path}.{name}", "unknown field", mend=did_you_mean(name, known))
    try:
        return msgspec.convert({name.removeprefix(PREFIX): value for name, value in found.items()}, Marks)
    except msgspec.ValidationError as error:
        # Only the name of the field is told in its `$.name`.
        message, _, where = str(error).partition(" - at `$.")
        raise Invalid(f"{path}.{PREFIX}{where.rstrip('`')}", message) from None


def check_unmarked(metadata: Document, path: str) -> None:
    """Raises Invalid for metadata under a name that is kept for marks."""
    for name in metadata:
        if name.startswith(PREFIX):
            message = f"names that begin with {PREFIX!r} are for exported flags; found {seen(name)}"
            raise Invalid(f"{path}.{name}", message, mend="choose another name")


def operated_marks(flag: Flag) -> Marks:
    """The marks of what neither targeting nor default variant of an exported flag can tell."""
    rollout, soak = flag.rollout, flag.soak
    stepped = rollout is not None and bool(rollout.steps)
    return Marks(
        layer=None if flag.layer is None else flag.layer.value,
        steps=",".join(f"{each:g}" for each in rollout.steps) if rollout and stepped else None,
        hold_seconds=rollout.hold_seconds if rollout and stepped else None,
        min_requests=rollout.min_requests if rollout and stepped else None,
        shadow=flag.shadow.variant if flag.shadow else None,
        shadow_percent=flag.shadow.percent if flag.shadow else None,
        soak_seconds=None if soak == Soak() else soak.seconds,
        soak_requests=None if soak == Soak() else soak.requests,
    )

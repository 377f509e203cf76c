"""What a config file declares, read and checked; and what was wrong with it. Knows no file format and no store.

ConfigInvalid   the file is not taken; `problems` holds all that is wrong, each with file, line, path and mend
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from flags.canonical import digest
from flags.errors import FlagError
from flags.model import NOTHING, Document, Json, Kind, Layer, ObjectKey, Promotion, Rollout, Shadow, Soak
from flags.promotion import promotion_document
from gateway.config.promoting import written_out
from gateway.spec_flags import OfrepSpec

USUAL_SOAK = Soak()
NO_FLAGS: Mapping[str, Layer | None] = MappingProxyType({})
NO_RECORDS: Mapping[str, Document] = MappingProxyType({})
NO_VARIANTS: Mapping[str, frozenset[str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: what was found, what was expected, and how to mend it."""

    file: str
    line: int | None
    path: str
    message: str
    mend: str | None = None

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        mend = f" ({self.mend})" if self.mend else ""
        return (
            f"{place}: {self.path}: {self.message}{mend}" if self.path else f"{place}: {self.message}{mend}"
        )


class ConfigInvalid(FlagError):
    """Raised when a config file is not taken, with everything that is wrong with it; nothing was written."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(map(str, problems)), mend=problems[0].mend)
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Known:
    """What exists outside the file (in the store), and may be referred to."""

    upstreams: frozenset[str] = frozenset()
    flags: Mapping[str, Layer | None] = field(default_factory=lambda: NO_FLAGS)
    # The variants of those flags.
    variants: Mapping[str, frozenset[str]] = field(default_factory=lambda: NO_VARIANTS)
    routes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class DeclaredFlag:
    """A flag as the file has it: variants' contents, files read and references expanded.

    `serve`, `safe`, `rollout`, `withdrawn` and `shadow` are for its creation: afterwards they are operated.
    """

    key: str
    variants: Document
    serve: str | None
    safe: str | None
    layer: Layer | None = None
    enabled: bool = True
    rollout: Rollout | None = None
    withdrawn: frozenset[str] = frozenset()
    targeting: Document | None = None
    metadata: Document = field(default_factory=lambda: NOTHING)
    soak: Soak = USUAL_SOAK
    shadow: Shadow | None = None
    # The rules for what may be safe, and the document of the suite that they name.
    promotion: Promotion | None = None
    suite: Json = None
    # What is told of the versions beside their content.
    records: Mapping[str, Document] = field(default_factory=lambda: NO_RECORDS)
    # How a flagd file spelled it (flags.flagd.spelling).
    spelling: Document | None = None

    @property
    def declared(self) -> str:
        """The hash of what is declared; the state is none of it, so that editing it writes nothing."""
        declared: dict[str, Json] = {
            "layer": self.layer,
            "enabled": self.enabled,
            "variants": dict(self.variants),
            "targeting": self.targeting,
            "metadata": dict(self.metadata),
        }
        # Only where they are given: the hash of a flag that was declared before there were any stays what it was.
        if self.soak != USUAL_SOAK:
            declared["soak"] = _soak_document(self.soak)
        if self.promotion is not None:
            declared["promotion"] = promotion_document(self.promotion)
        if self.spelling:
            declared["flagd"] = self.spelling
        return digest(declared)

    def document(self) -> dict[str, Json]:
        """The flag as a config file writes it."""
        document: dict[str, Json] = {} if self.layer is None else {"layer": self.layer.value}
        document |= {"serve": self.serve}
        optional: dict[str, Json] = {
            "safe": self.safe if self.safe != self.serve else None,
            "rollout": rollout_document(self.rollout) if self.rollout else None,
            "withdrawn": sorted(self.withdrawn) or None,
            "shadow": shadow_document(self.shadow) if self.shadow else None,
            "state": None if self.enabled else "DISABLED",
            "targeting": self.targeting,
            "metadata": dict(self.metadata) or None,
            "soak": None if self.soak == USUAL_SOAK else _soak_document(self.soak),
            "promotion": None if self.promotion is None else written_out(self.promotion, self.suite),
            "records": {name: {**record} for name, record in self.records.items()} or None,
            "flagd": dict(self.spelling) if self.spelling else None,
        }
        document |= {name: value for name, value in optional.items() if value is not None}
        return document | {"variants": dict(self.variants)}


def rollout_document(rollout: Rollout) -> dict[str, Json]:
    """A rollout as a config file writes it: by hand, or its steps, that begin anew where it is created."""
    if not rollout.steps:
        return {"variant": rollout.variant, "percent": rollout.percent}
    return {
        "variant": rollout.variant,
        "steps": list(rollout.steps),
        "hold_seconds": rollout.hold_seconds,
        "min_requests": rollout.min_requests,
    }


def shadow_document(shadow: Shadow) -> dict[str, Json]:
    """A shadow as a config file writes it."""
    return {"variant": shadow.variant, "percent": shadow.percent}


def _soak_document(soak: Soak) -> dict[str, Json]:
    return {"seconds": soak.seconds, "requests": soak.requests}


SECTIONS: Mapping[Kind, str] = MappingProxyType(
    {
        Kind.UPSTREAM: "upstreams",
        Kind.METRIC: "metrics",
        Kind.FLAG: "flags",
        Kind.ROUTE: "routes",
        Kind.POLICY: "policies",
        Kind.NOTIFY: "notify",
        Kind.SIGNAL: "signals",
    }
)


@dataclass(frozen=True, slots=True)
class Declaration:
    """A config file, checked: `flags`, and the documents of all other objects by key."""

    flags: Mapping[str, DeclaredFlag]
    others: Mapping[ObjectKey, Document]
    keys_file: str | None = None
    warnings: tuple[str, ...] = ()
    # Not for the store: each process reads it from its own file.
    ofrep: OfrepSpec = OfrepSpec()  # noqa: RUF009  # it is immutable

    def names(self, kind: Kind) -> frozenset[str]:
        """The names of all declared objects of `kind`."""
        if kind is Kind.FLAG:
            return frozenset(self.flags)
        return frozenset(key.name for key in self.others if key.kind is kind)

    def document(self) -> dict[str, Json]:
        """One document with nothing left to read from files: what `apply` sends, and `declaration_from` takes."""
        document: dict[str, Json] = {}
        for kind, section in SECTIONS.items():
            if kind is Kind.FLAG:
                found: dict[str, Json] = {key: flag.document() for key, flag in self.flags.items()}
            else:
                found = {key.name: each for key, each in self.others.items() if key.kind is kind}
            if found:
                document[section] = found
        return document

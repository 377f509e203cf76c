"""References in the place of secrets: what stands in a file in plain text is named, and never copied.

Knows no format. The same text gets the same name; a name that the file gives to another value is not used for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from flags.model import Json
from gateway.content import SECRET_NAME, SECRET_REFERENCE
from gateway.importing.report import Notes

ENVIRON = "os.environ/"
# Fields that hold a secret, or half of one, under names that do not say so.
_MORE = frozenset({"aws_access_key_id", "aws_session_token", "azure_ad_token", "authorization", "cookie"})
# How providers' keys begin.
_KEY = re.compile(r"\b(sk|pk|rk|gsk|xai|hf|ghp|pplx|nvapi|AIza|AKIA)[-_]?[A-Za-z0-9_-]{12,}")
_UNFIT = re.compile(r"[^A-Z0-9]+")


def is_secret(name: str) -> bool:
    """Whether a field or header of this name holds a secret."""
    return name.lower() in _MORE or bool(SECRET_NAME.search(name)) or name.lower().endswith(("-key", "_key"))


def holds_secret(value: Json) -> bool:
    """Whether a secret, or a reference to one, stands anywhere in a value."""
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, Mapping):
            if any(is_secret(name) and isinstance(inner, str) for name, inner in each.items()):
                return True
            waiting += each.values()
        elif isinstance(each, (list, tuple)):
            waiting += each
        elif isinstance(each, str) and (each.startswith(ENVIRON) or _KEY.search(each)):
            return True
    return False


def references_in(value: Json) -> Iterator[str]:
    """The names of all environment variables that a document refers to."""
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, Mapping):
            waiting += each.values()
        elif isinstance(each, (list, tuple)):
            waiting += each
        elif isinstance(each, str) and each.startswith(ENVIRON):
            yield each.removeprefix(ENVIRON)


@dataclass(slots=True)
class Secrets:
    """The names given so far. What changes here: `_named`."""

    notes: Notes
    # Names that the file itself refers to: they have values of their own.
    taken: frozenset[str]
    _named: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, notes: Notes, document: Json) -> Secrets:
        return cls(notes, frozenset(references_in(document)))

    def __repr__(self) -> str:
        return f"<Secrets {sorted(self._named.values())}>"

    def reference(self, path: str, value: Json, name: str) -> str:
        """A reference to what `value` says: the one that it is, or one by (or like) `name`, which is told."""
        text = str(value)
        if SECRET_REFERENCE.fullmatch(text):
            self.notes.taken(path, "the same reference")
            return text
        known = self._named.get(text)
        if known is None:
            known = self._named[text] = _free(name, {*self.taken, *self._named.values()})
        message = f"a secret stood here in plain text; it was not copied, {ENVIRON}{known} is in its place"
        self.notes.changed(path, message, f"set {known} in the environment of `pointsman serve`")
        return f"{ENVIRON}{known}"


def _free(name: str, used: Iterable[str]) -> str:
    wanted = _UNFIT.sub("_", name.upper()).strip("_") or "SECRET"
    taken, found, number = set(used), wanted, 2
    while found in taken:
        found, number = f"{wanted}_{number}", number + 1
    return found

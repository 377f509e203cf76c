"""What can go wrong with flags and their store.

FlagError
├── Invalid              a document that is not what it should be: path, found, expected, mend
├── Refused              a rule says no: rule, message, mend
│   └── Conflict         somebody else changed the same object meanwhile
├── NotFound             no such flag, variant, object or revision
└── StoreError
    ├── StoreUnavailable   Redis does not answer; nothing is known to have been written
    └── LedgerBroken       the chain of entries does not hold
"""

from __future__ import annotations


class FlagError(Exception):
    """Base of all errors that this package raises on purpose."""

    def __init__(self, message: str, *, mend: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.mend = mend


class Invalid(FlagError):
    """Raised when a document does not have the form it must have; `path` says where, dotted, from the document's root."""

    def __init__(self, path: str, message: str, *, mend: str | None = None) -> None:
        super().__init__(message, mend=mend)
        self.path = path

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message

    def under(self, prefix: str) -> Invalid:
        """The same error seen from a document that holds this one at `prefix`."""
        path = f"{prefix}.{self.path}" if self.path else prefix
        return Invalid(path, self.message, mend=self.mend)


class Refused(FlagError):
    """Raised when a rule forbids the change; `rule` is its short, stable name (`variant_withdrawn`)."""

    def __init__(self, rule: str, message: str, *, mend: str | None = None) -> None:
        super().__init__(message, mend=mend)
        self.rule = rule


class Conflict(Refused):
    """Raised when the object was changed by another between the read and the write; nothing was written."""

    def __init__(self, message: str, *, theirs: object = None, mend: str | None = None) -> None:
        super().__init__("conflict", message, mend=mend)
        self.theirs = theirs


class NotFound(FlagError):
    """Raised when a flag, variant, object or revision does not exist; the message lists what does."""


class StoreError(FlagError):
    """Base of what the store can answer instead of an answer."""


class StoreUnavailable(StoreError):
    """Raised when Redis does not answer in time. Trying again can help."""


class LedgerBroken(StoreError):
    """Raised when an entry does not continue the chain before it."""

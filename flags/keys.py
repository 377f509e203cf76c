"""Every Redis key of a namespace: its name, type, meaning and writer. Knows no command and no connection.

All keys of a namespace share one hash tag, so that one script can touch them in a Redis Cluster.

key        type    field → value                                          written by
head       hash    revision, hash (of the last entry), affecting          apply.lua
                   (revision of the last entry that changed an evaluation)
ledger     stream  id `<revision>-0`, field e = canonical JSON of entry   apply.lua
objects    hash    `<kind>/<name>` → {"document", "revision"}             apply.lua
contents   hash    SHA-256 → canonical JSON, written once                 apply.lua
workers    hash    worker id → `<milliseconds of last beat> <JSON>`       beat.lua, Fleet.leave, Fleet.forget
secrets    hash    name → bytes, written once                             Store.secret
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from flags.errors import Invalid

# A brace would end the hash tag early, a colon would let two namespaces meet.
NAMESPACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Keys:
    """The names of the keys of one namespace. Raises Invalid for a namespace that could leave its tag."""

    namespace: str

    def __post_init__(self) -> None:
        if not NAMESPACE.fullmatch(self.namespace):
            raise Invalid(
                "namespace",
                f"{self.namespace!r} is no namespace: expected letters, digits, '.', '_' or '-', at most 64",
                mend="choose a name such as default",
            )

    def _key(self, name: str) -> str:
        return f"{{pointsman:{self.namespace}}}:{name}"

    @property
    def head(self) -> str:
        return self._key("head")

    @property
    def ledger(self) -> str:
        return self._key("ledger")

    @property
    def objects(self) -> str:
        return self._key("objects")

    @property
    def contents(self) -> str:
        return self._key("contents")

    @property
    def workers(self) -> str:
        return self._key("workers")

    @property
    def secrets(self) -> str:
        return self._key("secrets")

"""Keys and tokens that `keys create` made, as the store has them: digests only. Knows no request and no store.

The object is `key/<name>`. A key that was rotated keeps its older secrets for as long as their grace lasts.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from math import inf
from typing import Literal

import msgspec

from flags.errors import Invalid
from flags.model import Document, Json, Kind, ObjectKey, StoredObject
from gateway.auth import Caller, Entry, Keyring, Operator, Role, Sha256

log = logging.getLogger("pointsman.keys")


class Secret(msgspec.Struct, frozen=True, omit_defaults=True):
    """One secret's SHA-256 in hex, and the time (RFC 3339) at which it ends, where one after it has taken its place."""

    sha256: Sha256
    until: str | None = None


class StoredKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A key as it is stored; the newest secret first. `routes` None means all; times are RFC 3339."""

    kind: Literal["app", "operator"]
    secrets: list[Secret]
    created_by: str
    created_at: str
    role: Role | None = None
    routes: list[str] | None = None
    pin: bool = False
    expires_at: str | None = None
    rotated_at: str | None = None


def key_object(name: str) -> ObjectKey:
    """Where a key is stored."""
    return ObjectKey(Kind.KEY, name)


def key_from(document: Document) -> StoredKey:
    """The key that a stored document holds. Raises Invalid."""
    try:
        return msgspec.convert(document, StoredKey)
    except msgspec.ValidationError as error:
        raise Invalid("", f"this is no key: {error}") from None


def document_of(key: StoredKey) -> dict[str, Json]:
    """The document that `key_from` reads back."""
    document: dict[str, Json] = msgspec.to_builtins(key)
    return document


def with_stored(ring: Keyring, stored: Mapping[str, StoredObject]) -> Keyring:
    """`ring` and the keys that are stored, by name. What stands in `ring` already is not moved by what is stored.

    A document that cannot be read (a later version's, perhaps) opens nothing; the log tells.
    """
    apps: dict[bytes, Entry[Caller]] = {}
    operators: dict[bytes, Entry[Operator]] = {}
    for name, each in stored.items():
        try:
            key = key_from(each.document)
            untils = [(bytes.fromhex(secret.sha256), _until(key, secret)) for secret in key.secrets]
        except (Invalid, ValueError) as error:
            log.warning("key %s is left out: %s", name, error)
            continue
        if key.kind == "app":
            routes = None if key.routes is None else frozenset(key.routes)
            apps |= {each: Entry(each, Caller(name, key.pin, routes=routes), until) for each, until in untils}
        else:
            operator = Operator(name, key.role or Role.VIEWER)
            operators |= {each: Entry(each, operator, until) for each, until in untils}
    if not apps and not operators:
        return ring
    return replace(ring, apps={**apps, **ring.apps}, operators={**operators, **ring.operators})


def holds_for_ever(key: StoredKey) -> bool:
    """Whether it is an admin's token that ends only when somebody ends it."""
    return key.kind == "operator" and key.role is Role.ADMIN and key.expires_at is None


def _until(key: StoredKey, secret: Secret) -> float:
    return min(_unix(key.expires_at), _unix(secret.until))


def _unix(time: str | None) -> float:
    return inf if time is None else datetime.fromisoformat(time).timestamp()

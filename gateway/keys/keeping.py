"""Making, rotating and revoking keys: Changes of `key/<name>`, so all of it is in the ledger; the key itself never is.

Knows no HTTP. A key is told once, to whom it is made for: the store has its SHA-256.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from flags.change import Committed, Draft, View
from flags.errors import Invalid, NotFound, Refused
from flags.fleet import Acks
from flags.model import Kind, ObjectKey, StoredObject
from gateway.auth import Keyring, Role
from gateway.keys.stored import Secret, StoredKey, document_of, holds_for_ever, key_from, key_object
from gateway.operations import Operations
from gateway.order import Order

# 192 bits: beyond guessing. The prefix tells people (and scanners for leaked secrets) what was found.
KEY_BYTES = 24
APP_PREFIX, OPERATOR_PREFIX = "pm-app-", "pm-op-"
# So many digests of one key are kept at most: who rotates in a loop ends the oldest grace.
SECRETS_KEPT = 5
LAST_ADMIN = "last_admin"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A key to be made: an operator's token where there is a role, else an app's key. `seconds` is how long it holds."""

    name: str
    role: Role | None = None
    routes: tuple[str, ...] | None = None
    pin: bool = False
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.role is not None and (self.routes is not None or self.pin):
            raise Invalid("role", "an operator's token has no routes and no pin; they are an app key's")


@dataclass(frozen=True, slots=True)
class Told:
    """What came of it. `key` is the secret, told this once; None where none was made. `note`: what changes with it."""

    key: str | None
    committed: Committed
    acks: Acks
    note: str | None = None


class KeyKeeper:
    """Keeps the stored keys of one namespace. `own` gives the keys of the environment and the key file."""

    def __init__(
        self,
        operations: Operations,
        own: Callable[[], Keyring],
        *,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._operations, self._own, self._entropy = operations, own, entropy

    def __repr__(self) -> str:
        return f"<KeyKeeper {self._own()!r}>"

    async def create(self, order: Order, wanted: Wanted) -> Told:
        """A new key. Raises Refused where the name is taken (`key_exists`), or nobody would be admin (`last_admin`)."""
        secret = self._secret(wanted.role)
        notes: list[str | None] = []

        def decide(view: View) -> Sequence[Draft]:
            if key_object(wanted.name) in view.objects:
                raise _taken(wanted.name)
            _known_routes(wanted, view)
            key = StoredKey(
                "app" if wanted.role is None else "operator",
                [Secret(_digest(secret))],
                order.author.actor,
                view.time,
                role=wanted.role,
                routes=None if wanted.routes is None else [*wanted.routes],
                pin=wanted.pin,
                expires_at=None if wanted.seconds is None else _after(view.time, wanted.seconds),
            )
            others = _keys(view)
            self._refuse_without_admin({**others, wanted.name: key}, wanted.name)
            notes.append(self._first(key, others))
            return [_draft("key.create", wanted.name, key)]

        return await self._write(order, decide, secret, lambda: notes[-1])

    async def rotate(self, order: Order, name: str, grace_seconds: float = 0.0) -> Told:
        """A new secret; the one before holds for `grace_seconds` more. Raises NotFound."""
        # Of its kind as the store has it; what the secret looks like is for people only.
        secrets: list[str] = []

        def decide(view: View) -> Sequence[Draft]:
            key = _there(view, name)
            secrets.append(self._secret(key.role))
            ends = _after(view.time, grace_seconds)
            older = [
                each if each.until is not None and each.until < ends else Secret(each.sha256, ends)
                for each in key.secrets
            ]
            kept = [each for each in older if each.until is not None and each.until > view.time]
            rotated = msgspec.structs.replace(
                key,
                expires_at=_renewed(key, view.time),
                secrets=[Secret(_digest(secrets[-1])), *kept][:SECRETS_KEPT],
                rotated_at=view.time,
            )
            return [_draft("key.rotate", name, rotated)]

        told = await self._write(order, decide, "", lambda: None)
        return Told(secrets[-1], told.committed, told.acks)

    async def revoke(self, order: Order, name: str) -> Told:
        """The key opens nothing any more. Raises NotFound, and Refused (`last_admin`) where nobody would be admin."""
        notes: list[str | None] = []

        def decide(view: View) -> Sequence[Draft]:
            _there(view, name)
            left = {each: key for each, key in _keys(view).items() if each != name}
            self._refuse_without_admin(left, name)
            notes.append(self._none_left(_keys(view)[name], left))
            return [Draft("key.revoke", key_object(name), None)]

        told = await self._write(order, decide, "", lambda: notes[-1])
        return Told(None, told.committed, told.acks, told.note)

    async def _write(
        self,
        order: Order,
        decide: Callable[[View], Sequence[Draft]],
        secret: str,
        note: Callable[[], str | None],
    ) -> Told:
        # All objects are read: who remains admin hangs on all keys.
        committed = await self._operations.store.change(order.author, None, decide)
        acks = await self._operations.acknowledged(committed, order)
        return Told(secret, committed, acks, note())

    def _secret(self, role: Role | None) -> str:
        prefix = APP_PREFIX if role is None else OPERATOR_PREFIX
        return prefix + self._entropy(KEY_BYTES).hex()

    def _refuse_without_admin(self, keys: Mapping[str, StoredKey], name: str) -> None:
        """Nobody may be locked out: while tokens are asked for, one admin's holds for ever."""
        own = self._own().operators.values()
        some = any(True for _ in own) or any(key.kind == "operator" for key in keys.values())
        admin = any(each.who.role is Role.ADMIN for each in own) or any(map(holds_for_ever, keys.values()))
        if some and not admin:
            raise Refused(
                LAST_ADMIN,
                f'with this change of the key "{name}" no admin\'s token would hold for ever, while operators need one: '
                "nobody could give keys any more",
                mend="make one first: pointsman keys create NAME --role admin",
            )

    def _first(self, key: StoredKey, others: Mapping[str, StoredKey]) -> str | None:
        if any(each.kind == key.kind for each in others.values()):
            return None
        own = self._own()
        if key.kind == "app":
            return (
                None if own.apps else "from now on every app needs a key: calls without one are refused (401)"
            )
        told = "from now on every operator needs a token: set POINTSMAN_TOKEN to this one, or give --token"
        return None if own.operators else told

    def _none_left(self, key: StoredKey, left: Mapping[str, StoredKey]) -> str | None:
        own = self._own()
        if (own.apps if key.kind == "app" else own.operators) or any(
            each.kind == key.kind for each in left.values()
        ):
            return None
        who = "app" if key.kind == "app" else "operator"
        return (
            f"this was the last {who}'s key: from now on whoever reaches this machine's loopback needs none"
        )


def keys_in(stored: Mapping[str, StoredObject]) -> dict[str, StoredKey]:
    """The keys that can be read, by name, sorted."""
    found: dict[str, StoredKey] = {}
    for name in sorted(stored):
        try:
            found[name] = key_from(stored[name].document)
        except Invalid:
            continue
    return found


def _keys(view: View) -> dict[str, StoredKey]:
    return keys_in({key.name: each for key, each in view.objects.items() if key.kind is Kind.KEY})


def _there(view: View, name: str) -> StoredKey:
    stored = view.objects.get(key_object(name))
    if stored is None:
        names = ", ".join(sorted(key.name for key in view.objects if key.kind is Kind.KEY)) or "none"
        raise NotFound(
            f'key "{name}" does not exist (keys: {names}); those of the environment and the key file are changed there'
        )
    return key_from(stored.document)


def _known_routes(wanted: Wanted, view: View) -> None:
    unknown = [name for name in wanted.routes or () if ObjectKey(Kind.ROUTE, name) not in view.objects]
    if unknown:
        known = ", ".join(sorted(key.name for key in view.objects if key.kind is Kind.ROUTE)) or "none"
        raise Invalid("routes", f"route {unknown[0]!r} is not defined (routes: {known})")


def _taken(name: str) -> Refused:
    return Refused(
        "key_exists",
        f'there is a key "{name}" already',
        mend=f"pointsman keys rotate {name}, or pointsman keys revoke {name} first",
    )


def _renewed(key: StoredKey, time: str) -> str | None:
    """When a rotated key expires: it holds as long again as it did when it was made."""
    if key.expires_at is None:
        return None
    made = datetime.fromisoformat(key.rotated_at or key.created_at)
    return _after(time, (datetime.fromisoformat(key.expires_at) - made).total_seconds())


def _draft(action: str, name: str, key: StoredKey) -> Draft:
    return Draft(action, key_object(name), document_of(key), affects=False)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _after(time: str, seconds: float) -> str:
    at = datetime.fromisoformat(time) + timedelta(seconds=seconds)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")

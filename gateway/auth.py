"""Who calls: app keys and operator tokens, compared in constant time. Knows no route table and no socket.

Keys are kept as SHA-256 digests only. A key is looked up by its digest, so the time that a lookup takes
tells nothing about a key, and is then compared once more in constant time. (A slow hash is for passwords:
our keys are long and random, and a request must not pay for stretching.) CONTRACT §1, §6 and §9.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf
from typing import Annotated, Any, Generic, NamedTuple, TypeVar
from unicodedata import normalize
from urllib.parse import unquote, urlsplit

import msgspec
from msgspec import Meta

from flags.errors import Invalid
from flags.model import NAME, NOTHING, Document, Json
from gateway.errors import Forbidden, Unauthorized
from gateway.spec_base import Name, RouteName

APP_KEYS = "POINTSMAN_APP_KEYS"
OPERATOR_TOKENS = "POINTSMAN_OPERATOR_TOKENS"

# Below this a key can be guessed; `openssl rand -hex 16` gives 32.
MIN_KEY_LENGTH = 8

Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-fA-F]{64}$", description="SHA-256 of the key, hex")]
Key = Annotated[str, Meta(min_length=MIN_KEY_LENGTH, max_length=512)]


class Role(StrEnum):
    """What an operator may do, each what those before it may as well: a viewer reads; an operator throws switches and runs
    evals; an approver says of versions whether they may be promoted; an admin overrides rules and gives keys."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    APPROVER = "approver"
    ADMIN = "admin"

    def reaches(self, needed: Role) -> bool:
        """Whether who has this role may do what `needed` may."""
        ladder = [*Role]
        return ladder.index(self) >= ladder.index(needed)


class AppSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One app's entry in the key file: `key` or `sha256`."""

    name: Name
    key: Key | None = None
    sha256: Sha256 | None = None
    routes: list[RouteName] | None = None
    pin: bool = False
    # Free JSON: msgspec cannot take our recursive Json.
    attributes: dict[str, Any] = {}


class OperatorSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One operator's entry in the key file: `token` or `sha256`."""

    name: Name
    token: Key | None = None
    sha256: Sha256 | None = None
    role: Role = Role.ADMIN


class KeyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The key file: `keys: {file: keys.yaml}` in the config."""

    apps: list[AppSpec] = []
    operators: list[OperatorSpec] = []


@dataclass(frozen=True, slots=True)
class Caller:
    """An app. `attributes` live under `key.` in its evaluation context; `routes` None means all, and none that it reads
    flags only: such a key may stand in a web page."""

    name: str
    may_pin: bool
    attributes: Document = field(default_factory=lambda: NOTHING)
    routes: frozenset[str] | None = None

    def may_use(self, route: str) -> bool:
        """Whether this app may call `route`."""
        return self.routes is None or route in self.routes


@dataclass(frozen=True, slots=True)
class Operator:
    """Who operates; `name` becomes the actor of a Change."""

    name: str
    role: Role = Role.ADMIN


# Automation acts under these names; what it did, and what people did, is told apart by them.
OURS = ("automation/", "policy/", "signal/")

# Without keys, whoever reaches the loopback interface is trusted.
KEYLESS = Caller("anonymous", may_pin=True)


class Reader(NamedTuple):
    """Who reads flags, and the SHA-256 of the key that let them in."""

    caller: Caller
    digest: bytes


NO_DIGEST = b""
ANYBODY = Reader(KEYLESS, NO_DIGEST)
# A web page of another site, let in by its origin alone where nobody has a key: it sees flags without a layer, for
# layers' values are prompts.
PAGE = Reader(Caller(KEYLESS.name, may_pin=False, routes=frozenset()), NO_DIGEST)

Who = TypeVar("Who", Caller, Operator)


@dataclass(frozen=True, slots=True)
class Entry(Generic[Who]):
    """One key or token: its SHA-256, whose it is, and until when it holds (Unix seconds)."""

    digest: bytes
    who: Who
    until: float = inf


@dataclass(frozen=True, slots=True)
class Keyring:
    """All keys and tokens of this process, by digest; `now` gives Unix seconds.

    One whose time is over still counts as configured: it must not open a door to those who have none.
    """

    apps: Mapping[bytes, Entry[Caller]]
    operators: Mapping[bytes, Entry[Operator]]
    now: Callable[[], float] = time.time

    def caller(self, key: bytes | None) -> Caller:
        """The app that sent `key`; without any key configured, everybody is KEYLESS. Raises Unauthorized."""
        if not self.apps:
            return KEYLESS
        if key is None:
            raise Unauthorized("an API key is needed: send Authorization: Bearer <key>, x-api-key or api-key")
        return self._found(self.apps, key, "API key")

    def operator(self, token: bytes | None, *, claimed: str | None = None) -> Operator:
        """The operator who sent `token`; without any token configured, whom the caller claims to be.

        Raises Unauthorized, and Invalid where the claimed name is none.
        """
        if not self.operators:
            return Operator(_actor(claimed))
        if token is None:
            raise Unauthorized("an operator's token is needed: send Authorization: Bearer <token>")
        return self._found(self.operators, token, "token")

    def reader(self, secret: bytes | None) -> Reader:
        """Who reads flags with `secret`: an app, or where apps have keys an operator too. Raises Unauthorized."""
        if not self.apps:
            return ANYBODY
        if secret is not None:
            digest = hashlib.sha256(secret).digest()
            if digest in self.operators:
                return Reader(_as_caller(self._found(self.operators, secret, "token")), digest)
        caller = self.caller(secret)
        return Reader(caller, hashlib.sha256(secret or b"").digest())

    def readers(self, name: str) -> Iterator[Reader]:
        """All readers who go by this name, with keys that hold now; a key that was rotated makes two for a while."""
        if not self.apps and name == KEYLESS.name:
            yield ANYBODY
        for app in self.apps.values():
            if app.who.name == name and app.until > self.now():
                yield Reader(app.who, app.digest)
        for operator in self.operators.values():
            if _as_caller(operator.who).name == name and operator.until > self.now():
                yield Reader(_as_caller(operator.who), operator.digest)

    def holds(self, reader: Reader) -> bool:
        """Whether the key by which `reader` was let in still lets anybody in."""
        if reader.digest == NO_DIGEST:
            return not self.apps
        entry = self.apps.get(reader.digest) or self.operators.get(reader.digest)
        return entry is not None and entry.until > self.now()

    def _found(self, entries: Mapping[bytes, Entry[Who]], secret: bytes, what: str) -> Who:
        digest = hashlib.sha256(secret).digest()
        entry = entries.get(digest)
        if entry is None or not hmac.compare_digest(entry.digest, digest):
            raise Unauthorized(f"this {what} is not known")
        if entry.until <= self.now():
            raise Unauthorized(f"this {what} has expired: ask an admin to rotate it (pointsman keys rotate)")
        return entry.who

    def __repr__(self) -> str:
        return f"Keyring(apps={len(self.apps)}, operators={len(self.operators)})"


NO_KEYS = Keyring({}, {})


def _as_caller(operator: Operator) -> Caller:
    # Apps' names have no stroke in them, so nobody is mistaken for an operator.
    return Caller(f"operator/{operator.name}", may_pin=False)


def require(operator: Operator, needed: Role, what: str = "do this") -> None:
    """Raises Forbidden, telling what role it takes, where the operator's role does not reach `needed`."""
    if not operator.role.reaches(needed):
        raise Forbidden(
            f"{operator.name} is {_article(operator.role)} {operator.role} and may not {what}: "
            f"it takes {_article(needed)} {needed}"
        )


def _article(role: Role) -> str:
    return "an" if role[0] in "aeiou" else "a"


def token_of(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """The key or token in raw ASGI headers (lower-case names): Bearer, else x-api-key, else api-key."""
    found: bytes | None = None
    for name, value in headers:
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            return value[7:].strip()
        if name == b"x-api-key" or (name == b"api-key" and found is None):
            found = value
    return found


def keyring(environ: Mapping[str, str], document: Json = None) -> Keyring:
    """All keys from the environment (`name:key,…`) and the parsed key file. Raises Invalid with the path."""
    file = _parsed(document)
    apps = [*_from_environ(environ, APP_KEYS, _app), *(_app_entry(i, app) for i, app in enumerate(file.apps))]
    operators = [
        *_from_environ(environ, OPERATOR_TOKENS, Operator),
        *(_operator_entry(i, operator) for i, operator in enumerate(file.operators)),
    ]
    return Keyring(_by_digest(apps, "apps"), _by_digest(operators, "operators"))


def guard_bind(host: str, keys: Keyring) -> None:
    """Pass on loopback, or with app keys and operator tokens; else raise Forbidden saying what to do.

    `keys` are those of the environment and the key file: one that `keys create` made can be revoked, or expire, while
    the address stays open.
    """
    if is_loopback(host) or (keys.apps and keys.operators):
        return
    missing = [
        line
        for have, line in (
            (keys.apps, f'  {APP_KEYS}="my-app:$(openssl rand -hex 24)"       (apps)'),
            (keys.operators, f'  {OPERATOR_TOKENS}="me:$(openssl rand -hex 24)"    (operators)'),
        )
        if not have
    ]
    raise Forbidden(
        f"will not listen on {host} without keys: anybody who reaches it could use your providers and "
        "throw your switches. Set in the environment (name:key, comma-separated)\n"
        + "\n".join(missing)
        + "\nor list them in a key file (keys: {file: keys.yaml} in the config), or listen on 127.0.0.1."
    )


def refuse_foreign_page(headers: Mapping[bytes, bytes], *, reads: bool = False) -> None:
    """Raises Forbidden for a web page of somebody else, in a browser on this machine, where no key is asked for.

    Browsers tell where a page comes from when it posts; a page whose name has come to mean 127.0.0.1 shows in
    `Host`. With `reads` the host alone is enough: of a page that only reads, nothing else is told.
    """
    origin = headers.get(b"origin")
    if origin is None and b"sec-fetch-site" not in headers and not reads:
        return
    for found in (origin, b"//" + headers.get(b"host", b"")):
        if found is not None and not is_loopback(_hostname(found.decode("latin-1"))):
            raise Forbidden(
                "without keys, only this machine by its own names may call; behind a proxy, set keys"
            )


def _hostname(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a socket bound to `host` (a path is a unix socket)."""
    if host == "localhost" or host.startswith(("/", "unix:")):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _actor(claimed: str | None) -> str:
    if claimed is None:
        return "operator@local"
    # Names as people have them, mail addresses included; they are shown in terminals and the ledger. A header
    # holds ASCII, so the command line sends other letters percent-encoded.
    # Written one way, so that two names which look the same are the same.
    claimed = " ".join(filter(None, normalize("NFKC", unquote(claimed)).split(" ")))
    if not claimed.isprintable() or not 0 < len(claimed) <= 128:
        raise Invalid("x-pointsman-actor", "expected 1 to 128 printable characters")
    if claimed.casefold().startswith(OURS):
        raise Invalid("x-pointsman-actor", f"found {claimed!r}: names that begin so are the gateway's own")
    return claimed


def _parsed(document: Json) -> KeyFile:
    if document is None:
        return KeyFile()
    try:
        return msgspec.convert(document, KeyFile)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at ")
        raise Invalid(path.strip("`").removeprefix("$").lstrip("."), message) from error


def _app(name: str) -> Caller:
    return Caller(name, may_pin=False)


def _app_entry(index: int, spec: AppSpec) -> Entry[Caller]:
    digest = _digest(f"apps[{index}]", spec.key, spec.sha256, "key")
    routes = None if spec.routes is None else frozenset(spec.routes)
    return Entry(digest, Caller(spec.name, spec.pin, spec.attributes or NOTHING, routes))


def _operator_entry(index: int, spec: OperatorSpec) -> Entry[Operator]:
    digest = _digest(f"operators[{index}]", spec.token, spec.sha256, "token")
    return Entry(digest, Operator(spec.name, spec.role))


def _digest(path: str, plain: str | None, sha256: str | None, field: str) -> bytes:
    if (plain is None) == (sha256 is None):
        raise Invalid(path, f"expected exactly one of `{field}` and `sha256`")
    if plain is not None:
        return hashlib.sha256(plain.encode()).digest()
    return bytes.fromhex(sha256 or "")


def _from_environ(environ: Mapping[str, str], variable: str, make: Callable[[str], Who]) -> list[Entry[Who]]:
    entries = []
    for number, pair in enumerate(
        filter(None, (part.strip() for part in environ.get(variable, "").split(",")))
    ):
        name, colon, key = pair.partition(":")
        if not colon or not NAME.fullmatch(name) or len(key) < MIN_KEY_LENGTH:
            # The text itself may be a secret: only its place is told.
            label = name if colon and NAME.fullmatch(name) else "name"
            raise Invalid(
                f"{variable}[{number}]",
                f"expected name:key with a key of at least {MIN_KEY_LENGTH} characters",
                mend=f'{variable}="{label}:$(openssl rand -hex 24)"',
            )
        entries.append(Entry(hashlib.sha256(key.encode()).digest(), make(name)))
    return entries


def _by_digest(entries: Sequence[Entry[Who]], path: str) -> Mapping[bytes, Entry[Who]]:
    found = {entry.digest: entry for entry in entries}
    if len(found) != len(entries):
        raise Invalid(path, "two entries have the same key")
    return found

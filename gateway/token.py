"""The decision token: who asked and what answered a request, signed, so that feedback needs no stored row.

Knows bytes and keys, not where keys are kept (gateway.signing) nor what a token is for.

Form: `1~<request id>~<unix seconds>~<route>~<unit or ->~<flag>:<variant>:<generation>:<how>~…~<signature>`. Names have
no `~` and no `:` in them, so nothing need be escaped, and a person can read it. The signature is the base64url of a
keyed BLAKE2b of 16 bytes (RFC 7693 §2.9: a MAC by itself), a third of what an HMAC costs. Each key signs for a week
of Redis' clock; the token's own time tells which key it was, and tokens are valid for a week, so two keys are enough.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Mapping
from hashlib import blake2b
from hmac import compare_digest
from typing import NamedTuple

from flags.units import URLSAFE, Units
from gateway.errors import BadRequest
from policies.answered import Answered
from policies.outcome import How, Release

SIGNATURE_BYTES = 16
# CONTRACT §2.
VALID_SECONDS = 7 * 86_400
PERIOD_SECONDS = 7 * 86_400
# A token that our own header carries is far below.
MAX_TOKEN_BYTES = 16_384

HOWS = frozenset(how.value for how in How)


class InvalidDecision(BadRequest):
    """Raised when a decision token is not one of ours, or was changed."""

    code = "invalid_decision"


class DecisionExpired(BadRequest):
    """Raised when a decision token is older than it is valid."""

    code = "decision_expired"


class Decided(NamedTuple):
    """A token, read: its request, when it was decided (Unix seconds), and what answered."""

    request_id: str
    decided_at: int
    answered: Answered


class TokenSigner:
    """Signs and reads decisions, with the keys of the periods around now, and names people by a hash.

    `skew_seconds` is how far Redis' clock is before ours: all tokens are in Redis' time.
    """

    def __init__(self, keys: Mapping[int, bytes], unit_key: bytes, *, skew_seconds: int = 0) -> None:
        self._keys, self._skew = keys, skew_seconds
        self._units = Units(unit_key)

    def __repr__(self) -> str:
        return f"<TokenSigner for periods {sorted(self._keys)}, skew {self._skew} s>"

    @property
    def skew_seconds(self) -> int:
        """How far Redis' clock is before ours."""
        return self._skew

    def unit(self, targeting_key: str) -> str:
        """Who asked, as flags.units names people (11 characters)."""
        return self._units.of(targeting_key)

    def sign(self, request_id: str, now: int, answered: str) -> bytes | None:
        """The token as header bytes. `answered`: as Decision.token has it. None when there is no key for `now`."""
        now += self._skew
        key = self._keys.get(now // PERIOD_SECONDS)
        if key is None:
            return None
        payload = f"1~{request_id}~{now}~{answered}~".encode()
        return payload + signature(payload, key)

    def period(self, now: int) -> int:
        """The period whose key signs at `now` (Unix seconds by our clock)."""
        return (now + self._skew) // PERIOD_SECONDS

    def mark(self, period: int, text: bytes) -> bytes | None:
        """The signature of `text` by that period's key; None where it is not at hand. No text may begin as a token does."""
        key = self._keys.get(period)
        return None if key is None else signature(text, key)

    def read(self, token: str, now: int) -> Decided:
        """What `token` says. Raises InvalidDecision, and DecisionExpired for one that was good once."""
        fields = token.split("~")
        if len(token) > MAX_TOKEN_BYTES or len(fields) < 6 or fields[0] != "1" or not token.isascii():
            raise InvalidDecision("decision: this is no decision token", param="decision")
        decided_at = int(fields[2]) if fields[2].isdigit() and len(fields[2]) < 16 else -1
        age = now + self._skew - decided_at
        key = self._keys.get(decided_at // PERIOD_SECONDS)
        if key is None and decided_at >= 0 and age > VALID_SECONDS:
            raise expired(age)
        raw = token.encode()
        payload = raw[: raw.rindex(b"~") + 1]
        if not compare_digest(signature(payload, key or b""), raw[len(payload) :]) or key is None:
            raise InvalidDecision("decision: its signature is not ours, or it was changed", param="decision")
        if age > VALID_SECONDS:
            raise expired(age)
        answered = read_answered("~".join(fields[3:-1]))
        if answered is None:
            raise InvalidDecision("decision: signed, but its form is not known here", param="decision")
        return Decided(fields[1], decided_at, answered)


def signature(payload: bytes, key: bytes) -> bytes:
    """The MAC of `payload`, as text."""
    digest = blake2b(payload, digest_size=SIGNATURE_BYTES, key=key).digest()
    return b2a_base64(digest, newline=False).rstrip(b"=").translate(URLSAFE)


def expired(age_seconds: int) -> DecisionExpired:
    """Says how old, and how old it may be."""
    days = f"{age_seconds / 86_400:.1f} days old; tokens are valid for {VALID_SECONDS // 86_400}"
    return DecisionExpired(f"decision: expired: it is {days}", param="decision")


def read_answered(text: str) -> Answered | None:
    """`route~unit~flag:variant:generation:how~…` as Decision.token writes it; None for anything else."""
    route, _, rest = text.partition("~")
    unit, _, named = rest.partition("~")
    releases, how = [], []
    for each in named.split("~") if named else ():
        parts = each.split(":")
        if len(parts) != 4 or not parts[2].isdigit() or parts[3] not in HOWS:
            return None
        releases.append(Release(parts[0], parts[1], int(parts[2])))
        how.append(parts[3])
    if not route or not unit:
        return None
    return Answered(route, tuple(releases), "".join(how), "" if unit == "-" else unit)

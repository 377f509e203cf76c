"""How a person is named where nobody may be found: by a keyed hash, alike in all processes of a namespace.

Knows the store's secrets, and neither requests nor what units are counted for.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Callable
from hashlib import blake2b

from flags.store import Store

# The name of the secret. It never changes: units are compared for as long as evidence is kept.
UNIT_KEY = "unit"
# The hash function takes keys of up to 64 bytes; 32 are as strong as its digest.
KEY_BYTES = 32
# Of a namespace's users two share a unit with a chance of 1 in 2^64 for each pair.
UNIT_BYTES = 8
UNIT_LENGTH = 11  # in base64url
# As base64.urlsafe_b64encode has it, which costs twice as much: this is done for every request.
URLSAFE = bytes.maketrans(b"+/", b"-_")


class Units:
    """Names people by a hash (keyed BLAKE2b, RFC 7693 §2.9). Nothing changes here; threads may share it."""

    __slots__ = ("_keyed",)

    def __init__(self, key: bytes) -> None:
        # Copied for each unit: keying anew costs twice as much.
        self._keyed = blake2b(digest_size=UNIT_BYTES, key=key)

    def __repr__(self) -> str:
        return "<Units>"

    def of(self, targeting_key: str) -> str:
        """Who asked, so that nobody can be found by it who has not the namespace's key (11 characters)."""
        hashed = self._keyed.copy()
        hashed.update(targeting_key.encode("utf-8", "surrogatepass"))
        return b2a_base64(hashed.digest(), newline=False)[:UNIT_LENGTH].translate(URLSAFE).decode()


async def unit_key(store: Store, entropy: Callable[[int], bytes]) -> bytes:
    """The namespace's key for units, made by whoever asks first. Raises StoreUnavailable.

    One who may only read gets it where it was made before, and StoreUnavailable where it was not.
    """
    return await store.secret(UNIT_KEY, lambda: entropy(KEY_BYTES))

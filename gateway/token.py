"""The decision token: which releases answered a request, signed, so that feedback needs no stored row.

Form: `1~<request id>~<unix seconds>~<route>~<flag>:<variant>:<generation>~…~<base64url of the signature>`. Names have
no `~` and no `:` in them, so nothing need be escaped, and a person can read it. The signature is a keyed BLAKE2b of
16 bytes (RFC 7693 §2.9: a MAC by itself), a third of what an HMAC costs.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from hashlib import blake2b

SIGNATURE_BYTES = 16


class TokenSigner:
    """Signs decisions with the namespace's key (32 bytes, made on first start and kept in the store)."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def sign(self, request_id: str, now: int, releases: str) -> bytes:
        """The token as header bytes. `releases`: the route and what answered, as Decision.token has it."""
        payload = f"1~{request_id}~{now}~{releases}~".encode()
        signature = blake2b(payload, digest_size=SIGNATURE_BYTES, key=self._key).digest()
        return payload + urlsafe_b64encode(signature).rstrip(b"=")

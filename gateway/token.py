"""The decision token: which releases answered a request, signed, so that feedback needs no stored row.

Form: `1~<request id>~<unix seconds>~<route>~<flag>:<variant>:<generation>~…~<base64url of HMAC-SHA-256>`. Names have
no `~` and no `:` in them, so nothing need be escaped, and a person can read it.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode


class TokenSigner:
    """Signs decisions with the namespace's key (32 bytes, made on first start and kept in the store)."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def sign(self, request_id: str, now: int, releases: str) -> bytes:
        """The token as header bytes. `releases`: the route and what answered, as Decision.token has it."""
        payload = f"1~{request_id}~{now}~{releases}~".encode()
        return payload + urlsafe_b64encode(hmac.digest(self._key, payload, "sha256")).rstrip(b"=")

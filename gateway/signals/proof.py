"""Whether a message comes from whom it names: an HMAC of its bytes, or the secret as a bearer token. Pure, but for no
clock of its own. Knows no body's shape and no store.

Three ways, whichever the sender can do; all compare in constant time:
- `x-pointsman-signature: sha256=<hex>`: HMAC-SHA256 of the raw body; with `x-pointsman-timestamp: <Unix seconds>`, of
  `<timestamp>.<body>`, and then no older than five minutes;
- Standard Webhooks: `webhook-id`, `webhook-timestamp`, `webhook-signature: v1,<base64> …`, of `<id>.<timestamp>.<body>`;
- `authorization: Bearer <secret>`: an Alertmanager can do nothing else. It proves nothing of the body.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
from collections.abc import Mapping

from gateway.errors import Unauthorized

# As Standard Webhooks has it: longer than any retry at once, shorter than what somebody could keep for later.
TOLERANCE_SECONDS = 300
# Standard Webhooks writes its secrets so: what follows is base64.
STANDARD_PREFIX = "whsec_"


def prove(secret: str, headers: Mapping[str, str], body: bytes, *, now: float) -> None:
    """Passes where the sender knows `secret`; `now` in Unix seconds. Raises Unauthorized, without saying how near it was."""
    if "x-pointsman-signature" in headers:
        signed = body
        stamp = headers.get("x-pointsman-timestamp")
        if stamp is not None:
            _fresh(stamp, now)
            signed = stamp.encode("latin-1") + b"." + body
        found = headers["x-pointsman-signature"].removeprefix("sha256=")
        _same(hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest(), found.lower())
    elif "webhook-signature" in headers:
        _standard(secret, headers, body, now)
    elif headers.get("authorization", "")[:7].lower() == "bearer ":
        _same(secret, headers["authorization"][7:].strip())
    else:
        raise Unauthorized(
            "a signal must be signed: send x-pointsman-signature: sha256=<HMAC-SHA256 of the body, hex>, "
            "or the source's secret as Authorization: Bearer <secret>"
        )


def _standard(secret: str, headers: Mapping[str, str], body: bytes, now: float) -> None:
    stamp, message = headers.get("webhook-timestamp", ""), headers.get("webhook-id", "")
    _fresh(stamp, now)
    key = secret.encode()
    if secret.startswith(STANDARD_PREFIX):
        # A secret of our own may begin like one of theirs.
        with contextlib.suppress(binascii.Error):
            key = base64.b64decode(secret.removeprefix(STANDARD_PREFIX), validate=True)
    signed = f"{message}.{stamp}.".encode("latin-1") + body
    expected = base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
    # Several, while the sender changes its secret.
    each = [part.removeprefix("v1,") for part in headers["webhook-signature"].split()]
    if not any(hmac.compare_digest(expected.encode(), one.encode("latin-1", "replace")) for one in each):
        raise _wrong()


def _fresh(stamp: str, now: float) -> None:
    if not (stamp.isascii() and stamp.isdigit()) or abs(now - int(stamp[:15])) > TOLERANCE_SECONDS:
        raise Unauthorized(
            f"the signal's timestamp is no Unix time within {TOLERANCE_SECONDS // 60} minutes of this server's clock"
        )


def _same(expected: str, found: str) -> None:
    if not hmac.compare_digest(expected.encode(), found.encode("latin-1", "replace")):
        raise _wrong()


def _wrong() -> Unauthorized:
    return Unauthorized("the signature does not fit: wrong secret, or the body was altered on its way")

"""What admits a client to a stream that can send no header (a browser's EventSource): its address carries a ticket.

A ticket names a caller and a week, signed by that week's key together with the digest of the caller's own key: it tells
no secret, ends with the key, and is the same all week, so that an address fetched again is no new one. It is taken in the
week after too. Knows no request.
"""

from __future__ import annotations

from hmac import compare_digest

from gateway.auth import Keyring, Reader
from gateway.errors import Unauthorized
from gateway.token import TokenSigner

# What is signed begins otherwise than a decision token, so that neither can stand for the other.
PURPOSE = b"ofrep-events"
# A name has 128 characters at most, a signature 22.
MOST_CHARACTERS = 256
REFUSED = (
    "this address of an event stream is no longer good, or never was: evaluate all flags anew for one that is"
)


def ticket(signer: TokenSigner, reader: Reader, now: int) -> str | None:
    """The ticket of `reader`; None where this week's key is not at hand. `now` in Unix seconds."""
    period = signer.period(now)
    mark = signer.mark(period, _signed(period, reader))
    return None if mark is None else f"{period}~{reader.caller.name}~{mark.decode()}"


def admitted(text: str, signer: TokenSigner, keys: Keyring, now: int) -> Reader:
    """Whom the ticket `text` admits. Raises Unauthorized for one that is forged or old, or whose key has ended."""
    period, name, mark = ([*text.split("~"), "", ""])[:3]
    current = signer.period(now)
    if len(text) <= MOST_CHARACTERS and text.isascii() and period in (str(current), str(current - 1)):
        for reader in keys.readers(name):
            expected = signer.mark(int(period), _signed(int(period), reader))
            if expected is not None and compare_digest(expected, mark.encode()):
                return reader
    raise Unauthorized(REFUSED)


def _signed(period: int, reader: Reader) -> bytes:
    return b"%s~%d~%s~%s" % (PURPOSE, period, reader.caller.name.encode(), reader.digest.hex().encode())

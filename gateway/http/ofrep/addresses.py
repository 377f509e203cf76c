"""Where a client finds the stream of changes, and whom such an address admits. Knows tickets and addresses, no stream."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from flags.ofrep import EventEndpoint, EventStream
from gateway.auth import Reader
from gateway.errors import Unauthorized
from gateway.http.ofrep.place import House
from gateway.http.ofrep.ticket import REFUSED, admitted, ticket

PATH = "/ofrep/v1/events"
# The protocol's own usual value: a page that nobody looks at lets go of its stream after two minutes.
INACTIVITY_SECONDS = 120


class Addresses:
    """The addresses of this worker's streams; `base` is the URL by which others reach us, "" where nobody has said."""

    __slots__ = ("_base", "_house")

    def __init__(self, house: House, base: str) -> None:
        self._house, self._base = house, base.rstrip("/")

    def __repr__(self) -> str:
        return f"<Addresses below {self._base or 'the client base URL'}>"

    def of(self, reader: Reader) -> Sequence[EventStream]:
        """Where `reader` finds the stream; none before this process has a key to sign its ticket, or where no stream may
        be open."""
        signer = self._house.signing.signer if self._house.ofrep.streams else None
        text = None if signer is None else ticket(signer, reader, int(self._house.now()))
        if text is None:
            return ()
        uri = f"{PATH}?ticket={quote(text, safe='')}"
        if self._base:
            return (EventStream("sse", INACTIVITY_SECONDS, url=self._base + uri),)
        # Clients put it below the origin of their base URL, without its path: with a path, say POINTSMAN_PUBLIC_URL.
        return (EventStream("sse", INACTIVITY_SECONDS, endpoint=EventEndpoint(uri)),)

    def reader(self, text: str) -> Reader:
        """Whom the ticket in an address admits. Raises Unauthorized."""
        signer = self._house.signing.signer
        if signer is None:
            raise Unauthorized(REFUSED)
        return admitted(text, signer, self._house.keys, int(self._house.now()))

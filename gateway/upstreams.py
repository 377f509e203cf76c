"""The process's table of upstreams, kept in step with the snapshot. Knows no route and no request.

What changes here: which name stands for which live pool of connections.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

import msgspec

from flags.errors import FlagError
from flags.model import Kind, ObjectKey
from flags.snapshot import Snapshot
from gateway.compiling import spec
from gateway.errors import GatewayError, UpstreamUnavailable
from gateway.spec import UpstreamSpec
from gateway.upstream.base import Answer, Upstream, UpstreamRequest

log = logging.getLogger("pointsman.upstreams")

Make = Callable[[UpstreamSpec], Upstream]


class Unusable:
    """An upstream that this process cannot use (a secret is missing, a kind is not spoken yet): it says why."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def speaks(self, path: str) -> bool:
        """Everything: the reason why nothing is answered holds on every wire."""
        return True

    async def send(self, request: UpstreamRequest) -> Answer:
        """Raises UpstreamUnavailable with the reason."""
        raise UpstreamUnavailable(self._reason)

    def retire(self) -> None:
        """Nothing to let go."""

    async def aclose(self) -> None:
        """Nothing to close."""


class Upstreams(Mapping[str, Upstream]):
    """Live upstreams by name. One whose document did not change keeps its connections through every change."""

    def __init__(self, make: Make) -> None:
        self._make = make
        self._documents: dict[str, object] = {}
        self._live: dict[str, Upstream] = {}

    def __getitem__(self, name: str) -> Upstream:
        return self._live[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._live)

    def __len__(self) -> int:
        return len(self._live)

    def follow(self, snapshot: Snapshot, changed: Iterable[ObjectKey] | None = None) -> None:
        """Make what is new, let go of what is gone; requests under way on an old one run to their end.

        `changed` names what may differ from the snapshot followed before; None: anything.
        """
        declared = snapshot.of_kind(Kind.UPSTREAM)
        keys = None if changed is None else {key.name for key in changed if key.kind is Kind.UPSTREAM}
        for name in self.keys() | set(declared) if keys is None else keys:
            stored = declared.get(name)
            document = None if stored is None else spec(stored.document)
            if document == self._documents.get(name):
                continue
            if name in self._live:
                del self._documents[name]
                self._live.pop(name).retire()
            if document is not None:
                self._documents[name] = document
                self._live[name] = self._made(name, document)

    def foreseen(self, future: Snapshot, changed: Collection[ObjectKey]) -> Foreseen:
        """The table as it will be when `future` is served, of which `changed` may differ. Whoever asks closes it."""
        return Foreseen(self, future, changed, self._make)

    def _made(self, name: str, document: Mapping[str, object]) -> Upstream:
        try:
            return self._make(msgspec.convert(document, UpstreamSpec, strict=False))
        except (FlagError, GatewayError, msgspec.ValidationError) as error:
            log.warning("upstream %s cannot be used by this process: %s", name, error)
            # Which secret is missing is the operator's business, and stands in the log.
            return Unusable("not configured in this gateway; its log says what is missing")

    async def aclose(self) -> None:
        """Close all connections; idempotent."""
        live, self._live = self._live, {}
        self._documents.clear()
        await asyncio.gather(*(upstream.aclose() for upstream in live.values()))


class Foreseen(Mapping[str, Upstream]):
    """Upstreams as a declaration would have them: what it brings is made when it is asked for, all else is the live one.

    What changes here: which of the new ones were made.
    """

    def __init__(
        self, live: Mapping[str, Upstream], future: Snapshot, changed: Collection[ObjectKey], make: Make
    ) -> None:
        self._live, self._future = live, future
        self._changed = {key for key in changed if key.kind is Kind.UPSTREAM}
        self._own = Upstreams(make)

    def __getitem__(self, name: str) -> Upstream:
        key = ObjectKey(Kind.UPSTREAM, name)
        if key not in self._changed:
            return self._live[name]
        if name not in self._own:
            self._own.follow(self._future, [key])
        return self._own[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._future.of_kind(Kind.UPSTREAM))

    def __len__(self) -> int:
        return len(self._future.of_kind(Kind.UPSTREAM))

    async def aclose(self) -> None:
        """Close those that were made; idempotent."""
        await self._own.aclose()

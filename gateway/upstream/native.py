"""A provider that is spoken to in its own format (OpenAI, Anthropic, Qdrant) over HTTP/1.1: bytes in, bytes out.

Knows no route, no flag and nothing of what the bodies mean.
"""

from __future__ import annotations

import asyncio

from flags.errors import Invalid
from gateway.patience import Patience
from gateway.spec import UpstreamSpec
from gateway.upstream.base import Answer, UpstreamRequest
from gateway.upstream.endpoint import Endpoint, Heads
from gateway.upstream.http1 import NativeAnswer, StaleConnection
from gateway.upstream.paths import MANNERS
from gateway.upstream.pool import Pool
from gateway.upstream.tls import client_context


class NativeUpstream:
    """Implements `base.Upstream` for `kind: openai | anthropic | qdrant`. All that can be made beforehand is made here.

    Raises Invalid for an unusable base URL or header, UpstreamUnavailable for an unusable `ca_file`.
    """

    def __init__(
        self,
        spec: UpstreamSpec,
        *,
        api_key: str | None = None,
        patience: Patience,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        manner = MANNERS[spec.kind]
        base_url = spec.base_url or manner.base_url
        if base_url is None:
            raise Invalid("base_url", "is missing", mend=f"give the address, as in {manner.example}")
        endpoint = Endpoint.parse(base_url)
        tls = client_context(spec.ca_file) if endpoint.secure else None
        self._heads = Heads(
            endpoint, manner, api_key=api_key, auth_header=spec.auth_header, headers=spec.headers
        )
        # Whether requests with this path can be sent here: the kind's own paths.
        self.speaks = manner.speaks
        self._connect_seconds = spec.connect_seconds
        self._patience = patience
        self.pool = Pool(endpoint, patience, loop, tls=tls, max_connections=spec.max_connections)

    async def send(self, request: UpstreamRequest) -> Answer:
        """Send, and return when the head of the response is here. Raises UpstreamError.

        A kept connection that turns out to be dead before the first byte of an answer is replaced once.
        """
        head = self._heads.head(request)
        try:
            return await self._exchange(head, request, fresh=False)
        except StaleConnection:
            return await self._exchange(head, request, fresh=True)

    async def _exchange(self, head: bytes, request: UpstreamRequest, *, fresh: bool) -> NativeAnswer:
        connection = None if fresh else self.pool.kept()
        if connection is None:
            seconds = request.connect_seconds or self._connect_seconds
            connection = await self.pool.take(seconds, request.expires_at, fresh=fresh)
        body = request.body if request.method == "POST" else b""
        exchange = connection.begin(head, body, self._patience, request.expires_at)
        await exchange.head()
        return exchange

    def retire(self) -> None:
        """Idle connections are closed now, the others when their answers are through. Idempotent."""
        self.pool.retire()

    async def aclose(self) -> None:
        """Close all connections, answers under way included. Idempotent."""
        self.pool.close()

    def __repr__(self) -> str:
        return f"<NativeUpstream {self.pool!r}>"

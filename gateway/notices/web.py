"""One bounded POST: to the address that was declared and no other, within a deadline, whatever comes back.

Redirects are refused, not followed: a webhook's answer must not choose whom else we call. Proxies from the environment
are not used, and of the answer at most 4 KiB are read. Knows no notice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gateway import __version__
from gateway.errors import UpstreamUnavailable
from gateway.notices.channel import SHOWN_CHARS, NotSent
from gateway.upstream.tls import client_context
from policies.notices.wording import line

if TYPE_CHECKING:
    import httpx

MAX_ANSWER_BYTES = 4096
# All channels of a worker together; the sender sends no more at once.
MAX_CONNECTIONS = 64


class Poster:
    """Posts. What changes here: its client, made with the first post (httpx takes 0.2 s to import)."""

    def __init__(self, *, ca_file: str | None = None) -> None:
        self._ca_file = ca_file
        self._client: httpx.AsyncClient | None = None
        self._making = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<Poster {'open' if self._client else 'not used yet'}>"

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, seconds: float) -> str:
        """POST `body`; what was answered, in a few words. Raises NotSent unless that was a 2xx within `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                status, location, answer = await self._posted(url, headers, body)
        except TimeoutError:
            raise NotSent(f"no whole answer within {seconds:g} s") from None
        shown = masked(line(answer.decode(errors="replace")), url)[:SHOWN_CHARS]
        if 300 <= status < 400:
            where = _host(location)
            raise NotSent(
                f"answered {status}, a redirect{where}: redirects are refused; declare the address itself"
            )
        if not 200 <= status < 300:
            raise NotSent(f"answered {status}: {shown}" if shown else f"answered {status}")
        return f"{status} {shown}".strip()

    async def _posted(self, url: str, headers: Mapping[str, str], body: bytes) -> tuple[int, str, bytes]:
        client, errors = await self._opened()
        try:
            async with client.stream("POST", url, headers=dict(headers), content=body) as response:
                answer = b""
                # Raw: what is compressed is not unpacked, so 4 KiB stay 4 KiB.
                async for part in response.aiter_raw(1024):
                    answer += part
                    if len(answer) >= MAX_ANSWER_BYTES:
                        break
                return response.status_code, response.headers.get("location", ""), answer[:MAX_ANSWER_BYTES]
        except errors as error:
            told = masked(line(str(error)), url)[:SHOWN_CHARS]
            raise NotSent(f"cannot be reached: {told or type(error).__name__}") from None

    async def _opened(self) -> tuple[httpx.AsyncClient, tuple[type[Exception], ...]]:
        async with self._making:
            library = await asyncio.to_thread(import_module, "httpx")
            if self._client is None:
                self._client = await self._made(library)
        return self._client, (library.HTTPError, library.InvalidURL, library.StreamError, OSError, ValueError)

    async def _made(self, library: object) -> httpx.AsyncClient:
        try:
            context = await asyncio.to_thread(client_context, self._ca_file)
        except UpstreamUnavailable as error:
            raise NotSent(str(error)) from None
        limits = library.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=8)  # type: ignore[attr-defined]
        client: httpx.AsyncClient = library.AsyncClient(  # type: ignore[attr-defined]  # httpx, imported late
            verify=context,
            trust_env=False,
            follow_redirects=False,
            # The deadline is ours: theirs are between two bytes, which a trickling server never lets pass.
            timeout=None,
            limits=limits,
            headers={"user-agent": f"pointsman/{__version__}"},
        )
        return client

    async def aclose(self) -> None:
        """Close all connections. May be called again."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


def masked(text: str, url: str) -> str:
    """`text` without the address's secret parts: the path of a Slack webhook is its password."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return text.replace(url, "…")
    for secret in (url, parts.path, parts.query, parts.password or "", *parts.path.split("/")):
        if len(secret) > 3:
            text = text.replace(secret, "…")
    return text


def _host(location: str) -> str:
    """` to HOST`, never the whole of an address that may hold a secret."""
    try:
        host = urlsplit(location).hostname
    except ValueError:
        host = None
    return f" to {line(host)[:SHOWN_CHARS]}" if host else ""

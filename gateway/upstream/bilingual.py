"""An upstream that is asked in both families' dialects: its own natively, the other through a translator.

Knows no litellm: the translator is made by whoever builds this, on first need.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.errors import NotServed
from gateway.upstream.base import Answer, Upstream, UpstreamRequest
from gateway.upstream.translated_calls import serves


class Bilingual:
    """Implements `base.Upstream`. What changes here: whether a translator was made, and whether all is closed.

    `translate` False refuses the other dialect; True has the translator made at once.
    """

    def __init__(
        self, native: Upstream, make_translator: Callable[[], Upstream], *, translate: bool | None = None
    ) -> None:
        self.native = native
        self._make_translator = make_translator
        self._translate = translate
        self._translator: Upstream | None = make_translator() if translate else None
        self._retired = False

    def speaks(self, path: str) -> bool:
        """Whether requests with this path can be answered; where translating is refused, that is the answer."""
        return self.native.speaks(path) or serves(path)

    async def send(self, request: UpstreamRequest) -> Answer:
        """Send natively where that is spoken, else translated. Raises UpstreamError, of which NotServed."""
        if self.native.speaks(request.path) or not serves(request.path):
            return await self.native.send(request)
        if self._translate is False:
            raise not_translated(request.path)
        return await self._translating().send(request)

    def retire(self) -> None:
        """No new requests will come. Idempotent."""
        self._retired = True
        self.native.retire()
        if self._translator is not None:
            self._translator.retire()

    async def aclose(self) -> None:
        """Close both. Idempotent."""
        translators = [self._translator] if self._translator is not None else []
        await asyncio.gather(*(each.aclose() for each in (self.native, *translators)))

    def _translating(self) -> Upstream:
        if self._translator is None:
            self._translator = self._make_translator()
        return self._translator

    def __repr__(self) -> str:
        return f"<Bilingual {self.native!r}, {self._translator or 'no translator yet'}>"


def not_translated(path: str) -> NotServed:
    """The refusal of a dialect that is neither spoken nor translated."""
    return NotServed(
        f"it does not speak {path}, and translating is switched off for it; ask in its own dialect,"
        " or leave `translate: false` out of its document"
    )

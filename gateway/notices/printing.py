"""Notices as JSON lines on the server's own output, for whoever collects that. Knows no retry and no store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from gateway.notices.channel import Notice, NotSent
from gateway.notices.words import Words
from policies.notices import wording


@dataclass(frozen=True, slots=True)
class PrintChannel:
    """Writes one line for each notice."""

    write: Callable[[str], object]
    words: Words

    async def send(self, notice: Notice) -> str:
        """See Channel."""
        document = wording.document(notice.event, notice.more)
        text = self.words.own(notice)
        if text is not None:
            document = {**document, "text": text}
        try:
            self.write(msgspec.json.encode({"notice": document}).decode() + "\n")
        except (OSError, ValueError) as error:
            raise NotSent(f"the output cannot be written: {error}") from None
        return "written"

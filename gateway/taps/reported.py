"""As whom a provider says it answered: the model's name and the fingerprint of what runs it. Knows no stream and no rule.

Whoever watches for drift compares them (policies/drift); here they are only read, once for each answer.
"""

from __future__ import annotations

from typing import Any

import msgspec

# A name that is longer is no name; so much of it tells it apart from others all the same.
NAME_CHARACTERS = 200
# Why an answer ended that is none: OpenAI's and Anthropic's words.
REFUSALS = frozenset({"content_filter", "refusal"})


class Named(msgspec.Struct, frozen=True, gc=False):
    """The names in a document. `Any`: an odd one is still an answer."""

    model: Any = None
    system_fingerprint: Any = None


_decode = msgspec.json.Decoder(Named).decode


def name_in(told: object) -> str | None:
    """What was told as a name, cut to 200 characters; None where it is none."""
    return told[:NAME_CHARACTERS] if told and isinstance(told, str) else None


def names_in(payload: bytes) -> tuple[str | None, str | None]:
    """Model and fingerprint at the top of a document; None for what is not there, or cannot be read."""
    try:
        found = _decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None, None
    return name_in(found.model), name_in(found.system_fingerprint)

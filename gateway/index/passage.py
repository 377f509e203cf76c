"""What a search finds, whatever store it was found in. Knows no store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import msgspec

# OpenAI's vector stores know these types of attributes.
Attribute: TypeAlias = str | int | float | bool


class Passage(msgspec.Struct, frozen=True):
    """One passage: the file it is from, how well it fits (greater is better), the file's attributes, and its text.

    `file_id` is what an answer cites. What a score means is its store's business; only its order is comparable.
    """

    file_id: str
    filename: str
    score: float
    text: str
    attributes: Mapping[str, Attribute] = {}

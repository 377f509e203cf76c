"""Markdown that shows what it was given: text of others becomes no link, tag, mention, cell or heading. Knows no verb."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence

# Control characters, line breaks and what turns the direction of text: each would let a value leave its place.
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+")
# A cell is for reading; whole contents are elsewhere.
MAX_CELL = 200


def code(text: str, *, limit: int = MAX_CELL) -> str:
    """`text` on one line as a code span, cut at `limit` characters: no renderer looks for anything in one."""
    line = _UNSEEN.sub(" ", text).strip()
    line = line if len(line) <= limit else f"{line[: limit - 1]}…"
    if not line:
        return ""
    fence = "`" * (1 + max((len(run) for run in re.findall(r"`+", line)), default=0))
    padding = " " if line.startswith("`") or line.endswith("`") else ""
    # A table takes even a code span's bar for the end of the cell, unless it is escaped.
    return f"{fence}{padding}{line}{padding}{fence}".replace("|", "\\|")


def value(found: object) -> str:
    """A JSON value in a cell: a text as it is, anything else as JSON, nothing for null."""
    if found is None:
        return ""
    return code(found if isinstance(found, str) else json.dumps(found, ensure_ascii=False, sort_keys=True))


def link(url: str | None) -> str:
    """` <url>` where it is one that can stand so; else nothing."""
    if url is None or not url.startswith(("https://", "http://")) or not url.isprintable():
        return ""
    return "" if re.search(r"[<>\s|`]", url) else f" <{url}>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; head and rows are Markdown already."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)

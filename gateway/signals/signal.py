"""One signal from outside, whatever shape it came in. Nouns only.

`status` is `firing` or `resolved` (an event that knows no end is `firing`). `audit`: it flags a version for an audit.
"""

from __future__ import annotations

from typing import Literal

import msgspec


class Signal(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody outside says. `id` tells it from the source's others; sent again, it is the same signal."""

    source: str
    id: str
    name: str
    status: Literal["firing", "resolved"] = "firing"
    route: str | None = None
    flag: str | None = None
    variant: str | None = None
    severity: str = ""
    summary: str = ""
    link: str | None = None
    time: str = ""
    audit: bool = False

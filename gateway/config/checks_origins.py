"""Whether the origins in `ofrep.cors` are such as browsers send: one that never comes would let nobody in, silently.

Pure. An origin is compared as text, so it must be spelled as browsers do (the URL standard, §4.7 and host serializing).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence
from types import MappingProxyType
from urllib.parse import urlsplit

from flags.errors import Invalid
from flags.fields import seen

ANY = "*"
DEFAULT_PORTS = MappingProxyType({"http": 80, "https": 443})
EXAMPLE = "write https://app.example, for example, or * for pages of every origin"
HOST = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?")


def origin_problems(origins: Sequence[str], path: str) -> Iterator[Invalid]:
    """What is wrong with each origin that no page can have."""
    for index, origin in enumerate(origins):
        if origin == ANY:
            continue
        where, found = f"{path}[{index}]", seen(origin)
        if origin == "null":
            message = "null is what a page sends whose origin is hidden, whosever it is"
            yield Invalid(where, message, mend=f"serve the page by http(s) and name its origin; {EXAMPLE}")
        elif "*" in origin:
            mend = "name each origin, or write * alone for pages of every origin"
            yield Invalid(where, f"found {found}: an origin has no pattern in it", mend=mend)
        elif (spelled := _as_browsers_spell(origin)) is None:
            yield Invalid(where, f"found {found}, expected a scheme, a host and maybe a port", mend=EXAMPLE)
        elif spelled != origin:
            yield Invalid(where, f"found {found}, which no browser sends", mend=f"write {spelled}")


def _as_browsers_spell(origin: str) -> str | None:
    """The origin of the page at `origin`; None where that is no address of a page."""
    try:
        parts = urlsplit(origin)
        port = parts.port
        host = _host(parts.hostname or "")
    except ValueError:
        return None
    if host is None or not parts.scheme:
        return None
    usual = DEFAULT_PORTS.get(parts.scheme)
    return f"{parts.scheme}://{host}" + ("" if port in (None, usual) else f":{port}")


def _host(found: str) -> str | None:
    if ":" in found:
        return f"[{ipaddress.IPv6Address(found).compressed}]"
    if not found.isascii():
        found = found.encode("idna").decode("ascii")
    if not HOST.fullmatch(found):
        return None
    # What ends like a number is an IPv4 address, or none.
    if found.rstrip(".").rpartition(".")[2].isdigit():
        return str(ipaddress.IPv4Address(found))
    return found

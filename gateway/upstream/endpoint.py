"""Where a provider is: a base URL taken apart once, and the head of every request to it made ready.

Knows no connection; what it makes is bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from flags.errors import Invalid
from gateway import __version__
from gateway.errors import BadRequest
from gateway.upstream.base import Headers

USER_AGENT = f"pointsman/{__version__}"

# RFC 9110 §5.6.2 and §5.5: what a field's name is made of, and what its value must never hold.
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FORBIDDEN_IN_VALUE = re.compile(rb"[\r\n\0]")

# They frame the message or belong to one connection; nobody but this client may set them.
_OURS = frozenset(
    (
        b"accept-encoding", b"connection", b"content-length", b"expect", b"host", b"keep-alive",
        b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade",
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A provider's address. `authority` is the Host header; `path` and `query` enclose each call's path."""

    secure: bool
    host: str
    port: int
    authority: str
    path: str
    query: str

    @classmethod
    def parse(cls, base_url: str) -> Endpoint:
        """Take `https://host[:port][/prefix][?query]` apart. Raises Invalid (path `base_url`)."""
        try:
            url = urlsplit(base_url)
            port = url.port
            (url.hostname or "").encode("idna")
        except ValueError as error:  # UnicodeError is one
            raise Invalid("base_url", f"{base_url!r} is no URL: {error}") from error
        if url.username is not None or url.password is not None:
            raise Invalid(
                "base_url", "holds a user or password", mend="name the secret with api_key: os.environ/NAME"
            )
        if url.scheme not in ("http", "https") or not url.hostname:
            raise Invalid("base_url", f"{base_url!r} is not usable: expected http://host… or https://host…")
        if not base_url.isascii() or not base_url.isprintable() or " " in base_url:
            raise Invalid(
                "base_url", f"{base_url!r} holds characters that a URL cannot have; percent-encode them"
            )
        secure = url.scheme == "https"
        authority = url.netloc.lower()
        return cls(
            secure, url.hostname, port or (443 if secure else 80), authority, url.path.rstrip("/"), url.query
        )

    @property
    def server_name(self) -> str | None:
        """The name that the certificate must be for, where TLS is spoken."""
        return self.host if self.secure else None


class Heads:
    """Makes request heads. What changes here: those already made, by path (64 at most)."""

    __slots__ = ("_endpoint", "_fixed", "_names", "_ready")

    def __init__(self, endpoint: Endpoint, api_key: str | None, headers: Mapping[str, str]) -> None:
        """`headers` are the operator's and win over ours. Raises Invalid where one cannot be sent."""
        fields = {
            b"content-type": b"application/json",
            b"accept": b"application/json, text/event-stream",
            b"user-agent": USER_AGENT.encode(),
        }
        if api_key is not None:
            fields[b"authorization"] = b"Bearer " + api_key.encode()
        fields |= {_named(name): _text(name, value) for name, value in headers.items()}
        self._endpoint = endpoint
        self._names = frozenset(fields) | _OURS
        fields = {b"host": endpoint.authority.encode(), **fields, b"accept-encoding": b"identity"}
        self._fixed = b"".join(b"%b: %b\r\n" % field for field in fields.items())
        self._ready: dict[str, bytes] = {}

    def head(self, path: str, length: int, extra: Headers = ()) -> bytes:
        """The head of a POST to `path`. Of `extra`, what this upstream sets itself is left out.

        Raises BadRequest where a header would break out of its line.
        """
        ready = self._ready.get(path) or self._make(path)
        if extra:
            ready += b"".join(b"%b: %b\r\n" % field for field in extra if self._may_send(*field))
        return b"%bcontent-length: %d\r\n\r\n" % (ready, length)

    def _make(self, path: str) -> bytes:
        target = self._endpoint.path + path
        if self._endpoint.query:
            target += ("&" if "?" in target else "?") + self._endpoint.query
        if not target.isascii() or not target.isprintable() or " " in target:
            raise BadRequest(f"the path {target!r} holds characters that a URL cannot have")
        made = b"POST %b HTTP/1.1\r\n%b" % (target.encode(), self._fixed)
        if len(self._ready) < 64:
            self._ready[path] = made
        return made

    def _may_send(self, name: bytes, value: bytes) -> bool:
        if not _NAME.fullmatch(name) or _FORBIDDEN_IN_VALUE.search(value):
            raise BadRequest(
                f"the header {name.decode('latin-1')!r} holds what a header must not (a line break?)"
            )
        return name.lower() not in self._names


def _named(name: str) -> bytes:
    raw = name.lower().encode()
    if not _NAME.fullmatch(raw):
        raise Invalid(f"headers.{name}", "is no name for a header")
    if raw in _OURS:
        raise Invalid(f"headers.{name}", "belongs to the connection and cannot be set")
    return raw


def _text(name: str, value: str) -> bytes:
    raw = value.encode()
    if _FORBIDDEN_IN_VALUE.search(raw):
        raise Invalid(f"headers.{name}", "holds a line break, which a header cannot have")
    return raw

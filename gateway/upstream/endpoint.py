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
from gateway.upstream.base import JSON, UpstreamRequest
from gateway.upstream.paths import PLAIN_PATHS, Manner

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
# Segments by which a path would climb (RFC 3986 §5.2.4), as they are and percent-encoded.
_CLIMBS = re.compile(r"/(?:\.|%2e){1,2}(?=[/?]|$)", re.IGNORECASE)
# What the plain paths answer with; audio, images and files are anything.
PLAIN_ACCEPT = b"application/json, text/event-stream"


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
    """Makes request heads. What changes here: those already made, of JSON sent to a plain path."""

    __slots__ = ("_defaults", "_endpoint", "_fields", "_names", "_prefix", "_ready")

    def __init__(
        self,
        endpoint: Endpoint,
        manner: Manner,
        *,
        api_key: str | None = None,
        auth_header: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """`auth_header` carries the key bare, instead of the kind's own; `headers` are the operator's and win.

        Raises Invalid where one of them cannot be sent.
        """
        fields = {b"user-agent": USER_AGENT.encode()}
        if api_key is not None and auth_header is None:
            fields[manner.key_header] = manner.key_prefix + _text("api_key", api_key)
        elif api_key is not None and auth_header is not None:
            fields[_named("auth_header", auth_header)] = _text("api_key", api_key)
        for name, value in (headers or {}).items():
            fields[_named(f"headers.{name}", name)] = _text(f"headers.{name}", value)
        self._endpoint = endpoint
        self._prefix = endpoint.path.removesuffix(manner.prefix) + manner.prefix
        self._defaults = tuple(field for field in manner.defaults if field[0] not in fields)
        self._fields = fields
        self._names = frozenset(fields) | _OURS | {b"content-type", b"accept"}
        self._ready: dict[str, bytes] = {}

    def head(self, request: UpstreamRequest) -> bytes:
        """The head of `request`. Of its own headers, what this upstream sets itself is left out.

        Raises BadRequest where a header or the path would break out of its line.
        """
        posts, extra = request.method == "POST", request.headers
        ready = self._ready.get(request.path) if posts and request.content_type == JSON else None
        if ready is None:
            ready = self._make(request)
        if extra:
            ready += b"".join(b"%b: %b\r\n" % field for field in extra if self._may_send(*field))
        if self._defaults:
            sent = {name.lower() for name, _ in extra}
            ready += b"".join(b"%b: %b\r\n" % field for field in self._defaults if field[0] not in sent)
        return b"%bcontent-length: %d\r\n\r\n" % (ready, len(request.body)) if posts else ready + b"\r\n"

    def _make(self, request: UpstreamRequest) -> bytes:
        plain = request.path in PLAIN_PATHS
        fields = {b"host": self._endpoint.authority.encode()}
        if request.method == "POST":
            fields[b"content-type"] = _content_type(request.content_type)
        fields |= {b"accept": PLAIN_ACCEPT if plain else b"*/*"} | self._fields
        fields[b"accept-encoding"] = b"identity"
        lines = b"".join(b"%b: %b\r\n" % field for field in fields.items())
        made = b"%b %b HTTP/1.1\r\n%b" % (request.method.encode(), self._target(request.path), lines)
        if plain and request.method == "POST" and request.content_type == JSON:
            self._ready[request.path] = made
        return made

    def _target(self, path: str) -> bytes:
        target = self._prefix + path
        if self._endpoint.query:
            target += ("&" if "?" in target else "?") + self._endpoint.query
        if not target.isascii() or not target.isprintable() or " " in target or "#" in target:
            raise BadRequest(f"the path {target!r} holds characters that a URL cannot have")
        if _CLIMBS.search(path.partition("?")[0]):
            raise BadRequest(f"the path {target!r} leads out of the upstream's base URL")
        return target.encode()

    def _may_send(self, name: bytes, value: bytes) -> bool:
        if not _NAME.fullmatch(name) or _FORBIDDEN_IN_VALUE.search(value):
            raise BadRequest(
                f"the header {name.decode('latin-1')!r} holds what a header must not (a line break?)"
            )
        return name.lower() not in self._names


def _named(place: str, name: str) -> bytes:
    raw = name.lower().encode()
    if not _NAME.fullmatch(raw):
        raise Invalid(place, f"{name!r} is no name for a header")
    if raw in _OURS:
        raise Invalid(place, f"{name!r} belongs to the connection and cannot be set")
    return raw


def _text(place: str, value: str) -> bytes:
    raw = value.encode()
    if _FORBIDDEN_IN_VALUE.search(raw):
        raise Invalid(place, "holds a line break, which a header cannot have")
    return raw


def _content_type(raw: bytes) -> bytes:
    if _FORBIDDEN_IN_VALUE.search(raw):
        raise BadRequest("the content type holds a line break, which a header cannot have")
    return raw

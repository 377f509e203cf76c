"""Channels from their declarations, and who wants which event. Secrets are resolved here, in the worker, when needed.

Knows no outbox. A declaration that cannot be read makes a channel that says so.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from flags.model import Document, Kind
from flags.snapshot import Snapshot
from gateway.compiling import spec
from gateway.errors import UpstreamUnavailable
from gateway.notices.channel import MOST_SECONDS, Channel, Notice, NotSent
from gateway.notices.printing import PrintChannel
from gateway.notices.web import Poster
from gateway.notices.webhooks import CloudEventsChannel, SlackChannel
from gateway.notices.words import words_of
from gateway.spec_rulebook import NotifySpec
from gateway.upstream.secret import resolve, told
from policies.notices.event import Event
from policies.notices.outbox import Addressed


@dataclass(frozen=True, slots=True)
class Wired:
    """A declared channel, made. `seconds` is the longest that one attempt takes."""

    name: str
    channel: Channel
    seconds: float
    kinds: frozenset[str] = frozenset()
    routes: frozenset[str] = frozenset()

    def wants(self, event: Event) -> bool:
        """Whether it is told of `event`; what is about no route is for all."""
        kinds = not self.kinds or not self.kinds.isdisjoint(event.kinds)
        return kinds and (not self.routes or not event.routes or not self.routes.isdisjoint(event.routes))


@dataclass(frozen=True, slots=True)
class Broken:
    """A channel that cannot be made; whoever sends by it learns why."""

    why: str

    async def send(self, notice: Notice) -> str:
        """See Channel."""
        raise NotSent(self.why)


class Maker:
    """Makes channels, and knows those of the newest snapshot. What changes here: those, by name and document."""

    def __init__(
        self,
        environ: Mapping[str, str],
        namespace: str,
        poster: Poster,
        *,
        now: Callable[[], float] = time.time,
        write: Callable[[str], object] = lambda text: sys.stdout.write(text) and sys.stdout.flush(),
    ) -> None:
        self._environ, self._namespace, self._poster = environ, namespace, poster
        self._now, self._write = now, write
        self._made: dict[str, tuple[Document, Wired]] = {}

    def __repr__(self) -> str:
        return f"<Maker of {', '.join(self._made) or 'no channels'}>"

    def channels(self, snapshot: Snapshot) -> Mapping[str, Wired]:
        """The channels that are declared now; those whose declaration did not change are the same as before."""
        made: dict[str, tuple[Document, Wired]] = {}
        for name, stored in snapshot.of_kind(Kind.NOTIFY).items():
            held = self._made.get(name)
            same = held is not None and held[0] == stored.document
            made[name] = (
                held if held is not None and same else (stored.document, self._wired(name, stored.document))
            )
        self._made = made
        return {name: wired for name, (_, wired) in made.items()}

    def _wired(self, name: str, document: Document) -> Wired:
        try:
            declared = msgspec.convert(spec(document), NotifySpec, strict=False)
        except msgspec.ValidationError as error:
            return Wired(name, Broken(f"the declaration cannot be read: {error}"), MOST_SECONDS)
        seconds = min(declared.timeout_seconds, MOST_SECONDS)
        return Wired(
            name,
            self._channel(declared, seconds),
            seconds,
            frozenset(declared.events),
            frozenset(declared.routes),
        )

    def _channel(self, declared: NotifySpec, seconds: float) -> Channel:
        words = words_of(declared.template)
        if declared.kind == "stdout":
            return PrintChannel(self._write, words)
        if declared.kind == "email":
            return self._mail(declared, seconds)
        if declared.url is None:
            return Broken("it has no `url`")
        url = self._told(declared.url)
        if declared.kind == "slack":
            return SlackChannel(self._poster, url, words, seconds)
        secret = None if declared.secret is None else self._secret(declared.secret)
        return CloudEventsChannel(self._poster, url, secret, words, seconds, self._namespace, self._now)

    def _mail(self, declared: NotifySpec, seconds: float) -> Channel:
        if declared.host is None or declared.sender is None or not declared.to:
            return Broken("it lacks `host`, `sender` or `to`")
        # Only where somebody has mail sent: the standard library's mail takes 1.5 MB and 5 ms of each worker's start.
        from gateway.notices.mail import PORTS, MailChannel, Relay  # noqa: PLC0415

        port = declared.port or dict(PORTS)[declared.tls]
        password = None if declared.password is None else self._secret(declared.password)
        relay = Relay(declared.host, port, declared.tls, declared.user, password, seconds)
        return MailChannel(relay, declared.sender, tuple(declared.to), words_of(declared.template), self._now)

    def _secret(self, reference: str) -> Callable[[], str]:
        """What `reference` stands for; the error names the reference only."""

        def found() -> str:
            try:
                return resolve(reference, self._environ)
            except UpstreamUnavailable as error:
                raise NotSent(str(error)) from None

        return found

    def _told(self, value: str) -> Callable[[], str]:
        """`value`, or what it stands for."""

        def found() -> str:
            try:
                return told(value, self._environ)
            except UpstreamUnavailable as error:
                raise NotSent(str(error)) from None

        return found


def addressed(event: Event, channels: Mapping[str, Wired], routes: tuple[str, ...], audit: str) -> Addressed:
    """The event with what only the snapshot knows, and the channels that want it."""
    complete = msgspec.structs.replace(event, routes=event.routes or routes, audit=event.audit or audit)
    return Addressed(complete, [name for name, wired in channels.items() if wired.wants(complete)])


def audit_link(base: str, event: Event) -> str:
    """Where the operators' API tells more; "" where no address is known, or the ledger has no entry of it."""
    if not base:
        return ""
    if event.ref:
        return f"{base}/admin/v1/rollbacks/{event.ref}"
    return f"{base}/admin/v1/log?after={event.revision - 1}&limit=1" if event.revision else ""

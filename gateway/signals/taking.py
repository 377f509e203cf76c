"""Takes signals in: who sends them, each once, and what the policies do about them. Knows no HTTP.

A source is declared in the config (`signals: {NAME: {secret, route?, flag?}}`). Its secret is read from where the config
says when a message comes, so that a new one holds at once.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from flags.errors import Invalid
from flags.model import Kind
from flags.snapshot import Snapshot
from flags.store import Store
from gateway.auth import Keyring, Operator, Role, require
from gateway.compiling import spec
from gateway.errors import GatewayError, Unauthorized
from gateway.signals.proof import prove
from gateway.signals.reading import signals_of
from gateway.signals.shapes import ResponseShape, SignalShape, SignalsTaken
from gateway.signals.signal import Signal
from gateway.spec_rulebook import SignalSpec
from gateway.upstream.secret import resolve
from policies.incidents.incident import Incident
from policies.incidents.responder import Responder, Response
from policies.policy import SIGNAL

log = logging.getLogger("pointsman.signals")

# While a signal is worked on nobody else takes it; whose worker died meanwhile is taken again after this.
WORKING_MS = 60_000
# An Alertmanager tells of what is still so every few hours: within a day of the last time that is the same signal, and
# what a person restored meanwhile is not rolled back by it again.
SEEN_MS = 86_400_000
TAKEN, DONE = b"taken", b"done"


class Seen(Protocol):
    """Remembers signals."""

    async def take(self, source: str, signal_id: str) -> bool:
        """True for who takes it first."""
        ...

    async def done(self, source: str, signal_id: str) -> None:
        """It was dealt with, and is not to be for a day."""
        ...

    async def leave(self, source: str, signal_id: str) -> None:
        """It could not be dealt with: whoever sends it again finds it untaken."""
        ...


class SeenSignals:
    """The signals that the fleet has taken, in Redis. All raise StoreUnavailable when it is away."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __repr__(self) -> str:
        return f"<SeenSignals {self._store!r}>"

    async def take(self, source: str, signal_id: str) -> bool:
        """True for who takes it first. As long as it is sent again and again it is not forgotten."""
        key, run = self._key(source, signal_id), self._store.calls.run
        # Not again: the answer of a first try that was lost would look like somebody else's.
        if await run(lambda redis: redis.set(key, TAKEN, nx=True, px=WORKING_MS), again=False):
            return True
        if await run(lambda redis: redis.get(key)) == DONE:
            await run(lambda redis: redis.pexpire(key, SEEN_MS))
        return False

    async def done(self, source: str, signal_id: str) -> None:
        """It was dealt with, and is not to be for a day."""
        key = self._key(source, signal_id)
        await self._store.calls.run(lambda redis: redis.set(key, DONE, px=SEEN_MS))

    async def leave(self, source: str, signal_id: str) -> None:
        """It could not be dealt with: whoever sends it again finds it untaken."""
        key = self._key(source, signal_id)
        await self._store.calls.run(lambda redis: redis.delete(key))

    def _key(self, source: str, signal_id: str) -> str:
        return self._store.keys.signal(source, hashlib.sha256(signal_id.encode()).hexdigest()[:32])


class SignalTaker:
    """One worker's ear for the outside. Keeps nothing. `environ` holds secrets; `now` gives Unix seconds."""

    def __init__(
        self,
        responder: Responder,
        seen: Seen,
        *,
        snapshot: Callable[[], Snapshot],
        environ: Mapping[str, str],
        now: Callable[[], float],
    ) -> None:
        self._responder, self._seen = responder, seen
        self._snapshot, self._environ, self._now = snapshot, environ, now

    def __repr__(self) -> str:
        return f"<SignalTaker {self._responder!r}>"

    def admit(
        self, keys: Keyring, headers: Mapping[str, str], named: str | None, token: bytes | None, body: bytes
    ) -> Operator:
        """Who sends this, by the name of the source: proven by the source's secret, or by an operator's token.

        Raises Unauthorized, and Forbidden for a token whose role is below operator. Without any token configured nobody
        is believed by their name: a signal is signed, also on loopback.
        """
        operator = self._operator(keys, token)
        if operator is not None:
            require(operator, Role.OPERATOR, "send signals")
            return Operator(self.source_of(named) or operator.name, operator.role)
        source = self.source_of(named)
        declared = None if source is None else self.declared(source)
        if source is None or declared is None:
            raise Unauthorized(
                "which source sends this is not known: declare it (signals: {NAME: {secret: …}}) and name it with "
                "x-pointsman-signal-source: NAME or ?source=NAME"
            )
        try:
            secret = resolve(declared.secret, self._environ)
        except GatewayError as error:
            log.error("signals of %s cannot be checked: %s", source, error)
            raise Unauthorized(
                f"the secret of the source {source} cannot be read; the server's log says more"
            ) from None
        prove(secret, headers, body, now=self._now())
        return Operator(source, Role.OPERATOR)

    def _operator(self, keys: Keyring, token: bytes | None) -> Operator | None:
        """Whose token it is, where it is one; a source's own secret comes by the same header."""
        if token is None or not keys.operators:
            return None
        try:
            return keys.operator(token)
        except Unauthorized:
            return None

    def source_of(self, named: str | None) -> str | None:
        """The source that is meant: the one named, else the only one declared."""
        declared = self._snapshot().of_kind(Kind.SIGNAL)
        if named is not None:
            return named if named in declared else None
        return next(iter(declared)) if len(declared) == 1 else None

    def declared(self, source: str) -> SignalSpec | None:
        """A source's declaration; None where there is none that can be read."""
        stored = self._snapshot().of_kind(Kind.SIGNAL).get(source)
        if stored is None:
            return None
        try:
            return msgspec.convert(spec(stored.document), SignalSpec)
        except msgspec.ValidationError as error:
            log.warning("the source %s cannot be read: %s", source, error)
            return None

    async def take(self, source: str, headers: Mapping[str, str], body: bytes) -> SignalsTaken:
        """What became of each signal of a message.

        Raises BadRequest and Invalid for what cannot be read, or names what does not exist, and then nothing was done;
        StoreUnavailable, and then it may be sent again.
        """
        declared = self.declared(source) or SignalSpec(secret="")
        signals = signals_of(source, declared, headers, body)
        self._check(signals)
        return SignalsTaken(source, [await self._take(each) for each in signals])

    def _check(self, signals: Sequence[Signal]) -> None:
        snapshot = self._snapshot()
        routes, flags = snapshot.of_kind(Kind.ROUTE), snapshot.flags
        for each in signals:
            if each.status == "resolved":
                continue  # what it was about may be gone since
            if each.route is not None and each.route not in routes:
                raise Invalid(
                    "route", f"route {each.route!r} is not defined (routes: {', '.join(sorted(routes)[:50])})"
                )
            if each.flag is None:
                continue
            if each.flag not in flags:
                raise Invalid(
                    "flag", f"flag {each.flag!r} is not defined (flags: {', '.join(sorted(flags)[:50])})"
                )
            variants = flags[each.flag].flag.variants
            if each.variant is not None and each.variant not in variants:
                listed = ", ".join([*variants][:50])
                raise Invalid(
                    "variant", f"flag {each.flag!r} has no variant {each.variant!r} (variants: {listed})"
                )

    async def _take(self, signal: Signal) -> SignalShape:
        known_as = f"{signal.id}/{signal.status}"
        if not await self._seen.take(signal.source, known_as):
            return SignalShape(signal.id, signal.name, "seen")
        try:
            found = await self._answered(signal)
            # What could not be done just now is taken anew when it comes again after the minute.
            if not any(each.again for each in found):
                await self._seen.done(signal.source, known_as)
        except BaseException:  # cancelled too: whoever sends it again must find it untaken
            await self._seen.leave(signal.source, known_as)
            raise
        shapes = [
            ResponseShape(each.did, each.object, each.reason, each.policy, each.revision) for each in found
        ]
        return SignalShape(
            signal.id, signal.name, "resolved" if signal.status == "resolved" else "done", shapes
        )

    async def _answered(self, signal: Signal) -> list[Response]:
        incident = incident_of(signal)
        if signal.status == "resolved":
            return [await self._responder.note(incident, "signal.resolved")]
        found = []
        if signal.audit and signal.flag is not None and signal.variant is not None:
            found.append(await self._responder.quarantine(incident, actor=f"{SIGNAL}/{signal.source}"))
        # A policy may want more; a flagged version that nobody has a policy about is told of by its quarantine.
        if not found or self._responder.meets(incident):
            found += await self._responder.respond(incident)
        return found


def incident_of(signal: Signal) -> Incident:
    """The signal as what policies are about."""
    what = "is resolved" if signal.status == "resolved" else "fires"
    severity = f" ({signal.severity})" if signal.severity else ""
    summary = f": {signal.summary}" if signal.summary else ""
    flagged = ", which flags the version for an audit" if signal.audit else ""
    detail = {"status": signal.status, "severity": signal.severity, "time": signal.time}
    return Incident(
        SIGNAL,
        f"{signal.source}/{signal.id}",
        f"the signal {signal.name} of {signal.source}{severity} {what}{flagged}{summary}",
        flag=signal.flag,
        variant=signal.variant,
        route=signal.route,
        source=signal.source,
        name=signal.name,
        link=signal.link,
        evidence={name: value for name, value in detail.items() if value},
    )

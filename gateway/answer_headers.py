"""What every answer tells of itself in its headers (CONTRACT §2). Knows decisions and exchanges, no door and no wire."""

from __future__ import annotations

from collections.abc import Callable

from gateway.decision import Decision, Serving
from gateway.exchange import Exchange
from gateway.retrieval.retrieve import told
from gateway.token import TokenSigner
from policies.outcome import Part


class AnswerHeaders:
    """Makes the headers of answers. It may not have a signer yet (no store so far), nor a snapshot."""

    def __init__(
        self,
        serving: Callable[[], Serving | None],
        *,
        signer: Callable[[], TokenSigner | None],
        degraded: Callable[[], bytes | None],
        now: Callable[[], float],
    ) -> None:
        self._serving, self._signer, self._degraded, self._now = serving, signer, degraded, now

    def of(self, x: Exchange, *, early: bool = False) -> list[tuple[bytes, bytes]]:
        """The headers as they stand now. Unless it is `early`, with nothing of the answer here, that is the moment up to
        which the request's overhead counts."""
        decision = x.decision
        if decision is None:
            headers = self._undecided(x)
        else:
            if not early:
                x.overhead = x.clock() - x.began - x.waited
            headers = self._decided(x, decision)
        degraded = self._degraded()
        if degraded is not None:
            headers.append((b"x-pointsman-degraded", degraded))
        return headers

    def _undecided(self, x: Exchange) -> list[tuple[bytes, bytes]]:
        serving = self._serving()
        headers = [
            (b"x-request-id", x.request_id.encode()),
            (b"x-pointsman-revision", b"%d" % (serving.snapshot.revision if serving else 0)),
        ]
        if x.route is not None:
            x.overhead = x.clock() - x.began - x.waited
            headers += (
                (b"x-pointsman-route", x.route.encode()),
                (b"x-pointsman-attempts", b"%d" % x.attempts),
                (b"x-pointsman-overhead-ms", b"%.3f" % (x.overhead * 1000)),
            )
        return headers

    def _decided(self, x: Exchange, decision: Decision) -> list[tuple[bytes, bytes]]:
        headers = [
            (b"x-request-id", x.request_id.encode()),
            (b"x-pointsman-route", decision.route.name.encode()),
            (b"x-pointsman-revision", b"%d" % decision.revision),
            (b"x-pointsman-attempts", b"%d" % x.attempts),
            (b"x-pointsman-overhead-ms", b"%.3f" % (x.overhead * 1000)),
        ]
        if decision.layers:
            headers.append((b"x-pointsman-versions", decision.versions.encode()))
        signer = self._signer()
        if signer is not None:
            token = signer.sign(x.request_id, int(self._now()), decision.token(x.unit))
            if token is not None:
                headers.append((b"x-pointsman-decision", token))
        if x.part is Part.SHIELD:
            headers.append((b"x-pointsman-shielded", b"1"))
        if x.passages or x.skipped:
            headers += told(x)
        if x.copy is not None:
            headers.append((b"x-pointsman-cache", b"hit" if x.copy.hit else b"miss"))
        if x.fallback is not None:
            headers.append((b"x-pointsman-upstream", x.fallback.encode()))
        return headers

"""One request from top to bottom: resolve, retrieve, render, dispatch, relay, record.

It reads one snapshot once, makes no trip to Redis and takes no lock. Every Decision ends in exactly one Outcome
(a shielded request has two Decisions, see gateway.shield).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from gateway.ask import Ask, read_ask
from gateway.context import read_context, read_pins
from gateway.dispatch import Dispatched, Dispatcher, Opened
from gateway.errors import GatewayError, NotReady, Stopping
from gateway.exchange import Exchange
from gateway.relay import finish, refuse, relay
from gateway.render import render
from gateway.route import Decision, Serving, decide, find_route
from gateway.shield import Shield
from gateway.token import TokenSigner
from policies.outcome import Blame, Ending, Part
from policies.recorder import Recorder

log = logging.getLogger("pointsman.pipeline")


class Pipeline:
    """The way of a request. `serving` is asked once per request; the signer may not be there yet (no store so far)."""

    def __init__(
        self,
        serving: Callable[[], Serving | None],
        dispatcher: Dispatcher,
        recorder: Recorder,
        *,
        signer: Callable[[], TokenSigner | None],
        degraded: Callable[[], bytes | None],
        now: Callable[[], float],
    ) -> None:
        self._serving, self._dispatcher, self._recorder = serving, dispatcher, recorder
        self._signer, self._degraded, self._now = signer, degraded, now
        self._shield = Shield(recorder)
        # Requests under way: a worker that stops waits for them.
        self.running = 0

    async def serve(self, x: Exchange) -> None:
        """Answer one chat completion, come what may; only cancellation from outside passes through."""
        dispatched: Dispatched | None = None
        self.running += 1
        try:
            ask = read_ask(x.body)
            decision = x.decision = self.resolve(ask, x)
            # retrieve: its layers come with retrieval; what they find will go to the prompt.
            dispatched = await self._shield.over(self.answer, decision, ask, x)
            await relay(dispatched, x, self.headers(x))
        except GatewayError as error:
            await refuse(error, x, self.headers(x))
        except asyncio.CancelledError:
            if not x.left:  # this worker ends, and the answer has had its time
                await refuse(
                    Stopping("this gateway is stopping, and the answer has had its time"), x, self.headers(x)
                )
                raise
            x.ends(Ending.ABANDONED, Blame.CLIENT, 499)
        except Exception:  # the edge: a bug of ours must cost one request, never the worker
            log.exception("request %s failed inside the gateway", x.request_id)
            await refuse(GatewayError("internal error"), x, self.headers(x))
        finally:
            self.running -= 1
            self.record(x)
            if isinstance(dispatched, Opened):
                await finish(dispatched, x)

    async def answer(self, decision: Decision, ask: Ask, x: Exchange, *, trial: bool = False) -> Dispatched:
        """Render and dispatch; asked again, with the control's versions, where a candidate on `trial` failed."""
        fields = render(decision, ask)
        return await self._dispatcher.dispatch(decision.model, ask, fields, x, trial=trial)

    def resolve(self, ask: Ask, x: Exchange) -> Decision:
        """Which version of each layer answers this request."""
        serving = self._serving()
        if serving is None:
            raise NotReady("starting: no flags are known yet", retry_after_seconds=1)
        route = find_route(serving, ask.route, x.caller)
        x.route = route.name
        pins = read_pins(x.headers, serving, x.caller)
        context = read_context(ask, route, x.headers, x.caller, x.request_id)
        signer = self._signer()
        if signer is not None and context.targeting_key != x.request_id:
            x.unit = signer.unit(context.targeting_key or "")
        return decide(serving, route, context, pins, int(self._now()))

    def record(self, x: Exchange) -> None:
        """One Outcome for the decision; a request that came to none is only counted."""
        if x.trace is not None:
            x.trace.end()
        if x.decision is None:
            self._recorder.refused(x.route or "", x.ending, x.blame)
        else:
            self._recorder.add(x.outcome(x.decision, excused=self._shield.excuses(x)))

    def headers(self, x: Exchange) -> list[tuple[bytes, bytes]]:
        """What every answer tells of itself (CONTRACT §2), before the first chunk."""
        headers = [(b"x-request-id", x.request_id.encode())]
        degraded = self._degraded()
        if degraded is not None:
            headers.append((b"x-pointsman-degraded", degraded))
        if x.route is not None:
            headers.append((b"x-pointsman-route", x.route.encode()))
        decision = x.decision
        if decision is None:
            serving = self._serving()
            headers.append((b"x-pointsman-revision", b"%d" % (serving.snapshot.revision if serving else 0)))
            return headers
        x.overhead = x.clock() - x.began - x.waited
        headers += (
            (b"x-pointsman-revision", b"%d" % decision.revision),
            (b"x-pointsman-attempts", b"%d" % x.attempts),
            (b"x-pointsman-overhead-ms", b"%.3f" % (x.overhead * 1000)),
        )
        if decision.layers:
            headers.append((b"x-pointsman-versions", decision.versions.encode()))
        signer = self._signer()
        if signer is not None:
            token = signer.sign(x.request_id, int(self._now()), decision.token(x.unit))
            if token is not None:
                headers.append((b"x-pointsman-decision", token))
        if x.part is Part.SHIELD:
            headers.append((b"x-pointsman-shielded", b"1"))
        if x.fallback is not None:
            headers.append((b"x-pointsman-upstream", x.fallback.encode()))
        return headers

"""One request from top to bottom: resolve, retrieve, render, dispatch, relay, record.

It reads one snapshot once, makes no trip to Redis and takes no lock. Every Decision ends in exactly one Outcome
(a shielded request has two Decisions, see gateway.shield).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from functools import partial

import msgspec

from flags.model import Context, Layer
from gateway.answer_headers import AnswerHeaders
from gateway.ask import Ask
from gateway.budget import UNBOUNDED, read_budget
from gateway.cache import Cache
from gateway.context import read_context, read_pins, switch_context
from gateway.deciding.elsewhere import Elsewhere
from gateway.decision import Asked, Decision, Route, Serving
from gateway.dialects.openai import JSON
from gateway.dispatch import Dispatched, Dispatcher, Opened, Whole
from gateway.errors import GatewayError, NotReady, Stopping
from gateway.exchange import Exchange
from gateway.index.passage import Passage
from gateway.judging.online import OnlineJudge
from gateway.judging.transcript import Transcript, tell
from gateway.keepalive import KeepAlive
from gateway.kept import Copy
from gateway.patience import Patience
from gateway.relay import finish, refuse, relay
from gateway.render import render
from gateway.retrieval.retrieve import Retrieval, shown
from gateway.route import decide, find_route
from gateway.shadow import Shadows
from gateway.shield import Shield
from gateway.switches.board import Stand, Switchboard
from gateway.taps.peek import JsonPeek
from gateway.token import TokenSigner
from policies.outcome import Blame, Ending
from policies.recorder import Recorder

log = logging.getLogger("pointsman.pipeline")

# The layers that rest where the switch `gateway.retrieval` is off: what did not answer is no evidence.
SEARCHING = frozenset({Layer.RETRIEVER, Layer.INDEX})


class Pipeline:
    """The way of a request. `serving` is asked once per request; the signer may not be there yet (no store so far)."""

    def __init__(  # noqa: PLR0913  # what the house gives to it
        self,
        serving: Callable[[], Serving | None],
        dispatcher: Dispatcher,
        recorder: Recorder,
        *,
        signer: Callable[[], TokenSigner | None],
        degraded: Callable[[], bytes | None],
        now: Callable[[], float],
        draw: Callable[[], float],
        retrieval: Retrieval | None = None,
        patience: Patience | None = None,
        cache: Cache | None = None,
        judge: OnlineJudge | None = None,
    ) -> None:
        """Without `judge` no answer is judged, without `patience` silent streams stay silent, without `cache` nothing is kept."""
        self._patience, self._cache, self.judge = patience, cache, judge
        self._retrieval = retrieval or Retrieval({})
        self._serving, self._dispatcher, self._recorder = serving, dispatcher, recorder
        self._signer, self._now = signer, now
        self.headers = AnswerHeaders(serving, signer=signer, degraded=degraded, now=now).of
        self._shield = Shield(recorder)
        self.shadows = Shadows(partial(self.answer, trial=True), recorder, draw)
        # Who is asked where a route's decisions are not the store's.
        self.elsewhere = Elsewhere()
        # Requests under way: a worker that stops waits for them.
        self.running = 0

    async def serve(self, x: Exchange) -> None:
        """Answer one request, come what may; only cancellation from outside passes through."""
        dispatched: Dispatched | None = None
        self.running += 1
        try:
            ask = x.wire.read(x.body)
            decision = x.decision = await self.resolve(ask, x)
            self.accompany(decision, ask, x)
            dispatched = await self._shield.over(self.answer, decision, ask, x)
            await relay(dispatched, x, self.headers(x))
            if x.copy is not None and x.ending is Ending.OK and self._cache is not None:
                self._cache.keep(x.copy, x)
        except GatewayError as error:
            error.settled()
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
        """Retrieve, render and dispatch; asked again, with the control's versions, where a candidate on `trial` failed."""
        if x.alive is not None:
            # What is on trial may still be replaced, and its head must not be out before.
            x.alive.held = trial
            x.overhead = x.clock() - x.began - x.waited
        wire = ask.wire
        passages: tuple[Passage, ...] = ()
        if wire.asks_model and not x.stand.retrieval:
            x.skipped = decision.route.searches
        elif decision.route.searches or not wire.asks_model:
            passages = await self._retrieval.find(decision, ask, x, trial=trial)
            if not wire.asks_model:
                return Whole(200, (JSON,), wire.found(passages), JsonPeek())
        fields = render(decision, ask, shown(passages) if passages else ())
        if x.copy is not None:
            found = await self._kept(x.copy, decision, ask, fields, x)
            if found is not None:
                return found
        if x.alive is not None:
            x.overhead = x.clock() - x.began - x.waited
        return await self._dispatcher.dispatch(decision.model, ask, fields, x, trial=trial)

    def accompany(self, decision: Decision, ask: Ask, x: Exchange) -> None:
        """What goes beside a request: signs of life on its stream, and its part in the route's cache."""
        route, stand = decision.route, x.stand
        silence = route.keep_alive_seconds if stand.keep_alive is None else stand.keep_alive
        if ask.stream and silence and self._patience is not None and ask.wire.framed:
            x.alive = KeepAlive(x, silence, self._patience, partial(self.headers, early=True))
        if route.cache is not None and stand.cache and self._cache is not None:
            x.copy = self._cache.begin(ask, decision, x.headers)
        if route.judge is not None and self.judge is not None:
            self.judge.overhear(route.judge, ask, x)
        if stand.content_logging:
            x.door = x.transcript = Transcript(x.door, stream=ask.stream)

    async def _kept(
        self, copy: Copy, decision: Decision, ask: Ask, fields: dict[str, msgspec.Raw], x: Exchange
    ) -> Whole | None:
        serving = self._serving()
        assert self._cache is not None
        assert serving is not None
        return await self._cache.find(copy, decision, ask, fields, x=x, snapshot=serving.snapshot)

    async def resolve(self, ask: Ask, x: Exchange) -> Decision:
        """Which version of each layer answers this request."""
        serving = self._serving()
        if serving is None:
            raise NotReady("starting: no flags are known yet", retry_after_seconds=1)
        route = find_route(serving, ask.route, x.caller, ask.wire.named_by)
        x.route = route.name
        budget = read_budget(x.headers)
        if budget is not UNBOUNDED:
            x.latest, x.most = x.began + budget.seconds, budget.attempts
        pins = read_pins(x.headers, serving, x.caller)
        context = read_context(ask, route, x.headers, x.caller, x.request_id)
        signer = self._signer()
        if signer is not None and context.targeting_key != x.request_id:
            x.unit = signer.unit(context.targeting_key or "")
        now, board = int(self._now()), serving.switches
        x.stand = board.always or switched(board, context, ask, route, x, now)
        asked = Asked(context, pins, now, applying(ask, x.stand))
        if route.decisions is not None:
            asked = await self.elsewhere.asked(route, asked)
        decision = decide(serving, route, asked)
        if asked.given:
            self.elsewhere.note(decision, asked.given, x.unit)
        if route.shadowed and ask.wire.replayable(ask):
            deciding = partial(with_pins, serving, route, asked)
            x.shadows = self.shadows.cast(decision, ask, deciding, asked.applying, x.stand.shadow)
        return decision

    def record(self, x: Exchange) -> None:
        """One Outcome for the decision; a request that came to none is only counted. Then its shadows begin."""
        if x.alive is not None:
            x.alive.close()
            # It knows the exchange: a circle, by which every stream's body would stay for hours.
            x.alive = None
        if x.transcript is not None:
            tell(x.transcript, x)
        if x.trace is not None:
            x.trace.end()
        if x.decision is None:
            self._recorder.refused(x.route or "", x.ending, x.blame)
        else:
            self._recorder.add(x.outcome(x.decision, excused=self._shield.excuses(x)))
        if x.shadows:
            self.shadows.mirror(x)
        if x.sampled is not None and self.judge is not None:
            self.judge.hear(x.sampled, x)


def switched(  # all that a switch may hang on
    board: Switchboard, context: Context, ask: Ask, route: Route, x: Exchange, now: int
) -> Stand:
    """How the gateway's own switches stand for this request; its attributes are read where a rule looks at some."""
    if board.reads_attributes:
        context = switch_context(context, ask, route, x.headers, x.caller)
    return board.stand(context, now)


def applying(ask: Ask, stand: Stand) -> Collection[Layer]:
    """The layers that this request meets: those of its wire; without retrieval a model is asked without passages."""
    layers = ask.wire.layers
    return layers - SEARCHING if ask.wire.asks_model and not stand.retrieval else layers


def with_pins(serving: Serving, route: Route, asked: Asked, more: Mapping[str, str]) -> Decision:
    """The decision on what was `asked`, with `more` pinned (a shadow's versions)."""
    pins = {**asked.pins, **more}
    return decide(serving, route, asked._replace(pins=pins))

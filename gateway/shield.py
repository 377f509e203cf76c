"""The shield: a request that a candidate fails before its first content is served again on the control.

The candidate is charged, the user never sees it (DESIGN §5). Knows releases and endings; asks nobody itself, and knows
no body and no upstream: the wire says what may be asked twice (responses with `store`, `background` or
`previous_response_id` may not, nor files and batches).
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import replace
from typing import NamedTuple, Protocol

import msgspec

from flags.model import Layer
from gateway.answer import Dispatched, Whole
from gateway.ask import Ask
from gateway.decision import Decision
from gateway.errors import GatewayError, NotReady, PromptNotRendered, UpstreamBusy, UpstreamError
from gateway.exchange import Exchange
from gateway.relay import ending_of
from gateway.route import stand_in
from gateway.version import PreparedModel
from policies.outcome import Blame, Ending, How, Outcome, Part
from policies.recorder import Recorder

# DESIGN §5: when so many shielded attempts in a row failed as well it is no candidate's fault, and asking everything
# twice would double the load on a provider that is down.
FAILURES_IN_A_ROW = 10
REST_SECONDS = 10.0
# Routes whose shield failed last time; a bound for names that come and go.
MAX_ROUTES = 10_000

# What a candidate may fail with that its control may do better. A bad request is the app's on every version.
CANDIDATES_FAULT = (UpstreamError, PromptNotRendered, NotReady)


class Serve(Protocol):
    """Render and dispatch one decision; with `trial`, what fails is served again."""

    async def __call__(self, decision: Decision, ask: Ask, x: Exchange, *, trial: bool = False) -> Dispatched:
        """The answer whose first content is here. Raises GatewayError."""
        ...


class Run(NamedTuple):
    """Shielded attempts of a route that failed, one after the other, and until when its shield rests."""

    failures: int = 0
    until: float = 0.0


class Shield:
    """Stands before every version on trial. What changes here: the runs of failures, by route, in this process."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._runs: dict[str, Run] = {}

    def __repr__(self) -> str:
        return f"<Shield, failing on {len(self._runs)} routes>"

    def over(self, serve: Serve, decision: Decision, ask: Ask, x: Exchange) -> Awaitable[Dispatched]:
        """The decision's answer; where a version on trial fails, its control's. Raises GatewayError.

        With one attempt allowed there is none for a control, nor where the switch `gateway.shield` is off: what the
        candidate says is the answer.
        """
        if x.most == 1 or not x.stand.shield:
            return serve(decision, ask, x)
        if self._runs and self.rests(decision.route.name, x.clock()):
            x.unshielded = True
        elif decision.on_trial and ask.wire.replayable(ask):
            return self._tried(serve, decision, ask, x)
        return serve(decision, ask, x)

    async def _tried(self, serve: Serve, decision: Decision, ask: Ask, x: Exchange) -> Dispatched:
        try:
            dispatched = await serve(decision, ask, x, trial=True)
            ending = ending_of_answer(dispatched)
            if ending is None:
                return dispatched
            x.ends(*ending)
        except UpstreamBusy as error:
            error.settled()
            x.ends(Ending.FAILED, Blame.GATEWAY, error.status)
        except CANDIDATES_FAULT as error:
            error.settled()
            # What cannot be served, or asked, as it stands is the version's own fault.
            blame = Blame.RELEASE if error.blame is Blame.GATEWAY else error.blame
            x.ends(Ending.FAILED, blame, error.status)
        return await self._serve_again(serve, decision, ask, x)

    async def _serve_again(self, serve: Serve, decision: Decision, ask: Ask, x: Exchange) -> Dispatched:
        """Ask the control. How that goes tells whose failure the first was; a client that leaves now leaves it open."""
        tried, control, answered = tried_of(decision, x), stand_in(decision), False
        x.shields(control)
        try:
            dispatched = await serve(without_retries(control), ask, x)
            ending = ending_of_answer(dispatched)
            answered = ending is None
            self._note(x, Blame.NONE if ending is None else ending[1])
            return dispatched
        except GatewayError as error:
            self._note(x, error.blame if isinstance(error, UpstreamError) else Blame.GATEWAY)
            raise
        finally:
            excused = not answered or (x.stumbled and failed_alike(tried, decision, control))
            self._recorder.add(charged(tried, excused=excused))

    def rests(self, route: str, now: float) -> bool:
        """Whether the shield of `route` rests at `now` (of the exchange's clock)."""
        run = self._runs.get(route)
        return run is not None and now < run.until

    def excuses(self, x: Exchange) -> bool:
        """Whether a failure counts for nobody: the shield rests, and without it an outage would look like a candidate's
        fault, or, while it stood for candidates only, like the control's."""
        if not self._runs and not x.unshielded:
            return False
        theirs = x.blame is Blame.UPSTREAM or (x.blame is Blame.RELEASE and x.attempts > 0)
        if x.ending is not Ending.FAILED or not theirs:
            return False
        return x.unshielded or (x.route is not None and self.rests(x.route, x.clock()))

    def _note(self, x: Exchange, blame: Blame) -> None:
        """Count towards a rest. Only what an upstream did says anything: a client's own 400s by the thousand (or 404s,
        for what it asks about and nobody has) must not put the shield to sleep."""
        route = x.route or ""
        if blame is Blame.NONE:
            self._runs.pop(route, None)
        elif blame is Blame.UPSTREAM:
            failures = self._runs.get(route, Run()).failures + 1
            if len(self._runs) >= MAX_ROUTES:
                self._runs.clear()
            until = x.clock() + REST_SECONDS if failures >= FAILURES_IN_A_ROW else 0.0
            self._runs[route] = Run(failures, until)


def ending_of_answer(dispatched: Dispatched) -> tuple[Ending, Blame, int] | None:
    """How a request would end with an upstream's refusal; None for an answer."""
    if not isinstance(dispatched, Whole) or dispatched.status < 400:
        return None
    return ending_of(dispatched.status)


def tried_of(decision: Decision, x: Exchange) -> Outcome:
    """What became of the candidate, by itself: of the request's releases only those on trial are charged.

    With them stand the controls that other layers' coins chose: what the candidate of one layer breaks it breaks for
    both arms of another, and only who hears of both can tell that it was not the other's.
    """
    tried = [
        (chosen.version.release, chosen.how if chosen.control is not None else How.BESIDE)
        for chosen in decision.layers
        if chosen.control is not None or chosen.how is How.COIN
    ]
    return msgspec.structs.replace(
        x.outcome(decision),
        releases=tuple([release for release, _ in tried]),
        how="".join([how for _, how in tried]),
        part=Part.TRIED,
    )


def charged(tried: Outcome, *, excused: bool) -> Outcome:
    """A candidate's failure once it is known whether the control did better: then it was not the client's."""
    blame = Blame.RELEASE if tried.blame is Blame.CLIENT and not excused else tried.blame
    return msgspec.structs.replace(tried, blame=blame, excused=excused or blame is Blame.GATEWAY)


def failed_alike(tried: Outcome, decision: Decision, control: Decision) -> bool:
    """Whether the control's first attempt failed as the candidate did, and only a fallback of its own saved it:
    both had asked the same target, which was down."""
    first, second = model_of(decision), model_of(control)
    if tried.blame is not Blame.UPSTREAM or first is None or second is None:
        return False
    return first.attempts[0].target == second.attempts[0].target


def model_of(decision: Decision) -> PreparedModel | None:
    """The model version, where it can be served."""
    prepared = (chosen.version.prepared for chosen in decision.layers if chosen.layer is Layer.MODEL)
    return next((model for model in prepared if isinstance(model, PreparedModel)), None)


def without_retries(control: Decision) -> Decision:
    """The control is asked once. Its fallbacks stand: without them a candidate's users alone would feel an outage."""
    model = model_of(control)
    if model is None or not model.content.retries:
        return control
    first, *others = model.attempts
    once = replace(model, attempts=(first, *[attempt for attempt in others if attempt.fallback]))
    layers = [
        chosen._replace(version=chosen.version._replace(prepared=once))
        if chosen.layer is Layer.MODEL
        else chosen
        for chosen in control.layers
    ]
    return msgspec.structs.replace(control, layers=tuple(layers))

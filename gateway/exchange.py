"""One request on its way through the house: what came in, the door it came by, and how far it has got.

This is the one object that grows while a request is served; its fields are all that changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import TYPE_CHECKING, Protocol

from gateway.auth import Caller
from gateway.decision import Decision, Mirrored
from gateway.index.passage import Passage
from gateway.keepalive import KeepAlive
from gateway.kept import Copy
from gateway.switches.board import USUAL
from gateway.taps.peek import JsonPeek
from gateway.taps.reported import REFUSALS
from gateway.taps.sse import Tap
from gateway.telemetry import Trace
from gateway.version import THE_APPS, Attempt
from gateway.wires.base import Wire
from policies.outcome import Blame, CostSource, Ending, Outcome, Part

if TYPE_CHECKING:
    # They know exchanges themselves.
    from gateway.judging.online import Sampled
    from gateway.judging.transcript import Transcript

# Of an answer that does not say who made it.
NOBODY: tuple[str | None, str | None] = (None, None)


class Door(Protocol):
    """Where the answer goes out. A write waits while the client is slow: that is the back-pressure."""

    async def start(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Send the status and the headers."""
        ...

    async def write(self, data: bytes) -> None:
        """Send a part of the body."""
        ...

    async def end(self, data: bytes = b"") -> None:
        """Send the last part of the body."""
        ...

    def abort(self) -> None:
        """Break the answer off, so that its reader sees that it is not whole."""
        ...


class Exchange:
    """The state of one request. `clock` counts seconds; `began` is when the request's head was here.

    The clock is time.monotonic, on which event loops count too; uvloop's own shows whole milliseconds only.
    """

    __slots__ = (
        "alive", "answered", "attempts", "began", "blame", "body", "cached_tokens", "caller", "clock", "copy",
        "deadline", "decision", "door", "ending", "fallback", "first_content", "headers", "input_tokens",
        "latest", "left", "lot", "most", "output_tokens", "overhead", "part", "passages", "reasoning_tokens",
        "refused", "reported", "request_id", "route", "sampled", "searched", "shadows", "since", "skipped", "stand",
        "started", "status", "stumbled", "told_cost_usd", "trace", "transcript", "unit", "unshielded", "waited",
        "wire", "written_tokens",
    )  # fmt: skip

    def __init__(  # what a request is made of when it comes
        self,
        request_id: str,
        headers: Mapping[bytes, bytes],
        caller: Caller,
        door: Door,
        wire: Wire,
        clock: Callable[[], float],
    ) -> None:
        self.request_id, self.headers, self.caller = request_id, headers, caller
        self.door, self.wire, self.clock = door, wire, clock
        # `since`: when the present decision's time began; of a shield's, when the candidate had failed.
        self.began = self.since = clock()
        self.body = b""
        # None where nobody asked for telemetry.
        self.trace: Trace | None = None
        self.route: str | None = None
        self.decision: Decision | None = None
        # A keyed hash of who asks, "" where nobody is named; what of the request the present decision is.
        self.unit = ""
        self.part = Part.WHOLE
        # The route's shield rested when this began: what an upstream fails now is charged to nobody.
        self.unshielded = False
        # What to send a copy of this to, when it is over.
        self.shadows: tuple[Mirrored, ...] = ()
        # When the whole answer must be through; set when the upstream is asked.
        self.deadline = inf
        self.attempts = 0
        # What the app itself grants: until when, and how many attempts.
        self.latest = self.most = inf
        # By which a balanced version's target is drawn: a candidate and its control draw alike.
        self.lot: float | None = None
        # What keeps a silent stream alive, and the request's part in the response cache; None: it has none.
        self.alive: KeepAlive | None = None
        self.copy: Copy | None = None
        # Whether the answer took more than the version's first attempt, and the attempt whose answer it is.
        self.stumbled = False
        self.answered: Attempt | None = None
        # The upstream that answered where it was not the version's first one.
        self.fallback: str | None = None
        # Seconds spent waiting for upstreams up to the response's head: what our overhead does not include.
        self.waited = 0.0
        # Seconds of ours up to the response's head.
        self.overhead = 0.0
        # What was found for the prompt; by which versions, so that a control with the same does not search again; and
        # whether it could not be, and was left out.
        self.passages: tuple[Passage, ...] = ()
        self.searched: tuple[object, object, tuple[Passage, ...]] | None = None
        self.skipped = False
        self.first_content: float | None = None
        self.input_tokens: int | None = None
        self.output_tokens: int | None = None
        self.cached_tokens: int | None = None
        self.written_tokens: int | None = None
        self.reasoning_tokens: int | None = None
        # What the provider says that it charges.
        self.told_cost_usd: float | None = None
        # As whom the provider answered (model, fingerprint), and whether it refused to.
        self.reported: tuple[str | None, str | None] = NOBODY
        self.refused = False
        # What the online judge will be asked, where this request is sampled.
        self.sampled: Sampled | None = None
        # How the gateway's own switches stand for this request, decided once; what of it goes to the content log.
        self.stand = USUAL
        self.transcript: Transcript | None = None
        self.started = False
        self.left = False
        # Until somebody says otherwise it is our fault: an exception that nobody foresaw must not look like success.
        self.ending, self.blame, self.status = Ending.FAILED, Blame.GATEWAY, 500

    def __repr__(self) -> str:
        return f"<Exchange {self.request_id} {self.ending} attempts={self.attempts} started={self.started}>"

    @property
    def hurried(self) -> bool:
        """Whether the deadline is the app's own, and not the version's."""
        return self.deadline == self.latest

    def ends(self, ending: Ending, blame: Blame, status: int) -> None:
        """Say how this request ended; the last word counts."""
        self.ending, self.blame, self.status = ending, blame, status

    def counted(self, told: Tap | JsonPeek) -> None:
        """Take over what the provider told of tokens and cost."""
        self.input_tokens, self.output_tokens = told.input_tokens, told.output_tokens
        self.cached_tokens, self.reasoning_tokens = told.cached_tokens, told.reasoning_tokens
        self.written_tokens = told.written_tokens
        self.told_cost_usd = told.cost_usd
        if told.model is not None or told.fingerprint is not None:
            self.reported = told.model, told.fingerprint
        self.refused = told.refused or told.finish_reason in REFUSALS

    def shields(self, control: Decision) -> None:
        """Begin anew with what answers in a failed candidate's place; attempts and waiting go on being counted."""
        self.decision, self.part, self.since = control, Part.SHIELD, self.clock()
        self.ending, self.blame, self.status = Ending.FAILED, Blame.GATEWAY, 500
        self.fallback, self.answered, self.stumbled = None, None, False

    def cost(self) -> tuple[float | None, CostSource]:
        """USD that the answer cost, and who says so; unknown is not zero."""
        if self.part is Part.CACHED:
            # Nobody was asked: that the answer lay here is the route's configuration.
            return 0.0, CostSource.CONFIG
        if self.told_cost_usd is not None:
            return self.told_cost_usd, CostSource.PROVIDER
        rate = self.answered.rate if self.answered is not None else None
        if rate is None:
            return None, CostSource.UNKNOWN
        usd = rate.cost(
            self.input_tokens,
            self.output_tokens,
            self.cached_tokens,
            self.reasoning_tokens,
            self.written_tokens,
        )
        return usd, CostSource.UNKNOWN if usd is None else rate.source

    def reporting(self) -> tuple[str, str | None, str | None] | None:
        """The target that answered, and as whom; None where nobody told, or the app itself has named the model."""
        attempt = self.answered
        if (
            self.reported is NOBODY
            or attempt is None
            or attempt.model == THE_APPS
            or self.part is Part.CACHED
        ):
            return None
        return attempt.target, *self.reported

    def outcome(self, decision: Decision, *, excused: bool = False) -> Outcome:
        """The Outcome of this request's decision."""
        cost_usd, cost_source = self.cost()
        return Outcome(
            request_id=self.request_id,
            route=decision.route.name,
            releases=decision.releases,
            ending=self.ending,
            blame=self.blame,
            status=self.status,
            seconds=self.clock() - self.since,
            first_content_seconds=self.first_content,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            cached_tokens=self.cached_tokens,
            reasoning_tokens=self.reasoning_tokens,
            cost_usd=cost_usd,
            cost_source=cost_source,
            attempts=self.attempts,
            how=decision.how,
            revision=decision.revision,
            unit=self.unit,
            part=self.part,
            stumbled=self.stumbled,
            excused=excused,
            overhead_seconds=self.overhead,
            refused=self.refused,
            reported=self.reporting(),
        )

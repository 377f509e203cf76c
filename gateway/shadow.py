"""Shadows: a share of a route's requests is sent to another version as well, whose answers nobody sees.

They begin when the request's own answer is through, and have an attempt and a deadline of their own, so they delay and
change nothing. Knows decisions and exchanges; asks nobody itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

import msgspec

from flags.model import Layer
from gateway.answer import Dispatched, Opened
from gateway.ask import Ask
from gateway.decision import Decision, Mirrored
from gateway.errors import GatewayError
from gateway.exchange import Exchange
from gateway.relay import finish, relay
from gateway.version import Version
from policies.outcome import Blame, Ending, How, Outcome, Part
from policies.recorder import Recorder

log = logging.getLogger("pointsman.shadow")

# At once in one process. At 1 s an answer these are 16 requests a second; what comes above that is not mirrored: a
# shadow must never grow a queue, nor take all of an upstream's connections.
MOST_AT_ONCE = 16
# 10000 is a rollout's whole.
WHOLE = 10_000

# A client that has left might have left for the answer's slowness; its copy would tell nothing that can be compared.
ANSWERED = frozenset({Ending.OK, Ending.FAILED})

# Render and dispatch one decision.
Answer = Callable[[Decision, Ask, Exchange], Awaitable[Dispatched]]


class Shadows:
    """The mirrored requests of one process. What changes here: those under way, and how many found no room."""

    def __init__(self, answer: Answer, recorder: Recorder, draw: Callable[[], float]) -> None:
        """`draw` is uniform in [0, 1)."""
        self._answer, self._recorder, self._draw = answer, recorder, draw
        self._under_way: set[asyncio.Task[None]] = set()
        self.dropped = 0

    def __repr__(self) -> str:
        return f"<Shadows {self.running} running, {self.dropped} dropped>"

    @property
    def running(self) -> int:
        """How many are under way."""
        return len(self._under_way)

    def cast(
        self,
        decision: Decision,
        ask: Ask,
        decide: Callable[[Mapping[str, str]], Decision],
        applying: Collection[Layer],
        percent: float | None = None,
    ) -> tuple[Mirrored, ...]:
        """What this request is also sent to: each layer's shadow tosses a coin of its own, at `percent` where that is given.

        `decide` decides the request anew with one more version pinned. A shadow that serves this request anyway casts
        none, nor does one of a layer that is not `applying`.
        """
        copy = ask.wire.mirrored(ask)
        serving = {chosen.version.release for chosen in decision.layers}
        cast = [
            mirror.version
            for layer, mirror in ((each.layer, each.shadow) for each in decision.route.layers)
            if mirror is not None
            and layer in applying
            and mirror.version.release not in serving
            and self._draw() * WHOLE < (mirror.weight if percent is None else percent * 100)
        ]
        return tuple(
            Mirrored(as_shadow(decide({version.release.flag: version.release.variant}), version), copy)
            for version in cast
        )

    def mirror(self, x: Exchange) -> None:
        """Send what was cast, now that the request itself is over. One that the client left is not mirrored."""
        if x.ending not in ANSWERED:
            return
        for decision, ask in x.shadows:
            if self.running >= MOST_AT_ONCE:
                self.dropped += 1
                continue
            copy = Exchange(f"{x.request_id}-shadow", x.headers, x.caller, Nowhere(), x.wire, x.clock)
            copy.route, copy.decision, copy.unit, copy.stand = x.route, decision, x.unit, x.stand
            task = asyncio.get_running_loop().create_task(self._send(decision, ask, copy))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def _send(self, decision: Decision, ask: Ask, x: Exchange) -> None:
        dispatched: Dispatched | None = None
        try:
            dispatched = await self._answer(decision, ask, x)
            await relay(dispatched, x, ())
        except GatewayError as error:
            error.settled()
            x.ends(Ending.FAILED, error.blame, error.status)
        except asyncio.CancelledError:  # this worker ends
            x.ends(Ending.ABANDONED, Blame.NONE, 499)
            raise
        except Exception:  # the edge: a bug of ours must cost a shadow, and be seen
            log.exception("shadow of %s failed inside the gateway", x.request_id)
        finally:
            self._recorder.add(told(x.outcome(decision)))
            if isinstance(dispatched, Opened):
                await finish(dispatched, x)

    async def aclose(self) -> None:
        """Break off what is under way. Idempotent."""
        for task in tuple(self._under_way):
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)


class Nowhere:
    """A door that leads nowhere."""

    async def start(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Not told."""

    async def write(self, data: bytes) -> None:
        """Not sent."""

    async def end(self, data: bytes = b"") -> None:
        """Not sent."""

    def abort(self) -> None:
        """Nothing to break off."""


def as_shadow(decision: Decision, shadow: Version) -> Decision:
    """`decision` with the version marked that it is made for; nobody stands in for it."""
    layers = [
        chosen._replace(
            how=How.SHADOW if chosen.version.release == shadow.release else How.BESIDE, control=None
        )
        for chosen in decision.layers
    ]
    return msgspec.structs.replace(decision, layers=tuple(layers), asked=None)


def told(outcome: Outcome) -> Outcome:
    """Of a shadow's outcome, what is measured: the version that it tries, and no request."""
    at = outcome.how.index(How.SHADOW)
    return msgspec.structs.replace(
        outcome, releases=(outcome.releases[at],), how=How.SHADOW.value, part=Part.SHADOW, excused=True
    )

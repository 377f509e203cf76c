"""One request on its way through the house: what came in, the door it came by, and how far it has got.

This is the one object that grows while a request is served; its fields are all that changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Protocol

from gateway.auth import Caller
from gateway.peek import JsonPeek
from gateway.route import Decision
from gateway.sse import Tap
from policies.outcome import Blame, Ending, Outcome


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


class Exchange:
    """The state of one request. `clock` counts seconds; `began` is when the request's head was here.

    The clock is time.monotonic, on which event loops count too; uvloop's own shows whole milliseconds only.
    """

    __slots__ = (
        "attempts", "began", "blame", "body", "caller", "clock", "deadline", "decision", "door", "ending", "fallback",
        "first_content", "headers", "input_tokens", "left", "output_tokens", "request_id", "route", "started", "status",
        "waited",
    )  # fmt: skip

    def __init__(
        self,
        request_id: str,
        headers: Mapping[bytes, bytes],
        caller: Caller,
        door: Door,
        clock: Callable[[], float],
    ) -> None:
        self.request_id, self.headers, self.caller, self.door, self.clock = (
            request_id,
            headers,
            caller,
            door,
            clock,
        )
        self.began = clock()
        self.body = b""
        self.route: str | None = None
        self.decision: Decision | None = None
        # When the whole answer must be through; set when the upstream is asked.
        self.deadline = inf
        self.attempts = 0
        # The upstream that answered where it was not the version's first one.
        self.fallback: str | None = None
        # Seconds spent waiting for upstreams up to the response's head: what our overhead does not include.
        self.waited = 0.0
        self.first_content: float | None = None
        self.input_tokens: int | None = None
        self.output_tokens: int | None = None
        self.started = False
        self.left = False
        # Until somebody says otherwise it is our fault: an exception that nobody foresaw must not look like success.
        self.ending, self.blame, self.status = Ending.FAILED, Blame.GATEWAY, 500

    def __repr__(self) -> str:
        return f"<Exchange {self.request_id} {self.ending} attempts={self.attempts} started={self.started}>"

    def ends(self, ending: Ending, blame: Blame, status: int) -> None:
        """Say how this request ended; the last word counts."""
        self.ending, self.blame, self.status = ending, blame, status

    def counted(self, told: Tap | JsonPeek) -> None:
        """Take over the tokens that the provider told."""
        self.input_tokens, self.output_tokens = told.input_tokens, told.output_tokens

    def outcome(self, decision: Decision) -> Outcome:
        """The Outcome of this request's decision."""
        return Outcome(
            request_id=self.request_id,
            route=decision.route.name,
            releases=decision.releases,
            ending=self.ending,
            blame=self.blame,
            status=self.status,
            seconds=self.clock() - self.began,
            first_content_seconds=self.first_content,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            attempts=self.attempts,
            coins=decision.coins,
        )

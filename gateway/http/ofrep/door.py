"""OFREP's one door: which path leads where, who is let in, and every answer in OFREP's shape. Knows no rule of flags.

Plain ASGI, without Starlette's layers, which cost more than an evaluation. Not on the way of any LLM request.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from urllib.parse import parse_qs

from starlette.types import Receive, Scope, Send

from flags.model import ErrorCode
from flags.ofrep import MAX_BODY_BYTES, Failure, Problem, encode, read_context, revision_of
from gateway.auth import NO_DIGEST, PAGE, Reader, refuse_foreign_page, token_of
from gateway.errors import BadRequest, Forbidden, GatewayError, Stopping
from gateway.http.asgi import header_map, read_body
from gateway.http.ofrep.addresses import Addresses
from gateway.http.ofrep.allowance import Allowance
from gateway.http.ofrep.cors import allows, leave, leave_ahead
from gateway.http.ofrep.evaluation import Asking, bulk, refused, single
from gateway.http.ofrep.hub import Hub
from gateway.http.ofrep.listing import Listings
from gateway.http.ofrep.place import House, served, state_of
from gateway.http.ofrep.reply import JSON, UNKEPT, Reply, refusal

log = logging.getLogger("pointsman.ofrep")

ROOT = "/ofrep/"
FLAGS = "/ofrep/v1/evaluate/flags"
EVENTS = "/ofrep/v1/events"
POST, GET = ("POST",), ("GET",)
# How an evaluation may be answered, as it is counted.
ANSWERS = ("one", "all", "unchanged", "failed")
# Names in a query; OFREP has two.
MOST_QUERIED = 16


class TooManyRequests(BadRequest):
    """Raised when a caller asks more often than the config allows, or too many streams are open here."""

    status, code = 429, "too_many_requests"


class OfrepDoor:
    """All of OFREP, as one ASGI callable. What changes here: the listings, what callers have left to ask, and how often
    what was answered."""

    def __init__(
        self,
        house: House,
        hub: Hub,
        addresses: Addresses,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._house, self._hub, self._addresses, self._clock = house, hub, addresses, clock
        self._listings, self._allowance = Listings(), Allowance()
        self._answered = dict.fromkeys(ANSWERS, 0)

    def __repr__(self) -> str:
        return f"<OfrepDoor {self._hub!r}>"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers = header_map(scope)
        key = named(scope["path"])
        try:
            reply = await self._answer(scope, receive, send, headers)
        except GatewayError as error:
            reply = refusal(error, key)
            error.settled()
        except Exception:  # the edge: a bug of ours must not tell its insides
            log.exception("%s %s failed", scope["method"], scope["path"])
            reply = Reply(
                500, encode(Failure(ErrorCode.GENERAL, "this is our fault; the log says more", key))
            )
        if reply is not None:
            self._count(scope["path"], reply.status, key)
            await reply.send(
                send, [*self._house.marks(), *leave(self._house.ofrep.cors, headers.get(b"origin"))]
            )

    def figures(self) -> tuple[Mapping[str, int], int]:
        """How often each of ANSWERS was given, and how many event streams are open."""
        return self._answered, len(self._hub)

    def _count(self, path: str, status: int, key: str | None) -> None:
        if path.startswith(FLAGS) and status != 204:
            answer = "unchanged" if status == 304 else "failed" if status != 200 else "one" if key else "all"
            self._answered[answer] += 1

    async def _answer(
        self, scope: Scope, receive: Receive, send: Send, headers: Mapping[bytes, bytes]
    ) -> Reply | None:
        method, path = scope["method"], scope["path"]
        if method == "OPTIONS" and self._house.ofrep.cors:
            return Reply(204, b"", tuple(leave_ahead(self._house.ofrep.cors, headers.get(b"origin"))))
        expected = methods(path)
        if not expected:
            return nothing_there(path)
        if method not in expected:
            return wrong_method(method, expected, named(path))
        if path == EVENTS:
            if self._house.stopping():
                raise Stopping("this gateway is stopping; ask again, another will answer")
            return await self._stream(scope, receive, send, headers)
        reply = await self._evaluate(scope, receive, headers)
        # Who fetches anew because a stream just ended here does not ask twice: it is answered, and goes elsewhere next.
        return reply.closing() if self._house.stopping() else reply

    async def _evaluate(self, scope: Scope, receive: Receive, headers: Mapping[bytes, bytes]) -> Reply:
        reader = self._reader(scope, headers)
        key = named(scope["path"])
        if key is None:
            # Before its body is read: what waits should be small.
            await self._caught_up(scope)
        body = await read_body(scope, receive, MAX_BODY_BYTES)
        context = read_context(body, reader.caller.attributes)
        if isinstance(context, Problem):
            return refused(context, key)
        house = self._house
        serving = served(house)
        asking = Asking(serving, reader.caller, context, int(house.now()))
        if key is not None:
            return single(asking, key)
        listing = self._listings.of(serving, reader.caller)
        streams = self._addresses.of(reader)
        wanted = headers.get(b"if-none-match", b"").decode("latin-1")
        return await bulk(asking, listing, state_of(house, serving), streams, wanted)

    async def _caught_up(self, scope: Scope) -> None:
        """Wait for the revision that an event told the client of, which another worker may have sent."""
        revision = revision_of(queried(scope, "flagConfigEtag"))
        if revision is not None and not self._house.degraded():
            await self._hub.reached(revision)

    def _reader(self, scope: Scope, headers: Mapping[bytes, bytes]) -> Reader:
        """Who asks. Raises Unauthorized, Forbidden for a foreign page without keys, TooManyRequests."""
        keys = self._house.keys
        reader = keys.reader(token_of(scope["headers"]))
        if not keys.apps:
            try:
                refuse_foreign_page(headers, reads=scope["method"] == "GET")
            except Forbidden:
                if not allows(self._house.ofrep.cors, headers.get(b"origin")):
                    raise
                reader = PAGE
        self._spend(scope, reader)
        return reader

    def _spend(self, scope: Scope, reader: Reader) -> None:
        per_second = self._house.ofrep.requests_per_second
        if per_second is None:
            return
        wait = self._allowance.take(reader.digest or _address(scope).encode(), per_second, self._clock())
        if wait:
            raise TooManyRequests(
                f"more than {per_second:g} requests a second; ask again in {wait:.1f} s",
                retry_after_seconds=wait,
            )

    async def _stream(
        self, scope: Scope, receive: Receive, send: Send, headers: Mapping[bytes, bytes]
    ) -> Reply | None:
        ticket = queried(scope, "ticket")
        if ticket and token_of(scope["headers"]) is None:
            reader = self._addresses.reader(ticket)
            self._spend(scope, reader)
        else:
            reader = self._reader(scope, headers)
        served(self._house)
        holder = holder_of(scope, reader)
        self._check_room(holder)
        last = headers.get(b"last-event-id", b"").decode("latin-1") or queried(scope, "lastEventId")
        marks = [*self._house.marks(), *leave(self._house.ofrep.cors, headers.get(b"origin"))]
        await self._hub.serve(reader, last, (scope, receive, send), marks, holder=holder)
        return None

    def _check_room(self, holder: str) -> None:
        """Raises TooManyRequests where all streams are open that may be, or all of this holder's."""
        most, pause = self._house.ofrep, self._hub.pause_seconds()
        for found, room, whose in (
            (len(self._hub), most.streams, "here"),
            (self._hub.held(holder), most.share, "for this key or address here"),
        ):
            if found >= room:
                raise TooManyRequests(
                    f"{found:,} event streams are open {whose}, which is all there may be",
                    retry_after_seconds=pause,
                )


def holder_of(scope: Scope, reader: Reader) -> str:
    """For whom a stream counts: the app or operator, whichever of its keys was sent; without keys, the address."""
    if reader.digest == NO_DIGEST:
        return f"address {_address(scope)}"
    return reader.caller.name


def _address(scope: Scope) -> str:
    address: str = (scope.get("client") or ("",))[0]
    return address


def queried(scope: Scope, name: str) -> str:
    """The last value of this name in the query, "" where there is none. Raises BadRequest for a query of too many."""
    try:
        found = parse_qs(scope["query_string"].decode("latin-1"), max_num_fields=MOST_QUERIED)
    except ValueError as error:
        raise BadRequest(f"the query: {error}") from None
    values: list[str] = found.get(name, [""])
    return values[-1]


def named(path: str) -> str | None:
    """The flag that a path names; None for a path of all flags, and for others."""
    rest = path.removeprefix(FLAGS + "/")
    return rest if rest and rest != path else None


def methods(path: str) -> tuple[str, ...]:
    """The methods that `path` answers to; none where nothing is there."""
    if path == EVENTS:
        return GET
    return POST if path == FLAGS or path.startswith(FLAGS + "/") else ()


def nothing_there(path: str) -> Reply:
    """The answer below /ofrep/ where nothing is."""
    found = Failure(
        ErrorCode.GENERAL, f"nothing is at {path[:128]!r}; flags are evaluated at POST {FLAGS}[/KEY]"
    )
    return Reply(404, encode(found))


def wrong_method(method: str, expected: tuple[str, ...], key: str | None) -> Reply:
    """The answer to a method that this path does not take."""
    allowed = ", ".join(expected)
    found = Failure(ErrorCode.GENERAL, f"found {method}, expected {allowed}", key)
    return Reply(405, encode(found), (JSON, UNKEPT, (b"allow", allowed.encode())))

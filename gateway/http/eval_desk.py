"""What the operators' endpoints for evals do: run a suite, with its progress as events, and show reports.

Knows HTTP only as `Call`, and how events are written. Who leaves ends the run.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from flags.errors import FlagError
from flags.model import Embedding
from gateway.auth import Role
from gateway.errors import GatewayError, Stopping
from gateway.evals.evaluator import Evaluated, Evaluator
from gateway.evals.external import complete, report_from
from gateway.evals.running import Tally
from gateway.evals.wanted import CONCURRENCY, MOST_AT_ONCE, MOST_REPEATS, Plan, Wanted
from gateway.http.endpoint import Call, Endpoint, House, problem_response, refusal
from gateway.http.events import HEARTBEAT_SECONDS
from gateway.shapes import Problem
from gateway.spec_base import Name
from policies.evals.report import summary

log = logging.getLogger("pointsman.evals")

# Ten times a second is as often as a person, or a bar, can follow.
TELL_EVERY_SECONDS = 0.1

Share = Annotated[float, Meta(ge=0, le=1)]
_encode = msgspec.json.Encoder().encode


class EmbeddingBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The upstream and the model that make vectors; upstream `embedded`: the model that this server has itself."""

    upstream: str
    model: str


class EvalBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A run of a suite. What is left out is as the flag's promotion rules have it; `suite` is a resolved document."""

    flag: Name
    variant: Name
    # `Any`: free JSON, which msgspec cannot take as our Json.
    suite: Any = None
    suite_name: str = ""
    route: Name | None = None
    repeat: Annotated[int, Meta(ge=1, le=MOST_REPEATS)] | None = None
    concurrency: Annotated[int, Meta(ge=1, le=MOST_AT_ONCE)] = CONCURRENCY
    min_pass_rate: Share | None = None
    min_score: Share | None = None
    judge: Name | None = None
    embedding: EmbeddingBody | None = None
    reason: str | None = None
    link: str | None = None


class ReportBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A report that was made elsewhere (by promptfoo), of a version as it is now."""

    flag: Name
    variant: Name
    report: dict[str, Any]
    reason: str | None = None
    link: str | None = None


class EvalShape(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended (CONTRACT §6). `report` is the id under which all of it is kept."""

    flag: str
    variant: str
    suite: str
    suite_hash: str
    passed: bool | None
    pass_rate: float
    score: float
    cases: int
    not_evaluated: int
    report: str


async def run(call: Call) -> EvalStream:
    """Run a suite: its progress as events, and at last its report, or why there is none. Raises as Evaluator.plan."""
    body: EvalBody = call.body
    embedding = None if body.embedding is None else Embedding(body.embedding.upstream, body.embedding.model)
    wanted = Wanted(
        body.flag,
        body.variant,
        call.operator.name,
        (body.reason or f"eval run {body.flag} {body.variant}").strip(),
        suite=body.suite,
        suite_name=body.suite_name,
        route=body.route,
        repeat=body.repeat,
        concurrency=body.concurrency,
        min_pass_rate=body.min_pass_rate,
        min_score=body.min_score,
        judge=body.judge,
        embedding=embedding,
        link=body.link,
    )
    # What is refused before anything was asked is a plain answer, not an event.
    plan = await call.house.evaluator.plan(wanted)
    return EvalStream(call.house, wanted, plan)


async def report(call: Call) -> object:
    """A kept report, as it was written. Raises NotFound, Invalid."""
    text = await call.house.evaluator.reports.read(call.path["id"])
    return Response(text, media_type="application/json")


async def take(call: Call) -> EvalShape:
    """Write the figures of a report from elsewhere on the version's card. Raises Invalid, Refused, NotFound."""
    body: ReportBody = call.body
    evaluator = call.house.evaluator
    flag = evaluator.flag(body.flag, body.variant)
    found = report_from(body.report, flag, body.variant)
    found = complete(found, await evaluator.runs_of(flag, found.suite_hash))
    reason = (body.reason or f"a report of {found.by}").strip()
    wanted = Wanted(body.flag, body.variant, call.operator.name, reason, link=body.link)
    return shape_of(await evaluator.written(found, wanted, {}))


def shape_of(done: Evaluated) -> EvalShape:
    """How a run ended, for who asked for it."""
    told = summary(done.report, link=done.evaluation.report)
    return msgspec.convert(told, EvalShape)


class EvalStream:
    """One run, an ASGI response. What changes here: how far the run is, and what of it was told."""

    def __init__(self, house: House, wanted: Wanted, plan: Plan) -> None:
        self._house, self._wanted, self._plan = house, wanted, plan
        self._evaluator: Evaluator = house.evaluator
        self._tally: Tally | None = None
        self._sent_at = 0.0

    def __repr__(self) -> str:
        return f"EvalStream({self._wanted.flag}={self._wanted.variant}, {self._tally})"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run, and tell of it, until it is done, the client leaves or the process stops."""
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        work = asyncio.ensure_future(self._evaluator.run(self._wanted, plan=self._plan, progress=self._note))
        left = asyncio.ensure_future(_until_left(receive))
        told: Tally | None = None
        try:
            while not (work.done() or left.done() or self._house.stopping()):
                await asyncio.wait({work, left}, timeout=TELL_EVERY_SECONDS)
                told = await self._tell(told, send)
            if not left.done():
                await self._send(send, await self._end(work))
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            left.cancel()
            work.cancel()
            # What came of it was told, or nobody is there to be told.
            await asyncio.gather(work, return_exceptions=True)

    def _note(self, tally: Tally) -> None:
        self._tally = tally

    async def _tell(self, told: Tally | None, send: Send) -> Tally | None:
        """How far it is, where that has changed; a sign of life where nothing was sent for long."""
        tally = self._tally
        if tally is not None and tally != told:
            await self._send(send, event("progress", _encode(tally._asdict())))
        elif asyncio.get_running_loop().time() - self._sent_at >= HEARTBEAT_SECONDS:
            await self._send(send, b": still here\n\n")
        return tally

    async def _end(self, work: asyncio.Future[Evaluated]) -> bytes:
        """The last event: the report, or the problem in the shape of every other."""
        try:
            if not work.done():
                raise Stopping("this gateway is stopping; nothing was written")
            return event("report", _encode(shape_of(work.result())))
        except (FlagError, GatewayError) as error:
            return event("error", refusal(error).body)
        except Exception:  # the edge, as Door's: the answer has begun, so this event is all that can be told
            log.exception("the run of evals %r failed", self)
            problem = Problem("internal_error", "this is our fault; the server's log says more")
            return event("error", problem_response(500, problem).body)

    async def _send(self, send: Send, data: bytes) -> None:
        self._sent_at = asyncio.get_running_loop().time()
        await send({"type": "http.response.body", "body": data, "more_body": True})


def event(name: str, data: bytes | memoryview) -> bytes:
    """One event; `data` is JSON on one line."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), bytes(data))


async def _until_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        "POST",
        "/evals",
        run,
        "Run a suite of evals on a version: `progress` events, at last `report` or `error`",
        EvalShape,
        body=EvalBody,
        needs=Role.OPERATOR,
        media="text/event-stream",
    ),
    Endpoint(
        "POST",
        "/evals/report",
        take,
        "Take a report of evals that was made elsewhere",
        EvalShape,
        body=ReportBody,
        needs=Role.OPERATOR,
    ),
    # Last: `report` would be an id.
    Endpoint("GET", "/evals/{id}", report, "A kept report of evals", dict),
)

"""One endpoint of the operators' side: bytes in, a typed call, JSON out. Knows no verb; `desk` has those.

Whatever a client sends, it gets an answer below 500.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from flags.errors import Conflict, FlagError, Invalid, NotFound, Refused, StoreError
from flags.snapshot import Snapshot
from gateway.auth import Keyring, Operator, Role, refuse_foreign_page, require, token_of
from gateway.breaking.board import BreakerBoard
from gateway.checking import worded
from gateway.deciding.elsewhere import Elsewhere
from gateway.errors import BadRequest, GatewayError, TooLarge, Unauthorized
from gateway.evals.evaluator import Evaluator
from gateway.figures.sight import Sight
from gateway.notices.noticeboard import Noticeboard
from gateway.operations import Operations
from gateway.shapes import ErrorShape, Problem
from gateway.signals.taking import SignalTaker

log = logging.getLogger("pointsman.admin")

# As for apps (CONTRACT §2): a declaration with its prompts is large, but not larger.
MAX_BODY_BYTES = 32 * 1024 * 1024

_encode = msgspec.json.Encoder().encode


class House(Protocol):
    """What the operators' side asks of the application."""

    @property
    def operations(self) -> Operations:
        """The verbs, over this process's store."""
        ...

    @property
    def elsewhere(self) -> Elsewhere:
        """Who is asked where a route's decisions are not the store's."""
        ...

    @property
    def board(self) -> BreakerBoard:
        """How the breakers of all workers stand."""
        ...

    @property
    def sight(self) -> Sight:
        """What this worker sees of the fleet's numbers."""
        ...

    @property
    def keys(self) -> Keyring:
        """Who may come in."""
        ...

    @property
    def evaluator(self) -> Evaluator:
        """Who runs evals in this process."""
        ...

    @property
    def signals(self) -> SignalTaker:
        """Takes what comes from outside."""
        ...

    @property
    def notices(self) -> Noticeboard:
        """What people are told, and how far that is."""
        ...

    @property
    def own_keys(self) -> Keyring:
        """Of those, the ones of the environment and the key file."""
        ...

    def degraded(self) -> bool:
        """Whether this process serves without its store."""
        ...

    def diverted(self) -> Mapping[str, str]:
        """What this worker has taken out of service by itself: the version, by flag."""
        ...

    def now(self) -> float:
        """Seconds since the epoch."""
        ...

    def stopping(self) -> bool:
        """Whether open streams should end, because the process does."""
        ...


@dataclass(frozen=True, slots=True)
class Call:
    """One request, parsed: who, which object, and what was sent."""

    house: House
    operator: Operator
    path: Mapping[str, str]
    # Parsed by the endpoint's own types; each endpoint knows which.
    body: Any = None
    query: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def snapshot(self) -> Snapshot:
        """The newest snapshot of this process."""
        return self.house.operations.snapshot()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One row: `answer` is the shape of a 200, `body` and `query` those of what is sent."""

    method: str
    path: str
    call: Callable[[Call], Awaitable[object]]
    summary: str
    answer: type
    body: type[msgspec.Struct] | None = None
    query: type[msgspec.Struct] | None = None
    # By media type, what may be sent besides `body`; for an endpoint that reads its bytes itself.
    also: Mapping[str, type] = field(default_factory=dict)
    # The least role that may call it. A read may be a POST (a body to diff).
    needs: Role = Role.VIEWER
    media: str = "application/json"
    # What a success answers with.
    status: int = 200
    # Who it is, told by the request's own bytes where others than operators may call; `call.body` are those bytes then.
    admits: Callable[[House, Request, bytes], Operator] | None = None
    max_bytes: int = MAX_BODY_BYTES


class Door:
    """The ASGI side of one path: any method comes here, so that even a wrong one is answered in our shape."""

    def __init__(self, house: House, methods: Mapping[str, Endpoint]) -> None:
        self._house, self._methods = house, methods

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request; whatever the endpoint raises becomes an error in our shape."""
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except (FlagError, GatewayError) as error:
            response = refusal(error)
        except ClientDisconnect:
            return
        except Exception:  # the edge: a bug of ours must not tell its insides
            log.exception("%s %s failed", request.method, request.url.path)
            response = problem_response(
                500, Problem("internal_error", "this is our fault; the server's log says more")
            )
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        endpoint = self._methods.get("GET" if request.method == "HEAD" else request.method)
        if endpoint is None:
            allowed = ", ".join(sorted(self._methods))
            problem = Problem("method_not_allowed", f"found {request.method}, expected {allowed}")
            return problem_response(405, problem, {"allow": allowed})
        answer = await endpoint.call(await self._call(endpoint, request))
        if callable(answer):
            return answer  # type: ignore[return-value]  # a stream of events sends itself
        headers = {"cache-control": "no-store"}
        return Response(_encode(answer), endpoint.status, headers, media_type="application/json")

    async def _call(self, endpoint: Endpoint, request: Request) -> Call:
        body: Any = None
        if endpoint.admits is not None:
            body = await body_of(request, endpoint.max_bytes)
            operator = endpoint.admits(self._house, request, body)
        else:
            operator = admitted(self._house.keys, request, needs=endpoint.needs)
            if endpoint.body is not None:
                body = parsed(await body_of(request, endpoint.max_bytes), endpoint.body)
        return Call(
            self._house,
            operator,
            request.path_params,
            body=body,
            query=None if endpoint.query is None else queried(request, endpoint.query),
            headers=request.headers,
        )


def admitted(keys: Keyring, request: Request, *, needs: Role) -> Operator:
    """Who this is. Raises Unauthorized, and Forbidden for a role below the one that it takes or a foreign web page."""
    if not keys.operators:
        refuse_foreign_page(dict(request.scope["headers"]), reads=True)
    claimed = request.headers.get("x-pointsman-actor")
    operator = keys.operator(token_of(request.scope["headers"]), claimed=claimed)
    require(operator, needs)
    return operator


async def body_of(request: Request, most: int = MAX_BODY_BYTES) -> bytes:
    """The whole body. Raises TooLarge above `most` bytes, before reading where the length is told."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared[:20]) > most:
        raise TooLarge(f"the body has {int(declared[:20]):,} bytes; at most {most:,} are taken")
    parts, size = [], 0
    async for part in request.stream():
        parts.append(part)
        size += len(part)
        if size > most:
            raise TooLarge(f"the body has more than {most:,} bytes")
    return b"".join(parts)


def parsed(body: bytes, shape: type[msgspec.Struct]) -> msgspec.Struct:
    """`body` as `shape`; an empty one counts as {}. Raises BadRequest for no JSON, Invalid with the path."""
    try:
        return msgspec.json.decode(body or b"{}", type=shape)
    except msgspec.ValidationError as error:
        raise invalid(error, shape) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"the body is no JSON: {error}") from error


def queried(request: Request, shape: type[msgspec.Struct]) -> msgspec.Struct:
    """The query as `shape`. Raises Invalid with the parameter's name."""
    try:
        return msgspec.convert(dict(request.query_params), shape, strict=False)
    except msgspec.ValidationError as error:
        raise invalid(error, shape) from error


def invalid(error: msgspec.ValidationError, shape: type[msgspec.Struct]) -> Invalid:
    """msgspec's error as ours: the path without `$`, and the field itself where one is unknown or missing."""
    message, _, at = str(error).partition(" - at ")
    path = at.strip("`").removeprefix("$").lstrip(".")
    named = re.search(r"(unknown|missing required) field `(.*)`", message)
    if named is None:
        values = allowed(shape, path) if message.startswith("Invalid enum value") else ""
        return Invalid(path, worded(message) + values)
    known = ", ".join(f.encode_name for f in msgspec.structs.fields(shape)) if not path else None
    full = f"{path}.{named[2]}" if path else named[2]
    return Invalid(full, message, mend=f"fields: {known}" if known else None)


def allowed(shape: type[msgspec.Struct], field: str) -> str:
    """The values of an enumeration, as words for a message; nothing for what is no field of `shape` itself."""
    schema = msgspec.json.schema(shape, ref_template="{name}")["$defs"]
    found = schema[shape.__name__]["properties"].get(field, {})
    kinds = found.get("anyOf", [found])
    values = [
        str(value) for kind in kinds for value in {**kind, **schema.get(kind.get("$ref"), {})}.get("enum", [])
    ]
    return f" (expected one of {', '.join(values)})" if values else ""


def refusal(error: FlagError | GatewayError) -> Response:
    """Any error that is raised on purpose as its answer (CONTRACT §7)."""
    if isinstance(error, GatewayError):
        headers = {"www-authenticate": "Bearer"} if isinstance(error, Unauthorized) else None
        code = "unauthorized" if isinstance(error, Unauthorized) else error.code
        return problem_response(error.status, Problem(code, error.message), headers)
    mend = error.mend
    if isinstance(error, Invalid):
        return problem_response(422, Problem("invalid", error.message, path=error.path or None, mend=mend))
    if isinstance(error, Conflict):
        theirs = msgspec.to_builtins(error.theirs)
        return problem_response(
            409, Problem("conflict", error.message, mend=mend, rule=error.rule, theirs=theirs)
        )
    if isinstance(error, Refused):
        return problem_response(422, Problem("refused", error.message, mend=mend, rule=error.rule))
    if isinstance(error, NotFound):
        return problem_response(404, Problem("not_found", error.message, mend=mend))
    if isinstance(error, StoreError):
        return problem_response(503, Problem("store_unavailable", error.message, mend=mend))
    return problem_response(500, Problem("failed", error.message, mend=mend))


def problem_response(status: int, problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """`problem` as the body of every answer that is no success."""
    body = _encode(ErrorShape(problem))
    return Response(body, status, headers, media_type="application/json")

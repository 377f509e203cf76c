"""What can go wrong while serving, whose fault it is, and whether trying again can help.

GatewayError(status, code, blame, retry)
├── BadRequest               400  the client's: body, headers, context or pin are not what they should be
│   ├── TooLarge             413
│   ├── UnknownRoute         404
│   ├── NothingToSearch      404  the route has no retriever, or no index
│   └── Forbidden            403; Unauthorized 401
├── PromptNotRendered        400  the release's: its template failed with what the app sent
├── NotReady                 503  ours: no snapshot yet, or the version cannot be served
│   └── Stopping             503  this process takes no new requests any more
└── UpstreamError            the upstream's
    ├── UpstreamRefused      502  nobody took the connection; nothing was sent
    ├── UpstreamTimedOut     504  connect, first content, between chunks or total
    │   └── OutOfTime        504  the app's own time was up, which was shorter than the version's
    ├── UpstreamCut          502  closed before the answer was whole
    ├── UpstreamGarbled      502  what came is no HTTP, no JSON, no event stream, or holds an error under a 200
    ├── RetrievalFailed      502  the store, or what makes the query's vector, failed; 504 where it took too long
    └── UpstreamUnavailable  503  no target may be asked now
        └── UpstreamBusy     503  not now, and for no fault of the version that asks it

`gateway.dialects.openai` turns one of these into the error body of the OpenAI dialect.
"""

from __future__ import annotations

from enum import StrEnum

from policies.outcome import Blame


class Retry(StrEnum):
    """Whether another attempt may help, and where."""

    NO = "no"
    YES = "yes"
    ELSEWHERE = "elsewhere"


class GatewayError(Exception):
    """Base: an answer that we make ourselves. `param` names the offending field, where one is."""

    status = 500
    code = "internal_error"
    type = "api_error"
    blame = Blame.GATEWAY
    retry = Retry.NO
    # What `Retry-After` says where nothing better is known; None: no such header.
    usual_retry_after_seconds: float | None = None

    def __init__(
        self, message: str, *, param: str | None = None, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_seconds = (
            self.usual_retry_after_seconds if retry_after_seconds is None else retry_after_seconds
        )

    def settled(self) -> None:
        """It is dealt with: let go of the frames that it came through, and of what led to it.

        They hold what was sent and read, 64 MiB at most, and one of them mostly holds the error itself. Such a circle
        only the garbage collector would find, which hardly ever runs here.
        """
        self.__traceback__ = self.__cause__ = self.__context__ = None


class BadRequest(GatewayError):
    """Raised when the request is not what it should be. Nothing was asked of any upstream."""

    status, code, type, blame = 400, "invalid_request", "invalid_request_error", Blame.CLIENT


class TooLarge(BadRequest):
    """Raised when the body exceeds `max_body_bytes`."""

    status, code = 413, "request_too_large"


class UnknownRoute(BadRequest):
    """Raised when the request's `model` names no route; the message lists those that exist."""

    status, code = 404, "model_not_found"


class NothingToSearch(BadRequest):
    """Raised when a search names a route that lacks a retriever or an index."""

    status, code = 404, "vector_store_not_found"


class Unauthorized(BadRequest):
    """Raised when a key is asked for and none, or a wrong one, was sent."""

    status, code, type = 401, "invalid_api_key", "authentication_error"


class Forbidden(BadRequest):
    """Raised when the key is good but may not do this."""

    status, code, type = 403, "forbidden", "permission_error"


class PromptNotRendered(GatewayError):
    """Raised when the served prompt version does not render with what the app sent: the version's failure."""

    status, code, type, blame = 400, "prompt_not_rendered", "invalid_request_error", Blame.RELEASE


class NotReady(GatewayError):
    """Raised when this process has nothing to serve from, or the served version cannot be used here."""

    status, code, type = 503, "not_ready", "service_unavailable"
    usual_retry_after_seconds = 5.0


class Stopping(NotReady):
    """Raised when this process takes no new requests any more. Asked again, another one answers."""

    code, usual_retry_after_seconds = "stopping", 1.0


class UpstreamError(GatewayError):
    """Base of the failures of an upstream, as seen by the one who called it."""

    status, code, type, blame, retry = 502, "upstream_error", "upstream_error", Blame.UPSTREAM, Retry.YES

    def of(self, upstream: str) -> UpstreamError:
        """The same error, saying by name whose it is: an app is told names, no addresses. It is settled."""
        self.settled()
        self.message = f"upstream {upstream}: {self.message}"
        return self


class UpstreamRefused(UpstreamError):
    """Raised when no connection could be made: refused, unreachable, TLS not agreed. Nothing was sent."""

    code = "upstream_refused"


class UpstreamTimedOut(UpstreamError):
    """Raised when a deadline passed; `phase` is connect, first_content, between_chunks or total."""

    status, code = 504, "upstream_timeout"

    def __init__(self, message: str, *, phase: str) -> None:
        super().__init__(message)
        self.phase = phase


class OutOfTime(UpstreamTimedOut):
    """Raised when the time that the app itself granted was up before the version's own was: as if its client had left."""

    code, blame, retry = "out_of_time", Blame.CLIENT, Retry.NO

    def __init__(self, message: str = "the time that the request itself granted is used up") -> None:
        super().__init__(message, phase="total")


class UpstreamCut(UpstreamError):
    """Raised when the upstream closed before its answer was whole."""

    code = "upstream_closed"


class UpstreamGarbled(UpstreamError):
    """Raised when what came is not an answer: no HTTP, no JSON, no event stream, empty, or an error under a 200."""

    code = "upstream_unreadable"


class RetrievalFailed(UpstreamError):
    """Raised when passages could not be found and the version says `on_error: fail`.

    Whose fault it is depends: a store that is down is the upstream's, an index that is not there the version's.
    """

    code = "retrieval_failed"

    def __init__(self, message: str, *, status: int = 502, blame: Blame = Blame.UPSTREAM) -> None:
        super().__init__(message)
        self.status, self.blame = status, blame


class UpstreamUnavailable(UpstreamError):
    """Raised when no target may be asked now, or the upstream is not configured in this process."""

    status, code, type, retry = 503, "upstream_unavailable", "service_unavailable", Retry.ELSEWHERE
    usual_retry_after_seconds: float | None = 5.0


class NotServed(UpstreamUnavailable):
    """Raised when the upstream has nothing that answers such a request, be it in another dialect. Nobody was asked."""

    status, code, type, blame = 400, "not_served", "invalid_request_error", Blame.CLIENT
    usual_retry_after_seconds = None


class UpstreamBusy(UpstreamUnavailable):
    """Raised when a target may not be asked now though nothing is wrong with it: its connections are all in use, or an
    operator forced its breaker open."""

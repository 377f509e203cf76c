"""What litellm's exceptions mean: the provider's refusal with its status, or that no answer came at all.

Knows no connection and no wire. The names of exceptions are matched, not the classes: they belong to libraries that
are imported late, and which differ between versions. What counts is the chain of causes, for the outermost exception
claims a status even where nobody answered.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import msgspec

from gateway.errors import (
    GatewayError,
    UpstreamCut,
    UpstreamError,
    UpstreamGarbled,
    UpstreamRefused,
)
from gateway.patience import timed_out
from gateway.upstream.base import Headers
from policies.outcome import Blame

# Of a provider's error so much is quoted.
QUOTED_CHARACTERS = 500
# And so much is looked through for them: what patterns take for a message of megabytes every other request waits for.
READ_CHARACTERS = 4096
# Chains are a handful long; a longer one is a loop.
MAX_CHAIN = 32

# Of the headers of a provider's error these help an app that tries again.
TOLD = ("retry-after", "retry-after-ms", "x-should-retry", "x-ratelimit-", "anthropic-ratelimit-")

# How OpenAI names the errors of these statuses.
TYPES: Mapping[int, str] = MappingProxyType(
    {
        400: "invalid_request_error",
        401: "authentication_error",
        403: "permission_error",
        404: "not_found_error",
        413: "invalid_request_error",
        422: "invalid_request_error",
        429: "rate_limit_error",
    }
)

REFUSED = frozenset(
    ("ClientConnectorError", "ClientConnectorDNSError", "ClientConnectorSSLError", "gaierror", "SSLError",
     "ClientConnectorCertificateError", "SSLCertVerificationError", "ConnectionRefusedError")
)  # fmt: skip
CUT = frozenset(
    ("ReadError", "RemoteProtocolError", "WriteError", "CloseError", "ClientPayloadError", "ServerDisconnectedError",
     "ClientOSError", "ConnectionResetError", "BrokenPipeError", "IncompleteRead", "StopAsyncIteration")
)  # fmt: skip
LATE = frozenset(
    ("Timeout", "ReadTimeout", "WriteTimeout", "PoolTimeout", "SocketTimeoutError", "APITimeoutError", "TimeoutError")
)  # fmt: skip
LATE_TO_CONNECT = frozenset(("ConnectTimeout", "ConnectionTimeoutError"))
GARBLED = frozenset(
    ("JSONDecodeError", "BadStatusLine", "HttpProcessingError", "DecodingError", "UnicodeDecodeError")
)
# A translation that stumbles does so over what it was given.
STUMBLED = frozenset(
    ("KeyError", "TypeError", "AttributeError", "ValueError", "IndexError", "ValidationError")
)

# Functions that have an answer, or an event of one, before them.
READING = ("convert_to", "chunk_parser", "__anext__", "__next__")

_PREFIX = re.compile(r"^\s*(?:litellm\.)?\w*(?:Error|Exception|Timeout)\s*(?:-|:)\s*")
_TAIL = re.compile(
    r"(?:Traceback \(most recent call last\)|To drop (?:it|these|unsupported)|Original exception:|Handle with `"
    r"|LiteLLM Retried|Received Model Group|Available Model Group|For more information check:).*",
    re.DOTALL,
)
_ADDRESS = re.compile(r"(?:https?|wss?)://[^\s'\"<>)\]]+")
_KEY = re.compile(
    r"\b(?:sk|pk|key|xai|gsk)[-_][A-Za-z0-9_-]{12,}\b|\bAIza[A-Za-z0-9_-]{12,}|\bAKIA[A-Z0-9]{12,}\b"
    r"|(?<=[Bb]earer )[^\s'\"]{8,}|\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_.-]+"
)


class Refusal(GatewayError):
    """Raised when an error is the answer: the provider's own, or litellm's where the provider cannot do what was asked.

    `headers` are those of the provider that help an app; what else is told is in the caller's dialect.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        kind: str | None = None,
        param: str | None = None,
        headers: Headers = (),
    ) -> None:
        super().__init__(message, param=param)
        self.status = status
        self.type = kind or TYPES.get(status, "api_error")
        self.code = code or str(status)
        self.blame = Blame.CLIENT if status < 500 else Blame.UPSTREAM
        self.headers = headers


class Said(msgspec.Struct, frozen=True):
    """A provider's error body, as far as it is one. The fields are `object`: errors come in every shape."""

    error: object = None
    message: object = None
    detail: object = None


def meaning_of(error: BaseException, secrets: tuple[str, ...] = ()) -> UpstreamError | Refusal:
    """What an exception that came before any content tells. `secrets` never stand in a message."""
    chain = tuple(causes(error))
    answered = next((each for each in chain if type(each).__name__.endswith("HTTPStatusError")), None)
    if answered is not None:
        return _provider_said(answered, chain, secrets)
    missing = next((each for each in chain if isinstance(each, ModuleNotFoundError)), None)
    if missing is not None:
        return _not_installed(missing)
    failure = failure_in(chain)
    if failure is not None:
        return failure
    status = _status_of(chain)
    if status is not None and 400 <= status < 500:
        return Refusal(status, clean(str(error), secrets))
    if type(chain[-1]).__name__ in STUMBLED and not _reads_answer(chain[-1]):
        stumble = f"{type(chain[-1]).__name__}: {chain[-1]}"
        return Refusal(
            400, f"the request could not be translated for this provider ({clean(stumble, secrets)})"
        )
    return UpstreamGarbled(f"the upstream's answer is of no use: {clean(str(error), secrets)}")


def broken_by(error: BaseException, secrets: tuple[str, ...] = ()) -> UpstreamError:
    """What an exception in the midst of a stream tells."""
    chain = tuple(causes(error))
    failure = failure_in(chain)
    if failure is not None:
        return failure
    told = clean(str(error), secrets)
    if "before a finish_reason" in told:
        return unfinished()
    return UpstreamGarbled(f"the upstream's stream holds an error: {told}")


def unfinished() -> UpstreamCut:
    """The error for a stream that just stops."""
    return UpstreamCut("the upstream closed its stream before it had ended")


def failure_in(chain: tuple[BaseException, ...]) -> UpstreamError | None:
    """What kept an answer from coming, by the innermost exception that tells it."""
    for each in reversed(chain):
        failure = _failure(type(each).__name__)
        if failure is not None:
            return failure
    return None


def _failure(name: str) -> UpstreamError | None:
    if name in REFUSED:
        return UpstreamRefused("no connection to the upstream could be made")
    if name in LATE_TO_CONNECT:
        return timed_out("connect")
    if name in LATE:
        return timed_out("first_content")
    if name in GARBLED:
        return UpstreamGarbled("the upstream's answer is not what its protocol says: no HTTP or no JSON")
    if name in CUT:
        return UpstreamCut("the upstream closed the connection before its answer was whole")
    return None


def causes(error: BaseException) -> Iterator[BaseException]:
    """The exception and what led to it, outermost first."""
    each: BaseException | None = error
    for _ in range(MAX_CHAIN):
        if each is None:
            return
        yield each
        each = each.__cause__ or each.__context__


def forget(error: BaseException) -> None:
    """Take a chain of exceptions apart once it was read: its frames hold the provider's answer, and often the exception
    itself; such circles only the garbage collector would find, which hardly ever runs here."""
    for each in tuple(causes(error)):
        each.__traceback__ = each.__cause__ = each.__context__ = None


def clean(message: str, secrets: tuple[str, ...] = ()) -> str:
    """The message without litellm's prefixes, addresses and secrets, at most 500 characters."""
    for secret in secrets:
        message = message.replace(secret, "***")
    message = message[:READ_CHARACTERS]
    message = _TAIL.sub("", message)
    for _ in range(MAX_CHAIN):
        shorter = _PREFIX.sub("", message, count=1)
        if shorter == message or not shorter.strip():
            break
        message = shorter
    message = _KEY.sub("***", _ADDRESS.sub("(address)", message))
    return " ".join(message.split())[:QUOTED_CHARACTERS] or "no reason given"


def _provider_said(
    answered: BaseException, chain: tuple[BaseException, ...], secrets: tuple[str, ...]
) -> UpstreamError | Refusal:
    response = getattr(answered, "response", None)
    status = getattr(response, "status_code", 502)
    if not 400 <= status <= 599:
        return UpstreamGarbled(f"the upstream answered with status {status}, which is no answer")
    told = _TextOf(chain, answered).best()
    said = read_error(told)
    message = clean(said.get("message") or told or f"the provider answered with status {status}", secrets)
    fields = getattr(response, "headers", {})
    headers = [
        (name.lower().encode(), value.encode("latin-1", "replace"))
        for name, value in fields.items()
        if name.lower().startswith(TOLD) and "\n" not in value and "\r" not in value
    ]
    return Refusal(
        status,
        message,
        code=said.get("code"),
        kind=said.get("type"),
        param=said.get("param"),
        headers=headers,
    )


class _TextOf:
    """Finds a provider's error body in a chain: a streamed one was read by whoever raised, if at all."""

    def __init__(self, chain: tuple[BaseException, ...], answered: BaseException) -> None:
        self._chain = chain
        self._answered = answered

    def best(self) -> str:
        """The text that is JSON with an error in it, else the response's, else what the exceptions say."""
        texts = [text for text in self._texts() if text]
        return next((text for text in texts if read_error(text).get("message")), texts[0] if texts else "")

    def _texts(self) -> Iterator[str]:
        response = getattr(self._answered, "response", None)
        if getattr(response, "is_stream_consumed", False) or getattr(response, "is_closed", False):
            try:
                yield str(getattr(response, "text", ""))
            except RuntimeError:  # httpx: the body was never read
                yield ""
        for each in reversed(self._chain):
            told = getattr(each, "text", None) or getattr(each, "message", None) or str(each)
            if isinstance(told, bytes):
                told = told.decode("utf-8", "replace")
            told = str(told)
            yield told[2:-1] if told.startswith(("b'{", 'b"{')) else told


def read_error(text: str) -> dict[str, str]:
    """`message`, `type`, `param`, `code` of a provider's JSON error, those that are there."""
    begin = text.find("{")
    try:
        said = msgspec.json.decode(text[begin:].encode() if begin >= 0 else b"null", type=Said)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return {}
    inner = (
        said.error if isinstance(said.error, dict) else {"message": said.error or said.message or said.detail}
    )
    found = {name: inner.get(name) for name in ("message", "type", "param", "code")}
    return {name: str(value) for name, value in found.items() if isinstance(value, str | int) and value != ""}


def _not_installed(missing: ModuleNotFoundError) -> Refusal:
    name = (missing.name or "").partition(".")[0]
    what = '"mcp>=2.2,<3"' if name == "mcp" else name
    return Refusal(
        501,
        f"this translation needs the Python package {name}, which is not installed beside the gateway:"
        f" pip install {what}",
        code="not_installed",
    )


def _status_of(chain: tuple[BaseException, ...]) -> int | None:
    status = getattr(chain[0], "status_code", None)
    return status if isinstance(status, int) else None


def _reads_answer(error: BaseException) -> bool:
    """Whether it was an answer that the translation stumbled over: told by the functions that were under way."""
    names = [frame.f_code.co_name for frame, _ in traceback.walk_tb(error.__traceback__)]
    return any("transform_response" in name or name.startswith(READING) for name in names)

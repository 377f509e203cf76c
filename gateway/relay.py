"""The answer on its way to the app: heads, bytes, and how a stream ends. Knows the door and the tap, no flag.

After the first content nothing is replayed: a stream that fails ends with an error event and `[DONE]`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence

from gateway.dialects.openai import JSON, error_headers
from gateway.dispatch import Dispatched, Opened, Whole
from gateway.errors import GatewayError, OutOfTime, UpstreamCut, UpstreamError, UpstreamTimedOut
from gateway.exchange import Exchange
from gateway.taps.peek import error_in
from gateway.upstream.base import Headers
from policies.outcome import Blame, Ending

# Of the upstream's headers these are not the app's business: hop by hop (RFC 9110 §7.6.1), set by
# our own server, or about a connection that is not the app's.
OURS = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"te", b"trailer", b"upgrade",
        b"transfer-encoding", b"content-length", b"content-encoding", b"date", b"server", b"set-cookie", b"alt-svc",
        b"strict-transport-security", b"x-request-id", b"content-type",
    }
)  # fmt: skip

# What an upstream has no say in: our own names, and which pages may read an answer.
NOT_THEIRS = (b"x-pointsman-", b"access-control-", b"proxy-")
# How a stream ends that failed in the middle; and where the app's own time was up: as if its client had left then. It
# waited so long, which is known of the version, but did not fail.
UPSTREAMS_FAULT = Ending.FAILED, Blame.UPSTREAM, 200
TIME_IS_UP = Ending.ABANDONED, Blame.CLIENT, 200
PLAIN_CONNECTION = frozenset({b"keep-alive", b"close", b""})

# How long the rest of a finished answer may take to come before its connection is given up.
TRAILER_SECONDS = 0.25


def passed_on(headers: Headers) -> list[tuple[bytes, bytes]]:
    """The upstream's headers that the app may see: rate limits, retry hints, the provider's own `x-` and `openai-`."""
    told = [pair for pair in headers if pair[0] not in OURS and not pair[0].startswith(NOT_THEIRS)]
    hop = dict(headers).get(b"connection", b"").lower()
    if hop in PLAIN_CONNECTION:
        return told
    named = {name.strip() for name in hop.split(b",")}
    return [pair for pair in told if pair[0] not in named]


def relay(dispatched: Dispatched, x: Exchange, headers: Sequence[tuple[bytes, bytes]]) -> Awaitable[None]:
    """Send the answer out and say in `x` how it ended."""
    if isinstance(dispatched, Whole):
        return relay_whole(dispatched, x, headers)
    return relay_stream(dispatched, x, headers)


async def relay_whole(whole: Whole, x: Exchange, headers: Sequence[tuple[bytes, bytes]]) -> None:
    """A completion, or the provider's own refusal with its body and its `Retry-After`."""
    content_type = dict(whole.headers).get(b"content-type", JSON[1])
    if whole.peek is not None:
        x.first_content = x.clock() - x.since
        x.counted(whole.peek)
    ending, blame, status = ending_of(whole.status)
    if status == 404 and x.wire.finds:
        blame = Blame.CLIENT
    x.ends(ending, blame, status)
    if x.alive is not None:
        await x.alive.over()
        if x.started:
            await end_begun(whole, x)
            return
    if x.copy is not None and whole.status == 200:
        x.copy.head = ((b"content-type", content_type),)
        x.copy.take(whole.body)
    length = (b"content-length", b"%d" % len(whole.body))
    await x.door.start(
        whole.status, [(b"content-type", content_type), length, *headers, *passed_on(whole.headers)]
    )
    x.started = True
    await x.door.end(whole.body)


async def end_begun(whole: Whole, x: Exchange) -> None:
    """End a stream whose head went out before its first content: with what was kept of one, or as an error."""
    if whole.status < 400:
        await x.door.end(whole.body)
        return
    error = UpstreamError(f"the upstream answered with status {whole.status}: {error_in(whole.body)}")
    error.status = whole.status
    await x.door.end(x.wire.dialect.error_event(error))


def ending_of(status: int) -> tuple[Ending, Blame, int]:
    """How an upstream's status ends a request. DESIGN §5: without a control to ask, an upstream's 401, 403 or 404 is
    the version's configuration, other 4xx (but 408 and 429) are the client's."""
    if status < 400:
        return Ending.OK, Blame.NONE, status
    if status in {401, 403, 404}:
        return Ending.FAILED, Blame.RELEASE, status
    if status < 500 and status not in {408, 429}:
        return Ending.FAILED, Blame.CLIENT, status
    return Ending.FAILED, Blame.UPSTREAM, status


async def relay_stream(opened: Opened, x: Exchange, headers: Sequence[tuple[bytes, bytes]]) -> None:
    """The stream, whole events as they come, until it ends, fails, or the client has left."""
    answer, tap = opened.answer, opened.tap
    x.first_content = x.clock() - x.since
    status, head = x.wire.head(answer)
    alive = x.alive
    if alive is not None:
        await alive.settled()
    if x.copy is not None:
        x.copy.head = head
    if not x.started:
        await x.door.start(status, [*head, *headers, *passed_on(answer.headers)])
        x.started = True
    try:
        await pump(opened, x)
        if tap.error is None and not tap.ended_well:
            raise UpstreamCut("the upstream closed its stream before it had ended")
        last = b"" if tap.error is None or tap.done else x.wire.dialect.tail
        x.ends(*((Ending.OK, Blame.NONE, 200) if tap.error is None else (Ending.FAILED, Blame.UPSTREAM, 200)))
    except UpstreamError as error:
        error.settled()
        last = x.wire.dialect.error_event(error) if tap.error is None else x.wire.dialect.tail
        x.ends(*(TIME_IS_UP if out_of_time(error, x) else UPSTREAMS_FAULT))
    finally:
        x.counted(tap)
    if alive is not None:
        await alive.over()
    if x.ending is Ending.FAILED and not x.wire.framed:
        x.door.abort()
    else:
        await x.door.end(last)


async def pump(opened: Opened, x: Exchange) -> None:
    """Move chunks from the upstream to the door. The next is only taken when the door took the last."""
    answer, tap, alive, copy = opened.answer, opened.tap, x.alive, x.copy
    data, ended = opened.first, opened.ended or tap.done
    while True:
        if data:
            await x.door.write(data)
            if copy is not None:
                copy.take(data)
        if ended:
            return
        now = opened.limits.renew(answer)
        if alive is not None:
            alive.since = now
        chunk = await answer.chunk()
        data, ended = (tap.feed(chunk), tap.done) if chunk else (tap.flush(), True)


async def finish(opened: Opened, x: Exchange) -> None:
    """Take what little is left behind `[DONE]`, so that the upstream's connection can be used again; then let go.

    A stream that the upstream broke off is told to its breaker, which had heard of a good beginning.
    """
    if x.ending is Ending.FAILED and x.blame is Blame.UPSTREAM:
        opened.cut()
    try:
        if opened.tap.done and not opened.ended and not x.left:
            opened.answer.expires_at = x.clock() + TRAILER_SECONDS
            while await opened.answer.chunk():
                pass
    except UpstreamError as error:
        error.settled()  # the answer was whole; only its connection is lost
    finally:
        opened.answer.close()


async def refuse(error: GatewayError, x: Exchange, headers: Sequence[tuple[bytes, bytes]]) -> None:
    """Answer with our own error: a status where the head is not out yet, an error event where it is."""
    refused = error.blame is Blame.CLIENT and not x.attempts
    x.ends(Ending.REFUSED if refused else Ending.FAILED, error.blame, error.status)
    if isinstance(error, OutOfTime):
        x.ends(Ending.ABANDONED, Blame.CLIENT, error.status)
    if x.alive is not None:
        await x.alive.over()
    if x.started and not x.wire.framed:
        x.door.abort()
        return
    if x.started:
        await x.door.end(x.wire.dialect.error_event(error))
        return
    body = x.wire.dialect.error_body(error)
    told = error_headers(error)
    if error.status in {502, 503, 504} and used_up(error, x):
        told.append((b"x-should-retry", b"false"))
    length = (b"content-length", b"%d" % len(body))
    await x.door.start(error.status, [*told, length, *headers])
    x.started = True
    await x.door.end(body)


def out_of_time(error: GatewayError, x: Exchange) -> bool:
    """Whether it was the app's own deadline that passed in the middle of an answer."""
    return isinstance(error, UpstreamTimedOut) and error.phase == "total" and x.hurried


def used_up(error: GatewayError, x: Exchange) -> bool:
    """Whether asking again at once cannot help: this request was tried more than once already, or as often or as long
    as the app allows. OpenAI's and Anthropic's SDKs would repeat it twice, and multiply our attempts with theirs.

    Where the error itself says when to come again, the SDKs wait for that.
    """
    if error.retry_after_seconds is not None:
        return False
    return x.attempts > 1 or x.attempts >= x.most or x.clock() >= min(x.deadline, x.latest)

"""One flag, or all that a caller may see, evaluated for one context: a body in, a Reply out.

Knows no path, no key and no stream; both work on one snapshot from beginning to end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

import msgspec

from flags.model import Context
from flags.ofrep import (
    Bulk,
    EventStream,
    Failure,
    Problem,
    answer,
    context_bytes,
    digest,
    encode,
    etag,
    failure_of,
    matches,
    not_found,
)
from flags.resolve import resolve
from flags.slices import SLICE_SECONDS, in_slices
from gateway.auth import Caller
from gateway.decision import Serving
from gateway.http.ofrep.listing import Listing, sees
from gateway.http.ofrep.place import State
from gateway.http.ofrep.reply import JSON, UNKEPT, Reply, failure_reply


class Asking(NamedTuple):
    """Who asks, of what is served. The caller's own attributes stand in `context`, under `key`."""

    serving: Serving
    caller: Caller
    context: Context
    # Unix seconds, whole.
    now: int


def single(asking: Asking, key: str) -> Reply:
    """The flag `key`: 404 where it does not exist for this caller, 400 where it cannot be evaluated."""
    snapshot = asking.serving.snapshot
    stamp = snapshot.stamp
    flag = snapshot.flags.get(key)
    if flag is None or not sees(asking.serving, asking.caller, flag):
        return failure_reply(not_found(key, stamp))
    found = answer(flag, resolve(flag, asking.context, asking.now), stamp)
    return failure_reply(found) if isinstance(found, Failure) else Reply(200, encode(found))


async def bulk(
    asking: Asking, listing: Listing, state: State, streams: Sequence[EventStream], if_none_match: str
) -> Reply:
    """All flags of `listing`; 304 where the client has this answer already, which is known before they are evaluated."""
    parts = [*_hangs_on(asking, listing, state, streams), *[each async for each in _by_now(asking, listing)]]
    tag = etag(state.revision, state.fingerprint, digest(parts))
    # Said here: what is served may be newer by the time that this is sent.
    revision = (b"x-pointsman-revision", b"%d" % state.revision)
    headers = (JSON, UNKEPT, (b"etag", tag.encode()), revision)
    if if_none_match and matches(if_none_match, tag):
        return Reply(304, b"", headers[1:])
    found = Bulk(
        await _answers(asking, listing), asking.serving.snapshot.stamp, list(streams) or msgspec.UNSET
    )
    return Reply(200, encode(found), headers)


async def _answers(asking: Asking, listing: Listing) -> list[msgspec.Raw]:
    """In slices: thousands of flags take milliseconds, and so may one rule over a context that means ill; and this is the
    loop that proxies requests.

    As `in_slices` does it, written out: its step costs as much as an evaluation, a look at the clock a tenth of that.
    """
    context, now, encoded = asking.context, asking.now, listing.encoded
    clock = asyncio.get_running_loop().time
    until = clock() + SLICE_SECONDS
    answers: list[msgspec.Raw] = []
    for flag in listing.flags.values():
        answers.append(encoded.of(flag, resolve(flag, context, now)))
        if clock() >= until:
            await asyncio.sleep(0)
            until = clock() + SLICE_SECONDS
    return answers


def _hangs_on(asking: Asking, listing: Listing, state: State, streams: Sequence[EventStream]) -> list[bytes]:
    """All that an answer hangs on, beside the flags themselves."""
    caller = asking.caller
    return [
        asking.serving.snapshot.namespace.encode(),
        state.local.encode(),
        listing.name,
        # The key's own attributes are in the context.
        caller.name.encode(),
        context_bytes(asking.context),
        encode(streams),
    ]


async def _by_now(asking: Asking, listing: Listing) -> AsyncIterator[bytes]:
    """The answers that time alone changes: only evaluating tells whether it has."""
    async for flag in in_slices(listing.timed):
        found = resolve(flag, asking.context, asking.now)
        yield encode((found.variant, found.reason, found.error))


def refused(problem: Problem, key: str | None) -> Reply:
    """The answer to a body that holds no context."""
    return failure_reply(failure_of(problem, key))

"""One flag, or all that a caller may see, evaluated for one context: a body in, a Reply out.

Knows no path, no key and no stream; both work on one snapshot from beginning to end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import msgspec

from flags.compiled import CompiledFlag
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
    stamped,
)
from flags.resolve import resolve
from flags.slices import in_slices
from gateway.auth import Caller
from gateway.http.ofrep.place import State
from gateway.http.ofrep.reply import JSON, UNKEPT, Reply, failure_reply
from gateway.http.ofrep.view import View, sees
from gateway.route import Serving

# Evaluated between two looks at the clock: some 30 µs.
BATCH = 32


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
    stamp = stamped(snapshot.revision, snapshot.namespace)
    flag = snapshot.flags.get(key)
    if flag is None or not sees(asking.serving, asking.caller, flag):
        return failure_reply(not_found(key, stamp))
    found = answer(flag, resolve(flag, asking.context, asking.now), stamp)
    return failure_reply(found) if isinstance(found, Failure) else Reply(200, encode(found))


async def bulk(
    asking: Asking, view: View, state: State, streams: Sequence[EventStream], if_none_match: str
) -> Reply:
    """All flags of `view`; 304 where the client has this answer already, which is known before they are evaluated."""
    tag = etag(state.revision, state.fingerprint, digest(_hangs_on(asking, view, state, streams)))
    # Said here: what is served may be newer by the time that this is sent.
    revision = (b"x-pointsman-revision", b"%d" % state.revision)
    headers = (JSON, UNKEPT, (b"etag", tag.encode()), revision)
    if if_none_match and matches(if_none_match, tag):
        return Reply(304, b"", headers[1:])
    snapshot, context, now = asking.serving.snapshot, asking.context, asking.now
    answers: list[msgspec.Raw] = []
    # In slices: thousands of flags take milliseconds, and this is the loop that proxies requests.
    async for some in in_slices(batches(view.flags.values())):
        answers += [view.encoded.of(flag, resolve(flag, context, now)) for flag in some]
    found = Bulk(answers, stamped(snapshot.revision, snapshot.namespace), list(streams) or msgspec.UNSET)
    return Reply(200, encode(found), headers)


def batches(flags: Iterable[CompiledFlag]) -> Iterator[tuple[CompiledFlag, ...]]:
    """`flags`, some at a time: a slice's look at the clock costs as much as an evaluation."""
    rest = iter(flags)
    while some := tuple(islice(rest, BATCH)):
        yield some


def _hangs_on(asking: Asking, view: View, state: State, streams: Sequence[EventStream]) -> list[bytes]:
    """All that an answer hangs on, beside the flags themselves."""
    caller = asking.caller
    parts = [
        asking.serving.snapshot.namespace.encode(),
        state.local.encode(),
        view.name,
        # The key's own attributes are in the context.
        caller.name.encode(),
        context_bytes(asking.context),
        encode(streams),
    ]
    # Time alone changes these: only evaluating tells whether it has.
    parts += [
        encode((found.variant, found.reason, found.error))
        for found in (resolve(flag, asking.context, asking.now) for flag in view.timed)
    ]
    return parts


def refused(problem: Problem, key: str | None) -> Reply:
    """The answer to a body that holds no context."""
    return failure_reply(failure_of(problem, key))

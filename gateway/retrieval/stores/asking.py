"""One call of a store, or of what makes a query's vector: sent, read whole, bounded. Knows no route and no version."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gateway.errors import UpstreamGarbled, UpstreamUnavailable
from gateway.upstream.base import Answer, Headers, Upstream, UpstreamRequest

# A page of 50 results with the longest chunks of any store is some 2 MB; vectors are smaller still.
ANSWER_BYTES = 8 * 1024 * 1024


@dataclass(slots=True)
class Budget:
    """Until when a search may take (`until`, of `clock`); `hurried`: it is the app's own haste that makes it so little.

    What changes here: `waits`, when others were waited for.
    """

    until: float
    clock: Callable[[], float]
    headers: Headers = ()
    hurried: bool = False
    waits: list[tuple[float, float]] = field(default_factory=list)

    def waited(self) -> float:
        """Seconds in which at least one call was under way."""
        if len(self.waits) == 1:
            began, ended = self.waits[0]
            return ended - began
        total, covered = 0.0, -1.0
        for began, ended in sorted(self.waits):
            total += max(0.0, ended - max(began, covered))
            covered = max(covered, ended)
        return total


async def ask(
    upstreams: Mapping[str, Upstream], name: str, request: UpstreamRequest, budget: Budget
) -> tuple[int, bytes]:
    """The status and the whole body that upstream `name` answers with. Raises UpstreamError."""
    upstream = upstreams.get(name)
    if upstream is None:
        raise UpstreamUnavailable("not defined")
    began = budget.clock()
    try:
        answer = await upstream.send(request)
        try:
            return answer.status, await whole(answer, budget.until)
        finally:
            answer.close()
    finally:
        budget.waits.append((began, budget.clock()))


async def whole(answer: Answer, until: float) -> bytes:
    """The body. Raises UpstreamGarbled for one that is too long, UpstreamTimedOut, UpstreamCut."""
    parts, size = [], 0
    answer.expires_at, answer.phase = until, "total"
    while part := await answer.chunk():
        parts.append(part)
        size += len(part)
        if size > ANSWER_BYTES:
            raise UpstreamGarbled(f"the answer is longer than {ANSWER_BYTES:,} bytes, the most that is taken")
    return parts[0] if len(parts) == 1 else b"".join(parts)

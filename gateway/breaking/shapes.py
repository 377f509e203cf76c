"""What operators see of breakers, as JSON. Shapes only, no behaviour; workers tell each other in the same shape."""

from __future__ import annotations

import msgspec


class BreakerRow(msgspec.Struct, frozen=True):
    """One worker's breaker of one route's target. The counts are those of its last 30 s."""

    route: str
    # `openai/gpt-4.1`: the upstream, and the name by which that knows the model.
    target: str
    # closed, open, half_open, forced_open or off.
    state: str
    calls: int
    failures: int
    # Answers whose first content came too late.
    slow: int
    # Seconds until it may be asked again; null: it may now, or not until an operator says so.
    retry_in_seconds: float | None
    # Whether that is because the target has had too many requests.
    limited: bool
    worker: str


class BreakerList(msgspec.Struct, frozen=True):
    """The breakers of all workers by route, target and worker. `degraded`: only the answering worker's are known."""

    breakers: list[BreakerRow]
    degraded: bool

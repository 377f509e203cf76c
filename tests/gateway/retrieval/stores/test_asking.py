"""How long others were waited for, and one call read whole."""

from __future__ import annotations

import pytest

from gateway.errors import UpstreamUnavailable
from gateway.retrieval.stores.asking import Budget, ask
from gateway.upstream.base import UpstreamRequest


@pytest.mark.parametrize(
    ("waits", "seconds"),
    [
        ([], 0.0),
        ([(1.0, 2.5)], 1.5),
        ([(1.0, 2.0), (3.0, 4.0)], 2.0),
        ([(1.0, 3.0), (2.0, 4.0)], 3.0),
        ([(1.0, 9.0), (2.0, 4.0)], 8.0),
        ([(2.0, 4.0), (1.0, 3.0), (1.0, 3.0)], 3.0),
    ],
)
def test_calls_that_run_at_once_are_waited_for_once(waits: list[tuple[float, float]], seconds: float) -> None:
    assert Budget(9.0, lambda: 0.0, waits=waits).waited() == seconds


async def test_nobody_waits_for_an_upstream_that_is_not_defined() -> None:
    budget = Budget(9.0, lambda: 0.0)

    with pytest.raises(UpstreamUnavailable, match="not defined"):
        await ask({}, "gone", UpstreamRequest("/embeddings", b"{}"), budget)
    assert budget.waits == []

"""Long work lets others have their turn, and loses no step."""

from __future__ import annotations

import asyncio

import pytest

from flags import slices
from flags.slices import in_slices


async def test_every_step_comes_once_and_in_order() -> None:
    assert [step async for step in in_slices(range(1000))] == list(range(1000))


async def test_others_have_their_turn_after_each_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE_SECONDS", 0.0)
    seen: list[str] = []
    other = asyncio.create_task(_note(seen))

    async for step in in_slices("ab"):
        seen.append(step)

    await other
    assert seen == ["a", "other", "b"]


async def _note(seen: list[str]) -> None:
    seen.append("other")

"""What the fleet knows of reported names, in Redis: learned, fresh, due until it is told, and then known."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from types import MappingProxyType

import pytest

from flags.model import Flag, Layer, Variant
from policies.drift.names import Reported
from policies.drift.note import of_name
from policies.drift.registry import Registry, Renamed
from policies.outcome import Release
from tests.flags.stores import opened
from tests.redis_server import RedisServer

RELEASE = Release("bot.model", "m", 1)


def flag(content: str = "h" * 64) -> Flag:
    variants = MappingProxyType({"m": Variant("m", content, 1)})
    return Flag("bot.model", variants, serve="m", safe="m", layer=Layer.MODEL)


@pytest.fixture
async def registries(
    redis_server: RedisServer, request: pytest.FixtureRequest
) -> AsyncIterator[list[Registry]]:
    """Those of two workers."""
    name = f"t{abs(hash(request.node.name))}"
    async with opened(redis_server.url, name) as one, opened(redis_server.url, name) as other:
        yield [Registry(one, time.monotonic), Registry(other, time.monotonic)]


def said(answers: int = 1, *, target: str = "main/gpt", **names: str) -> Reported:
    return Reported(RELEASE, target, answers, {kind: {name: answers} for kind, name in names.items()})


async def test_the_first_name_is_the_baseline_and_stays_it(registries: list[Registry]) -> None:
    one, other = registries

    assert await one.tell(said(50, model="gpt-1"), flag()) == []
    assert await other.tell(said(50, model="gpt-1"), flag()) == []


async def test_answers_of_all_workers_add_up(registries: list[Registry]) -> None:
    one, other = registries
    await one.tell(said(model="gpt-1"), flag())

    assert await one.tell(said(2, model="gpt-2"), flag()) == []
    assert await other.tell(said(2, model="gpt-2"), flag()) == []
    (due,) = await one.tell(said(1, model="gpt-2"), flag())

    assert (due.before, due.after, due.answers, due.kind) == (("gpt-1",), "gpt-2", 5, "model")


async def test_what_is_due_stays_due_until_somebody_has_told_it(registries: list[Registry]) -> None:
    """The worker that was to tell may have died."""
    one, other = registries
    await one.tell(said(model="gpt-1"), flag())
    (due,) = await one.tell(said(9, model="gpt-2"), flag())

    (again,) = await other.tell(said(model="gpt-2"), flag())
    await other.settle(again, told=True)

    assert again.id == due.id
    assert await one.tell(said(99, model="gpt-2"), flag()) == []


async def test_one_kind_is_told_once_a_day_and_what_is_new_is_known_all_the_same(
    registries: list[Registry],
) -> None:
    one, _ = registries
    await one.tell(said(model="gpt-1"), flag())
    (due,) = await one.tell(said(9, model="gpt-2"), flag())
    await one.settle(due, told=True)

    assert await one.tell(said(9, model="gpt-3"), flag()) == []
    assert await one.tell(said(9, model="gpt-3"), flag()) == []


async def test_another_content_under_the_same_name_begins_anew(registries: list[Registry]) -> None:
    one, _ = registries
    await one.tell(said(model="gpt-1"), flag())

    assert await one.tell(said(99, model="gpt-2"), flag("i" * 64)) == []


async def test_each_target_has_names_of_its_own(registries: list[Registry]) -> None:
    one, _ = registries
    await one.tell(said(model="gpt-1"), flag())

    assert await one.tell(said(99, model="claude", target="spare/claude"), flag()) == []


async def test_a_version_that_is_gone_is_passed_over(registries: list[Registry]) -> None:
    gone = Reported(Release("bot.model", "old", 1), "main/gpt", 1, {"model": {"x": 1}})

    assert await registries[0].tell(gone, flag()) == []


async def test_a_provider_that_invents_names_is_never_told_of_and_fills_nothing(
    registries: list[Registry],
) -> None:
    one, _ = registries
    await one.tell(said(300, fingerprint="fp"), flag())
    await one.tell(said(1, fingerprint="fp"), flag())

    for number in range(60):
        assert await one.tell(said(fingerprint=f"fp-{number}"), flag()) == []


async def test_a_fingerprint_that_takes_the_old_ones_place_is_told_after_twenty_answers(
    registries: list[Registry],
) -> None:
    """Also in a version's first hours, when nobody knows yet what rotates."""
    one, other = registries
    await one.tell(said(10, fingerprint="fp-1"), flag())

    assert await one.tell(said(19, fingerprint="fp-2"), flag()) == []
    (due,) = await other.tell(said(1, fingerprint="fp-2"), flag())

    assert (due.kind, due.before, due.after, due.answers) == ("fingerprint", ("fp-1",), "fp-2", 20)


async def test_fingerprints_that_come_by_turns_are_known(registries: list[Registry]) -> None:
    one, _ = registries
    for _ in range(10):
        assert await one.tell(said(3, fingerprint="fp-1"), flag()) == []
        assert await one.tell(said(9, fingerprint="fp-2"), flag()) == []

    assert await one.tell(said(50, fingerprint="fp-2"), flag()) == []


def test_it_is_told_in_words_and_numbers() -> None:
    renamed = Renamed("bot.model", "m", "h" * 64, "main/gpt", "model", ("a", "b"), "c", 1_800_000_000, 7)

    event = of_name(renamed)

    assert event.reason == (
        "main/gpt changed the model under bot.model/m: it reports c, where it reported a, b (7 answers)"
    )
    assert event.evidence["since"] == "2027-01-15T08:00:00Z"
    assert (event.metric, event.flag, event.variant, event.name) == ("drift", "bot.model", "m", "model")

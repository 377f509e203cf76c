"""A route that takes its decisions from another Pointsman: by OFREP, and by the in-process provider."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from openfeature.contrib.provider.ofrep import OFREPProvider

from flags.change import Draft, View
from flags.codec import document_of
from flags.ledger import Author
from flags.model import Kind, ObjectKey
from flags.provider import PointsmanProvider
from gateway.house import House
from policies import verbs
from tests.gateway.deciding.decided import CONFIG, Asking, ask, decided_by, entries, flag, until
from tests.gateway.deciding.providers import FLAG
from tests.gateway.open_house import open_house
from tests.redis_server import RedisServer

# How the factories, which take no arguments, hear where the other one is.
THEIRS = "TESTS_OTHER_POINTSMAN"
OWN = CONFIG.replace('decisions: {{openfeature: "{reference}"}}', "").format()


def over_http() -> Any:
    return OFREPProvider(os.environ[THEIRS])


def in_process() -> Any:
    redis, _, namespace = os.environ[THEIRS].rpartition("#")
    return PointsmanProvider(redis, namespace=namespace)


async def tried_at_half(other: House) -> None:
    key = ObjectKey(Kind.FLAG, FLAG)

    def decide(view: View) -> list[Draft]:
        before = view.flag(FLAG)
        after = verbs.stamped(before, verbs.start(before, "v7", 50.0).flag, view.time)
        return [Draft("rollout", key, document_of(after))]

    await other.store.change(Author("tester", "half of them"), [key], decide)


@pytest.mark.parametrize("way", ["over_http", "in_process"])
async def test_what_another_pointsman_rolls_out_is_a_trial_here_too(
    redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "ours").mkdir()
    reference = f"{__name__}:{way}"
    async with open_house(redis_server.url, tmp_path / "theirs", OWN) as (other, their_url):
        where = their_url if way == "over_http" else f"{redis_server.url}#{other.settings.namespace}"
        monkeypatch.setenv(THEIRS, where)
        # The other one answers in this very loop: only beside it may be waited.
        beside = 'openfeature: "{reference}", blocking: true, timeout_seconds: 5, layers: [prompt]'
        config = CONFIG.replace('openfeature: "{reference}"', beside)
        async with decided_by(redis_server, tmp_path / "ours", reference, config) as (house, url):
            before = await ask(url, 5)
            await tried_at_half(other)
            await until(lambda: flag(house, FLAG).rollout is not None, Asking(house, url, 20))
            ours, theirs = await ask(url, 40), await ask(their_url, 40)
            written = await entries(house, "observed")

    rollout = flag(house, FLAG).rollout
    assert set(before) == {"prompt=v6;model=gpt"}
    # The same users get the same version on both sides.
    assert ours == theirs
    assert len(set(ours)) == 2
    assert rollout is not None
    assert rollout.variant == "v7"
    assert rollout.percent > 50
    assert flag(house, "support-bot.model").rollout is None
    assert {each.actor for each in written} == {f"provider/{reference}"}

"""Drift in whole workers over a real Redis: told once by however many, and acted on where a policy says so."""

from __future__ import annotations

import asyncio
import json
import math
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
from msgspec.structs import replace

from flags.ledger import Author, Entry
from flags.model import Kind
from gateway.house import House
from policies.governance.card import Mark, approved, card_of, written
from policies.outcome import Blame, Ending, Outcome, Release
from tests.gateway.open_house import open_house
from tests.scripted_upstream import Received, Script, ScriptedUpstream, json_answer

CONFIG = """
upstreams:
  main: {kind: openai, base_url: "%s"}
  spare: {kind: simulated}
flags:
  bot.model:
    layer: model
    serve: new
    safe: old
    variants:
      old: {upstream: spare, model: old}
      new: {upstream: main, model: gpt, fallbacks: [{upstream: spare, model: other}], retries: 0}
routes:
  bot: {}
"""
POLICY = "policies: {model-drift: {metric: drift, action: %s}}\n"
BODY = {"model": "bot", "messages": [{"role": "user", "content": "Hello?"}]}


class Provider:
    """An upstream that says who it is. What changes: who."""

    def __init__(self) -> None:
        self.model, self.fingerprint = "gpt-1", "fp-1"
        self.down = False

    def answer(self, received: Received) -> Script:
        """A completion, or a failure while it is down."""
        if self.down:
            return json_answer(b'{"error": {"message": "down"}}', status=503)
        choice = {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
        told = {"model": self.model, "system_fingerprint": self.fingerprint, "choices": [choice]}
        return json_answer(json.dumps(told).encode())


@asynccontextmanager
async def workers(
    redis: str, folder: Path, provider: Provider, more: str = "", number: int = 2
) -> AsyncIterator[Sequence[tuple[House, httpx.AsyncClient]]]:
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(ScriptedUpstream(choose=provider.answer))
        config = CONFIG % upstream.base_url + more
        found = []
        for _ in range(number):
            house, url = await stack.enter_async_context(open_house(redis, folder, config))
            found.append((house, await stack.enter_async_context(httpx.AsyncClient(base_url=url))))
        yield found


async def asked(fleet: Sequence[tuple[House, httpx.AsyncClient]], times: int) -> None:
    """Each worker is asked so often, and all look at what was reported, at once."""
    for house, app in fleet:
        for _ in range(times):
            assert (await app.post("/v1/chat/completions", json=BODY)).status_code == 200
        await house.gauge.flush()
    await asyncio.gather(*(house.office.drift.look_at_names() for house, _ in fleet))


async def notes(house: House, action: str = "drift") -> list[Entry]:
    return [entry for entry in await house.store.read_log(0, 500) if entry.action == action]


async def test_a_model_that_names_itself_otherwise_is_told_once_by_two_workers(
    redis_url: str, tmp_path: Path
) -> None:
    provider = Provider()
    async with workers(redis_url, tmp_path, provider) as fleet:
        await asked(fleet, 3)
        provider.model = "gpt-2"
        await asked(fleet, 2)
        early = await notes(fleet[0][0])
        await asked(fleet, 3)
        await asked(fleet, 3)
        (note,) = await notes(fleet[0][0])

    assert early == []
    assert (note.actor, note.object, note.affects) == ("automation/drift", "flag/bot.model", ())
    told = note.evidence
    assert told is not None
    assert (told["release"], told["target"], told["kind"]) == ("bot.model/new", "main/gpt", "model")
    assert (told["before"], told["after"]) == (["gpt-1"], "gpt-2")
    assert (
        "main/gpt changed the model under bot.model/new: it reports gpt-2, where it reported gpt-1"
        in note.reason
    )


async def test_a_fallback_that_answers_under_its_own_name_is_no_drift(redis_url: str, tmp_path: Path) -> None:
    provider = Provider()
    async with workers(redis_url, tmp_path, provider, number=1) as fleet:
        await asked(fleet, 3)
        provider.down = True
        await asked(fleet, 10)
        found = await notes(fleet[0][0])

    assert found == []


async def test_fingerprints_that_rotate_from_the_first_are_no_drift_and_a_new_one_later_is(
    redis_url: str, tmp_path: Path
) -> None:
    provider = Provider()
    async with workers(redis_url, tmp_path, provider, number=1) as fleet:
        for number in range(205):
            provider.fingerprint = f"fp-{number % 3}"
            await fleet[0][1].post("/v1/chat/completions", json=BODY)
        await asked(fleet, 1)
        quiet = await notes(fleet[0][0])
        provider.fingerprint = "fp-new"
        await asked(fleet, 19)
        almost = await notes(fleet[0][0])
        await asked(fleet, 1)
        (note,) = await notes(fleet[0][0])
        provider.fingerprint = "fp-newer"
        await asked(fleet, 25)
        same_day = await notes(fleet[0][0])

    assert (quiet, almost) == ([], [])
    assert note.evidence is not None
    assert (note.evidence["kind"], note.evidence["after"]) == ("fingerprint", "fp-new")
    assert same_day == [note]


async def test_a_policy_takes_a_version_back_whose_model_is_another(redis_url: str, tmp_path: Path) -> None:
    provider = Provider()
    async with workers(redis_url, tmp_path, provider, POLICY % "rollback") as fleet:
        await asked(fleet, 3)
        provider.model = "gpt-2"
        await asked(fleet, 5)
        (rollback,) = await notes(fleet[0][0], "rollback")
        drifts = await notes(fleet[0][0])

    assert (rollback.actor, rollback.object) == ("policy/model-drift", "flag/bot.model")
    assert rollback.after is not None
    assert rollback.after["withdrawn"] == ["new"]
    assert len(drifts) == 1


async def test_a_policy_that_alerts_adds_nothing_to_the_note(redis_url: str, tmp_path: Path) -> None:
    provider = Provider()
    async with workers(redis_url, tmp_path, provider, POLICY % "alert", number=1) as fleet:
        await asked(fleet, 3)
        provider.model = "gpt-2"
        await asked(fleet, 5)
        drifts, alerts = await notes(fleet[0][0]), await notes(fleet[0][0], "alert")

    assert (len(drifts), alerts) == (1, [])


OLD = """
upstreams: {mock: {kind: simulated}}
flags:
  bot.prompt:
    layer: prompt
    serve: v7
    safe: SAFE
    variants:
      v6: {messages: [{role: system, content: You are v6.}]}
      v7: {messages: [{role: system, content: You are v7.}]}
  bot.model: {layer: model, serve: m, variants: {m: {upstream: mock, model: m}}}
routes: {bot: {}}
"""


async def measured(house: House, n: int, tokens: float, *, refused: float = 0.0) -> None:
    """So many answers of v7, about so long; then what served versions do is looked at."""
    draw = random.Random(n)
    for number in range(n):
        length = round(math.exp(draw.gauss(math.log(tokens), 0.7)))
        releases = (Release("bot.prompt", "v7", 1),)
        no = draw.random() < refused
        plain = Outcome(f"r{number}", "bot", releases, Ending.OK, Blame.NONE, 200, 0.1)
        house.recorder.add(replace(plain, input_tokens=50, output_tokens=length, how="d", refused=no))
    await house.gauge.flush()
    alarm = house.store.keys.alarm("drift")
    await house.store.calls.run(lambda redis: redis.delete(alarm))
    await house.office.drift.look_at_shifts()


async def test_answers_that_grow_shorter_than_when_they_were_approved_are_told_once(
    redis_url: str, tmp_path: Path
) -> None:
    async with open_house(redis_url, tmp_path, OLD.replace("SAFE", "v7")) as (house, _):
        await measured(house, 300, 200)
        (taken,) = await notes(house, "baseline")
        await measured(house, 300, 205)
        quiet = await notes(house)
        await measured(house, 2_000, 80)
        await measured(house, 100, 80)
        (note,) = await notes(house)

    assert (taken.object, quiet) == ("version/bot.prompt/v7", [])
    assert note.evidence is not None
    assert (note.evidence["kind"], note.object) == ("output_length", "flag/bot.prompt")
    assert float(str(note.evidence["z"])) > 6
    assert "bot.prompt/v7 drifts from its baseline: tokens of an answer" in note.reason


async def test_refusals_are_told_and_a_policy_takes_the_version_back(redis_url: str, tmp_path: Path) -> None:
    """v7 is approved and not safe yet: it has a baseline, and something to go back to."""
    config = OLD.replace("SAFE", "v6") + POLICY % "rollback"
    async with open_house(redis_url, tmp_path, config) as (house, _):
        await approve(house)
        await measured(house, 300, 200)
        await measured(house, 600, 200, refused=0.3)
        (rollback,) = await notes(house, "rollback")
        (note,) = await notes(house)

    assert note.evidence is not None
    assert note.evidence["kind"] == "refusals"
    assert rollback.actor == "policy/model-drift"
    assert rollback.after is not None
    assert rollback.after["withdrawn"] == ["v7"]


async def approve(house: House) -> None:
    """As `approve` writes it."""
    variant = house.snapshot().flags["bot.prompt"].flag.variants["v7"]
    card = approved(card_of("bot.prompt", variant, None), Mark("ann", await house.store.time(), "fine"))
    done = await house.store.change(Author("ann", "fine"), [card.key], lambda _: [written("approve", card)])
    await house.store.acknowledged(done.position, 5, [house.worker.id])
    assert house.snapshot().of_kind(Kind.VERSION)

"""Tracks become scores once, whoever takes them; what is none is counted by what was wrong with it, and told seldom."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flags.codec import document_of
from flags.errors import StoreUnavailable
from flags.model import Document, Json, Kind, Layer, ObjectKey, Position, Reason, StoredObject
from flags.snapshot import Snapshot
from flags.store import Store
from flags.tracking import Got, Track
from gateway.feedback import Feedback
from gateway.token import VALID_SECONDS, TokenSigner
from gateway.tracking.taking import LOOKS, PAGE, TELL_SECONDS, TrackTaker
from policies.answered import Answered
from policies.outcome import Release, Score
from policies.recorder import Recorder
from tests.flags.stores import opened
from tests.gateway.builders import NOW, SIGNER, flag
from tests.gateway.open_house import open_house
from tests.redis_server import RedisServer

V7 = Release("chat.prompt", "v7", 1)
ANSWERED = Answered("chat", (V7,), "c", "unit")
METRICS: dict[str, dict[str, Json]] = {
    "helpful": {"type": "boolean", "better": "higher"},
    "stars": {"type": "number", "better": "higher", "range": [1, 5]},
}
USERS = {"chat.prompt": {"chat": "chat"}}


def snapshot() -> Snapshot:
    found: dict[ObjectKey, Document] = {
        ObjectKey(Kind.METRIC, name): {"spec": spec} for name, spec in METRICS.items()
    }
    contents: dict[str, Any] = {}
    for key in ("chat.prompt", "lonely.prompt"):
        made, held = flag(key, Layer.PROMPT, {"v6": "six", "v7": "seven"})
        found[ObjectKey(Kind.FLAG, key)] = document_of(made)
        contents |= held
    objects = {key: StoredObject(key, document, 1) for key, document in found.items()}
    return Snapshot.build("default", Position(1, "h"), 1, objects, contents)


class Box:
    """One worker's taker, what it is told of requests, and what came of it."""

    def __init__(self, store: Store) -> None:
        self.store, self.recorder = store, Recorder()
        self.now = float(NOW)
        self.signer: TokenSigner | None = SIGNER
        self.requests: dict[str, str] = {}
        self.snapshot: Snapshot | None = snapshot()
        feedback = Feedback(
            self.recorder,
            snapshot=snapshot,
            signer=lambda: self.signer,
            decision_of=self.decision_of,
            now=lambda: self.now,
            sleep=asyncio.sleep,
        )
        self.taker = TrackTaker(
            store,
            feedback,
            snapshot=lambda: self.snapshot,
            users=lambda: USERS,
            away=lambda: False,
            now=lambda: self.now,
        )

    async def decision_of(self, request_id: str) -> str | None:
        return self.requests.get(request_id)

    async def send(self, *tracks: Track) -> None:
        """Put them where providers put them."""
        rows = [msgspec.json.encode(track) for track in tracks]
        await self.store.calls.script("track", [self.store.keys.tracks], [10_000, *rows])

    async def hear(self, *tracks: Track) -> tuple[Score, ...]:
        """What one round makes of them."""
        await self.send(*tracks)
        await self.taker.round()
        return self.recorder.take_scores()

    def heard(self) -> dict[str, float]:
        """How many of each word were counted."""
        measures = list(self.recorder.take_series().values())
        return {name.partition(":")[2]: count for each in measures for name, count in each.items()}


@pytest.fixture
async def box(redis_server: RedisServer) -> AsyncIterator[Box]:
    async with opened(redis_server.url) as store:
        yield Box(store)


def got(key: str = "chat.prompt", variant: str = "v7", at: int = NOW - 5) -> Got:
    return Got(key, variant, 1, Reason.SPLIT, at)


def track(metric: str = "helpful", value: Any = 1.0, **changes: Any) -> Track:
    return Track(**{"id": "t1", "metric": metric, "value": value, "unit": "u", "got": (got(),), **changes})


async def test_a_track_becomes_a_score_of_what_its_user_got(box: Box) -> None:
    (score,) = await box.hear(track())

    assert score == Score("t1/chat/helpful", "chat", (V7,), "c", "u", "helpful", 1.0, NOW - 5)
    assert box.heard() == {"accepted": 1}


async def test_without_a_value_it_says_that_something_happened(box: Box) -> None:
    (score,) = await box.hear(track(value=None))

    assert score.value == 1.0


async def test_that_something_happened_is_no_number_of_stars(box: Box) -> None:
    assert await box.hear(track("stars", None)) == ()
    assert box.heard() == {"invalid": 1}


async def test_by_a_decision_it_is_the_same_score_as_feedback_on_it(box: Box) -> None:
    """So an app that sends both is counted once."""
    token = SIGNER.sign("req-1", NOW, "chat~unit~chat.prompt:v7:1:c")
    assert token is not None
    (score,) = await box.hear(track(decision=token.decode(), got=()))

    assert score == Score("req-1/helpful", "chat", (V7,), "c", "unit", "helpful", 1.0, NOW)


async def test_by_a_request_id_it_judges_what_answered_that(box: Box) -> None:
    box.requests["req-1"] = msgspec.structs.replace(ANSWERED, decided_at=NOW).text()
    (score,) = await box.hear(track(request_id="req-1", got=()))

    assert (score.key, score.releases, score.decided_at) == ("req-1/helpful", (V7,), NOW)


async def test_a_request_that_nobody_knows_yet_is_looked_for_once_more(box: Box) -> None:
    assert await box.hear(track(request_id="req-1", got=())) == ()
    assert box.heard() == {}

    box.requests["req-1"] = ANSWERED.text()
    (score,) = await box.hear()
    assert score.releases == (V7,)


async def test_a_request_that_nobody_knows_is_counted_once(box: Box) -> None:
    await box.hear(track(request_id="req-1", got=()))
    await box.hear()
    await box.hear()

    assert box.heard() == {"unknown": 1}


async def test_a_token_waits_for_the_keys_that_can_read_it(box: Box) -> None:
    token = SIGNER.sign("req-1", NOW, "chat~unit~chat.prompt:v7:1:c")
    assert token is not None
    box.signer = None
    first = await box.hear(track(decision=token.decode()))
    box.signer = SIGNER
    (score,) = await box.hear()

    assert first == ()
    assert score.key == "req-1/helpful"


async def test_what_is_taken_when_the_worker_ends_is_counted_still(box: Box) -> None:
    box.taker.rounds.start()
    await box.hear(track(request_id="req-1", got=()))
    box.requests["req-1"] = ANSWERED.text()

    await box.taker.aclose()
    await box.taker.aclose()

    assert len(box.recorder.take_scores()) == 1


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        (track("unheard"), "no_metric"),
        (track("latency"), "no_metric"),
        (track("helpful", 0.5), "invalid"),
        (track("stars", 6), "invalid"),
        (track("stars", True), "invalid"),
        (track(got=(got(variant="v8"),)), "unknown"),
        (track(got=(got("unheard.prompt"),)), "unknown"),
        (track(got=(got("lonely.prompt"),)), "no_route"),
        (track(route="other"), "no_route"),
        (track(got=(got(at=NOW - VALID_SECONDS - 1),)), "late"),
        (track(decision="1~req~5~chat~u~x"), "late"),
        (track(decision=f"1~req~{NOW}~chat~u~chat.prompt:v7:1:c~AAAA"), "forged"),
        (track(decision="nonsense"), "forged"),
    ],
)
async def test_what_is_no_score_is_counted_by_what_is_wrong_with_it(
    box: Box, wrong: Track, word: str
) -> None:
    assert await box.hear(wrong, track(id="good")) != ()
    assert box.heard() == {word: 1, "accepted": 1}


async def test_what_cannot_be_read_is_counted(box: Box, redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.xadd(box.store.keys.tracks, {"t": b"\xff\x00"})
        client.xadd(box.store.keys.tracks, {"other": b"field"})
    await box.hear(track())

    assert box.heard() == {"invalid": 2, "accepted": 1}


async def test_the_same_trouble_is_told_once_a_minute(box: Box, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(5):
        await box.hear(track("unheard"), track(value=0.5))
    first = len(caplog.records)
    box.now += TELL_SECONDS
    await box.hear(track("unheard"))

    assert (first, len(caplog.records)) == (2, 3)
    assert {each.levelno for each in caplog.records} == {logging.WARNING}
    assert "stars" in caplog.records[0].message


async def test_one_round_takes_page_after_page_and_leaves_the_rest_to_others(box: Box) -> None:
    await box.send(*(track(id=f"t{number}") for number in range(PAGE * LOOKS + 5)))

    first = await box.taker.round()
    second = await box.taker.round()

    assert (first, second) == (PAGE * LOOKS, 5)


async def test_of_two_workers_each_track_is_one_s(box: Box) -> None:
    other = Box(box.store)
    await box.send(*(track(id=f"t{number}") for number in range(500)))

    await asyncio.gather(box.taker.round(), other.taker.round())

    keys = Counter(score.key for each in (box, other) for score in each.recorder.take_scores())
    assert len(keys) == 500
    assert set(keys.values()) == {1}


async def test_before_the_first_snapshot_nothing_is_taken(box: Box) -> None:
    box.snapshot = None
    before = await box.hear(track())
    box.snapshot = snapshot()

    assert before == ()
    assert len(await box.hear()) == 1


async def test_while_redis_is_away_it_says_so(box: Box, redis_server: RedisServer) -> None:
    redis_server.kill()

    with pytest.raises(StoreUnavailable):
        await box.taker.round()


CONFIG = """
upstreams:
  mock: {kind: simulated}
metrics:
  helpful: {type: boolean, better: higher}
flags:
  chat.prompt:
    layer: prompt
    serve: v6
    variants:
      v6: {messages: [{role: system, content: "Six."}]}
      v7: {messages: [{role: system, content: "Seven."}]}
  chat.model: {layer: model, serve: m, variants: {m: {upstream: mock, model: m}}}
routes:
  chat: {}
"""


async def test_a_worker_takes_tracks_and_tells_the_fleet(redis_server: RedisServer, tmp_path: Path) -> None:
    async with open_house(redis_server.url, tmp_path / "house", CONFIG) as (house, _):
        box = Box(house.store)
        now = int(house.signing.now())
        seen = replace_at(got(variant="v6"), now)
        await box.send(track(got=(seen,)), track(got=(seen,)), track("unheard"))

        await house.office.tracks.round()
        await house.gauge.flush()
        await house.gauge.flush()

        totals = await house.measures.totals()
    assert totals.feedback == {"accepted": 2, "duplicate": 1, "no_metric": 1}
    assert totals.versions["chat.prompt", "v6"].scores["helpful"].count == 1


def replace_at(seen: Got, at: int) -> Got:
    return msgspec.structs.replace(seen, at=at)


@pytest.mark.parametrize(
    "changes",
    [
        {"got": [["chat.prompt", "v7", 1, "SPLIT", 10**400]]},
        {"got": [["chat.prompt", "v7", 10**30, "SPLIT", 1]]},
        {"got": [["chat.prompt", "v7", 1, "SPLIT", -5]]},
        {"got": [["chat.prompt", "v7", 1, "SPLIT", 1]] * 65},
        {"got": [["x" * 129, "v7", 1, "SPLIT", 1]]},
        {"id": "x" * 129},
        {"unit": "x" * 129},
        {"route": "x" * 129},
        {"request_id": "x" * 257},
        {"decision": "x" * 16_385},
        {"metric": None},
        {"value": "1"},
    ],
)
async def test_what_somebody_forged_in_redis_is_counted_and_nothing_stops_for_it(
    box: Box, changes: dict[str, Any]
) -> None:
    sound: dict[str, Any] = {"id": "t0", "metric": "helpful", "value": 1.0}
    row = json.dumps({**sound, "got": [["chat.prompt", "v7", 1, "SPLIT", NOW - 5]], **changes}).encode()
    await box.store.calls.script("track", [box.store.keys.tracks], [10_000, row])

    (score,) = await box.hear(track())

    assert score.key == "t1/chat/helpful"
    assert box.heard() == {"invalid": 1, "accepted": 1}


@pytest.mark.parametrize(
    "forged",
    [
        track(got=(got(key="a\nWARNING b"),)),
        track(route="a\nWARNING b"),
        track(metric="a\nWARNING b"),
        track(got=(), request_id="a\nWARNING b"),
    ],
)
async def test_what_somebody_forged_makes_no_line_of_its_own_in_the_log(
    box: Box, caplog: pytest.LogCaptureFixture, forged: Track
) -> None:
    await box.hear(forged)
    await box.hear()

    assert [each.message.count("\n") for each in caplog.records] == [0]

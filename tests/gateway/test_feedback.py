"""Scores come in by decision token or request id; what is late, forged, unknown or wrong is told, and counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette

from flags.errors import StoreUnavailable
from flags.model import Kind, ObjectKey, Position, StoredObject
from flags.snapshot import Snapshot
from gateway.auth import KEYLESS, NO_KEYS, Caller, Keyring, keyring
from gateway.errors import BadRequest, Forbidden, GatewayError
from gateway.feedback import ONCE_MORE_SECONDS, Feedback, StoreAway, UnknownMetric, UnknownRequest
from gateway.http.feedback import MAX_BODY_BYTES, FeedbackDoor
from gateway.token import VALID_SECONDS, DecisionExpired, InvalidDecision, TokenSigner
from policies.answered import Answered
from policies.outcome import Release, Score
from policies.recorder import Recorder
from tests.gateway.builders import NOW, SIGNER

V7 = Release("support-bot.prompt", "v7", 2)
ANSWERED = Answered("support-bot", (V7,), "c", "unit")
METRICS = {
    "helpful": {"type": "boolean", "better": "higher"},
    "stars": {"type": "number", "better": "higher", "range": [1, 5]},
    "accuracy": {"type": "number", "better": "higher", "range": [0, 10]},
    "cost": {"type": "number", "better": "lower"},
}


def snapshot(**metrics: Any) -> Snapshot:
    keys = {ObjectKey(Kind.METRIC, name): spec for name, spec in metrics.items()}
    objects = {key: StoredObject(key, {"spec": spec}, 1) for key, spec in keys.items()}
    return Snapshot.build("default", Position(1, "h"), 1, objects, {})


class Box:
    """Takes feedback in, and keeps what came of it."""

    def __init__(self, *, found: tuple[str | None, ...] = (), away: bool = False, **metrics: Any) -> None:
        self.recorder = Recorder()
        self.asked: list[str] = []
        self.slept: list[float] = []
        self.found, self.away = list(found), away
        self.signer: TokenSigner | None = SIGNER
        self.now = NOW + 60
        self.feedback = Feedback(
            self.recorder,
            snapshot=lambda: snapshot(**metrics),
            signer=lambda: self.signer,
            decision_of=self.decision_of,
            now=lambda: float(self.now),
            sleep=self.sleep,
        )

    async def decision_of(self, request_id: str) -> str | None:
        self.asked.append(request_id)
        if self.away:
            raise StoreUnavailable("Redis is away")
        return self.found.pop(0)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def take(self, *, caller: Caller = KEYLESS, **fields: Any) -> None:
        sent = {"metric": "accuracy", "value": 1, **fields}
        await self.feedback.take(msgspec.json.encode(sent), caller)

    async def refused(self, error: type[GatewayError], **fields: Any) -> GatewayError:
        """The error that `fields` meet; no score was taken."""
        with pytest.raises(error) as found:
            await self.take(**fields)
        assert self.recorder.take_scores() == ()
        return found.value

    def score(self) -> Score:
        (only,) = self.recorder.take_scores()
        return only

    def heard(self) -> dict[str, float]:
        """How many of each word were counted."""
        measures = list(self.recorder.take_series().values())
        return {name.partition(":")[2]: count for each in measures for name, count in each.items()}


def token(now: int = NOW) -> str:
    signed = SIGNER.sign("req-1", now, "support-bot~unit~support-bot.prompt:v7:2:c")
    assert signed is not None
    return signed.decode()


async def test_a_score_by_decision_token_is_joined_to_what_answered() -> None:
    box = Box()
    await box.take(decision=token(), value=0.25, comment="meh")

    score = box.score()
    assert score == Score("req-1/accuracy", "support-bot", (V7,), "c", "unit", "accuracy", 0.25, NOW)
    assert box.heard() == {"accepted": 1}
    assert box.asked == []


async def test_a_score_by_request_id_is_joined_to_what_answered() -> None:
    box = Box(found=(ANSWERED.text(),))
    await box.take(request_id="req-1", metric="hallucination", value=True)

    score = box.score()
    assert (score.key, score.releases, score.value) == ("req-1/hallucination", (V7,), 1.0)
    assert (score.unit, score.how) == ("unit", "c")
    assert box.slept == []


async def test_a_request_that_has_just_ended_is_looked_for_once_more() -> None:
    box = Box(found=(None, ANSWERED.text()))
    await box.take(request_id="req-1")

    assert box.score().route == "support-bot"
    assert box.slept == [ONCE_MORE_SECONDS]


async def test_a_request_id_that_nobody_knows_is_told_and_counted() -> None:
    box = Box(found=(None, None))
    error = await box.refused(UnknownRequest, request_id="req-9")

    assert (error.status, box.heard()) == (404, {"unknown": 1})
    assert box.asked == ["req-9", "req-9"]


async def test_with_redis_away_a_request_id_is_to_be_sent_again_and_a_token_is_taken() -> None:
    box = Box(away=True)
    error = await box.refused(StoreAway, request_id="req-1")
    await box.take(decision=token())

    assert (error.status, error.retry_after_seconds) == (503, 1.0)
    assert box.score().decided_at == NOW


async def test_without_keys_a_token_is_to_be_sent_again() -> None:
    box = Box()
    box.signer = None

    assert (await box.refused(StoreAway, decision=token())).status == 503


async def test_a_forged_token_is_refused_and_counted() -> None:
    box = Box()
    error = await box.refused(InvalidDecision, decision=token().replace("v7", "v6"))

    assert (error.status, error.code, box.heard()) == (400, "invalid_decision", {"forged": 1})


async def test_a_score_that_comes_too_late_is_refused_and_counted() -> None:
    box = Box()
    box.now = NOW + VALID_SECONDS + 1
    error = await box.refused(DecisionExpired, decision=token())

    assert (error.status, error.code, box.heard()) == (400, "decision_expired", {"late": 1})


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"decision": "x", "request_id": "y"},
        {"request_id": ""},
        {"request_id": "x" * 300},
        {"request_id": "x", "metric": ""},
        {"request_id": "x", "metric": 7},
        {"request_id": "x", "value": None},
        {"request_id": "x", "value": "good"},
        {"request_id": "x", "unknown": 1},
        {"request_id": "x", "comment": 1},
    ],
)
async def test_a_body_that_is_no_feedback_is_refused(fields: dict[str, Any]) -> None:
    box = Box()

    assert (await box.refused(BadRequest, **fields)).status == 400
    assert box.heard() == {}


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"metric": "accuracy", "value": 1e400}', b"\xff", b"[" * 60_000]
)
async def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        await Box().feedback.take(body, KEYLESS)


@given(st.binary(max_size=200))
def test_whatever_comes_as_a_body_is_refused_in_words(body: bytes) -> None:
    feedback = Box().feedback
    with pytest.raises(BadRequest):
        feedback.take(body, KEYLESS).send(None)


@pytest.mark.parametrize("name", ["error_rate", "latency", "nobody", "cost"])
async def test_a_metric_that_is_no_score_is_refused_with_those_that_are(name: str) -> None:
    box = Box(**METRICS)
    error = await box.refused(UnknownMetric, decision=token(), metric=name)

    assert error.status == 400
    assert "(scores: accuracy, complaint, hallucination, helpful, stars)" in error.message


@pytest.mark.parametrize(
    ("metric", "value", "taken"),
    [
        ("helpful", True, 1.0),
        ("helpful", 0, 0.0),
        ("helpful", 1.0, 1.0),
        ("stars", 5, 5.0),
        ("stars", 1, 1.0),
        ("accuracy", 10, 10.0),
        ("hallucination", False, 0.0),
        ("hallucination", 0.5, 0.5),
    ],
)
async def test_values_within_a_metrics_range_are_taken(metric: str, value: Any, taken: float) -> None:
    box = Box(**METRICS)
    await box.take(decision=token(), metric=metric, value=value)

    assert box.score().value == taken


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ("helpful", 0.5),
        ("helpful", 2),
        ("stars", 0.999),
        ("stars", 5.001),
        ("stars", True),
        ("accuracy", True),
        ("hallucination", 1.1),
        ("hallucination", -0.1),
    ],
)
async def test_values_out_of_a_metrics_range_are_refused(metric: str, value: Any) -> None:
    box = Box(**METRICS)

    assert (await box.refused(BadRequest, decision=token(), metric=metric, value=value)).param == "value"


async def test_a_key_judges_only_the_routes_that_it_may_use() -> None:
    box = Box()
    caller = Caller("shop", may_pin=False, routes=frozenset({"other"}))

    await box.refused(Forbidden, decision=token(), caller=caller)


def client(box: Box, keys: Keyring = NO_KEYS) -> httpx.AsyncClient:
    app = Starlette(routes=[*FeedbackDoor(box.feedback, lambda: keys).routes()])
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1")


@pytest.mark.parametrize("path", ["/v1/feedback", "/feedback"])
async def test_a_score_is_answered_with_202(path: str) -> None:
    box = Box()
    async with client(box) as http:
        answer = await http.post(path, json={"decision": token(), "metric": "accuracy", "value": 1})

    assert (answer.status_code, answer.json()) == (202, {"status": "accepted"})
    assert box.score().value == 1.0


async def test_errors_are_in_the_openai_dialect() -> None:
    async with client(Box(away=True)) as http:
        forged = await http.post("/v1/feedback", json={"decision": "x", "metric": "accuracy", "value": 1})
        away = await http.post("/v1/feedback", json={"request_id": "x", "metric": "accuracy", "value": 1})

    assert (forged.status_code, forged.json()["error"]["code"]) == (400, "invalid_decision")
    assert (away.status_code, away.headers["retry-after"]) == (503, "1")


async def test_a_body_above_the_bound_is_refused_and_one_at_it_is_read() -> None:
    box = Box()
    empty = msgspec.json.encode({"decision": token(), "metric": "accuracy", "value": 1, "comment": ""})
    at: Callable[[int], bytes] = lambda size: empty[:-2] + b"x" * (size - len(empty)) + b'"}'  # noqa: E731
    async with client(box) as http:
        beyond = await http.post("/v1/feedback", content=at(MAX_BODY_BYTES + 1))
        within = await http.post("/v1/feedback", content=at(MAX_BODY_BYTES))

    assert (beyond.status_code, within.status_code) == (413, 202)


async def test_with_keys_only_apps_may_judge() -> None:
    sent = {"decision": token(), "metric": "accuracy", "value": 1}
    async with client(Box(), keyring({"POINTSMAN_APP_KEYS": "shop:shop-key-1"})) as http:
        nobody = await http.post("/v1/feedback", json=sent)
        shop = await http.post("/v1/feedback", json=sent, headers={"x-api-key": "shop-key-1"})

    assert (nobody.status_code, shop.status_code) == (401, 202)


async def test_a_foreign_web_page_may_not_judge() -> None:
    async with client(Box()) as http:
        answer = await http.post("/v1/feedback", json={}, headers={"origin": "https://evil.example"})

    assert answer.status_code == 403

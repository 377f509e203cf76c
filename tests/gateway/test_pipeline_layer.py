"""A pipeline's versions under requests: who is charged, what the shield serves, and one rollback that moves all layers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from flags.codec import document_of
from flags.model import Context, Flag, Kind, Layer, ObjectKey, Position, Rollout, StoredObject
from flags.snapshot import Snapshot
from gateway.compiling import compile_serving
from gateway.decision import Asked, Serving
from gateway.figures.shapes import GaugesShape
from gateway.patience import Patience
from gateway.render import render
from gateway.route import decide
from gateway.views import status_shape
from gateway.wires.chat import Chat
from policies import verbs
from policies.case import docket_of
from policies.observe import observe
from policies.outcome import Blame, Ending, How, Part, Release
from policies.policy import SHIPPED
from tests.gateway.builders import MODEL, body, flag
from tests.gateway.piped import PIPELINE, V4, V5, piped, said, served
from tests.gateway.stage import Stage

ALL_BUT_NONE = 99.99
CANDIDATE = Release(PIPELINE, "v5", 1)


@pytest.fixture
async def patience() -> AsyncIterator[Patience]:
    timer = Patience(asyncio.get_running_loop(), tick_seconds=0.005)
    yield timer
    timer.aclose()


def failing(status: int = 500) -> Serving:
    """A candidate pipeline whose model is answered with `status`."""
    bad = {**MODEL, "model": "gpt-4o", "params": {"simulate": {"status": status}}}
    return served(
        flag(PIPELINE, Layer.PIPELINE, {"v4": V4, "v5": V5}, rollout=Rollout("v5", ALL_BUT_NONE)),
        flag("support-bot.prompt", Layer.PROMPT, {"v6": said("You are v6."), "v7": said("You are v7.")}),
        flag("support-bot.model", Layer.MODEL, {"gpt-4.1": MODEL, "gpt-4o": bad}),
    )


def rolled_back(serving: Serving, key: str) -> Serving:
    """What serves after a rollback of one flag."""
    snapshot = serving.snapshot
    return with_flag(snapshot, verbs.rollback(snapshot.flags[key].flag).flag)


def shown(serving: Serving) -> str:
    """What `status` says of the route's layers, in the header's form."""
    gauges = GaugesShape(7, degraded=False, minutes=5, seconds=300.0, routes={})
    status = status_shape(serving.snapshot, (), gauges, degraded=False, diverted={}, decided_by={})
    return ";".join(f"{layer}={state.served}" for layer, state in status.routes["support-bot"].items())


def with_flag(snapshot: Snapshot, after: Flag) -> Serving:
    key = ObjectKey(Kind.FLAG, after.key)
    objects = {**snapshot.objects, key: StoredObject(key, document_of(after), 8)}
    return compile_serving(Snapshot.build("default", snapshot.position, 8, objects, {**snapshot.contents}))


async def test_rolling_back_the_pipeline_moves_all_layers_at_once(patience: Patience) -> None:
    state = {
        "prompt": {"serve": "v8"},
        "model": {"serve": "gpt-4o"},
        "pipeline": {"serve": "v5", "safe": "v4"},
    }
    serving = piped(searching=True, **state)
    stage = Stage(serving, patience)

    _, before = await stage.ask()
    stage.served = rolled_back(serving, PIPELINE)
    _, after = await stage.ask()

    new, old = (
        "pipeline=v5;prompt=v7;retriever=r2;index=i4;model=gpt-4o",
        "pipeline=v4;prompt=v6;retriever=r1;index=i3;model=gpt-4.1",
    )
    assert before.headers[b"x-pointsman-versions"].decode() == new
    assert after.headers[b"x-pointsman-versions"].decode() == old
    assert (shown(serving), shown(stage.served)) == (new, old)
    assert (before.headers[b"x-pointsman-revision"], after.headers[b"x-pointsman-revision"]) == (b"7", b"8")


async def test_a_candidate_pipeline_that_fails_is_charged_alone_and_answered_by_the_control(
    patience: Patience,
) -> None:
    stage = Stage(failing(), patience)
    _, hall = await stage.ask(user="u1")

    assert hall.status == 200
    assert hall.headers[b"x-pointsman-shielded"] == b"1"
    assert hall.headers[b"x-pointsman-versions"] == b"pipeline=v4;prompt=v6;model=gpt-4.1"
    tried, shield = stage.outcomes()
    assert (tried.part, tried.releases, tried.how) == (Part.TRIED, (CANDIDATE,), How.COIN.value)
    assert (tried.ending, tried.blame, tried.excused) == (Ending.FAILED, Blame.UPSTREAM, False)
    assert (shield.part, shield.ending, shield.how) == (Part.SHIELD, Ending.OK, "ppp")
    assert [release.variant for release in shield.releases] == ["v4", "v6", "gpt-4.1"]


async def test_what_a_pipeline_pins_is_measured_and_the_pipeline_alone_is_judged(patience: Patience) -> None:
    serving = piped(
        pipeline={"rollout": Rollout("v5", ALL_BUT_NONE)},
        prompt={"serve": "v8", "safe": "v6", "rollout": Rollout("v7", 50)},
        model={"serve": "gpt-4o", "safe": "gpt-4.1"},
    )
    stage = Stage(serving, patience)
    await stage.ask(user="u1")
    outcome = stage.outcome()

    flags = {key: compiled.flag for key, compiled in serving.snapshot.flags.items()}
    layers = {each.layer: each.flag.flag.key for each in serving.routes["support-bot"].layers}
    docket = docket_of(flags, {"support-bot": layers}, {policy.name: policy for policy in SHIPPED})
    gains = observe([outcome], docket, lambda case, policy: ())

    assert [release.variant for release in outcome.releases] == ["v5", "v7", "gpt-4o"]
    assert outcome.how == "cpp"
    assert [gain.case for gain in gains] == [f"{PIPELINE}/v5/1"]


def test_parameters_merge_model_before_pipeline_before_app_except_what_the_model_has_locked() -> None:
    params: dict[str, Any] = {"temperature": 0.1, "top_p": 0.1, "seed": 1, "max_tokens": 1}
    model = {**MODEL, "params": params, "locked": ["seed"]}
    pipeline = {"pins": {}, "params": {"top_p": 0.2, "seed": 2, "max_tokens": 2, "n": 2}}
    serving = served(
        flag(PIPELINE, Layer.PIPELINE, {"v1": pipeline}), flag("support-bot.model", Layer.MODEL, {"m": model})
    )
    ask = Chat().read(body(max_tokens=3, seed=3))
    fields = render(decide(serving, serving.routes["support-bot"], Asked(Context("u"), {}, 0)), ask)

    assert {name: bytes(fields[name]) for name in ("temperature", "top_p", "max_tokens", "seed", "n")} == {
        "temperature": b"0.1",
        "top_p": b"0.2",
        "max_tokens": b"3",
        "seed": b"1",
        "n": b"2",
    }


def test_a_pinned_version_that_is_withdrawn_later_falls_to_the_safe_one_in_the_next_snapshot() -> None:
    before = piped(pipeline={"serve": "v5", "safe": "v4"})
    snapshot = before.snapshot
    key = ObjectKey(Kind.FLAG, "support-bot.prompt")
    withdrawn = verbs.withdraw(snapshot.flags[key.name].flag, "v7").flag
    stored = StoredObject(key, document_of(withdrawn), 8)
    later = snapshot.changed(Position(8, "i"), 8, {key: stored}, snapshot.contents)
    after = compile_serving(later, before, [key])

    decision = decide(after, after.routes["support-bot"], Asked(Context("u"), {}, 0))
    assert decision.versions == "pipeline=v5;prompt=v6;model=gpt-4o"

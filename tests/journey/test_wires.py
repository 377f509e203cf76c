"""The wires of a real fleet, asked by the official SDKs: a candidate that fails is shielded, a provider that is down is
stood in for in the other family's dialect, and the library that translates brings nothing of its own along."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import count, islice
from typing import Any

import anthropic
import openai
import pytest

from tests import plain
from tests.fleet import Fleet
from tests.journey.traffic import rolled_back, until
from tests.redis_server import free_port
from tests.scripted_upstream import ScriptedUpstream, scripted_upstream_in_thread

HI = {"role": "user", "content": "Hello?"}
# The coin gives the candidate to the first and not to the second; one who fails each time condemns nobody yet.
USERS = ("ann", "bob")
# What a `.env` would bring, if anybody read it.
PLANTED = "planted-in-a-file"
DOTENV = f"ANTHROPIC_API_KEY={PLANTED}\nOPENAI_API_KEY={PLANTED}\nLITELLM_LOG=DEBUG\nPOINTSMAN_NAMESPACE={PLANTED}\n"


def said(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "system", "content": text}]}


def config(address: str) -> dict[str, Any]:
    """`bot` has a candidate that fails; `far` has a provider that is down, and one that stands in for it."""
    rules = [{"contains": "BROKEN", "reply": {"status": 500}}]
    elsewhere = {"upstream": "claude", "model": "claude-sonnet-4-5"}
    return {
        "upstreams": {
            "mock": {"kind": "simulated", "rules": rules},
            "down": {"kind": "openai", "base_url": f"http://127.0.0.1:{free_port()}/v1"},
            "claude": {"kind": "anthropic", "base_url": address, "translate": True},
        },
        "flags": {
            "bot.prompt": {
                "layer": "prompt",
                "serve": "fine",
                "variants": {"fine": said("You are fine."), "broken": said("You are BROKEN.")},
                "rollout": {"variant": "broken", "percent": 50},
            },
            "bot.model": {"layer": "model", "variants": {"m": {"upstream": "mock", "model": "m"}}},
            "far.model": {
                "layer": "model",
                "variants": {"m": {"upstream": "down", "model": "gpt-4.1", "fallbacks": [elsewhere]}},
            },
        },
        "routes": {"bot": {}, "far": {}},
    }


@dataclass(frozen=True, slots=True)
class Started:
    """A fleet, and what `/readyz` said until it was ready."""

    fleet: Fleet
    readiness: list[int]


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedUpstream]:
    with scripted_upstream_in_thread() as running:
        yield running


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory, provider: ScriptedUpstream) -> Iterator[Started]:
    """Two workers that translate, started beside a `.env`."""
    folder = tmp_path_factory.mktemp("fleet")
    (folder / ".env").write_text(DOTENV)
    with Fleet(folder, json.dumps(config(provider.address)), inside=True) as fleet:
        seen: list[int] = []

        def ready() -> bool:
            seen.append(plain.get(f"{fleet.url}/readyz").status_code)
            # Any worker may answer.
            return seen[-8:] == [200] * 8

        until(ready, "all workers are ready", 40)
        until(lambda: len(fleet.workers()) == 2, "both workers alive")
        yield Started(fleet, seen)


@pytest.fixture(scope="module")
def fleet(started: Started) -> Fleet:
    return started.fleet


@pytest.fixture
def openai_sdk(fleet: Fleet) -> Iterator[openai.OpenAI]:
    with closing(openai.OpenAI(base_url=f"{fleet.url}/v1", api_key="none", max_retries=0)) as client:
        yield client


@pytest.fixture
def anthropic_sdk(fleet: Fleet) -> Iterator[anthropic.Anthropic]:
    with closing(anthropic.Anthropic(base_url=fleet.url, api_key="none", max_retries=0)) as client:
        yield client


def test_a_worker_that_translates_is_not_ready_before_its_library_is_warm(started: Started) -> None:
    assert (started.readiness[0], started.readiness[-1]) == (503, 200)


def test_a_file_of_settings_in_its_directory_is_not_read(
    fleet: Fleet, openai_sdk: openai.OpenAI, provider: ScriptedUpstream
) -> None:
    openai_sdk.chat.completions.create(model="far", messages=[HI])

    (*_, asked) = provider.requests
    assert asked.path == "/v1/messages"
    assert PLANTED.encode() not in asked.head
    assert "DEBUG" not in fleet.log


def test_a_provider_that_is_down_is_stood_in_for_by_one_of_the_other_family(
    openai_sdk: openai.OpenAI, provider: ScriptedUpstream
) -> None:
    raw = openai_sdk.chat.completions.with_raw_response.create(model="far", messages=[HI])
    answer = raw.parse()

    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("scripted", "stop")
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (7, 1)
    assert (raw.headers["x-pointsman-upstream"], raw.headers["x-pointsman-attempts"]) == ("claude", "2")
    assert provider.requests[-1].json["messages"][-1]["content"]


def test_its_stream_is_stood_in_for_as_well(openai_sdk: openai.OpenAI) -> None:
    chunks = [
        *openai_sdk.chat.completions.create(
            model="far", messages=[HI], stream=True, stream_options={"include_usage": True}
        )
    ]

    texts = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
    assert "".join(texts) == "scripted answer"
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices][-1] == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.prompt_tokens == 7


@pytest.mark.parametrize("stream", [False, True])
def test_a_candidate_that_fails_is_shielded_for_who_asks_by_messages(
    anthropic_sdk: anthropic.Anthropic, stream: bool
) -> None:
    shielded = []
    for user in USERS:
        raw = anthropic_sdk.messages.with_raw_response.create(
            model="bot", max_tokens=50, messages=[HI], metadata={"user_id": user}, stream=stream
        )
        told = raw.parse()
        shielded.append("x-pointsman-shielded" in raw.headers)
        assert raw.headers["x-pointsman-versions"] == "prompt=fine;model=m"
        kinds = [event.type for event in told] if isinstance(told, anthropic.Stream) else []
        assert kinds[-1:] == (["message_stop"] if stream else [])

    assert shielded == [True, False]


@pytest.mark.parametrize("stream", [False, True])
def test_a_candidate_that_fails_is_shielded_for_who_asks_by_responses(
    openai_sdk: openai.OpenAI, stream: bool
) -> None:
    shielded = []
    for user in USERS:
        raw = openai_sdk.responses.with_raw_response.create(
            model="bot", input="Hello?", store=False, user=user, stream=stream
        )
        told = raw.parse()
        shielded.append("x-pointsman-shielded" in raw.headers)
        assert raw.headers["x-pointsman-versions"] == "prompt=fine;model=m"
        kinds = [event.type for event in told] if isinstance(told, openai.Stream) else []
        assert kinds[-1:] == (["response.completed"] if stream else [])

    assert shielded == [True, False]


def test_what_was_shielded_on_both_wires_is_evidence_and_rolls_the_candidate_back(
    fleet: Fleet, openai_sdk: openai.OpenAI, anthropic_sdk: anthropic.Anthropic
) -> None:
    users = (f"later-{number}" for number in count())

    def asked() -> bool:
        for user in islice(users, 4):
            openai_sdk.responses.create(model="bot", input="Hello?", store=False, user=user)
            anthropic_sdk.messages.create(
                model="bot", max_tokens=50, messages=[HI], metadata={"user_id": user}
            )
        return bool(rolled_back(fleet))

    until(asked, "the candidate was rolled back")
    assert fleet.json("status", "bot.prompt")["withdrawn"] == ["broken"]

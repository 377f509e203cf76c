"""One question, asked in this process: what of the answer is kept, and what is told of it."""

from __future__ import annotations

import msgspec
import pytest

from gateway.evals.asking import ANSWER_BYTES, Asking, Inquiry, Kept, said
from gateway.house import House
from policies.outcome import Ending, Outcome, Part

CHAT = [{"role": "user", "content": "Which city?"}]


@pytest.fixture
def seen() -> list[Outcome]:
    return []


@pytest.fixture
def asking(house: House, seen: list[Outcome]) -> Asking:
    return Asking(
        house.pipeline.answer,
        lambda: house.serving,
        seen.append,
        clock=lambda: 0.0,
        now=lambda: 0.0,
        new_id=lambda: "eval-1",
    )


async def test_an_answer_tells_text_versions_tokens_and_cost(asking: Asking, seen: list[Outcome]) -> None:
    answer = await asking.ask(Inquiry("bot", CHAT, pins={"bot.prompt": "v7"}, about="bot.prompt"))

    assert (answer.text, answer.error) == ("v7 says: Rome", None)
    assert answer.versions == {"prompt": "v7", "model": "m"}
    assert answer.input_tokens
    assert answer.output_tokens
    (outcome,) = seen
    assert (outcome.part, outcome.ending, outcome.how) == (Part.EVAL, Ending.OK, "p")
    assert [release.variant for release in outcome.releases] == ["v7"]


async def test_who_is_asked_about_nothing_is_charged_with_nothing(
    asking: Asking, seen: list[Outcome]
) -> None:
    await asking.ask(Inquiry("judge", CHAT))

    assert (seen[0].releases, seen[0].how) == ((), "")


async def test_an_unknown_route_is_an_error_and_no_exception(asking: Asking, seen: list[Outcome]) -> None:
    answer = await asking.ask(Inquiry("nowhere", CHAT))

    assert "nowhere" in (answer.error or "")
    assert seen == []


async def test_an_upstreams_refusal_is_an_error_with_its_words(asking: Asking) -> None:
    answer = await asking.ask(Inquiry("bot", [{"role": "user", "content": "break"}]))

    assert answer.error == "status 500: the simulated upstream fails with 500"


async def test_a_version_that_cannot_be_served_is_an_error(house: House, asking: Asking) -> None:
    house.serving = None

    answer = await asking.ask(Inquiry("bot", CHAT))

    assert "starting" in (answer.error or "")


async def test_an_answer_beyond_its_bound_is_an_error() -> None:
    kept = Kept()
    await kept.write(b"x" * ANSWER_BYTES)
    held = len(kept.body)

    await kept.end(b"x")

    assert "longer than" in kept.error
    assert len(kept.body) == held


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": "Paris"}, "Paris"),
        ({"content": [{"type": "text", "text": "Pa"}, {"type": "text", "text": "ris"}]}, "Pa\nris"),
        ({"content": None, "refusal": "I may not."}, "I may not."),
        (
            {"content": None, "tool_calls": [{"function": {"name": "find", "arguments": '{"a":1}'}}]},
            '[{"name":"find","arguments":{"a":1}}]',
        ),
        (
            {"tool_calls": [{"function": {"name": "find", "arguments": "{"}}]},
            '[{"name":"find","arguments":"{"}]',
        ),
        ({}, ""),
    ],
)
def test_what_a_completion_says(message: object, text: str) -> None:
    assert said(msgspec.json.encode({"choices": [{"message": message}]})) == text


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"choices":[]}', b'{"choices":[{"message":{"content":7}}]}']
)
def test_what_is_no_completion_raises(body: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        said(body)

"""Who judges and who compares: asked through the gateway, tried twice, and away rather than wrong."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from flags.model import Embedding
from gateway.evals.asking import Inquiry
from gateway.evals.grading import Judge, Meanings, cosine
from gateway.house import House
from gateway.index.errors import Uninstalled
from policies.evals.answer import Answer
from policies.evals.grader import GraderAway


class Answers:
    """Stands for Asking: gives these answers, one after the other, and keeps what was asked."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = [*answers]
        self.asked: list[Inquiry] = []

    async def ask(self, inquiry: Inquiry) -> Answer:
        self.asked.append(inquiry)
        return self._answers.pop(0)


def judge(*answers: Answer) -> tuple[Judge, Answers]:
    asking: Any = Answers(*answers)
    return Judge(asking, "judge"), asking


def meanings(house: House, embedding: Embedding | None) -> Meanings:
    return Meanings(house.upstreams, house.shelf, embedding, clock=lambda: 0.0)


GOOD, BAD = Answer("yes", 0.1), Answer("", 0.1, error="status 503: away")


async def test_a_judge_is_asked_without_chance_and_with_its_instruction() -> None:
    asked, answers = judge(GOOD)

    said = await asked.ask("Judge.", "the answer")

    assert said == "yes"
    assert answers.asked[0].params == {"temperature": 0}
    assert [message["role"] for message in answers.asked[0].messages] == ["system", "user"]


async def test_a_judge_that_stumbles_is_asked_once_more() -> None:
    asked, _ = judge(BAD, GOOD)

    assert await asked.ask("Judge.", "it") == "yes"


async def test_a_judge_that_fails_twice_is_away_and_says_why() -> None:
    asked, _ = judge(BAD, BAD)

    with pytest.raises(GraderAway, match="503: away"):
        await asked.ask("Judge.", "it")


async def test_a_model_that_takes_no_temperature_is_asked_without_one_from_then_on() -> None:
    refusal = Answer("", 0.1, error="status 400: temperature does not support 0")
    asked, answers = judge(refusal, GOOD, GOOD)

    await asked.ask("Judge.", "it")
    await asked.ask("Judge.", "it")

    assert [inquiry.params for inquiry in answers.asked] == [{"temperature": 0}, {}, {}]


async def test_where_no_judge_is_named_nobody_judges() -> None:
    with pytest.raises(GraderAway, match="nobody judges"):
        await Judge(Answers(), None).ask("Judge.", "it")  # type: ignore[arg-type]


async def test_meanings_are_compared_by_an_upstreams_vectors(house: House) -> None:
    compared = Meanings(house.upstreams, house.shelf, Embedding("mock", "e"), clock=time.monotonic)

    assert await compared.similarity("a parcel", "a parcel") == pytest.approx(1.0)
    assert await compared.similarity("a parcel", "an elephant") < 0.9


@pytest.mark.parametrize(
    ("embedding", "words"), [(None, "nothing compares"), (Embedding("nowhere", "e"), "not defined")]
)
async def test_where_nobody_makes_vectors_nothing_is_compared(
    house: House, embedding: Embedding | None, words: str
) -> None:
    with pytest.raises(GraderAway, match=words):
        await meanings(house, embedding).similarity("a", "b")


async def test_the_model_that_is_here_stands_in_where_no_upstream_has_its_name() -> None:
    shelf: Any = SimpleNamespace(embed=vector)
    none: Mapping[str, Any] = {}
    compared = Meanings(none, shelf, Embedding("embedded", "any"), clock=lambda: 0.0)

    assert await compared.similarity("ab", "ab") == pytest.approx(1.0)


async def test_a_model_that_is_not_installed_is_away() -> None:
    async def missing(_: str) -> list[float]:
        raise Uninstalled("embeddings are not installed")

    shelf: Any = SimpleNamespace(embed=missing)

    with pytest.raises(GraderAway, match="not installed"):
        await Meanings({}, shelf, Embedding("embedded", "any"), clock=lambda: 0.0).similarity("a", "b")


@pytest.mark.parametrize(
    ("a", "b"), [([1.0], [1.0, 2.0]), ([0.0], [1.0]), ([], []), ([1e308, 1e308], [1.0, 1.0])]
)
def test_vectors_that_cannot_be_compared_are_not(a: list[float], b: list[float]) -> None:
    with pytest.raises(GraderAway):
        cosine(a, b)


@pytest.mark.parametrize(
    ("a", "b", "expected"), [([1, 0], [1, 0], 1.0), ([1, 0], [0, 1], 0.0), ([1, 0], [-2, 0], -1.0)]
)
def test_the_cosine(a: list[float], b: list[float], expected: float) -> None:
    assert cosine(a, b) == pytest.approx(expected)


async def vector(text: str) -> list[float]:
    return [float(ord(letter)) for letter in text]

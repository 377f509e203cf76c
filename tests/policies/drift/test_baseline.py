"""When a baseline is taken, from what, and that nothing changes what it says once."""

from __future__ import annotations

from dataclasses import replace

from flags.model import Flag
from policies.drift.baseline import amended, baseline_of, samples_in, told
from policies.drift.sample import Sample
from policies.governance.card import Card, Mark, approved, card_from, document_of

AT, SOON, LATER = "2030-01-01T00:00:00Z", "2030-01-01T00:02:00Z", "2030-01-02T00:00:00Z"
CARD = Card("bot.prompt", "v7", "h")
APPROVED = approved(CARD, Mark("ann", AT, "fine"))
FLAG = Flag("bot.prompt", {}, serve=None, safe=None)
SAFE = replace(FLAG, safe="v7", changed_at=AT)


def lengths(n: float) -> dict[str, Sample]:
    return {"output_length": Sample(n, 5.0, 1.0, 200.0)}


def test_at_its_approval_two_hundred_answers_are_enough() -> None:
    kept = baseline_of(amended(FLAG, APPROVED, lengths(200), SOON))["output_length"]

    assert (kept.taken, kept.at, kept.sample.n) == ("approval", SOON, 200)
    assert amended(FLAG, APPROVED, lengths(199), SOON) is APPROVED


def test_later_there_must_be_five_hundred() -> None:
    kept = baseline_of(amended(FLAG, APPROVED, lengths(500), LATER))["output_length"]

    assert kept.taken == "traffic"
    assert amended(FLAG, APPROVED, lengths(499), LATER) is APPROVED


def test_what_becomes_safe_has_one_without_anybodys_approval() -> None:
    assert baseline_of(amended(SAFE, CARD, lengths(200), SOON))["output_length"].taken == "safe"


def test_a_version_that_nobody_answers_for_has_none() -> None:
    assert amended(FLAG, CARD, lengths(10_000), SOON) is CARD
    rejected = replace(APPROVED, rejected=Mark("bob", AT, "no"))
    assert amended(FLAG, rejected, lengths(10_000), SOON) is rejected


def test_a_kind_that_comes_later_is_added_and_nothing_else_changes() -> None:
    first = amended(FLAG, APPROVED, lengths(300), SOON)
    scores = {"score:accuracy": Sample(120, 0.9)}

    second = amended(FLAG, first, {"output_length": Sample(9_000, 1.0, 1.0), **scores}, LATER)

    assert samples_in(second)["output_length"].n == 300
    assert baseline_of(second)["score:accuracy"].taken == "traffic"
    assert amended(FLAG, second, scores, LATER) is second


def test_it_is_kept_on_the_card_as_the_store_has_it() -> None:
    card = amended(FLAG, APPROVED, lengths(300), SOON)

    assert card_from("bot.prompt", "v7", document_of(card)) == card


def test_one_that_cannot_be_read_is_none() -> None:
    assert baseline_of(replace(CARD, baseline={"output_length": {"n": 3}})) == {}


def test_people_see_when_it_was_taken_and_from_what() -> None:
    card = amended(FLAG, APPROVED, lengths(300), SOON)

    assert told(card) == {"output_length": {"mean": 200.0, "n": 300, "at": SOON, "taken": "approval"}}

"""Names are counted by release and target; what cannot be told apart is counted together, what is too much not at all."""

from __future__ import annotations

from policies.drift.names import DIFFERENT, Names
from policies.outcome import Blame, Ending, Outcome, Release

PROMPT, MODEL = Release("bot.prompt", "v6", 1), Release("bot.model", "m", 1)


def outcome(
    *names: str | None, target: str = "mock/m", releases: tuple[Release, ...] = (PROMPT, MODEL)
) -> Outcome:
    reported = (target, *names) if names else None
    return Outcome("r", "bot", releases, Ending.OK, Blame.NONE, 200, 0.1, reported=reported)  # type: ignore[arg-type]


def test_names_are_counted_by_the_release_that_decides_the_model() -> None:
    names = Names()
    other = Release("bot.prompt", "v7", 1)

    names.note([outcome("gpt", "fp1"), outcome("gpt", "fp1"), outcome("gpt", "fp2", releases=(other, MODEL))])
    (found,) = names.take({"bot.model": None})

    assert (found.release, found.target, found.answers) == (MODEL, "mock/m", 3)
    assert found.names == {"model": {"gpt": 3}, "fingerprint": {"fp1": 2, "fp2": 1}}


def test_each_target_is_counted_apart_for_a_fallback_answers_under_its_own_name() -> None:
    names = Names()

    names.note([outcome("gpt", None), outcome("claude", None, target="spare/claude")])

    assert {each.target: each.names["model"] for each in names.take({"bot.model": None})} == {
        "mock/m": {"gpt": 1},
        "spare/claude": {"claude": 1},
    }


def test_what_reports_nothing_or_has_no_model_of_ours_is_left_out() -> None:
    names = Names()

    names.note([outcome(), outcome("gpt", None, releases=(PROMPT,))])

    assert names.take({"bot.model": None}) == []


def test_a_provider_that_invents_names_fills_no_memory() -> None:
    names = Names()

    names.note([outcome("gpt", f"fp{number}") for number in range(3 * DIFFERENT)])
    (found,) = names.take({"bot.model": None})

    assert len(found.names["fingerprint"]) == DIFFERENT
    assert names.take({"bot.model": None}) == []

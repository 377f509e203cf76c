from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from openfeature.flag_evaluation import FlagResolutionDetails
from openfeature.flag_evaluation import Reason as Said
from openfeature.provider.in_memory_provider import InMemoryFlag, InMemoryProvider

from flags.model import Layer, Reason
from gateway.deciding.decider import Decider
from gateway.decision import Given
from policies.outcome import How
from tests.gateway.builders import PROMPT, flag
from tests.gateway.deciding import providers
from tests.gateway.deciding.providers import FLAG

PROMPTS, _ = flag(FLAG, Layer.PROMPT, {"v6": PROMPT, "v7": {"messages": []}})
SOMEBODY = EvaluationContext("user-1", {"plan": "gold"})


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    yield
    api.clear_providers()


def given(provider: Any, *, randomized: bool = False, context: EvaluationContext = SOMEBODY) -> Given:
    decider = Decider("m:f", provider)
    while not decider.is_settled:
        pass
    return decider.ask(PROMPTS, context, randomized=randomized)


def says(value: Any, **details: Any) -> providers.Odd:
    return providers.Odd(lambda: FlagResolutionDetails(value, **details))


def test_a_text_that_names_a_version_decides() -> None:
    assert given(providers.constant("v7")) == Given("v7", Reason.STATIC, How.PLAIN)


def test_the_name_of_its_own_variant_decides_where_its_value_is_something_else() -> None:
    made = InMemoryProvider({FLAG: InMemoryFlag("v7", {"v7": {"messages": ["theirs"]}})})

    assert given(made) == Given("v7", Reason.STATIC, How.PLAIN)


def test_which_type_a_flag_has_is_asked_once() -> None:
    asked: list[str] = []

    class Counting(InMemoryProvider):
        def resolve_string_details(self, *args: Any, **more: Any) -> Any:
            asked.append("text")
            return super().resolve_string_details(*args, **more)

    decider = Decider("m:f", Counting({FLAG: InMemoryFlag("v7", {"v7": {"a": 1}})}))
    while not decider.is_settled:
        pass
    answers = {decider.ask(PROMPTS, SOMEBODY, randomized=False).variant for _ in range(3)}

    assert (answers, asked) == ({"v7"}, ["text"])


def test_a_split_is_a_coin() -> None:
    assert given(says("v7", reason=Said.SPLIT)) == Given("v7", Reason.SPLIT, How.COIN)


def test_a_rule_is_a_coin_only_where_somebody_says_so() -> None:
    rule = {"reason": Said.TARGETING_MATCH}

    assert given(says("v7", **rule)).how is How.TARGETED
    assert given(says("v7", **rule), randomized=True) == Given("v7", Reason.TARGETING_MATCH, How.COIN)
    assert given(says("v7", reason=Said.STATIC), randomized=True).how is How.PLAIN


@pytest.mark.parametrize("reason", [Said.DEFAULT, Said.CACHED, Said.UNKNOWN, "SOMETHING_OF_THEIRS", None])
def test_any_other_reason_is_plain(reason: Any) -> None:
    assert given(says("v7", reason=reason)) == Given("v7", Reason.DEFAULT, How.PLAIN)


def test_flagd_fractional_is_a_rule_and_with_randomized_a_coin() -> None:
    rule = {"fractional": [["v6", 50], ["v7", 50]]}
    made = providers.Flagd(
        {
            FLAG: {
                "state": "ENABLED",
                "variants": {"v6": "v6", "v7": "v7"},
                "defaultVariant": "v6",
                "targeting": rule,
            }
        }
    )
    decider = Decider("m:f", made)
    while not decider.is_settled:
        pass
    users = [EvaluationContext(f"user-{number}") for number in range(50)]

    found = {decider.ask(PROMPTS, user, randomized=True) for user in users}

    assert found == {Given(name, Reason.TARGETING_MATCH, How.COIN) for name in ("v6", "v7")}


@pytest.mark.parametrize(
    ("provider", "why"),
    [
        (providers.raising(), "kaputt"),
        (InMemoryProvider({}), "FLAG_NOT_FOUND"),
        (providers.constant("v99"), "'v99', which is no variant of support-bot.prompt (v6, v7)"),
        (says(""), "no variant"),
        (says(["v7"]), "GENERAL"),
        (says("v" * 10_000), "no variant"),
        (InMemoryProvider({FLAG: InMemoryFlag("on", {"on": True})}), "TYPE_MISMATCH"),
    ],
)
def test_whatever_is_no_version_of_ours_decides_nothing_and_says_why(provider: Any, why: str) -> None:
    found = given(provider)

    assert (found.variant, found.reason, found.how) == (None, Reason.ERROR, How.PLAIN)
    assert why[:60] in (found.message or "") or "no variant" in why
    assert len(found.message or "") <= 200


@pytest.mark.parametrize("raised", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_a_provider_that_wants_to_end_the_process_decides_nothing(raised: BaseException) -> None:
    class Leaving(str):
        __slots__ = ()

        def __repr__(self) -> str:
            raise raised

    found = given(says(Leaving("v99")))

    assert (found.variant, found.reason) == (None, Reason.ERROR)


def test_a_text_of_its_own_class_decides_as_the_plain_one() -> None:
    class Text(str):
        __slots__ = ()

    assert type(given(says(Text("v7"))).variant) is str


def test_a_provider_that_is_not_ready_decides_nothing() -> None:
    class Slow(InMemoryProvider):
        def initialize(self, evaluation_context: EvaluationContext) -> None:
            raise OSError("the service is away")

    found = given(Slow({}))

    assert found.variant is None


def test_each_provider_has_a_domain_of_its_own_and_the_default_stays() -> None:
    one, two = Decider("a:b", providers.constant("v6")), Decider("c:d", providers.constant("v7"))
    while not (one.is_settled and two.is_settled):
        pass

    answers = [each.ask(PROMPTS, SOMEBODY, randomized=False).variant for each in (one, two)]

    assert answers == ["v6", "v7"]
    assert api.get_provider_metadata().name == "No-op Provider"


def test_a_provider_that_is_closed_is_shut_down() -> None:
    down: list[bool] = []

    class Closing(InMemoryProvider):
        def shutdown(self) -> None:
            down.append(True)

    decider = Decider("m:f", Closing({}))
    decider.close()
    while not down:
        pass

    assert down == [True]

"""Flags over OFREP by OpenFeature's own Python provider, against a real fleet: every type, every refusal, a rollback."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import FlagEvaluationDetails, Reason

from tests import plain
from tests.fleet import Fleet
from tests.journey.interop import scene
from tests.journey.interop.scene import ANN_KEY, BOSS_TOKEN, SHOP_KEY

ANN = EvaluationContext("ann")
Connect = Callable[..., OpenFeatureClient]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Two workers without keys."""
    with scene.fleet(tmp_path_factory.mktemp("open"), workers=2) as running:
        yield running


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """One worker that asks for keys."""
    with scene.fleet(tmp_path_factory.mktemp("keyed"), keys=True) as running:
        yield running


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Makes a client of a fleet, with these headers; all are closed at the end."""
    providers: list[OFREPProvider] = []
    domains = (f"domain-{number}" for number in count())

    def client(fleet: Fleet, headers: Mapping[str, str] | None = None) -> OpenFeatureClient:
        provider = OFREPProvider(fleet.url, headers_factory=lambda: dict(headers or {}))
        providers.append(provider)
        domain = next(domains)
        api.set_provider_and_wait(provider, domain)
        return api.get_client(domain)

    yield client
    api.clear_providers()
    for provider in providers:
        provider.session.close()


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def told(details: FlagEvaluationDetails[Any]) -> tuple[Any, str | None, Reason | None]:
    """What an answer says, without its metadata; the error is told where there is one."""
    assert details.error_code is None, details.error_message
    return details.value, details.variant, details.reason


def test_each_type_comes_back_as_what_it_is(fleet: Fleet, connect: Connect) -> None:
    """A whole number from a flag with fractions is a float, or a typed client would refuse it."""
    client = connect(fleet)

    greeting = client.get_boolean_details("new-greeting", False, ANN)
    colour = client.get_string_details("colour", "", ANN)
    limit = client.get_integer_details("limit", 0, ANN)
    ratio = client.get_float_details("ratio", 0.0, ANN)
    theme = client.get_object_details("theme", {}, ANN)

    assert told(greeting) == (True, "on", Reason.STATIC)
    assert told(colour) == ("#f00", "red", Reason.DEFAULT)
    assert told(limit) == (10, "low", Reason.STATIC)
    assert told(ratio) == (1.0, "all", Reason.STATIC)
    assert type(ratio.value) is float
    assert told(theme) == ({"bg": "#000", "sizes": [1, 2.5], "on": True}, "dark", Reason.STATIC)


def test_targeting_reads_the_context_that_was_sent(fleet: Fleet, connect: Connect) -> None:
    gold = connect(fleet).get_string_details("colour", "", EvaluationContext("ann", {"plan": "gold"}))

    assert told(gold) == ("#fc0", "gold", Reason.TARGETING_MATCH)


def test_metadata_names_revision_and_namespace_beside_the_flags_own(fleet: Fleet, connect: Connect) -> None:
    details = connect(fleet).get_string_details("colour", "", ANN)

    own = {"team": "design", "weight": 2, "public": True}
    revision = fleet.json("status")["revision"]
    assert details.flag_metadata == {"version": str(revision), "flagSetId": "default", **own}


def test_a_rollout_gives_each_user_one_side_and_keeps_it(fleet: Fleet, connect: Connect) -> None:
    """A fair coin over 200 users: fewer than 60 or more than 140 heads come once in ten million runs of new users."""
    client = connect(fleet)
    users = [EvaluationContext(f"user-{number}") for number in range(200)]

    first = [client.get_string_details("coin", "", user) for user in users]
    second = [client.get_string_value("coin", "", user) for user in users[:20]]

    assert {details.reason for details in first} == {Reason.SPLIT}
    assert 60 < sum(details.value == "heads" for details in first) < 140
    assert second == [details.value for details in first[:20]]


def test_without_a_targeting_key_the_coin_is_not_thrown(fleet: Fleet, connect: Connect) -> None:
    client = connect(fleet)

    nobody = client.get_string_details("coin", "")
    empty = client.get_string_details("coin", "", EvaluationContext(""))

    assert nobody.value == empty.value == "tails"
    assert nobody.error_code is None


@pytest.mark.parametrize(("flag", "reason"), [("sleeping", Reason.DISABLED), ("undecided", Reason.DEFAULT)])
@pytest.mark.parametrize("default", [True, False])
def test_a_flag_that_decides_nothing_leaves_the_value_to_the_caller(
    fleet: Fleet, connect: Connect, flag: str, reason: Reason, default: bool
) -> None:
    """Disabled, or without a default: no error, and the default is the caller's."""
    details = connect(fleet).get_boolean_details(flag, default, ANN)

    assert (details.value, details.reason, details.error_code) == (default, reason, None)


@pytest.mark.parametrize(
    "flag", ["no-such-flag", "a/b", "colour/", "new greeting", "ä", "%2e%2e", "colour%00"]
)
def test_a_flag_that_does_not_exist_is_not_found(fleet: Fleet, connect: Connect, flag: str) -> None:
    details = connect(fleet).get_string_details(flag, "mine", ANN)

    assert (details.value, details.error_code) == ("mine", ErrorCode.FLAG_NOT_FOUND)
    assert details.error_message


def test_a_rule_that_names_no_variant_is_told_with_the_variants_that_there_are(
    fleet: Fleet, connect: Connect
) -> None:
    details = connect(fleet).get_boolean_details("broken", True, EvaluationContext("ann", {"pick": "nope"}))

    assert (details.value, details.error_code) == (True, ErrorCode.GENERAL)
    assert "'nope'" in str(details.error_message)
    assert "(off, on)" in str(details.error_message)


def test_another_type_than_the_flags_is_a_mismatch(fleet: Fleet, connect: Connect) -> None:
    details = connect(fleet).get_integer_details("colour", 7, ANN)

    assert (details.value, details.error_code) == (7, ErrorCode.TYPE_MISMATCH)


@pytest.mark.parametrize("attributes", [{"targetingKey": 7}, {"targetingKey": {"a": 1}}])
def test_a_targeting_key_that_is_no_text_is_an_invalid_context(
    fleet: Fleet, connect: Connect, attributes: dict[str, Any]
) -> None:
    details = connect(fleet).get_string_details("colour", "mine", EvaluationContext(None, attributes))

    assert (details.value, details.error_code) == ("mine", ErrorCode.INVALID_CONTEXT)


def test_a_rollback_is_seen_by_the_next_evaluation(fleet: Fleet, connect: Connect) -> None:
    """Of a flag that the gateway itself uses, and of one that it does not."""
    client = connect(fleet)
    before = client.get_object_details("support-bot.prompt", {}, ANN)

    fleet.json("rollback", "support-bot.prompt", "--reason", "it forgets")
    fleet.json("rollback", "new-greeting", "--reason", "nobody smiles")
    after = client.get_object_details("support-bot.prompt", {}, ANN)
    greeting = client.get_boolean_details("new-greeting", True, ANN)

    assert before.variant == "v7"
    assert (after.variant, after.value) == (
        "v6",
        {"messages": [{"role": "system", "content": "You are v6."}]},
    )
    assert told(greeting) == (False, "off", Reason.STATIC)
    assert int(str(after.flag_metadata["version"])) > int(str(before.flag_metadata["version"]))
    fleet.json("switch", "new-greeting", "off")


@pytest.mark.parametrize("headers", [{}, bearer("some-key-that-is-no-key"), {"X-API-Key": "nor-is-this-one"}])
def test_without_a_key_that_holds_nothing_is_told(
    keyed: Fleet, connect: Connect, headers: dict[str, str]
) -> None:
    details = connect(keyed, headers).get_boolean_details("new-greeting", False, ANN)

    assert (details.value, details.error_code, details.error_message) == (
        False, ErrorCode.GENERAL, "unauthorized",
    )  # fmt: skip


@pytest.mark.parametrize("headers", [bearer(ANN_KEY), {"X-API-Key": ANN_KEY}, bearer(BOSS_TOKEN)])
def test_a_key_opens_by_either_header_and_so_does_an_operators_token(
    keyed: Fleet, connect: Connect, headers: dict[str, str]
) -> None:
    details = connect(keyed, headers).get_boolean_details("new-greeting", False, ANN)

    assert told(details) == (True, "on", Reason.STATIC)


def test_what_a_key_may_not_use_does_not_exist_for_it(keyed: Fleet, connect: Connect) -> None:
    """The flags of another route's layers; a flag without a layer is everybody's, its own route's are its own."""
    shop = connect(keyed, bearer(SHOP_KEY))

    foreign = shop.get_object_details("support-bot.prompt", {}, ANN)
    own = shop.get_object_details("shop.model", {}, ANN)
    general = shop.get_boolean_details("new-greeting", False, ANN)

    assert foreign.error_code == ErrorCode.FLAG_NOT_FOUND
    assert own.variant == "m"
    assert general.value is True


def test_a_key_for_flags_alone_opens_nothing_else(keyed: Fleet, connect: Connect) -> None:
    """It may stand in a page that everybody reads: no model, no layer's content, none of the gateway's own switches."""
    key = keyed.json("keys", "create", "page", "--flags-only", "--token", BOSS_TOKEN)["key"]
    client = connect(keyed, bearer(key))

    general = client.get_boolean_details("new-greeting", False, ANN)
    hidden = [client.get_object_details(flag, {}, ANN) for flag in ("support-bot.prompt", "shop.model")]
    switch = client.get_boolean_details("gateway.cache", True, ANN)
    body = {"model": "support-bot", "messages": [{"role": "user", "content": "Hello?"}]}
    asked = plain.post(f"{keyed.url}/v1/chat/completions", json=body, headers=bearer(key))

    assert general.value is True
    assert {each.error_code for each in (*hidden, switch)} == {ErrorCode.FLAG_NOT_FOUND}
    assert asked.status_code in {403, 404}
    assert plain.get(f"{keyed.url}/v1/models", headers=bearer(key)).json()["data"] == []
    assert plain.get(f"{keyed.url}/admin/v1/flags", headers=bearer(key)).status_code == 401


@pytest.mark.parametrize("sent", [{"key": {"tier": "inner"}}, {"key.tier": "inner"}, {"key": "inner"}])
def test_nobody_can_write_where_the_keys_own_attributes_stand(
    keyed: Fleet, connect: Connect, sent: dict[str, Any]
) -> None:
    inner = connect(keyed, bearer(ANN_KEY)).get_string_details("inner", "", ANN)
    shop = connect(keyed, bearer(SHOP_KEY)).get_string_details("inner", "", EvaluationContext("ann", sent))

    assert inner.value == "in"
    assert shop.value != "in"


def test_a_foreign_web_page_is_refused_where_nobody_needs_a_key(fleet: Fleet, connect: Connect) -> None:
    details = connect(fleet, {"Origin": "https://evil.example"}).get_boolean_details(
        "new-greeting", False, ANN
    )

    assert (details.value, details.error_code, details.error_message) == (
        False,
        ErrorCode.GENERAL,
        "forbidden",
    )


def test_who_asks_too_often_is_told_when_to_come_again_and_keeps_to_it(tmp_path: Path) -> None:
    """The provider reads Retry-After and asks nobody until then."""
    with scene.fleet(tmp_path / "slow", ofrep={"requests_per_second": 1}) as fleet:
        provider = OFREPProvider(fleet.url)
        api.set_provider_and_wait(provider, "slow")
        client = api.get_client("slow")

        answers = [client.get_string_details("colour", "mine", ANN) for _ in range(20)]
        paused = provider.retry_after
        refused = plain.post(f"{fleet.url}/ofrep/v1/evaluate/flags/colour", json={})
        api.clear_providers()
        provider.session.close()

    assert answers[0].value == "#f00"
    assert answers[-1].value == "mine"
    assert "paused" in str(answers[-1].error_message)
    assert paused is not None
    assert paused < datetime.now(UTC) + timedelta(minutes=1)
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) >= 1
    assert refused.json()["errorDetails"]

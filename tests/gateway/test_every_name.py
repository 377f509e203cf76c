"""The route `*`: where whatever name is no route goes, asking for that very name if its model says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from flags.model import Kind, Layer, ObjectKey
from gateway.auth import KEYLESS, Caller
from gateway.compiling import compile_serving
from gateway.config.declaration import ConfigInvalid
from gateway.config.loading import declaration_from
from gateway.decision import Serving
from gateway.errors import UnknownRoute
from gateway.http.models import known
from gateway.patience import Patience
from gateway.price import Prices, Rate
from gateway.route import find_route
from policies.outcome import CostSource
from tests.gateway.builders import MODEL, NOW, SIGNER, flag
from tests.gateway.piped import served
from tests.gateway.stage import Stage

ANY = {**MODEL, "model": "*"}


@pytest.fixture
async def patience() -> AsyncIterator[Patience]:
    timer = Patience(asyncio.get_running_loop(), tick_seconds=0.005)
    yield timer
    timer.aclose()


def for_all() -> Serving:
    return served(flag("any.model", Layer.MODEL, {"m": ANY}), route="*", model="any.model")


async def test_a_name_that_is_no_route_is_asked_of_the_upstream_as_the_app_sent_it(
    patience: Patience,
) -> None:
    stage = Stage(for_all(), patience)
    _, hall = await stage.ask(model="vendor/gpt-9")

    assert (hall.status, hall.json["model"]) == (200, "vendor/gpt-9")
    assert hall.headers[b"x-pointsman-route"] == b"*"
    assert hall.headers[b"x-pointsman-versions"] == b"model=m"
    assert stage.outcome().route == "*"
    decided = SIGNER.read(hall.headers[b"x-pointsman-decision"].decode(), NOW)
    assert (decided.answered.route, decided.answered.releases[0].variant) == ("*", "m")


async def test_a_fallback_may_ask_for_the_apps_name_too(patience: Patience) -> None:
    content = {**ANY, "upstream": "gone", "fallbacks": [{"upstream": "mock", "model": "*"}]}
    stage = Stage(
        served(flag("any.model", Layer.MODEL, {"m": content}), route="*", model="any.model"), patience
    )
    _, hall = await stage.ask(model="gpt-9")

    assert hall.json["model"] == "gpt-9"
    assert hall.headers[b"x-pointsman-upstream"] == b"mock"


def test_a_key_that_may_not_use_it_gets_the_404_of_an_unknown_name() -> None:
    serving = for_all()
    allowed = Caller("a", may_pin=False, routes=frozenset({"*"}))

    assert find_route(serving, "gpt-9", allowed).name == "*"
    with pytest.raises(UnknownRoute, match="known: none"):
        find_route(serving, "gpt-9", Caller("b", may_pin=False, routes=frozenset({"support-bot"})))


def test_it_is_a_stored_object_like_any_other() -> None:
    assert ObjectKey.parse("route/*") == ObjectKey(Kind.ROUTE, "*")
    for text in ("flag/*", "route/**", "route/a*"):
        with pytest.raises(ValueError, match="is no object"):
            ObjectKey.parse(text)


def test_its_layers_are_named_for_no_flag_can_be_called_like_it() -> None:
    document = {
        "upstreams": {"mock": {"kind": "simulated"}},
        "flags": {"any.model": {"layer": "model", "variants": {"m": ANY}}},
        "routes": {"*": {"model": "any.model"}},
    }

    assert ObjectKey(Kind.ROUTE, "*") in declaration_from(document).others
    with pytest.raises(ConfigInvalid, match=r'name one: "\*": \{model: FLAG\}'):
        declaration_from({**document, "routes": {"*": {}}})


def test_the_list_of_models_leaves_it_out() -> None:
    assert known(for_all(), KEYLESS, None) == []
    with pytest.raises(UnknownRoute):
        known(for_all(), KEYLESS, "*")


async def test_its_answers_cost_what_the_model_costs_that_was_asked_for(patience: Patience) -> None:
    serving = for_all()
    prices = Prices({"gpt-9": Rate(1.0, 2.0, CostSource.TABLE)})
    stage = Stage(compile_serving(serving.snapshot, prices=prices), patience)
    await stage.ask(model="gpt-9")
    await stage.ask(model="gpt-unheard-of")

    dear, unknown = stage.outcomes()
    assert dear.cost_usd == (dear.input_tokens or 0) + 2 * (dear.output_tokens or 0)
    assert dear.cost_usd > 0
    assert (unknown.cost_usd, unknown.cost_source) == (None, CostSource.UNKNOWN)

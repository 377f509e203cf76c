"""What answers cost, who says so, and what nobody knows."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flags.model import Kind, ObjectKey, StoredObject
from gateway.compiling import compile_serving
from gateway.patience import Patience
from gateway.price import Place, Prices, Rate, config_rate, load_prices, table_path
from gateway.spec import Price
from gateway.taps.peek import JsonPeek
from gateway.version import Attempt
from policies.outcome import CostSource
from tests.gateway.builders import MODEL, exchange, serving
from tests.gateway.stage import Stage

TABLE = CostSource.TABLE
PRICED = {"price": {"input_per_million": 2.0, "output_per_million": 8.0}}


@pytest.fixture
async def patience() -> AsyncIterator[Patience]:
    timer = Patience(asyncio.get_running_loop(), tick_seconds=0.005)
    yield timer
    timer.aclose()


def rate(**fields: Any) -> Rate:
    return Rate(**{"input": 1.0, "output": 10.0, "source": TABLE, **fields})


def written(folder: Path, **entries: Any) -> Path:
    path = folder / "prices.json"
    path.write_bytes(msgspec.json.encode(entries))
    return path


def test_cached_and_hidden_tokens_have_prices_of_their_own() -> None:
    assert rate().cost(100, 10, 60, 5) == 200
    assert rate(cached=0.5).cost(100, 10, 60, 5) == 170
    assert rate(reasoning=20.0).cost(100, 10, 60, 5) == 250


def test_what_is_put_into_a_cache_has_a_price_of_its_own() -> None:
    """Anthropic takes a quarter more for it than for plain input."""
    assert rate(written=1.25).cost(100, 10, 60, None, 40) == 210
    assert rate().cost(100, 10, 60, None, 40) == 200


def test_more_cached_tokens_than_tokens_are_no_gain() -> None:
    assert rate(cached=0.0).cost(10, 0, 1000, None) == 0
    assert rate(reasoning=0.0).cost(0, 10, None, 1000) == 0


def test_a_long_prompt_is_paid_by_its_own_price_from_the_first_token_beyond() -> None:
    long = rate(above=200, beyond=rate(input=2.0))

    assert long.cost(200, 0, None, None) == 200
    assert long.cost(201, 0, None, None) == 402


def test_without_tokens_a_cost_is_unknown_and_not_zero() -> None:
    assert rate().cost(None, 10, None, None) is None
    assert rate().cost(10, None, None, None) is None
    assert rate(output=0.0).cost(10, None, None, None) == 10


def test_a_versions_own_price_is_for_a_million_and_cached_tokens_cost_the_same_unless_told() -> None:
    assert config_rate(Price(2.0, 8.0)).cost(1_000_000, 1_000_000, 500_000, None) == pytest.approx(10)
    assert config_rate(Price(2.0, 8.0, 1.0)).cost(1_000_000, 0, 500_000, None) == pytest.approx(1.5)
    assert config_rate(Price(0.0, 0.0)).cost(5, 5, None, None) == 0


def test_the_table_that_ships_knows_models_by_name_and_by_provider() -> None:
    prices = load_prices(table_path())

    assert len(prices) > 1000
    known = prices.rate(None, "gpt-4o")
    assert known is not None
    assert known.cost(1_000_000, 1_000_000, 0, 0) == pytest.approx(12.5)
    assert known.cached == pytest.approx(1.25e-6)
    assert prices.rate("mistral", "mistral-large-latest") is not None
    assert prices.rate("gemini", "models/gemini-2.5-pro") is not None
    assert prices.rate("openai", "nobody-has-this") is None


def test_a_provider_that_sells_a_model_has_its_own_price() -> None:
    prices = Prices({"m": rate(), "groq/m": rate(input=0.1)})

    assert prices.rate("groq", "m") == rate(input=0.1)
    assert prices.rate("openai", "m") == rate()
    assert prices.rate(None, "m") == rate()


def test_an_entry_that_is_odd_or_free_of_prices_is_left_out_alone(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        odd={"input_cost_per_token": "a lot"},
        free={"input_cost_per_token": 0.0, "output_cost_per_token": 0.0},
        picture={"output_cost_per_image": 0.04},
        embedding={"input_cost_per_token": 2e-8, "output_cost_per_token": 0.0},
        good={"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6, "max_tokens": "many"},
        long={
            "input_cost_per_token": 1.0,
            "output_cost_per_token": 1.0,
            "input_cost_per_token_above_200k_tokens": 2.0,
            "output_cost_per_token_above_200k_tokens": 2.0,
            "input_cost_per_token_above_272k_tokens": 3.0,
            "output_cost_per_token_above_272k_tokens": 3.0,
        },
    )
    prices = load_prices(path)

    assert len(prices) == 3
    assert prices.rate(None, "good") is not None
    long = prices.rate(None, "long")
    assert long is not None
    costs = [long.cost(tokens, 0, None, None) for tokens in (200_000, 200_001, 272_000, 272_001)]
    assert costs == [200_000, 400_002, 544_000, 816_003]


@pytest.mark.parametrize("content", [None, b"", b"[]", b'{"a": '])
def test_a_table_that_is_absent_or_broken_is_told_once_and_everything_is_unknown(
    tmp_path: Path, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "prices.json"
    if content is not None:
        path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        prices = load_prices(path)

    assert prices.rate(None, "gpt-4o") is None
    assert caplog.text.count("no price table") == 1


def test_a_table_of_a_package_that_is_not_installed_is_told(caplog: pytest.LogCaptureFixture) -> None:
    assert len(load_prices(None)) == 0
    assert "not installed" in caplog.text


def test_reading_the_table_imports_nothing_of_its_package() -> None:
    code = "import sys; from gateway.price import *; load_prices(table_path()); sys.exit('litellm' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


@pytest.mark.parametrize(
    ("place", "vendor"),
    [
        (Place("openai", None, "https://api.groq.com/openai/v1"), "groq"),
        (Place("openai", None, "https://us.openai.azure.com/x"), "azure"),
        (Place("openai", None, "http://127.0.0.1:8000/v1"), None),
        (Place("openai", None, "http://[broken"), None),
        (Place("anthropic"), "anthropic"),
        (Place("litellm", "bedrock"), "bedrock"),
        (Place("simulated"), None),
    ],
)
def test_an_upstreams_address_tells_whose_prices_hold(place: Place, vendor: str | None) -> None:
    assert place.vendor == vendor


def test_each_target_has_its_own_price_found_before_any_request() -> None:
    prices = Prices({"gpt-4.1": rate(), "groq/small": rate(input=0.1)})
    model = {**MODEL, "retries": 1, "fallbacks": [{"upstream": "fast", "model": "small"}]}
    served = serving(
        models={"own": {**model, **PRICED}, "gpt-4.1": model},
        prices=prices,
        upstreams={"fast": {"kind": "openai", "base_url": "https://api.groq.com/openai/v1"}},
    )
    versions = served.routes["support-bot"].layers[1].versions

    sources = [attempt.rate and attempt.rate.source for attempt in versions["own"].prepared.attempts]  # type: ignore[union-attr]
    inputs = [attempt.rate and attempt.rate.input for attempt in versions["gpt-4.1"].prepared.attempts]  # type: ignore[union-attr]
    assert sources == [CostSource.CONFIG, CostSource.CONFIG, TABLE]
    assert inputs == [1.0, 1.0, 0.1]


def test_an_upstream_that_moves_brings_its_prices_to_the_versions_that_ask_it() -> None:
    prices = Prices({"gpt-4.1": rate(), "groq/gpt-4.1": rate(input=0.1)})
    before = serving(
        prices=prices, upstreams={"mock": {"kind": "openai", "base_url": "https://api.openai.com/v1"}}
    )
    key = ObjectKey(Kind.UPSTREAM, "mock")
    moved = StoredObject(key, {"spec": {"kind": "openai", "base_url": "https://api.groq.com/v1"}}, 8)
    snapshot = before.snapshot.changed(before.snapshot.position, 8, {key: moved}, {})
    after = compile_serving(snapshot, before, frozenset({key}), prices=prices)

    rates = [
        served.routes["support-bot"].layers[1].versions["gpt-4.1"].prepared.attempts[0].rate.input  # type: ignore[union-attr]
        for served in (before, after)
    ]
    assert rates == [1.0, 0.1]


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_costs_what_its_version_says(patience: Patience, stream: bool) -> None:
    stage = Stage(serving(models={"gpt-4.1": {**MODEL, **PRICED}}), patience)
    await stage.ask(stream=stream)

    outcome = stage.outcome()
    assert outcome.cost_source is CostSource.CONFIG
    assert outcome.input_tokens is not None
    assert outcome.output_tokens is not None
    assert outcome.cost_usd == pytest.approx((outcome.input_tokens * 2 + outcome.output_tokens * 8) / 1e6)


async def test_an_answer_of_which_nobody_knows_the_price_has_none(patience: Patience) -> None:
    stage = Stage(serving(), patience)
    await stage.ask()

    outcome = stage.outcome()
    assert (outcome.cost_usd, outcome.cost_source) == (None, CostSource.UNKNOWN)


async def test_an_answer_without_usage_has_no_cost_although_its_price_is_known(patience: Patience) -> None:
    stage = Stage(serving(models={"gpt-4.1": {**MODEL, **PRICED}}), patience)
    await stage.ask(simulate={"usage": False})

    outcome = stage.outcome()
    assert (outcome.cost_usd, outcome.cost_source) == (None, CostSource.UNKNOWN)


def test_what_the_provider_says_counts_more_than_any_price() -> None:
    x = exchange(b"")
    x.answered = Attempt("mock", b'"m"', rate=rate())
    x.counted(JsonPeek(10, 10, cost_usd=0.25))
    told = x.cost()
    x.counted(JsonPeek(10, 10))

    assert told == (0.25, CostSource.PROVIDER)
    assert x.cost() == (110.0, TABLE)

"""What `check`, and every write, says of a flag under a switch's key."""

from __future__ import annotations

from typing import Any

import pytest

from flags.model import Layer
from gateway.config.declaration import ConfigInvalid
from gateway.config.loading import declaration_from


def problems(flag: Any, key: str = "gateway.cache") -> list[tuple[str, str, str | None]]:
    with pytest.raises(ConfigInvalid) as refused:
        declaration_from({"flags": {key: flag}})
    return [(each.path, each.message, each.mend) for each in refused.value.problems]


def test_a_value_that_the_switch_does_not_take_is_refused_with_path_and_mend() -> None:
    found = problems({"variants": {"on": "yes", "off": "no"}, "serve": "on"})

    assert [path for path, _, _ in found] == [
        "flags.gateway.cache.variants.off",
        "flags.gateway.cache.variants.on",
    ]
    assert "expected true or false" in found[0][1]
    assert found[0][2]


def test_a_number_beyond_its_range_is_refused() -> None:
    ((path, message, _),) = problems({"variants": {"few": 5, "all": 500}, "serve": "few"}, "gateway.judge")

    assert path == "flags.gateway.judge.variants.all"
    assert "a number from 0 to 100" in message


def test_a_switch_has_no_layer() -> None:
    content = {"messages": [{"role": "system", "content": "Hello."}]}

    ((path, message, _),) = problems({"layer": "prompt", "variants": {"v1": content}})

    assert path == "flags.gateway.cache.layer"
    assert "no layer" in message


def test_a_switch_with_a_rule_and_numbers_is_taken() -> None:
    rule: Any = {"if": [{"==": [{"var": "route"}, "bot"]}, "few"]}
    flag: Any = {"variants": {"few": 5, "all": 100}, "serve": "all", "targeting": rule}

    read = declaration_from({"flags": {"gateway.shadow": flag}})

    assert read.flags["gateway.shadow"].targeting == rule
    assert not read.warnings


def test_a_switch_holds_numbers_beside_true_and_false() -> None:
    flag: Any = {"variants": {"on": True, "once": 1, "off": False}, "serve": "once"}

    read = declaration_from({"flags": {"gateway.retries": flag}})

    assert read.flags["gateway.retries"].variants == flag["variants"]
    assert [path for path, _, _ in problems(flag, "gateway.cache")] == [
        "flags.gateway.cache.variants.once"
    ] * 2
    assert [path for path, _, _ in problems(flag, "limit")] == ["flags.limit.variants.once"]


def test_a_slip_of_the_pen_is_told_and_the_layers_of_a_route_called_gateway_are_none() -> None:
    model: Any = {"layer": "model", "variants": {"m": {"upstream": "mock", "model": "m"}}}
    document: Any = {
        "upstreams": {"mock": {"kind": "simulated"}},
        "flags": {"gateway.model": model, "gateway.cahce": {"variants": {"on": True}}},
        "routes": {"gateway": {}},
    }

    read = declaration_from(document)

    assert read.flags["gateway.model"].layer is Layer.MODEL
    (warning,) = read.warnings
    assert "'gateway.cahce' switches nothing" in warning
    assert "gateway.cache" in warning

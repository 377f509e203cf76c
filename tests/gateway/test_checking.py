"""What is wrong with a document's shape is told with its place, what was found, and what was expected."""

from __future__ import annotations

from pathlib import Path

import pytest

from flags.model import Json, Layer
from gateway.content import content_problems
from tests.gateway.config_files import problems
from tests.gateway.test_content import model


@pytest.mark.parametrize(
    ("layer", "value", "told"),
    [
        (
            Layer.PROMPT,
            {"messages": [{"role": "boss", "content": "x"}]},
            "messages[0].role: invalid enum value 'boss' (expected one of assistant, developer, system, user)",
        ),
        (Layer.MODEL, model(retries="many"), 'retries: expected `int`, found "many"'),
        (Layer.MODEL, model(model=None), "model: expected `str`, found nothing"),
        (Layer.MODEL, model(model={"a": 1}), "model: expected `str`, found an object of 1"),
        (Layer.MODEL, model(model=["x"] * 3), "model: expected `str`, found a list of 3"),
        (Layer.MODEL, model(retries="x" * 99), 'retries: expected `int`, found "' + "x" * 59 + "…"),
        (Layer.MODEL, model(params="sk-very-secret"), "params: expected `object`, found a string"),
        (
            Layer.PIPELINE,
            {"pins": {"promt": "v7"}},
            "pins.promt: invalid enum value 'promt' (expected one of index, model, prompt, retriever)",
        ),
    ],
)
def test_a_problem_tells_what_was_found_and_what_was_expected(layer: Layer, value: Json, told: str) -> None:
    assert str(next(iter(content_problems(layer, value)))) == told


def test_problems_in_a_list_keep_their_places() -> None:
    bad = {"role": "boss", "content": "x"}
    good = {"role": "user", "content": "x"}
    value = {"messages": [{"role": "user"}, good, bad, {"content": "x"}, bad]}

    assert sorted(each.path for each in content_problems(Layer.PROMPT, value)) == [
        "messages[0]",
        "messages[2].role",
        "messages[3]",
        "messages[4].role",
    ]


def test_what_was_found_is_quoted_and_a_secret_never_is(tmp_path: Path) -> None:
    text = """\
upstreams:
  a: {kind: simulatd}
  b: {kind: simulated, connect_seconds: 10x, max_connections: 0}
  c: {kind: openai, base_url: http://x/v1, api_key: 12345, headers: {x-custom: 67890}}
  d: sk-very-secret
flags: {f: {variants: {a: 1}, serve: 3}}
"""
    assert [each.message for each in problems(tmp_path, text)] == [
        "invalid enum value 'simulatd' (expected one of anthropic, litellm, openai, qdrant, simulated)",
        'expected `float`, found "10x"',
        "expected `int` >= 1, found 0",
        "expected `str | null`, found a number",
        "expected `str`, found a number",
        "expected `object`, found a string",
        "expected `str | null`, found 3",
    ]

"""A version's parameters are written once, and each wire hears them in its own words."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gateway.wires.params import NOT_LOCKED, SPEECHES, names_anywhere, params_by_wire, put_params

TOOL = {
    "type": "function",
    "function": {"name": "weather", "description": "d", "parameters": {"type": "object"}, "strict": True},
}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "s", "strict": True, "schema": {"type": "object"}}}
EVERYTHING: dict[str, object] = {
    "audio": {}, "dimensions": 3, "encoding_format": "float", "frequency_penalty": 0.1, "functions": [], "logit_bias": {},
    "logprobs": True, "max_completion_tokens": 50, "metadata": {"a": "b"}, "modalities": ["text"], "n": 2,
    "parallel_tool_calls": False, "prediction": {}, "presence_penalty": 0.1, "reasoning_effort": "low",
    "response_format": SCHEMA, "seed": 7, "service_tier": "flex", "stop": "END", "store": True, "temperature": 0.2,
    "thinking": {"type": "disabled"}, "tool_choice": "required", "tools": [TOOL], "top_k": 5, "top_logprobs": 2,
    "top_p": 0.9, "user": "u", "verbosity": "low",
}  # fmt: skip


def on(wire: str, params: dict[str, object]) -> dict[str, Any]:
    return {name: msgspec.json.decode(value) for name, value in params_by_wire(params)[wire].items()}


def sent(wire: str, params: dict[str, object], app: dict[str, object], *locked: str) -> dict[str, Any]:
    """The fields that go to the upstream."""
    fields = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in app.items()}
    put_params(fields, params_by_wire(params)[wire], names_anywhere(locked) if locked else NOT_LOCKED)
    return {name: msgspec.json.decode(value) for name, value in fields.items()}


def test_chat_hears_what_was_written() -> None:
    assert on("chat", EVERYTHING) == EVERYTHING


def test_messages_hears_anthropics_words_and_nothing_of_openais() -> None:
    assert on("messages", EVERYTHING) == {
        "dimensions": 3,
        "encoding_format": "float",
        "max_tokens": 50,
        "output_config.format": {"type": "json_schema", "schema": {"type": "object"}},
        "stop_sequences": ["END"],
        "temperature": 0.2,
        "thinking": {"type": "disabled"},
        "tool_choice": {"type": "any"},
        "tools": [
            {"name": "weather", "description": "d", "strict": True, "input_schema": {"type": "object"}}
        ],
        "top_k": 5,
        "top_p": 0.9,
    }


def test_counting_tokens_hears_only_what_counts() -> None:
    assert set(on("count_tokens", EVERYTHING)) == {"output_config.format", "thinking", "tool_choice", "tools"}


def test_responses_hears_its_own_words() -> None:
    heard = on("responses", EVERYTHING)

    assert heard["max_output_tokens"] == 50
    assert heard["reasoning.effort"] == heard["text.verbosity"] == "low"
    assert heard["text.format"] == {
        "type": "json_schema",
        "name": "s",
        "strict": True,
        "schema": {"type": "object"},
    }
    assert heard["tools"][0]["name"] == "weather"
    lacking = {"n", "stop", "seed", "logprobs", "logit_bias", "functions", "audio", "max_completion_tokens"}
    assert not lacking & heard.keys()


def test_completions_hears_nothing_of_tools_and_formats() -> None:
    assert set(on("completions", EVERYTHING)) == {
        "dimensions", "encoding_format", "frequency_penalty", "logit_bias", "max_tokens", "n", "presence_penalty",
        "seed", "stop", "temperature", "thinking", "top_k", "top_p", "user",
    }  # fmt: skip


def test_embeddings_hears_its_own_and_a_providers_own() -> None:
    assert on("embeddings", {**EVERYTHING, "input_type": "query"}) == {
        "dimensions": 3,
        "encoding_format": "float",
        "input_type": "query",
        "thinking": {"type": "disabled"},
        "user": "u",
    }


@pytest.mark.parametrize(
    ("wire", "params", "heard"),
    [
        ("messages", {"max_tokens": 1, "max_completion_tokens": 2}, {"max_tokens": 1}),
        ("messages", {"stop": ["a", "b"]}, {"stop_sequences": ["a", "b"]}),
        ("messages", {"stop_sequences": ["a"], "stop": "b"}, {"stop_sequences": ["a"]}),
        ("messages", {"response_format": {"type": "json_object"}}, {}),
        ("messages", {"tool_choice": "none"}, {"tool_choice": {"type": "none"}}),
        (
            "messages",
            {"tool_choice": {"type": "function", "function": {"name": "f"}}},
            {"tool_choice": {"type": "tool", "name": "f"}},
        ),
        ("messages", {"tool_choice": {"type": "any"}}, {"tool_choice": {"type": "any"}}),
        ("messages", {"tools": [{"type": "bash_20250124", "name": "bash"}, "odd"]}, None),
        ("messages", {"tools": "odd"}, None),
        (
            "messages",
            {
                "tools": [
                    {"type": "function", "function": {"name": "f"}, "cache_control": {"type": "ephemeral"}}
                ]
            },
            {
                "tools": [
                    {
                        "name": "f",
                        "cache_control": {"type": "ephemeral"},
                        "input_schema": {"type": "object", "properties": {}},
                    }
                ]
            },
        ),
        ("responses", {"response_format": {"type": "json_object"}}, {"text.format": {"type": "json_object"}}),
        ("responses", {"tool_choice": "required"}, {"tool_choice": "required"}),
        (
            "responses",
            {"tool_choice": {"type": "function", "function": {"name": "f"}}},
            {"tool_choice": {"type": "function", "name": "f"}},
        ),
        ("responses", {"max_tokens": 1, "max_output_tokens": 2}, {"max_output_tokens": 2}),
        ("responses", {"reasoning": {"effort": "low"}}, None),
    ],
)
def test_values_are_spelt_as_the_wire_has_them(
    wire: str, params: dict[str, object], heard: dict[str, object] | None
) -> None:
    assert on(wire, params) == (params if heard is None else heard)


@pytest.mark.parametrize("wire", list(SPEECHES))
def test_odd_values_hurt_nobody(wire: str) -> None:
    for odd in (None, True, 7, "x", [], {}, [{}], {"function": 3}, {"json_schema": 3}, [{"function": "x"}]):
        params_by_wire(dict.fromkeys(EVERYTHING, odd))


def test_the_apps_word_counts_unless_the_version_has_locked_it() -> None:
    params: dict[str, object] = {"max_completion_tokens": 50, "temperature": 0.2}
    app: dict[str, object] = {"max_tokens": 900, "temperature": 1.0}

    assert sent("messages", params, app) == app
    assert sent("messages", params, app, "max_completion_tokens") == {"max_tokens": 50, "temperature": 1.0}


def test_two_names_for_one_limit_are_never_both_sent() -> None:
    params: dict[str, object] = {"max_completion_tokens": 50}

    assert sent("chat", params, {"max_tokens": 900}) == {"max_tokens": 900}
    assert sent("chat", params, {"max_tokens": 900}, "max_completion_tokens") == {"max_completion_tokens": 50}


def test_a_field_within_an_object_leaves_the_others_to_the_app() -> None:
    params: dict[str, object] = {"reasoning_effort": "low", "verbosity": "low"}
    app: dict[str, object] = {"reasoning": {"summary": "auto"}, "text": {"verbosity": "high"}}

    assert sent("responses", params, app) == {
        "reasoning": {"summary": "auto", "effort": "low"},
        "text": {"verbosity": "high"},
    }
    assert sent("responses", params, app, "verbosity")["text"] == {"verbosity": "low"}
    assert sent("responses", params, {"reasoning": None})["reasoning"] == {"effort": "low"}


def test_what_is_no_object_is_the_providers_to_judge_unless_it_is_locked() -> None:
    params: dict[str, object] = {"reasoning_effort": "low"}

    assert sent("responses", params, {"reasoning": 7}) == {"reasoning": 7}
    assert sent("responses", params, {"reasoning": 7}, "reasoning_effort") == {"reasoning": {"effort": "low"}}

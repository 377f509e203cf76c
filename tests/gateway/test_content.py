"""A variant's content is checked when it is written, with the path of what is wrong."""

from __future__ import annotations

import pytest

from flags.model import Json, Layer
from gateway.content import content_problems, model_content, prompt_content

UPSTREAMS = frozenset({"openai", "backup"})


def prompt(content: str, **fields: Json) -> Json:
    return {"messages": [{"role": "system", "content": content}], **fields}


def model(**fields: Json) -> Json:
    return {"upstream": "openai", "model": "x", **fields}


@pytest.mark.parametrize(
    ("layer", "value"),
    [
        (None, True),
        (None, {"any": ["json", 1.5, None]}),
        (Layer.PROMPT, prompt("plain")),
        (Layer.PROMPT, prompt("{{ question }}{% for p in passages %}{{ p.text }}{% endfor %}")),
        (Layer.PROMPT, prompt("{{ company }} {{ sent_by_the_app }}", variables={"company": "Acme"})),
        (Layer.PROMPT, prompt("{{ user.name.first }}")),
        (
            Layer.PROMPT,
            prompt("x", tools=[{"type": "function"}], response_format={"type": "json_object"}, card={"a": 1}),
        ),
        (Layer.MODEL, model()),
        (
            Layer.MODEL,
            model(
                params={"temperature": 0.2},
                locked=["temperature"],
                fallbacks=[{"upstream": "backup", "model": "y"}],
            ),
        ),
        (Layer.MODEL, model(timeout_seconds="1m", price={"input_per_million": 1, "output_per_million": 2})),
    ],
)
def test_what_may_be_written(layer: Layer | None, value: Json) -> None:
    assert not [*content_problems(layer, value, upstreams=UPSTREAMS)]


@pytest.mark.parametrize(
    ("layer", "value", "path", "message"),
    [
        (None, float("nan"), "", "JSON"),
        (None, {"a": 2**60}, "", "JSON"),
        (Layer.PROMPT, "text", "", "expected `object`, found a string"),
        (Layer.PROMPT, {}, "", "`messages` is missing"),
        (Layer.PROMPT, {"messages": []}, "messages", "no messages"),
        (Layer.PROMPT, prompt("x", varables={}), "varables", "unknown field"),
        (Layer.PROMPT, {"messages": [{"role": "system", "content": "x", "nme": "y"}]}, "messages[0].nme", "unknown field"),
        (Layer.PROMPT, {"messages": [{"role": "boss", "content": "x"}]}, "messages[0].role", "'boss'"),
        (Layer.PROMPT, prompt("a\n{% if %}"), "messages[0].content", "line 2"),
        (Layer.PROMPT, prompt("{% include 'x' %}"), "messages[0].content", "include"),
        (Layer.PROMPT, prompt("{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}"),
         "messages[0].content", "more than"),
        (Layer.PROMPT, prompt("{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}{{ x }}"),
         "messages[0].content", "more than"),
        (Layer.PROMPT, prompt("{{ 'x' * 10**9 }}"), "messages[0].content", "characters"),
        (Layer.PROMPT, prompt("{{ company + 1 }}", variables={"company": "Acme"}), "messages[0].content", "line 1"),
        (Layer.PROMPT, prompt("{{ company.name }}", variables={"company": {}}), "messages[0].content", "no attribute 'name'"),
        (Layer.MODEL, {"model": "x"}, "", "`upstream` is missing"),
        (Layer.MODEL, model(upstream="openia"), "upstream", "'openia' is not defined"),
        (Layer.MODEL, model(fallbacks=[{"upstream": "nope", "model": "y"}]), "fallbacks[0].upstream", "not defined"),
        (Layer.MODEL, model(locked=["top_p"]), "locked[0]", "top_p"),
        (Layer.MODEL, model(params={"stream": True}), "params.stream", "written by the gateway"),
        (Layer.MODEL, model(params={"messages": []}), "params.messages", "written by the gateway"),
        (Layer.MODEL, model(params={"model": "y"}), "params.model", "written by the gateway"),
        (Layer.MODEL, model(params={"api_key": "sk-1"}), "params.api_key", "plain text"),
        (Layer.MODEL, model(total_seconds=0), "total_seconds", "> 0"),
        (Layer.MODEL, model(retries=11), "retries", "<= 10"),
        (Layer.MODEL, model(price={"input_per_million": -1, "output_per_million": 1}), "price.input_per_million", ">= 0"),
        (Layer.INDEX, {"store": ""}, "store", "length >= 1"),
        (Layer.PIPELINE, {"pins": {}, "params": {"stream": True}}, "params.stream", "written by the gateway"),
        (Layer.PIPELINE, {"pins": {}, "params": {"token": "x"}}, "params.token", "plain text"),
        (Layer.PIPELINE, {"pins": {"promt": "v7"}}, "pins.promt", "invalid enum value"),
        (Layer.RETRIEVER, {"kind": "openai", "top_k": 0, "timeout_seconds": 1, "on_error": "skip"}, "top_k", ">= 1"),
    ],
)  # fmt: skip
def test_what_may_not_is_refused_with_its_path(
    layer: Layer | None, value: Json, path: str, message: str
) -> None:
    first, *_ = content_problems(layer, value, upstreams=UPSTREAMS)

    assert first.path == path
    assert message in first.message


def test_a_store_of_vectors_is_no_upstream_of_a_model() -> None:
    value = model(
        upstream="kb",
        targets=[{"upstream": "kb", "model": "y"}],
        fallbacks=[{"upstream": "kb", "model": "z"}],
    )

    found = [*content_problems(Layer.MODEL, value, upstreams={"openai": "openai", "kb": "qdrant"})]

    assert {each.path for each in found} == {"upstream", "targets[0].upstream", "fallbacks[0].upstream"}
    assert all("kind qdrant, which has no models" in each.message for each in found)


def test_an_unknown_upstream_is_told_beside_whatever_else_is_wrong() -> None:
    value = model(
        upstream="nope",
        timeout_seconds="soon",
        fallbacks=[{"upstream": "no2", "model": 1}, {"upstream": 7, "model": "y"}],
    )

    assert {each.path for each in content_problems(Layer.MODEL, value, upstreams=UPSTREAMS)} == {
        "timeout_seconds",
        "fallbacks[0].model",
        "fallbacks[1].upstream",
        "upstream",
        "fallbacks[0].upstream",
    }


def test_a_near_miss_is_proposed_and_else_the_fields_are_listed() -> None:
    near, far = content_problems(Layer.MODEL, model(parms={}, zzz=1))

    assert near.mend == "did you mean `params`?"
    assert str(far.mend).startswith("the fields here are balance, fallbacks, locked, model")


def test_all_problems_of_a_content_are_told() -> None:
    value = prompt("x", varables={}, tools=3, card=[])

    assert {each.path for each in content_problems(Layer.PROMPT, value)} == {"card", "tools", "varables"}


def test_an_integer_beyond_2_53_is_refused_in_params() -> None:
    assert [*content_problems(Layer.MODEL, model(params={"seed": 2**60}), upstreams=UPSTREAMS)]


def test_contents_are_read_with_their_defaults() -> None:
    assert model_content(model(total_seconds="10m")).total_seconds == 600
    assert prompt_content(prompt("x")).variables == {}


def test_upstreams_are_the_callers_business_where_none_are_passed() -> None:
    assert not [*content_problems(Layer.MODEL, model(upstream="anything"))]

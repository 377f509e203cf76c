"""What an app asks: decoded at the top level only, refused with a sentence where it is not what it should be."""

from __future__ import annotations

import msgspec
import pytest

from gateway.errors import BadRequest
from gateway.wires.chat import Chat
from tests.gateway.builders import body


@pytest.mark.parametrize(
    ("raw", "param", "says"),
    [
        (b"", None, "not valid JSON"),
        (b"{", None, "not valid JSON"),
        (b"[]", None, "must be a JSON object"),
        (b'"x"', None, "must be a JSON object"),
        (b'{"model": "x", "messages": []} x', None, "not valid JSON"),
        (b'{"messages": []}', "model", "model: missing"),
        (b'{"model": null, "messages": []}', "model", "model: missing"),
        (b'{"model": 1, "messages": []}', "model", "expected a string, found a number"),
        (b'{"model": "x"}', "messages", "messages: missing"),
        (b'{"model": "x", "messages": "hi"}', "messages", "expected an array, found a string"),
        (b'{"model": "x", "messages": {}}', "messages", "expected an array, found an object"),
        (b'{"model": "x", "messages": null}', "messages", "expected an array, found null"),
        (
            b'{"model": "x", "messages": [], "stream": "yes"}',
            "stream",
            "expected true or false, found a string",
        ),
        (
            b'{"model": "x", "messages": [], "stream": true, "stream_options": 3}',
            "stream_options",
            "found a number",
        ),
        (b'{"model": "\xff", "messages": []}', None, "UTF-8"),
        (b'{"model": "x", "messages": [], "note": "\xc3\x28"}', None, "UTF-8"),
        (b'{"model": "x", "messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", None, "nested too deeply"),
    ],
)
def test_a_body_that_is_no_chat_request_is_refused_with_what_was_found(
    raw: bytes, param: str | None, says: str
) -> None:
    with pytest.raises(BadRequest) as caught:
        Chat().read(raw)

    assert says in caught.value.message
    assert caught.value.param == param
    assert caught.value.status == 400


def test_fields_that_we_do_not_name_keep_their_bytes() -> None:
    raw = b'{"model":"x","messages":[],"logit_bias":{"1":  -1e2},"future":[1.0,2E+3,"\\u00e9"]}'

    ask = Chat().read(raw)

    assert bytes(ask.fields["logit_bias"]) == b'{"1":  -1e2}'
    assert bytes(ask.fields["future"]) == b'[1.0,2E+3,"\\u00e9"]'


@pytest.mark.parametrize("name", ["prompt_variables", "prompt"])
def test_prompt_variables_are_taken_out_of_the_body(name: str) -> None:
    sent = {"company": "Acme"} if name == "prompt_variables" else {"variables": {"company": "Acme"}}
    ask = Chat().read(body(**{name: sent}))

    assert ask.variables() == {"company": "Acme"}
    assert name not in ask.fields


@pytest.mark.parametrize("value", [[], "x", 1, None])
def test_prompt_variables_that_are_no_object_are_refused(value: object) -> None:
    ask = Chat().read(body(prompt_variables=value))

    with pytest.raises(BadRequest, match="expected a JSON object"):
        ask.variables()


def test_the_question_is_the_text_of_the_last_user_message() -> None:
    parts = [
        {"type": "text", "text": "And"},
        {"type": "image_url", "image_url": {"url": "x"}},
        {"type": "text", "text": "now?"},
    ]
    messages = [
        {"role": "user", "content": "first"},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": None, "tool_calls": []},
    ]

    assert Chat().read(body(messages=messages)).question() == "And\nnow?"
    assert Chat().read(body(messages=[])).question() == ""
    assert Chat().read(body(messages=[1, 2])).question() == ""


def test_the_usage_chunk_is_hidden_unless_the_app_asked_for_it() -> None:
    assert not Chat().read(body(stream=True)).wants_usage
    assert not Chat().read(body(stream=True, stream_options={"include_usage": False})).wants_usage
    assert not Chat().read(body(stream=True, stream_options=None)).wants_usage
    assert Chat().read(body(stream=True, stream_options={"include_usage": True})).wants_usage


@pytest.mark.parametrize("value", [None, True, 1.5, "x", [], {"model": {}}, {"model": "x", "messages": 0}])
def test_json_that_is_no_request_is_refused_as_the_clients(value: object) -> None:
    with pytest.raises(BadRequest) as caught:
        Chat().read(msgspec.json.encode(value))

    assert caught.value.status == 400
    assert caught.value.blame == "client"


def test_a_stream_of_null_is_no_stream() -> None:
    assert not Chat().read(body(stream=None)).stream


def test_prompt_variables_are_taken_once_and_told_as_often_as_asked() -> None:
    ask = Chat().read(body(prompt_variables={"company": "Acme"}, prompt={"variables": {}, "id": "p1"}))

    assert ask.variables() == ask.variables() == {"company": "Acme"}
    assert "prompt_variables" not in ask.fields
    assert bytes(ask.fields["prompt"]) == b'{"id":"p1"}'

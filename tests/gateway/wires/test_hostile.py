"""Every endpoint gets the malformed and the hostile: a 400 in the caller's dialect, or it passes; never a 500."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from gateway.patience import Patience
from gateway.wires.base import Wire
from gateway.wires.chat import Chat
from gateway.wires.completions import Completions
from gateway.wires.count_tokens import CountTokens
from gateway.wires.embeddings import Embeddings
from gateway.wires.messages import Messages
from gateway.wires.responses import Responses
from tests.gateway.builders import MODEL, Hall, exchange, serving
from tests.gateway.stage import Stage

WIRES = (Chat(), Completions(), Embeddings(), Responses(), Messages(), CountTokens())
EVERY = pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)

TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}
FORM = {"type": "json_schema", "json_schema": {"name": "s", "schema": {}}}
TEMPLATE = "For {{ company }}: {{ question }}"
SERVED = serving(
    {
        "v6": {
            "messages": [{"role": "system", "content": TEMPLATE}, {"role": "user", "content": TEMPLATE}],
            "variables": {"company": "Acme"},
            "tools": [TOOL],
            "response_format": FORM,
        }
    },
    {"m": {**MODEL, "params": {"reasoning_effort": "low", "verbosity": "low", "stop": "x"}}},
)
GOOD: dict[str, bytes] = {
    "model": b'"support-bot"',
    "messages": b'[{"role": "user", "content": "x"}]',
    "input": b'"x"',
    "prompt": b'"x"',
    "max_tokens": b"5",
}
# Every field that the gateway itself reads, on any wire.
READ = (
    "model", "messages", "input", "prompt", "prompt_variables", "stream", "stream_options", "metadata", "user",
    "safety_identifier", "instructions", "system", "tools", "response_format", "text", "reasoning", "output_config", "store",
    "background", "previous_response_id", "conversation", "stop", "stop_sequences", "max_tokens",
)  # fmt: skip
DEEP = 2_000
ODD = (
    b"null", b"true", b"false", b"0", b"-1.5e300", b"1e400", b"-1e400", b"NaN", b"Infinity", b'""', b'"x"', b'"\\ud800"',
    b'"\\udc00x"', b'"\\u0000"', b'"\xff"', b"[]", b"[null]", b"[[]]", b'["\\ud800"]', b"[1e400]", b"{}", b'{"": 1}',
    b'{"id": 7, "variables": 7}', b'{"variables": {"company": 1e400}}', b'{"user_id": 1e400}', b'{"user_id": [1]}',
    b'{"include_usage": 7}', b'{"role": "user", "content": 7}', b'[{"role": "user", "content": 7}]',
    b'[{"role": "user", "content": [{"type": "text", "text": null}]}]', b'[{"role": 7}]', b"[" * DEEP + b"]" * DEEP,
    b'{"a":' * DEEP + b"1" + b"}" * DEEP, b"[" * 950 + b"]" * 950, b'{"variables":' + b"[" * 940 + b"]" * 940 + b"}",
    b'{"a": 1, "a": {"b": 2}}', b"tru", b"", b"1 2", b'"unended',
)  # fmt: skip
BODIES = (
    b"", b" ", b"null", b"[]", b"7", b'"x"', b"{", b"}", b"{}", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf{}", b"[" * 100_000,
    b'{"a":' * 100_000, b'{"model": "support-bot"}', b'{"model": "support-bot", "model": 7}', b'{"model": null}',
    b'{"model": "\\ud800"}', b'{"model": "' + b"x" * 100_000 + b'"}', b"{" + b'"a":1,' * 20_000 + b'"b":2}',
)  # fmt: skip


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    timer = Patience(asyncio.get_running_loop(), tick_seconds=0.005)
    yield Stage(SERVED, timer)
    timer.aclose()


def body(**fields: bytes) -> bytes:
    """The good body of every wire, with these fields' JSON in place of its own."""
    return b"{%b}" % b", ".join(
        b'"%b": %b' % (name.encode(), raw) for name, raw in {**GOOD, **fields}.items()
    )


async def answered(stage: Stage, wire: Wire, content: bytes) -> Hall:
    x = exchange(content, clock=stage.clock, wire=wire)
    await stage.pipeline.serve(x)
    assert isinstance(x.door, Hall)
    assert x.door.ended
    return x.door


def judge(hall: Hall, wire: Wire) -> None:
    """It passed, or it was refused with words in the caller's dialect."""
    assert hall.status in {200, 400, 404}, hall.text
    if hall.status != 200:
        told = json.loads(hall.text)
        assert told["error"]["message"]
        assert told["error"]["type"]
        assert (told.get("type") == "error") is (wire.name in {"messages", "count_tokens"})


@EVERY
@pytest.mark.parametrize("name", READ)
async def test_any_value_in_any_field_that_is_read(stage: Stage, wire: Wire, name: str) -> None:
    for odd in ODD:
        judge(await answered(stage, wire, body(**{name: odd})), wire)
        judge(await answered(stage, wire, body(**{"stream": b"true", name: odd})), wire)


@EVERY
async def test_any_body(stage: Stage, wire: Wire) -> None:
    for content in BODIES:
        judge(await answered(stage, wire, content), wire)


@EVERY
async def test_of_a_field_that_is_sent_twice_the_last_counts(stage: Stage, wire: Wire) -> None:
    content = body()[:-1] + b', "model": "nope"}'

    assert (await answered(stage, wire, content)).status == 404


@EVERY
async def test_each_request_leaves_one_outcome_or_one_refusal(stage: Stage, wire: Wire) -> None:
    await answered(stage, wire, body())
    await answered(stage, wire, b"{")

    assert len(stage.outcomes()) == 1

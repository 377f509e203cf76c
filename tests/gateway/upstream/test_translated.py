"""Translation through litellm: both directions, good days and bad ones, against a real server. Imported once a session."""

from __future__ import annotations

import asyncio
import json
import os
import struct
from base64 import b64decode
from collections.abc import AsyncIterator, Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from gateway.errors import (
    NotServed,
    UpstreamCut,
    UpstreamError,
    UpstreamGarbled,
    UpstreamRefused,
    UpstreamTimedOut,
    UpstreamUnavailable,
)
from gateway.patience import Patience
from gateway.spec import UpstreamSpec
from gateway.upstream.base import Answer, Upstream, UpstreamRequest
from gateway.upstream.bilingual import Bilingual
from gateway.upstream.litellm_library import Library, load_warm
from gateway.upstream.native import NativeUpstream
from gateway.upstream.translated import Translated
from policies.outcome import Blame
from tests.gateway.upstream.asking import everything
from tests.scripted_upstream import ScriptedUpstream
from tests.scripted_wires import (
    ACCENTED,
    CHAT,
    MESSAGES,
    Wire,
    closed_early,
    error_after_text,
    error_before_text,
    event,
    events,
    split_characters,
)
from tests.scripts import (
    End,
    Script,
    cut_before_head,
    cut_mid_body,
    error_answer,
    garbage,
    hang_before_head,
    json_answer,
    stream_answer,
)

# What litellm does with pydantic is its own affair.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:Pydantic serializer warnings")

SECRET = "sk-the-operators-own-key"
ASKED = [{"role": "user", "content": "hello"}]
# Which wire the server behind each kind speaks.
BEHIND = {"openai": CHAT, "anthropic": MESSAGES}
# In which wire it is then asked through a translator.
BEFORE = {"openai": "/messages", "anthropic": "/chat/completions"}

Make = Callable[..., Translated]


@pytest.fixture(scope="session")
def litellm() -> Iterator[ModuleType]:
    before = dict(os.environ)
    yield load_warm(os.environ)
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
async def library(litellm: ModuleType) -> AsyncIterator[Library]:
    library = Library(load=lambda _: litellm)
    yield library
    await library.aclose()


@pytest.fixture
async def translated(server: ScriptedUpstream, patience: Patience, library: Library) -> AsyncIterator[Make]:
    """`translated("anthropic", params=…)`: a translator for the server's address."""
    made: list[Translated] = []

    def make(kind: str = "openai", **fields: Any) -> Translated:
        base_url = server.base_url.removesuffix("/v1") if kind == "anthropic" else server.base_url
        spec = UpstreamSpec(**({"kind": kind, "base_url": base_url, "api_key": "os.environ/KEY"} | fields))
        loop = asyncio.get_running_loop()
        made.append(Translated(spec, library, environ={"KEY": SECRET}, patience=patience, loop=loop))
        return made[-1]

    yield make
    for upstream in made:
        await upstream.aclose()


async def ask(upstream: Upstream, path: str, *, seconds: float = 20.0, **fields: Any) -> Answer:
    """Send a request on the wire of `path`."""
    body: dict[str, Any] = {"model": "m"}
    if path in {"/chat/completions", "/messages", "/messages/count_tokens"}:
        body["messages"] = ASKED
    if path == "/messages":
        body["max_tokens"] = 9
    until = asyncio.get_running_loop().time() + seconds
    return await upstream.send(UpstreamRequest(path, json.dumps(body | fields).encode(), expires_at=until))


async def told(upstream: Upstream, path: str, **fields: Any) -> Any:
    """A whole answer, decoded."""
    return json.loads(await everything(await ask(upstream, path, **fields)))


async def take(answer: Answer, parts: list[bytes]) -> None:
    """All chunks, into `parts`: what came stays known where an error ends it."""
    while part := await answer.chunk():
        parts.append(part)


def payloads(stream: bytes) -> list[Any]:
    """The JSON of each event."""
    lines = [line[6:] for line in stream.splitlines() if line.startswith(b"data: ")]
    return [json.loads(line) for line in lines if line != b"[DONE]"]


def text_of(stream: bytes) -> str:
    """What a reader sees of a stream on either wire."""
    found = []
    for payload in payloads(stream):
        found += [choice["delta"].get("content") or "" for choice in payload.get("choices", ())]
        found.append(payload.get("delta", {}).get("text", ""))
    return "".join(found)


def usual(kind: str) -> tuple[Wire, str]:
    return BEHIND[kind], BEFORE[kind]


kinds = pytest.mark.parametrize("kind", ["openai", "anthropic"])


async def test_an_openai_upstream_answers_messages(translated: Make, server: ScriptedUpstream) -> None:
    message = await told(translated(), "/messages", system="be brief", temperature=0.5)

    assert (message["type"], message["content"][0]["text"]) == ("message", "scripted")
    assert message["usage"]["input_tokens"] == 7
    assert server.requests[0].path == "/v1/chat/completions"
    assert server.requests[0].json["messages"][0] == {"role": "system", "content": "be brief"}
    assert server.requests[0].headers["authorization"] == f"Bearer {SECRET}"


async def test_an_anthropic_upstream_answers_chat(translated: Make, server: ScriptedUpstream) -> None:
    answer = await told(translated("anthropic"), "/chat/completions", max_tokens=9)

    assert answer["choices"][0]["message"]["content"] == "scripted"
    assert answer["usage"]["prompt_tokens"] == 7
    assert server.requests[0].path == "/v1/messages"
    assert server.requests[0].headers["x-api-key"] == SECRET


@kinds
async def test_a_stream_is_translated_with_its_usage(translated: Make, kind: str) -> None:
    answer = await ask(
        translated(kind),
        BEFORE[kind],
        stream=True,
        **({"stream_options": {"include_usage": True}} if kind == "anthropic" else {}),
    )
    stream = await everything(answer)

    assert "scripted" in text_of(stream)
    told = [payload["usage"] for payload in payloads(stream) if payload.get("usage")]
    assert told[-1].get("prompt_tokens", told[-1].get("input_tokens")) == 7
    assert stream.endswith(b"data: [DONE]\n\n") == (kind == "anthropic")


async def test_the_chunk_that_tells_usage_has_no_choice(translated: Make) -> None:
    answer = await ask(translated(), "/chat/completions", stream=True, stream_options={"include_usage": True})

    assert payloads(await everything(answer))[-1]["choices"] == []


async def test_tools_are_translated_both_ways(translated: Make, server: ScriptedUpstream) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Köln"}'}}
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": None, "tool_calls": [call]},
        "finish_reason": "tool_calls",
    }
    server.will(
        json_answer(json.dumps({"id": "c", "object": "chat.completion", "choices": [choice]}).encode())
    )
    tool = {"name": "weather", "description": "w", "input_schema": {"type": "object", "properties": {}}}

    message = await told(translated(), "/messages", tools=[tool])

    assert server.requests[0].json["tools"][0]["function"]["name"] == "weather"
    assert message["stop_reason"] == "tool_use"
    assert message["content"][-1]["input"] == {"city": "Köln"}


async def test_a_chats_tools_are_translated(translated: Make, server: ScriptedUpstream) -> None:
    tool = {
        "type": "function",
        "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}},
    }

    await told(translated("anthropic"), "/chat/completions", tools=[tool])

    assert server.requests[0].json["tools"][0]["name"] == "weather"
    assert "_skip_mcp_handler" not in server.requests[0].json


async def test_completions_are_translated(translated: Make) -> None:
    answer = await told(translated("anthropic"), "/completions", prompt="hello")

    assert answer["choices"][0]["text"] == "scripted"


async def test_every_chunk_of_completions_has_a_text(translated: Make) -> None:
    """litellm says null in the last one, which OpenAI's own types do not know."""
    stream = await everything(await ask(translated("anthropic"), "/completions", prompt="hello", stream=True))
    texts = [choice["text"] for payload in payloads(stream) for choice in payload["choices"]]

    assert "".join(texts) == "scripted answer"
    assert stream.endswith(b"data: [DONE]\n\n")


async def test_a_provider_without_embeddings_is_not_asked_for_any(
    translated: Make, server: ScriptedUpstream
) -> None:
    with pytest.raises(NotServed, match="anthropic makes no embeddings"):
        await ask(translated("anthropic"), "/embeddings", input="hello", encoding_format="base64")

    assert not server.requests


async def test_vectors_are_packed_for_an_app_whose_provider_knows_numbers_only(
    translated: Make, server: ScriptedUpstream
) -> None:
    """OpenAI's SDKs always ask for base64, which most providers refuse."""
    vector = [0.5, -1.0]
    made = {
        "object": "list",
        "model": "m",
        "data": [{"object": "embedding", "index": 0, "embedding": vector}],
    }
    server.will(json_answer(json.dumps(made).encode()), json_answer(json.dumps(made).encode()))
    upstream = translated("litellm", provider="hosted_vllm")

    packed = await told(upstream, "/embeddings", input="hello", encoding_format="base64")
    plain = await told(upstream, "/embeddings", input="hello")

    assert b64decode(packed["data"][0]["embedding"]) == struct.pack("<2f", *vector)
    assert plain["data"][0]["embedding"] == vector
    assert "base64" not in [request.json.get("encoding_format") for request in server.requests]


async def test_an_upstream_without_a_key_is_asked_without_one(
    translated: Make, server: ScriptedUpstream
) -> None:
    answer = await told(translated("anthropic", api_key=None), "/chat/completions", max_tokens=9)

    assert answer["choices"][0]["message"]["content"] == "scripted"
    assert server.requests[0].headers["x-api-key"] == "none"


async def test_a_search_reaches_the_store(translated: Make, server: ScriptedUpstream) -> None:
    page = {"object": "vector_store.search_results.page", "search_query": ["q"], "data": []}
    server.will(json_answer(json.dumps(page).encode()))

    answer = await told(translated(), "/vector_stores/vs_1/search", query="q", max_num_results=3)

    assert answer["data"] == []
    assert server.requests[0].path == "/v1/vector_stores/vs_1/search"


async def test_tokens_are_counted_here_for_a_provider_that_does_not(
    translated: Make, server: ScriptedUpstream
) -> None:
    counted = await told(
        translated(), "/messages/count_tokens", system=[{"type": "text", "text": "be brief"}]
    )

    assert 3 < counted["input_tokens"] < 30
    assert not server.requests


@kinds
@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 503, 529])
async def test_a_providers_error_keeps_status_and_hints(
    translated: Make, server: ScriptedUpstream, kind: str, status: int
) -> None:
    server.will(error_answer(status, retry_after=7, message="no more today"))

    answer = await ask(translated(kind), BEFORE[kind])
    error = json.loads(await everything(answer))["error"]

    assert answer.status == status
    assert (b"retry-after", b"7") in answer.headers
    assert error["message"] == "no more today"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_providers_error_is_told_before_a_stream_begins(
    translated: Make, server: ScriptedUpstream, stream: bool
) -> None:
    server.will(error_answer(529, message="overloaded"))

    answer = await ask(translated("anthropic"), "/chat/completions", stream=stream)

    assert answer.status == 529
    assert json.loads(await everything(answer))["error"]["message"] == "overloaded"


async def test_no_secret_and_no_address_stands_in_an_error(
    translated: Make, server: ScriptedUpstream
) -> None:
    server.will(error_answer(401, message=f"key {SECRET} is not known at https://h/x?key=1"))

    answer = await ask(translated(), "/chat/completions")
    body = await everything(answer)

    assert SECRET.encode() not in body
    assert b"https" not in body


@kinds
@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (json_answer(b"<html>"), UpstreamGarbled),
        (garbage(), UpstreamGarbled),
        (cut_before_head(), UpstreamCut),
        (cut_mid_body(), UpstreamCut),
    ],
    ids=["html", "no http", "cut", "cut in the body"],
)
async def test_no_answer_is_told_for_what_it_is(
    translated: Make, server: ScriptedUpstream, kind: str, script: Script, expected: type[UpstreamError]
) -> None:
    server.will(script, script)  # litellm itself asks once more where a connection broke

    with pytest.raises(expected):
        await ask(translated(kind), BEFORE[kind])


@kinds
async def test_a_closed_port_is_refused(translated: Make, kind: str) -> None:
    with pytest.raises(UpstreamRefused):
        await ask(translated(kind, base_url="http://127.0.0.1:9"), BEFORE[kind])


@kinds
async def test_a_provider_that_hangs_is_left_at_the_deadline(
    translated: Make, server: ScriptedUpstream, kind: str
) -> None:
    upstream = translated(kind)
    await told(upstream, BEFORE[kind])  # the first call makes a client, which takes longer than the deadline
    server.will(hang_before_head())

    with pytest.raises(UpstreamTimedOut):
        await ask(upstream, BEFORE[kind], seconds=0.2)

    await asyncio.wait_for(server.requests[1].closed.wait(), 2)


@kinds
async def test_a_stream_that_just_closes_has_no_made_up_end(
    translated: Make, server: ScriptedUpstream, kind: str
) -> None:
    wire, path = usual(kind)
    server.will(closed_early(wire, "one", " two"))
    answer = await ask(translated(kind), path, stream=True)
    parts: list[bytes] = []

    with pytest.raises(UpstreamCut):
        await take(answer, parts)

    assert text_of(b"".join(parts)) == "one two"
    assert b'"finish_reason":"' not in b"".join(parts)
    assert b"end_turn" not in b"".join(parts)


@kinds
async def test_a_stream_that_is_cut_ends_in_an_error(
    translated: Make, server: ScriptedUpstream, kind: str
) -> None:
    wire, path = usual(kind)
    server.will(stream_answer(*wire.opening(), wire.piece("one", 0), end=End.CUT))

    with pytest.raises(UpstreamCut):
        await everything(await ask(translated(kind), path, stream=True))


@kinds
@pytest.mark.parametrize("make", [error_before_text, lambda wire: error_after_text(wire, "one")])
async def test_an_error_within_a_stream_ends_it(
    translated: Make, server: ScriptedUpstream, kind: str, make: Callable[[Wire], Script]
) -> None:
    wire, path = usual(kind)
    server.will(make(wire))

    with pytest.raises(UpstreamError):
        await everything(await ask(translated(kind), path, stream=True))


@kinds
async def test_characters_split_between_chunks_arrive_whole(
    translated: Make, server: ScriptedUpstream, kind: str
) -> None:
    wire, path = usual(kind)
    server.will(split_characters(wire, *ACCENTED))

    answer = await ask(translated(kind), path, stream=True)

    assert text_of(await everything(answer)) == "".join(ACCENTED)


async def test_a_hundred_and_fifty_equal_chunks_are_an_answer(
    translated: Make, server: ScriptedUpstream
) -> None:
    server.will(stream_answer(*events(*["same "] * 150)))

    answer = await ask(translated(), "/messages", stream=True)

    assert text_of(await everything(answer)) == "same " * 150


@kinds
async def test_a_closed_answer_closes_the_providers_stream(
    translated: Make, server: ScriptedUpstream, kind: str
) -> None:
    wire, path = usual(kind)
    upstream = translated(kind)
    server.will(stream_answer(*wire.opening(), wire.piece("one", 0), End.HANG))
    answer = await ask(upstream, path, stream=True)

    answer.close()

    await asyncio.wait_for(server.requests[0].closed.wait(), 2)
    with pytest.raises(UpstreamCut):
        await answer.chunk()


async def test_a_deadline_between_chunks_names_its_phase(translated: Make, server: ScriptedUpstream) -> None:
    server.will(stream_answer(event({"role": "assistant", "content": "one"}), End.HANG))
    answer = await ask(translated(), "/chat/completions", stream=True)
    await answer.chunk()
    answer.phase, answer.expires_at = "between_chunks", 0.0

    with pytest.raises(UpstreamTimedOut) as caught:
        await answer.chunk()

    assert caught.value.phase == "between_chunks"


async def test_an_app_gives_litellm_no_settings(translated: Make, server: ScriptedUpstream) -> None:
    await told(translated(), "/chat/completions", api_base="http://127.0.0.1:9", mock_response="m", wibble=1)

    assert server.requests[0].json["wibble"] == 1


async def test_a_field_that_cannot_be_translated_is_named(translated: Make, server: ScriptedUpstream) -> None:
    answer = await ask(translated("anthropic"), "/chat/completions", vertex_credentials="/etc/passwd")

    assert answer.status == 400
    assert json.loads(await everything(answer))["error"]["param"] == "vertex_credentials"
    assert not server.requests


async def test_fields_are_dropped_where_the_document_says_so(
    translated: Make, server: ScriptedUpstream
) -> None:
    upstream = translated("anthropic", params={"drop_params": True})

    answer = await ask(upstream, "/chat/completions", wibble=1, logit_bias={"1": 2})

    assert answer.status == 200
    assert not {"wibble", "logit_bias"} & server.requests[0].json.keys()
    await everything(answer)


@pytest.mark.parametrize("fields", [{"messages": "no list"}, {"messages": [{"role": "user"}, 3]}])
async def test_a_malformed_request_is_the_clients(translated: Make, fields: dict[str, Any]) -> None:
    answer = await ask(translated("anthropic"), "/chat/completions", **fields)

    assert answer.status == 400


async def test_what_is_not_served_is_named(translated: Make) -> None:
    answer = await ask(translated(), "/audio/speech")

    assert answer.status == 404
    assert b"/embeddings" in await everything(answer)


async def test_responses_are_translated_or_the_mend_is_named(translated: Make) -> None:
    """litellm 1.106 needs a package for it that it does not bring."""
    answer = await ask(translated("anthropic"), "/responses", input="hello", stream=True)
    body = await everything(answer)

    if answer.status == 501:
        assert b"pip install" in body
    else:
        assert b"event: response.completed" in body
        assert [each["sequence_number"] for each in payloads(body)] == list(range(len(payloads(body))))


async def test_a_request_that_cannot_wait_for_the_library_is_told_so(
    patience: Patience, server: ScriptedUpstream
) -> None:
    release = asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(_: object) -> object:
        return asyncio.run_coroutine_threadsafe(release.wait(), loop).result()

    library = Library(load=slow)
    spec = UpstreamSpec(kind="openai", base_url=server.base_url)
    upstream = Translated(spec, library, environ={}, patience=patience, loop=loop)

    with pytest.raises(UpstreamUnavailable, match="still being loaded"):
        await ask(upstream, "/messages", seconds=0.05)

    release.set()
    await library.ready()
    assert library.is_ready


async def test_a_library_that_cannot_be_loaded_says_so(server: ScriptedUpstream) -> None:
    def broken(_: object) -> object:
        raise ImportError("no litellm")

    with pytest.raises(UpstreamUnavailable):
        await Library(load=broken).ready()


async def test_what_a_native_upstream_speaks_is_not_translated(
    translated: Make, server: ScriptedUpstream, native: Callable[..., NativeUpstream]
) -> None:
    made: list[Translated] = []

    def make() -> Translated:
        made.append(translated())
        return made[-1]

    upstream = Bilingual(native(), make)

    await told(upstream, "/chat/completions")
    assert not made
    message = await told(upstream, "/messages")

    assert message["type"] == "message"
    assert len(made) == 1


async def test_translating_can_be_refused(
    translated: Make, server: ScriptedUpstream, native: Callable[..., NativeUpstream]
) -> None:
    upstream = Bilingual(native(), translated, translate=False)

    with pytest.raises(NotServed, match="translate: false") as caught:
        await ask(upstream, "/messages")

    assert (caught.value.status, caught.value.blame) == (400, Blame.CLIENT)
    assert not server.requests

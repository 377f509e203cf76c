"""Rules, replies and faults of a simulated upstream hold on every wire, in the dialect of its path."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import UpstreamCut, UpstreamRefused, UpstreamTimedOut
from gateway.patience import Patience
from gateway.spec import Reply, Rule, UpstreamSpec
from gateway.upstream.base import Answer, UpstreamRequest
from gateway.upstream.simulated import Simulated
from gateway.upstream.wording_shelf import MAX_BYTES, MAX_THINGS
from gateway.upstream.wording_vectors import embed
from tests.gateway.upstream.asking import everything

FORM = b"multipart/form-data; boundary=b"
PLAIN = {
    "/chat/completions": {"messages": [{"role": "user", "content": "hi"}]},
    "/completions": {"prompt": "hi"},
    "/embeddings": {"input": "hi"},
    "/responses": {"input": "hi"},
    "/messages": {"messages": [{"role": "user", "content": "hi"}]},
    "/messages/count_tokens": {"messages": []},
    "/vector_stores/kb/search": {"query": "hi"},
    "/images/generations": {"prompt": "hi"},
}
STREAMING = ["/chat/completions", "/completions", "/responses", "/messages"]
# A field each that tells a piece of content from all other events.
PIECE = {
    "/chat/completions": b'"delta":{"content"',
    "/completions": b'"finish_reason":null',
    "/responses": b"event: response.output_text.delta",
    "/messages": b"event: content_block_delta",
    "/audio/speech": b"\xff\xfb\x90\0",
}


# Any JSON under the names that the wires know.
NAMES = st.sampled_from(
    ["model", "messages", "role", "content", "text", "type", "input", "prompt", "query", "system", "stream", "n",
     "dimensions", "instructions", "stream_options", "include_usage", "encoding_format", "ranking_options",
     "requests", "input_file_id", "endpoint"]
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
BODIES = st.dictionaries(NAMES, VALUES, max_size=6)


@pytest.fixture
async def simulated(patience: Patience) -> Simulated:
    return make(patience)


def make(patience: Patience, *rules: Rule, reply: Reply | None = None) -> Simulated:
    spec = UpstreamSpec(kind="simulated", rules=list(rules), reply=reply)
    return Simulated(spec, patience=patience, loop=asyncio.get_running_loop())


async def send(upstream: Simulated, path: str, *, seconds: float = 30.0, **fields: object) -> Answer:
    body = json.dumps({"model": "m"} | PLAIN.get(path, {}) | fields).encode()
    until = asyncio.get_running_loop().time() + seconds
    return await upstream.send(UpstreamRequest(path, body, expires_at=until))


def form(**fields: str) -> bytes:
    parts = [
        f'--b\r\nContent-Disposition: form-data; name="{name}"{"; filename=x" if name == "file" else ""}'
        f"\r\n\r\n{value}\r\n"
        for name, value in fields.items()
    ]
    return "".join([*parts, "--b--\r\n"]).encode()


@pytest.mark.parametrize("path", PLAIN)
async def test_a_whole_answer_is_json_with_a_name_for_the_request(simulated: Simulated, path: str) -> None:
    answer = await send(simulated, path)
    headers = dict(answer.headers)

    assert (answer.status, headers[b"content-type"]) == (200, b"application/json")
    assert isinstance(json.loads(await everything(answer)), dict)
    assert (b"request-id" if path.startswith("/messages") else b"x-request-id") in headers


@pytest.mark.parametrize("path", [*PLAIN, "/audio/speech", "/files", "/rerank"])
async def test_what_is_not_understood_is_an_error_in_the_paths_dialect(
    simulated: Simulated, path: str
) -> None:
    answer = await simulated.send(UpstreamRequest(path, b"[7]"))
    document = json.loads(await everything(answer))

    assert answer.status == (404 if path == "/rerank" else 400)
    if path.startswith("/messages"):
        assert (document["type"], document["error"]["type"]) == ("error", "invalid_request_error")
    else:
        assert set(document["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("path", PLAIN)
@pytest.mark.parametrize(
    ("fault", "error"), [("refuse", UpstreamRefused), ("cut", UpstreamCut), ("hang", UpstreamTimedOut)]
)
async def test_faults_before_the_head_strike_on_every_wire(
    patience: Patience, path: str, fault: str, error: type[Exception]
) -> None:
    upstream = make(patience, reply=Reply(fault=fault))

    with pytest.raises(error):
        await send(upstream, path, seconds=0.01)
    assert upstream.running == set()


@pytest.mark.parametrize("path", PLAIN)
async def test_an_error_body_under_a_200_is_in_the_paths_dialect(simulated: Simulated, path: str) -> None:
    answer = await send(simulated, path, simulate={"fault": "error_body", "text": "too hot"})
    document = json.loads(await everything(answer))

    assert answer.status == 200
    assert document["error"]["message"] == "too hot"
    assert document.get("type") == ("error" if path.startswith("/messages") else None)


@pytest.mark.parametrize("path", PLAIN)
async def test_a_whole_answer_breaks_in_its_middle_is_garbage_or_empty(
    simulated: Simulated, path: str
) -> None:
    answer = await send(simulated, path, simulate={"fault": "cut", "after_chunks": 1})
    assert await answer.chunk()
    with pytest.raises(UpstreamCut):
        await answer.chunk()

    garbage = await everything(await send(simulated, path, simulate={"fault": "garbage"}))
    assert garbage.startswith(b"<html>")
    assert await everything(await send(simulated, path, simulate={"fault": "empty"})) == b""


async def pieces_until_cut(answer: Answer, path: str) -> int:
    passed: list[bytes] = []

    async def read() -> None:
        while data := await answer.chunk():
            passed.append(data)

    with pytest.raises(UpstreamCut):
        await read()
    return sum(PIECE[path] in data for data in passed)


@pytest.mark.parametrize("path", [*STREAMING, "/audio/speech"])
@pytest.mark.parametrize("after", [1, 3])
async def test_a_stream_is_cut_after_so_many_pieces_of_content(
    simulated: Simulated, path: str, after: int
) -> None:
    script = {"fault": "cut", "after_chunks": after, "chunks": 9}

    answer = await send(simulated, path, stream=True, simulate=script)

    assert await pieces_until_cut(answer, path) == after


@pytest.mark.parametrize("path", STREAMING)
async def test_a_stream_ends_with_garbage_or_just_ends(simulated: Simulated, path: str) -> None:
    script = {"after_chunks": 1, "chunks": 3}
    garbage = await everything(
        await send(simulated, path, stream=True, simulate=script | {"fault": "garbage"})
    )
    short = await everything(await send(simulated, path, stream=True, simulate=script | {"fault": "empty"}))

    assert b"data: <html>" in garbage.split(b"\n\n")[-2]
    assert PIECE[path] in short
    assert not any(end in short for end in (b"[DONE]", b"message_stop", b"response.completed"))


@pytest.mark.parametrize("path", STREAMING)
async def test_the_same_request_always_gets_the_same_stream_which_may_have_no_usage(
    patience: Patience, path: str
) -> None:
    fields = {"stream": True, "stream_options": {"include_usage": True}}
    streams = [await everything(await send(make(patience), path, **fields)) for _ in range(2)]
    silent = await everything(await send(make(patience, reply=Reply(usage=False)), path, **fields))

    assert streams[0] == streams[1]
    assert b"_tokens" in streams[0]
    assert b"_tokens" not in silent


async def test_a_rule_may_hold_for_one_path_alone(patience: Patience) -> None:
    upstream = make(patience, Rule(Reply(status=503), path="/embeddings"))

    statuses = {path: (await send(upstream, path)).status for path in PLAIN}

    assert [path for path, status in statuses.items() if status == 503] == ["/embeddings"]


async def test_a_rule_looks_into_forms_too(patience: Patience) -> None:
    upstream = make(patience, Rule(Reply(status=503), contains="whisper-9"), Rule(Reply(text="é"), model="w"))
    requests = [
        UpstreamRequest("/audio/transcriptions", form(file="x", model=model), content_type=FORM)
        for model in ("whisper-9", "w")
    ]

    answers = [await upstream.send(request) for request in requests]

    assert [answer.status for answer in answers] == [503, 200]
    assert json.loads(await everything(answers[1]))["text"] == "é"


async def test_a_reply_may_name_the_fingerprint_and_the_length_of_embeddings(patience: Patience) -> None:
    upstream = make(patience, reply=Reply(fingerprint="fp_2", dimensions=3))
    chat = json.loads(await everything(await send(upstream, "/chat/completions")))
    vectors = json.loads(await everything(await send(upstream, "/embeddings")))

    assert chat["system_fingerprint"] == "fp_2"
    assert len(vectors["data"][0]["embedding"]) == 3


@pytest.mark.parametrize("given", [[], 7, None, ["x"] * 2049])
async def test_embeddings_want_an_input(simulated: Simulated, given: object) -> None:
    assert (await send(simulated, "/embeddings", input=given)).status == 400


async def test_tokens_may_be_embedded(simulated: Simulated) -> None:
    body = json.loads(await everything(await send(simulated, "/embeddings", input=[[1, 2], [3]])))

    assert len(body["data"]) == 2
    assert body["usage"]["prompt_tokens"] == 3


def test_texts_that_share_words_are_near() -> None:
    def nearness(one: str, other: str) -> float:
        return sum(a * b for a, b in zip(embed(one, 256), embed(other, 256), strict=True))

    assert nearness("Where is my parcel?", "my PARCEL is late") > 0.4
    assert abs(nearness("Where is my parcel?", "Cancel the contract")) < 0.2
    assert nearness("", "") == pytest.approx(1)


async def test_the_shelf_is_bounded_and_the_oldest_goes_first(simulated: Simulated) -> None:
    async def put(content: str) -> str:
        request = UpstreamRequest("/files", form(file=content), content_type=FORM)
        return json.loads(await everything(await simulated.send(request)))["id"]

    async def found(name: str) -> bool:
        return (await simulated.send(UpstreamRequest(f"/files/{name}", b"", method="GET"))).status == 200

    names = [await put("x") for _ in range(MAX_THINGS + 1)]
    assert [await found(names[0]), await found(names[1])] == [False, True]

    large = await put("x" * MAX_BYTES)
    assert [await found(names[-1]), await found(large)] == [False, True]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/files/none"),
        ("DELETE", "/files"),
        ("GET", "/chat/completions"),
        ("GET", "/batches/a/content"),
    ],
)
async def test_what_is_not_there_is_a_404(simulated: Simulated, method: str, path: str) -> None:
    answer = await simulated.send(UpstreamRequest(path, b"", method=method))

    assert answer.status == 404


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/embeddings", {"input": ["x"] * 2048, "dimensions": 65_536}),
        ("/embeddings", {"dimensions": 0}),
        ("/vector_stores/kb/search", {"max_num_results": 0}),
        ("/vector_stores/kb/search", {"max_num_results": 51}),
    ],
)
async def test_what_is_out_of_bounds_is_refused(
    simulated: Simulated, path: str, fields: dict[str, object]
) -> None:
    assert (await send(simulated, path, **fields)).status == 400


@pytest.mark.parametrize("path", ["/chat/completions", "/completions"])
async def test_choices_are_bounded(simulated: Simulated, path: str) -> None:
    document = json.loads(await everything(await send(simulated, path, n=1_000_000_000)))

    assert len(document["choices"]) == 128


@given(path=st.sampled_from([*PLAIN, "/audio/speech", "/batches", "/messages/batches"]), fields=BODIES)
@settings(max_examples=300, deadline=None)
def test_whatever_is_sent_gets_an_answer(path: str, fields: dict[str, object]) -> None:
    async def status() -> int:
        patience = Patience(asyncio.get_running_loop())
        answer = await make(patience).send(UpstreamRequest(path, json.dumps(fields).encode()))
        await everything(answer)
        patience.aclose()
        return answer.status

    assert asyncio.run(status()) in (200, 400)


async def test_it_speaks_everything(simulated: Simulated) -> None:
    assert all(simulated.speaks(path) for path in PLAIN)

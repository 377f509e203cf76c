"""A simulated upstream does what its script says, the same every time."""

from __future__ import annotations

import asyncio
import json

import openai.types.chat as wire
import pytest

from gateway.errors import UpstreamCut, UpstreamGarbled, UpstreamRefused, UpstreamTimedOut
from gateway.patience import Patience
from gateway.spec import Reply, Rule, UpstreamSpec
from gateway.taps.peek import peek_json
from gateway.taps.sse import Tap
from gateway.upstream.base import Answer, UpstreamRequest
from gateway.upstream.simulated import Simulated, fails
from tests.gateway.upstream.asking import ask, everything


@pytest.fixture
async def simulated(patience: Patience) -> Simulated:
    return make(patience)


def make(patience: Patience, *rules: Rule, reply: Reply | None = None) -> Simulated:
    spec = UpstreamSpec(kind="simulated", rules=list(rules), reply=reply)
    return Simulated(spec, patience=patience, loop=asyncio.get_running_loop())


def chat(question: str = "Where is it?", **fields: object) -> bytes:
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": question}]
    return json.dumps({"model": "gpt-x", "messages": messages} | fields).encode()


async def said(upstream: Simulated, body: bytes) -> str:
    answer = await ask(upstream, body)
    return json.loads(await everything(answer))["choices"][0]["message"]["content"]


async def status(upstream: Simulated, body: bytes) -> int:
    answer = await ask(upstream, body)
    await everything(answer)
    return answer.status


def chunks_of(stream: bytes) -> list[wire.ChatCompletionChunk]:
    events = stream.decode().split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    return [
        wire.ChatCompletionChunk.model_validate_json(event.removeprefix("data: ")) for event in events[:-2]
    ]


# The wire


async def test_the_default_answer_names_the_model_and_echoes_the_question(simulated: Simulated) -> None:
    assert (
        await said(simulated, chat("Where is my parcel?")) == "This is gpt-x. You asked: Where is my parcel?"
    )


async def test_a_completion_is_one_to_the_official_types(simulated: Simulated) -> None:
    answer = await ask(simulated, chat(n=2))
    body = await everything(answer)

    completion = wire.ChatCompletion.model_validate_json(body)
    assert (answer.status, dict(answer.headers)[b"content-type"]) == (200, b"application/json")
    assert [(choice.index, choice.finish_reason) for choice in completion.choices] == [
        (0, "stop"),
        (1, "stop"),
    ]
    assert completion.usage is not None
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (5, 2 * 8)
    assert peek_json(body).output_tokens == 16


@pytest.mark.parametrize("usage", [False, True])
async def test_a_stream_is_one_to_the_official_types(simulated: Simulated, *, usage: bool) -> None:
    options = {"stream_options": {"include_usage": True}} if usage else {}
    answer = await ask(simulated, chat(stream=True, **options))
    stream = await everything(answer)

    chunks = chunks_of(stream)
    assert dict(answer.headers)[b"content-type"].startswith(b"text/event-stream")
    assert chunks[0].choices[0].delta.role == "assistant"
    texts = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
    assert "".join(texts) == "This is gpt-x. You asked: Where is it?"
    last = chunks[-1] if not usage else chunks[-2]
    assert last.choices[0].finish_reason == "stop"
    assert [chunk.usage is not None for chunk in chunks] == [False] * (len(chunks) - 1) + [usage]


async def test_a_stream_and_a_completion_say_the_same_and_cost_the_same(simulated: Simulated) -> None:
    script = {"simulate": {"chunks": 20}}
    tap = Tap()
    stream = await everything(
        await ask(simulated, chat(stream=True, stream_options={"include_usage": True}, **script))
    )
    tap.feed(stream)

    texts = [choice.delta.content or "" for chunk in chunks_of(stream) for choice in chunk.choices]
    assert "".join(texts) == await said(simulated, chat(**script))
    assert tap.output_tokens == 20
    assert tap.ended_well


@pytest.mark.parametrize("count", [1, 3, 8, 9, 64])
async def test_a_stream_has_as_many_pieces_as_it_is_told(simulated: Simulated, count: int) -> None:
    stream = await everything(await ask(simulated, chat(stream=True, simulate={"chunks": count})))

    pieces = [chunk for chunk in chunks_of(stream) if chunk.choices[0].delta.content]
    assert len(pieces) == count


async def test_the_same_request_always_gets_the_same_bytes(patience: Patience) -> None:
    answers = [await everything(await ask(make(patience), chat("a"))) for _ in range(2)]
    other = await everything(await ask(make(patience), chat("b")))

    assert answers[0] == answers[1]
    assert json.loads(answers[0])["id"] != json.loads(other)["id"]


async def test_parts_are_echoed_by_their_text_and_long_questions_in_part(simulated: Simulated) -> None:
    parts = [{"type": "text", "text": "What is"}, {"type": "image_url"}, {"type": "text", "text": "this?"}]
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": parts}]}).encode()

    assert (await said(simulated, body)).endswith("What is this?")
    assert len(await said(simulated, chat("word " * 1000))) < 200
    assert await said(simulated, b'{"model": "m"}') == "This is m. You did not ask anything."


async def test_usage_can_be_left_out(simulated: Simulated) -> None:
    body = await everything(await ask(simulated, chat(simulate={"usage": False})))
    stream = await everything(
        await ask(
            simulated, chat(stream=True, stream_options={"include_usage": True}, simulate={"usage": False})
        )
    )

    assert "usage" not in json.loads(body)
    assert all(chunk.usage is None for chunk in chunks_of(stream))


# Which reply holds


async def test_the_first_rule_that_matches_decides_and_else_the_reply(patience: Patience) -> None:
    upstream = make(
        patience,
        Rule(Reply(text="rude"), contains="Be kind."),
        Rule(Reply(text="never"), contains="Be kind."),
        Rule(Reply(text="other"), model="gpt-y"),
        reply=Reply(text="else"),
    )

    assert await said(upstream, chat()) == "rude"
    assert await said(upstream, b'{"model": "gpt-y"}') == "other"
    assert await said(upstream, b'{"model": "gpt-z"}') == "else"


async def test_a_rule_needs_all_that_it_names(patience: Patience) -> None:
    upstream = make(
        patience, Rule(Reply(text="both"), contains="kind", model="gpt-y"), reply=Reply(text="else")
    )

    assert await said(upstream, chat()) == "else"


async def test_a_rule_finds_text_however_the_sender_spelled_it(patience: Patience) -> None:
    upstream = make(patience, Rule(Reply(text="found"), contains="Größe"), reply=Reply(text="else"))
    escaped = chat("Größe?")

    assert "\\u00f6" in escaped.decode()
    assert await said(upstream, escaped) == "found"
    assert await said(upstream, '{"messages": [{"role": "user", "content": "Größe?"}]}'.encode()) == "found"


async def test_the_bodys_own_script_wins(patience: Patience) -> None:
    upstream = make(patience, Rule(Reply(text="rule"), contains="kind"))

    assert await said(upstream, chat(simulate={"text": "mine"})) == "mine"


# Errors


async def test_a_status_comes_with_openais_error_body_and_retry_after(simulated: Simulated) -> None:
    answer = await ask(simulated, chat(stream=True, simulate={"status": 429, "retry_after_seconds": 1.2}))

    assert (answer.status, dict(answer.headers)[b"retry-after"]) == (429, b"2")
    assert json.loads(await everything(answer)) == {
        "error": {
            "message": "the simulated upstream fails with 429",
            "type": "rate_limit_error",
            "param": None,
            "code": None,
        }
    }


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"messages": 7}', b'{"simulate": {"stattus": 1}}', b'{"simulate": {"status": 99}}']
)
async def test_what_is_not_understood_is_answered_with_400(simulated: Simulated, body: bytes) -> None:
    assert await status(simulated, body) == 400


async def test_other_paths_are_answered_with_404(simulated: Simulated) -> None:
    answer = await simulated.send(UpstreamRequest("/rerank", b"{}"))

    assert answer.status == 404
    assert b"/rerank" in await everything(answer)


@pytest.mark.parametrize(
    ("rate", "calls"), [(0.0, 10), (0.05, 100), (0.1, 30), (0.29, 100), (0.5, 7), (1.0, 5)]
)
def test_an_error_rate_is_met_exactly_at_every_count(rate: float, calls: int) -> None:
    failed = 0
    for count in range(1, calls + 1):
        failed += fails(count, rate)
        assert failed == int(count * rate + 1e-9)


async def test_an_error_rate_counts_the_calls_of_its_rule_alone(patience: Patience) -> None:
    half = Reply(error_rate=0.5)
    upstream = make(patience, Rule(half, contains="a?"), Rule(half, contains="b?"))

    statuses = [
        await status(upstream, chat(question)) for question in ("a?", "b?", "a?", "a?", "b?", "c?", "a?")
    ]

    assert statuses == [200, 200, 500, 200, 500, 200, 500]


async def test_an_error_rate_fails_in_the_way_that_the_reply_says(patience: Patience) -> None:
    upstream = make(patience, Rule(Reply(error_rate=0.5, status=503), contains="a?"))
    upstream_with_fault = make(patience, reply=Reply(error_rate=0.5, fault="refuse"))

    assert [await status(upstream, chat("a?")) for _ in range(2)] == [200, 503]
    assert await status(upstream_with_fault, chat()) == 200
    with pytest.raises(UpstreamRefused):
        await ask(upstream_with_fault, chat())


# Faults


async def test_a_refusal(simulated: Simulated) -> None:
    with pytest.raises(UpstreamRefused):
        await ask(simulated, chat(simulate={"fault": "refuse"}))
    assert simulated.running == set()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_cut_before_the_head(simulated: Simulated, *, stream: bool) -> None:
    with pytest.raises(UpstreamCut):
        await ask(simulated, chat(stream=stream, simulate={"fault": "cut"}))
    assert simulated.running == set()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_hang_before_the_head(simulated: Simulated, *, stream: bool) -> None:
    with pytest.raises(UpstreamTimedOut) as caught:
        await ask(simulated, chat(stream=stream, simulate={"fault": "hang"}), seconds=0.02)
    assert caught.value.phase == "first_content"
    assert simulated.running == set()


async def contents_until(answer: Answer, error: type[Exception]) -> int:
    """Read to the error; how many chunks of content came before it."""
    tap, passed = Tap(), []

    async def read() -> None:
        while data := await answer.chunk():
            passed.append(tap.feed(data))

    with pytest.raises(error):
        await read()
    assert not tap.ended_well
    return sum(b'"delta":{"content"' in data for data in passed)


async def test_a_cut_after_some_content(simulated: Simulated) -> None:
    answer = await ask(simulated, chat(stream=True, simulate={"fault": "cut", "after_chunks": 3}))

    assert await contents_until(answer, UpstreamCut) == 3


async def test_a_hang_after_some_content(simulated: Simulated) -> None:
    answer = await ask(
        simulated, chat(stream=True, simulate={"fault": "hang", "after_chunks": 2}), seconds=0.05
    )
    answer.phase = "between_chunks"

    assert await contents_until(answer, UpstreamTimedOut) == 2
    assert simulated.running == set()


@pytest.mark.parametrize(("fault", "error"), [("cut", UpstreamCut), ("hang", UpstreamTimedOut)])
async def test_a_json_answer_breaks_in_the_middle_of_its_body(
    simulated: Simulated, fault: str, error: type[Exception]
) -> None:
    answer = await ask(simulated, chat(simulate={"fault": fault, "after_chunks": 1}), seconds=0.05)

    assert (await answer.chunk()).startswith(b'{"id"')
    with pytest.raises(error):
        await answer.chunk()


@pytest.mark.parametrize("fault", ["garbage", "error_body", "empty"])
async def test_a_json_answer_that_is_none(simulated: Simulated, fault: str) -> None:
    answer = await ask(simulated, chat(simulate={"fault": fault}))

    assert answer.status == 200
    with pytest.raises(UpstreamGarbled):
        peek_json(await everything(answer))


async def test_a_stream_that_holds_garbage(simulated: Simulated) -> None:
    answer = await ask(simulated, chat(stream=True, simulate={"fault": "garbage", "after_chunks": 2}))

    assert await contents_until(answer, UpstreamGarbled) == 2


@pytest.mark.parametrize("after", [0, 2])
async def test_a_stream_that_holds_an_error(simulated: Simulated, after: int) -> None:
    answer = await ask(simulated, chat(stream=True, simulate={"fault": "error_body", "after_chunks": after}))
    tap = Tap()
    tap.feed(await everything(answer))

    assert tap.error is not None
    assert tap.first_content is (after > 0)


@pytest.mark.parametrize("after", [0, 2])
async def test_a_stream_that_just_stops(simulated: Simulated, after: int) -> None:
    answer = await ask(simulated, chat(stream=True, simulate={"fault": "empty", "after_chunks": after}))
    tap = Tap()
    tap.feed(await everything(answer))

    assert tap.first_content is (after > 0)
    assert not tap.ended_well


# Time


async def test_a_delay_comes_before_the_head_and_can_be_timed_out(simulated: Simulated) -> None:
    assert await status(simulated, chat(simulate={"delay_seconds": 0.02})) == 200
    with pytest.raises(UpstreamTimedOut):
        await ask(simulated, chat(simulate={"delay_seconds": 30}), seconds=0.02)


async def test_a_delay_between_chunks_can_be_timed_out_in_its_phase(simulated: Simulated) -> None:
    answer = await ask(simulated, chat(stream=True, simulate={"chunk_delay_seconds": 30}))
    await answer.chunk()

    answer.expires_at, answer.phase = asyncio.get_running_loop().time() + 0.02, "between_chunks"

    with pytest.raises(UpstreamTimedOut) as caught:
        await answer.chunk()
    assert caught.value.phase == "between_chunks"


# Letting go


async def test_an_answer_is_running_until_it_was_taken(simulated: Simulated) -> None:
    answer = await ask(simulated, chat(stream=True))
    assert simulated.running == {answer}

    await everything(answer)

    assert simulated.running == set()


async def test_closing_ends_an_answer_and_tells_who_waits(simulated: Simulated) -> None:
    answer = await ask(simulated, chat(stream=True, simulate={"chunk_delay_seconds": 30}))
    await answer.chunk()
    asyncio.get_running_loop().call_soon(answer.close)

    with pytest.raises(UpstreamCut, match="closed by the gateway"):
        await answer.chunk()
    assert simulated.running == set()


async def test_a_caller_cancelled_before_the_head_leaves_nothing(
    simulated: Simulated, patience: Patience
) -> None:
    task = asyncio.ensure_future(ask(simulated, chat(simulate={"fault": "hang"})))
    await asyncio.sleep(0.001)
    assert len(simulated.running) == 1

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert simulated.running == set()
    assert len(patience) == 0


async def test_closing_the_upstream_ends_all_its_answers(simulated: Simulated) -> None:
    answers = [await ask(simulated, chat(stream=True)) for _ in range(3)]
    simulated.retire()
    assert simulated.running == set(answers)

    await simulated.aclose()
    await simulated.aclose()

    assert simulated.running == set()


class StoppedClock:
    """A loop whose timers run and whose clock is always a little behind them, as uvloop's milliseconds can be."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def __getattr__(self, name: str) -> object:
        return getattr(self._loop, name)

    def time(self) -> float:
        return 0.0


async def test_a_delay_ends_by_its_timer_whatever_the_clock_shows() -> None:
    loop = asyncio.get_running_loop()
    timer = Patience(loop)
    simulated = Simulated(
        UpstreamSpec(kind="simulated", reply=Reply(delay_seconds=0.01)),
        patience=timer,
        loop=StoppedClock(loop),
    )
    async with asyncio.timeout(5):
        answer = await simulated.send(UpstreamRequest("/chat/completions", b'{"model":"m","messages":[]}'))
        assert b"choices" in await everything(answer)
    timer.aclose()

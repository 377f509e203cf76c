"""The official SDKs are the judges: they parse every wire of a simulated upstream, whole and streaming."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import anthropic
import openai
import pytest

from gateway.patience import Patience
from gateway.spec import CallReply, PassageReply, Reply, Rule, UpstreamSpec
from gateway.upstream.simulated import Simulated
from tests.gateway.upstream.serving import served

ASKED = [{"role": "user", "content": "Where is my parcel?"}]
SAID = "This is m. You asked: Where is my parcel?"
WEATHER = Reply(tool_calls=[CallReply("weather", {"city": "Ulm"}), CallReply("news")])

Judges = tuple[openai.AsyncOpenAI, anthropic.AsyncAnthropic]
Make = Callable[..., Awaitable[Judges]]


@pytest.fixture
async def judges(patience: Patience) -> AsyncIterator[Make]:
    """`await judges(reply=…)`: both SDKs, speaking to one simulated upstream over HTTP."""
    async with AsyncExitStack() as stack:

        async def make(*, reply: Reply | None = None, rules: tuple[Rule, ...] = ()) -> Judges:
            spec = UpstreamSpec(kind="simulated", reply=reply, rules=list(rules))
            simulated = Simulated(spec, patience=patience, loop=asyncio.get_running_loop())
            address = await stack.enter_async_context(served(simulated))
            one = openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="k", max_retries=0)
            other = anthropic.AsyncAnthropic(base_url=address, api_key="k", max_retries=0)
            return await stack.enter_async_context(one), await stack.enter_async_context(other)

        yield make


# Chat and completions


async def test_chat_says_the_same_whole_and_streaming(judges: Make) -> None:
    sdk, _ = await judges()
    whole = await sdk.chat.completions.create(model="m", messages=ASKED)
    stream = await sdk.chat.completions.create(
        model="m", messages=ASKED, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]

    assert whole.choices[0].message.content == SAID
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == SAID
    assert chunks[-1].usage == whole.usage


async def test_chat_calls_tools(judges: Make) -> None:
    sdk, _ = await judges(reply=WEATHER)
    whole = await sdk.chat.completions.create(model="m", messages=ASKED)
    async with sdk.chat.completions.stream(model="m", messages=ASKED) as stream:
        streamed = await stream.get_final_completion()

    for choice in (whole.choices[0], streamed.choices[0]):
        assert (choice.finish_reason, choice.message.content or None) == ("tool_calls", None)
        calls = [(call.function.name, call.function.arguments) for call in choice.message.tool_calls]
        assert calls == [("weather", '{"city":"Ulm"}'), ("news", "{}")]


async def test_completions_say_the_same_whole_and_streaming(judges: Make) -> None:
    sdk, _ = await judges()
    whole = await sdk.completions.create(model="m", prompt=["a", "Where is my parcel?"])
    stream = await sdk.completions.create(
        model="m", prompt="Where is my parcel?", stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]

    assert [choice.text for choice in whole.choices] == [SAID, SAID]
    assert "".join(c.choices[0].text for c in chunks if c.choices) == SAID
    assert chunks[-1].usage.completion_tokens == 9


# Responses


async def test_a_response_says_the_same_whole_and_streaming(judges: Make) -> None:
    sdk, _ = await judges()
    whole = await sdk.responses.create(model="m", input="Where is my parcel?", instructions="Be kind.")
    stream = await sdk.responses.create(model="m", input=ASKED, instructions="Be kind.", stream=True)
    events = [event async for event in stream]

    assert (whole.output_text, whole.status) == (SAID, "completed")
    assert (whole.usage.input_tokens, whole.usage.output_tokens) == (6, 9)
    assert events[-1].response.output_text == SAID
    assert events[-1].response.usage == whole.usage
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = list(dict.fromkeys(event.type for event in events))
    assert kinds == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]


@pytest.mark.parametrize("text", [None, "Wait."])
async def test_a_response_calls_tools(judges: Make, text: str | None) -> None:
    """The SDK's own accumulator takes every item in its place."""
    reply = Reply(text=text, tool_calls=WEATHER.tool_calls)
    sdk, _ = await judges(reply=reply)
    whole = await sdk.responses.create(model="m", input="x")
    async with sdk.responses.stream(model="m", input="x") as stream:
        streamed = await stream.get_final_response()

    for response in (whole, streamed):
        calls = [(item.name, item.arguments) for item in response.output if item.type == "function_call"]
        assert calls == [("weather", '{"city":"Ulm"}'), ("news", "{}")]
        assert response.output_text == (text or "")


# Messages


async def test_a_message_says_the_same_whole_and_streaming(judges: Make) -> None:
    _, sdk = await judges()
    whole = await sdk.messages.create(model="m", max_tokens=9, messages=ASKED, system="Be kind.")
    async with sdk.messages.stream(model="m", max_tokens=9, messages=ASKED, system="Be kind.") as stream:
        text = "".join([piece async for piece in stream.text_stream])
        streamed = await stream.get_final_message()

    assert whole.content[0].text == text == streamed.content[0].text == SAID
    assert (whole.usage.input_tokens, whole.usage.output_tokens) == (6, 9)
    assert (streamed.usage.input_tokens, streamed.usage.output_tokens) == (6, 9)
    assert whole.stop_reason == streamed.stop_reason == "end_turn"


async def test_a_messages_events_come_in_anthropics_order(judges: Make) -> None:
    _, sdk = await judges()
    stream = await sdk.messages.create(model="m", max_tokens=9, messages=ASKED, stream=True)
    kinds = list(dict.fromkeys([event.type async for event in stream]))

    assert [kind for kind in kinds if kind != "ping"] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


@pytest.mark.parametrize("text", [None, "Wait."])
async def test_a_message_calls_tools(judges: Make, text: str | None) -> None:
    _, sdk = await judges(reply=Reply(text=text, tool_calls=WEATHER.tool_calls))
    whole = await sdk.messages.create(model="m", max_tokens=9, messages=ASKED)
    async with sdk.messages.stream(model="m", max_tokens=9, messages=ASKED) as stream:
        streamed = await stream.get_final_message()

    for message in (whole, streamed):
        blocks = [block for block in message.content if block.type == "tool_use"]
        assert [(block.name, block.input) for block in blocks] == [("weather", {"city": "Ulm"}), ("news", {})]
        assert message.stop_reason == "tool_use"
        assert [b.text for b in message.content if b.type == "text"] == ([text] if text else [])


async def test_tokens_are_counted_as_words(judges: Make) -> None:
    _, sdk = await judges()
    blocks = [{"type": "text", "text": "Be kind."}]
    counted = await sdk.messages.count_tokens(model="m", messages=ASKED, system=blocks)

    assert counted.input_tokens == 6


# Embeddings, search


async def test_embeddings_are_unit_vectors_in_either_encoding(judges: Make) -> None:
    """The SDK asks for base64 by itself, and for numbers where it is told to."""
    sdk, _ = await judges()
    packed = await sdk.embeddings.create(model="m", input=["a b", "c"])
    plain = await sdk.embeddings.create(model="m", input="a b", dimensions=8, encoding_format="float")

    assert [len(each.embedding) for each in packed.data] == [256, 256]
    assert sum(number * number for number in packed.data[0].embedding) == pytest.approx(1)
    assert len(plain.data[0].embedding) == 8
    assert packed.usage.total_tokens == 3


async def test_a_search_finds_what_the_reply_names(judges: Make) -> None:
    passages = [
        PassageReply("first", "f1", "a.md", 0.9, {"lang": "en"}),
        PassageReply("second", "f2", score=0.5),
        PassageReply("third", "f3", score=0.1),
    ]
    sdk, _ = await judges(reply=Reply(passages=passages))
    page = await sdk.vector_stores.search("kb", query="parcel", max_num_results=2)
    good = await sdk.vector_stores.search("kb", query="x", ranking_options={"score_threshold": 0.6})
    other, _ = await judges()
    default = await other.vector_stores.search("kb", query="parcel")

    assert [(each.file_id, each.content[0].text) for each in page.data] == [("f1", "first"), ("f2", "second")]
    assert page.data[0].attributes == {"lang": "en"}
    assert [each.file_id for each in good.data] == ["f1"]
    assert "parcel" in default.data[0].content[0].text


# Media, files, batches


async def test_speech_is_bytes_that_stream(judges: Make) -> None:
    sdk, _ = await judges()
    async with sdk.audio.speech.with_streaming_response.create(
        model="m", voice="alloy", input="Hello you"
    ) as answer:
        parts = [part async for part in answer.iter_bytes(16)]

    assert answer.headers["content-type"] == "audio/mpeg"
    assert b"".join(parts).startswith(b"ID3")


async def test_a_transcript_says_what_the_reply_says(judges: Make) -> None:
    sdk, _ = await judges(reply=Reply(text="Good day."))
    sound = ("a.mp3", b"\xff\xfb\r\n\x90", "audio/mpeg")
    whole = await sdk.audio.transcriptions.create(model="m", file=sound)
    text = await sdk.audio.transcriptions.create(model="m", file=sound, response_format="text")
    stream = await sdk.audio.transcriptions.create(model="m", file=sound, stream=True)
    events = [event async for event in stream]

    assert (whole.text, text) == ("Good day.", "Good day.\n")
    assert "".join(event.delta for event in events[:-1]) == events[-1].text == "Good day."


async def test_images_are_made_and_changed(judges: Make) -> None:
    sdk, _ = await judges()
    made = await sdk.images.generate(model="m", prompt="a cat", n=2)
    changed = await sdk.images.edit(model="m", prompt="a dog", image=("a.png", b"x", "image/png"))

    assert len(made.data) == 2
    assert base64.b64decode(made.data[0].b64_json).startswith(b"\x89PNG")
    assert len(changed.data) == 1


async def test_a_file_is_put_found_read_and_taken_away(judges: Make) -> None:
    sdk, _ = await judges()
    put = await sdk.files.create(file=("a.jsonl", b"\0{}\r\n"), purpose="batch")

    assert (put.filename, put.bytes, put.purpose) == ("a.jsonl", 5, "batch")
    assert [each.id async for each in await sdk.files.list()] == [put.id]
    assert (await sdk.files.retrieve(put.id)).filename == "a.jsonl"
    assert (await sdk.files.content(put.id)).content == b"\0{}\r\n"
    assert (await sdk.files.delete(put.id)).deleted
    with pytest.raises(openai.NotFoundError):
        await sdk.files.retrieve(put.id)


async def test_a_batch_is_put_found_and_cancelled(judges: Make) -> None:
    sdk, _ = await judges()
    put = await sdk.batches.create(
        input_file_id="file-1", endpoint="/v1/chat/completions", completion_window="24h"
    )

    assert (await sdk.batches.retrieve(put.id)).status == "in_progress"
    assert (await sdk.batches.cancel(put.id)).status == "cancelling"
    assert [each.id async for each in await sdk.batches.list()] == [put.id]


async def test_a_batch_of_messages_is_put_found_cancelled_and_taken_away(judges: Make) -> None:
    _, sdk = await judges()
    params = {"model": "m", "max_tokens": 9, "messages": ASKED}
    put = await sdk.messages.batches.create(requests=[{"custom_id": "a", "params": params}])

    assert (await sdk.messages.batches.retrieve(put.id)).processing_status == "in_progress"
    assert (await sdk.messages.batches.cancel(put.id)).processing_status == "canceling"
    assert [each.id async for each in await sdk.messages.batches.list()] == [put.id]
    assert (await sdk.messages.batches.delete(put.id)).id == put.id


async def test_models_are_listed(judges: Make) -> None:
    sdk, _ = await judges()

    assert [model.id async for model in await sdk.models.list()] == ["simulated"]


# Errors and faults, in each SDK's own words


@pytest.mark.parametrize(
    ("status", "openais", "kind"),
    [
        (400, openai.BadRequestError, "invalid_request_error"),
        (404, openai.NotFoundError, "not_found_error"),
        (429, openai.RateLimitError, "rate_limit_error"),
        (500, openai.InternalServerError, "api_error"),
        (529, openai.InternalServerError, "overloaded_error"),
    ],
)
async def test_an_error_is_one_to_both(
    judges: Make, status: int, openais: type[openai.APIStatusError], kind: str
) -> None:
    one, other = await judges(reply=Reply(status=status, text="no", retry_after_seconds=2))
    with pytest.raises(openais, match="no") as caught:
        await one.responses.create(model="m", input="x")
    with pytest.raises(anthropic.APIStatusError) as refused:
        await other.messages.create(model="m", max_tokens=9, messages=ASKED)

    assert caught.value.request_id.startswith("req_")
    assert refused.value.request_id.startswith("req_")
    assert refused.value.response.headers["retry-after"] == "2"
    assert refused.value.body == {"type": "error", "error": {"type": kind, "message": "no"}}


async def test_an_error_within_a_stream_is_raised(judges: Make) -> None:
    one, other = await judges(reply=Reply(fault="error_body", after_chunks=2, text="too hot today"))
    chat = await one.chat.completions.create(model="m", messages=ASKED, stream=True)
    with pytest.raises(openai.APIError, match="too hot"):
        [chunk async for chunk in chat]
    message = await other.messages.create(model="m", max_tokens=9, messages=ASKED, stream=True)
    with pytest.raises(anthropic.APIStatusError, match="too hot"):
        [event async for event in message]
    response = await one.responses.create(model="m", input="x", stream=True)
    events = [event async for event in response]

    assert (events[-1].type, events[-1].message) == ("error", "too hot today")


@pytest.mark.parametrize("path", ["/messages", "/responses", "/chat/completions"])
async def test_a_cut_stream_does_not_end_well(judges: Make, path: str) -> None:
    one, other = await judges(rules=(Rule(Reply(fault="cut", after_chunks=2), path=path),))

    async def read() -> list[object]:
        if path == "/messages":
            stream = await other.messages.create(model="m", max_tokens=9, messages=ASKED, stream=True)
        elif path == "/responses":
            stream = await one.responses.create(model="m", input="x", stream=True)
        else:
            stream = await one.chat.completions.create(model="m", messages=ASKED, stream=True)
        return [event async for event in stream]

    with pytest.raises(Exception, match=r"peer closed connection|incomplete"):
        await read()


async def test_a_script_may_come_with_the_request_on_every_wire(judges: Make) -> None:
    one, other = await judges()
    extra = {"simulate": {"text": "as told"}}
    sound = ("a.mp3", b"x", "audio/mpeg")
    chat = await one.chat.completions.create(model="m", messages=ASKED, extra_body=extra)
    completion = await one.completions.create(model="m", prompt="x", extra_body=extra)
    response = await one.responses.create(model="m", input="x", extra_body=extra)
    message = await other.messages.create(model="m", max_tokens=9, messages=ASKED, extra_body=extra)
    transcript = await one.audio.transcriptions.create(
        model="m", file=sound, extra_body={"simulate": json.dumps(extra["simulate"])}
    )

    said = [chat.choices[0].message.content, completion.choices[0].text, response.output_text]
    assert [*said, message.content[0].text, transcript.text] == ["as told"] * 5

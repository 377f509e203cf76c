"""OpenAI's SDK against a real gateway, natively upstream: every endpoint whole and streaming, with typed errors."""

from __future__ import annotations

import base64
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import openai
import pytest

from gateway.auth import keyring
from tests.gateway.wires.conftest import MAX_BODY_BYTES, Wired

pytestmark = pytest.mark.asyncio(loop_scope="module")

Sdk = openai.AsyncOpenAI
HI = {"role": "user", "content": "Where is my parcel?"}
SAID = "This is good. You asked: Where is my parcel?"
LED = [{"role": "user", "content": "Example?"}, {"role": "assistant", "content": "Sure."}]
KEYS = {"apps": [{"name": "shop", "key": "shop-key-1", "routes": ["plain"]}]}

Ask = Callable[..., Awaitable[Any]]


def chat(sdk: Sdk, model: str, **more: Any) -> Awaitable[Any]:
    return sdk.chat.completions.create(model=model, messages=[HI], **more)


def completion(sdk: Sdk, model: str, **more: Any) -> Awaitable[Any]:
    return sdk.completions.create(model=model, prompt="Where is my parcel?", **more)


def response(sdk: Sdk, model: str, **more: Any) -> Awaitable[Any]:
    return sdk.responses.create(model=model, input="Where is my parcel?", **more)


def embedding(sdk: Sdk, model: str, **more: Any) -> Awaitable[Any]:
    return sdk.embeddings.create(model=model, input="Where is my parcel?", **more)


STREAMING = pytest.mark.parametrize("ask", [chat, completion, response])
EVERY = pytest.mark.parametrize("ask", [chat, completion, response, embedding])


async def test_chat(openai_sdk: Sdk, wired: Wired) -> None:
    whole = await chat(openai_sdk, "bot")
    stream = [chunk async for chunk in await chat(openai_sdk, "bot", stream=True)]

    assert whole.choices[0].message.content == SAID
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == SAID
    assert wired.last("/chat/completions")["messages"] == [
        {"role": "system", "content": "You answer for Acme."},
        *LED,
        HI,
    ]


async def test_completions(openai_sdk: Sdk, wired: Wired) -> None:
    front = "You answer for Acme.\n\nExample?\n\nSure.\n\n"
    whole = await openai_sdk.completions.create(model="bot", prompt=["a", "Where is my parcel?"])
    stream = [chunk async for chunk in await completion(openai_sdk, "plain", stream=True)]

    assert [choice.text for choice in whole.choices] == [
        "This is good. You asked: You answer for Acme. Example? Sure. Where is my parcel?"
    ] * 2
    assert "".join(chunk.choices[0].text for chunk in stream) == SAID
    assert wired.spy.seen[-2].body == (
        b'{"model":"good","prompt":["%b","%b"]}'
        % tuple((front + text).replace("\n", "\\n").encode() for text in ("a", "Where is my parcel?"))
    )
    assert wired.last("/completions")["stream_options"] == {"include_usage": True}


async def test_tokens_before_which_no_prompt_can_stand_are_refused_with_what_to_do(openai_sdk: Sdk) -> None:
    with pytest.raises(openai.BadRequestError, match="send the prompt as text") as caught:
        await openai_sdk.completions.create(model="bot", prompt=[1, 2, 3])

    assert caught.value.param == "prompt"
    assert (await openai_sdk.completions.create(model="plain", prompt=[1, 2, 3])).choices


async def test_a_response(openai_sdk: Sdk, wired: Wired) -> None:
    whole = await response(openai_sdk, "bot", instructions="Mine.")

    assert (whole.output_text, whole.status, whole.model) == (SAID, "completed", "good")
    assert wired.last("/responses") == {
        "model": "good",
        "instructions": "You answer for Acme.\n\nMine.",
        "input": [*LED, HI],
    }


async def test_a_response_that_streams(openai_sdk: Sdk) -> None:
    async with openai_sdk.responses.stream(model="bot", input="Where is my parcel?") as stream:
        pieces = [event.delta async for event in stream if event.type == "response.output_text.delta"]
        final = await stream.get_final_response()

    assert ("".join(pieces), final.output_text, final.status) == (SAID, SAID, "completed")


async def test_embeddings_are_the_providers_bytes(openai_sdk: Sdk, wired: Wired) -> None:
    raw = await openai_sdk.embeddings.with_raw_response.create(
        model="bot", input=["a", "b"], encoding_format="base64", dimensions=8
    )
    vectors = await openai_sdk.embeddings.create(model="bot", input=["a", "b"], dimensions=8)

    assert raw.headers["x-pointsman-versions"] == "model=good"
    told = [each["embedding"] for each in raw.http_response.json()["data"]]
    decoded = [list(struct.unpack("<8f", base64.b64decode(text))) for text in told]
    assert decoded == [pytest.approx(each.embedding) for each in vectors.data]
    assert wired.last("/embeddings").keys() == {"model", "input", "dimensions", "encoding_format"}


async def test_models_are_the_routes(openai_sdk: Sdk) -> None:
    listed = [model.id async for model in openai_sdk.models.list()]
    one = await openai_sdk.models.retrieve("bot")

    assert {"bot", "plain", "claude"} <= set(listed)
    assert (one.id, one.owned_by) == ("bot", "pointsman")
    with pytest.raises(openai.NotFoundError, match="no route here"):
        await openai_sdk.models.retrieve("nope")


@pytest.mark.parametrize(
    ("resource", "fields"),
    [
        ("chat.completions", {"messages": [HI]}),
        ("completions", {"prompt": "x"}),
        ("responses", {"input": "x"}),
        ("embeddings", {"input": "x"}),
    ],
)
async def test_headers_say_what_answered(openai_sdk: Sdk, resource: str, fields: dict[str, Any]) -> None:
    place: Any = openai_sdk
    for name in resource.split("."):
        place = getattr(place, name)
    raw = await place.with_raw_response.create(model="bot", user="anna", **fields)
    versions = "model=good" if resource == "embeddings" else "prompt=v6;model=good"

    assert raw.headers["x-pointsman-route"] == "bot"
    assert raw.headers["x-pointsman-versions"] == versions
    assert raw.headers["x-pointsman-decision"]
    assert raw.headers["x-request-id"].startswith("req-")


@EVERY
async def test_what_a_candidate_fails_is_answered_by_its_control(
    openai_sdk: Sdk, wired: Wired, ask: Ask
) -> None:
    answer = await ask(openai_sdk, "trial", extra_headers={"x-pointsman-targeting-key": "u"})

    assert answer.model == "good"
    assert b'"model":"bad"' in wired.spy.seen[-2].body


@STREAMING
async def test_a_candidates_stream_is_answered_by_its_control(openai_sdk: Sdk, ask: Ask) -> None:
    stream = await ask(openai_sdk, "trial", stream=True, extra_headers={"x-pointsman-targeting-key": "u"})

    assert stream.response.headers["x-pointsman-shielded"] == "1"
    assert [chunk async for chunk in stream]


@pytest.mark.parametrize("tied", [{"store": True}, {"background": True}, {"previous_response_id": "resp_1"}])
async def test_a_response_that_leaves_something_behind_is_asked_once(
    openai_sdk: Sdk, wired: Wired, tied: dict[str, Any]
) -> None:
    before = len(wired.spy.seen)
    with pytest.raises(openai.InternalServerError):
        await response(openai_sdk, "trial", extra_headers={"x-pointsman-targeting-key": "u"}, **tied)

    assert len(wired.spy.seen) == before + 1


# Errors


@EVERY
@pytest.mark.parametrize(
    ("status", "raised"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError),
        (422, openai.UnprocessableEntityError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
    ],
)
async def test_the_providers_own_errors_keep_their_status_and_type(
    openai_sdk: Sdk, ask: Ask, status: int, raised: type[openai.APIStatusError]
) -> None:
    with pytest.raises(raised) as caught:
        await ask(openai_sdk, "plain", extra_body={"simulate": {"status": status, "retry_after_seconds": 3}})

    assert (caught.value.status_code, caught.value.response.headers["retry-after"]) == (status, "3")


@EVERY
@pytest.mark.parametrize("fault", ["cut", "garbage", "error_body"])
async def test_a_provider_that_breaks_is_a_502(openai_sdk: Sdk, ask: Ask, fault: str) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        await ask(openai_sdk, "plain", extra_body={"simulate": {"fault": fault, "after_chunks": 1}})

    assert (caught.value.status_code, caught.value.type) == (502, "upstream_error")


@STREAMING
@pytest.mark.parametrize("fault", ["cut", "garbage", "error_body"])
async def test_a_stream_that_breaks_is_known_to_the_sdk(openai_sdk: Sdk, ask: Ask, fault: str) -> None:
    simulate = {"fault": fault, "after_chunks": 2, "chunk_delay_seconds": 0.02}
    seen = []
    try:
        # Where all of it came at once nothing was shown yet, and the status tells it.
        async for event in await ask(openai_sdk, "plain", stream=True, extra_body={"simulate": simulate}):
            seen.append(event)
        raised = False
    except openai.APIError:
        raised = True

    # A provider's own error event on /responses has no `error` object: to this SDK it is an event like others.
    assert raised or (ask is response and fault == "error_body" and seen[-1].type == "error")


@EVERY
async def test_the_doors_own_errors_are_typed(openai_sdk: Sdk, wired: Wired, ask: Ask) -> None:
    with pytest.raises(openai.NotFoundError, match="nope") as caught:
        await ask(openai_sdk, "nope")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError, match="x-pointsman-context"):
        await ask(openai_sdk, "plain", extra_headers={"x-pointsman-context": "[]"})
    with pytest.raises(openai.APIStatusError, match="bytes") as large:
        await ask(openai_sdk, "plain", extra_body={"filler": "x" * MAX_BODY_BYTES})
    assert large.value.status_code == 413
    kept, wired.house.keys = wired.house.keys, keyring({}, KEYS)
    try:
        with pytest.raises(openai.AuthenticationError):
            await ask(openai_sdk, "plain")
        other = openai_sdk.with_options(api_key="shop-key-1")
        assert await ask(other, "plain")
        with pytest.raises(openai.PermissionDeniedError):
            await ask(other, "plain", extra_headers={"x-pointsman-pin": "bot.model=good"})
    finally:
        wired.house.keys = kept

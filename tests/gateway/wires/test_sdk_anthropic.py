"""Anthropic's SDK against a real gateway, natively upstream: messages whole and streaming, counts, models, typed errors."""

from __future__ import annotations

import anthropic
import httpx
import pytest

from gateway.auth import keyring
from tests.gateway.wires.conftest import MAX_BODY_BYTES, Wired

pytestmark = pytest.mark.asyncio(loop_scope="module")

Sdk = anthropic.AsyncAnthropic
HI = {"role": "user", "content": "Where is my parcel?"}
SAID = "This is good. You asked: Where is my parcel?"
LED = [{"role": "user", "content": "Example?"}, {"role": "assistant", "content": "Sure."}, HI]
KEYS = {"apps": [{"name": "shop", "key": "shop-key-1", "routes": ["plain-claude"]}]}


async def test_a_message(anthropic_sdk: Sdk, wired: Wired) -> None:
    message = await anthropic_sdk.messages.create(model="claude", max_tokens=50, messages=[HI])

    assert message.content[0].text == SAID
    assert (message.stop_reason, message.model) == ("end_turn", "good")
    assert wired.last("/messages") == {
        "model": "good",
        "max_tokens": 50,
        "messages": LED,
        "system": [{"type": "text", "text": "You answer for Acme."}],
    }


async def test_a_stream_says_the_same(anthropic_sdk: Sdk, wired: Wired) -> None:
    async with anthropic_sdk.messages.stream(
        model="claude", max_tokens=50, messages=[HI], system="Mine."
    ) as stream:
        text = "".join([piece async for piece in stream.text_stream])
        whole = await stream.get_final_message()

    assert (text, whole.stop_reason) == (SAID, "end_turn")
    assert whole.usage.output_tokens == 9
    assert wired.last("/messages")["system"][1:] == [{"type": "text", "text": "Mine."}]


async def test_a_stream_of_tools(anthropic_sdk: Sdk) -> None:
    simulate = {"tool_calls": [{"name": "weather", "arguments": {"city": "Ulm"}}]}
    async with anthropic_sdk.messages.stream(
        model="claude", max_tokens=50, messages=[HI], extra_body={"simulate": simulate}
    ) as stream:
        message = await stream.get_final_message()

    assert (message.stop_reason, message.content[0].input) == ("tool_use", {"city": "Ulm"})


async def test_tokens_are_counted_with_the_served_prompt(anthropic_sdk: Sdk, wired: Wired) -> None:
    bare = await anthropic_sdk.messages.count_tokens(model="plain-claude", messages=[HI])
    led = await anthropic_sdk.messages.count_tokens(model="claude", messages=[HI])

    assert (bare.input_tokens, led.input_tokens) == (4, 4 + 2 + 4)
    assert wired.last("/messages/count_tokens")["messages"] == LED


async def test_headers_say_what_answered(anthropic_sdk: Sdk) -> None:
    raw = await anthropic_sdk.messages.with_raw_response.create(
        model="claude", max_tokens=50, messages=[HI], metadata={"user_id": "anna"}
    )

    assert raw.headers["x-pointsman-route"] == "claude"
    assert raw.headers["x-pointsman-versions"] == "prompt=v6;model=good"
    assert raw.headers["x-pointsman-decision"]
    assert raw.headers["request-id"].startswith("req_")
    assert (await raw.parse()).content[0].text == SAID


@pytest.mark.parametrize("stream", [False, True])
async def test_what_a_candidate_fails_is_answered_by_its_control(anthropic_sdk: Sdk, stream: bool) -> None:
    raw = await anthropic_sdk.messages.with_raw_response.create(
        model="claude-trial",
        max_tokens=50,
        messages=[HI],
        stream=stream,
        extra_headers={"x-pointsman-targeting-key": "u"},
    )

    assert raw.headers["x-pointsman-shielded"] == "1"
    assert raw.headers["x-pointsman-versions"] == "model=good"


async def test_models_are_the_routes(anthropic_sdk: Sdk) -> None:
    listed = [model async for model in anthropic_sdk.models.list()]
    one = await anthropic_sdk.models.retrieve("claude")

    assert "claude" in [model.id for model in listed]
    assert (one.type, one.id, one.display_name, one.created_at.year) == ("model", "claude", "claude", 1970)
    with pytest.raises(anthropic.NotFoundError, match="no route here"):
        await anthropic_sdk.models.retrieve("nope")


@pytest.mark.parametrize(
    "path", ["/messages", "/v1/messages", "/messages/count_tokens", "/v1/messages/count_tokens"]
)
async def test_both_endpoints_answer_with_and_without_v1(wired: Wired, path: str) -> None:
    async with httpx.AsyncClient(base_url=wired.address) as client:
        answer = await client.post(path, json={"model": "claude", "max_tokens": 5, "messages": [HI]})
        refused = await client.post(path, content=b"{")

    assert (answer.status_code, answer.headers["x-pointsman-route"]) == (200, "claude")
    assert (refused.status_code, refused.json()["error"]["type"]) == (400, "invalid_request_error")


# Errors


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("status", "raised"),
    [
        (400, anthropic.BadRequestError),
        (401, anthropic.AuthenticationError),
        (403, anthropic.PermissionDeniedError),
        (404, anthropic.NotFoundError),
        (413, anthropic.APIStatusError),
        (429, anthropic.RateLimitError),
        (500, anthropic.InternalServerError),
        (529, anthropic.InternalServerError),
    ],
)
async def test_the_providers_own_errors_keep_their_status_and_type(
    anthropic_sdk: Sdk, status: int, raised: type[anthropic.APIStatusError], stream: bool
) -> None:
    with pytest.raises(raised) as caught:
        await anthropic_sdk.messages.create(
            model="plain-claude",
            max_tokens=50,
            messages=[HI],
            stream=stream,
            extra_body={"simulate": {"status": status, "retry_after_seconds": 3}},
        )

    assert (caught.value.status_code, caught.value.response.headers["retry-after"]) == (status, "3")
    assert caught.value.body["type"] == "error"


@pytest.mark.parametrize(
    ("fault", "status", "word"),
    [
        ("cut", 502, "api_error"),
        ("garbage", 502, "api_error"),
        ("empty", 502, "api_error"),
        ("error_body", 502, "api_error"),
    ],
)
async def test_a_provider_that_breaks_is_told_in_anthropics_words(
    anthropic_sdk: Sdk, fault: str, status: int, word: str
) -> None:
    with pytest.raises(anthropic.APIStatusError) as caught:
        await anthropic_sdk.messages.create(
            model="plain-claude",
            max_tokens=50,
            messages=[HI],
            extra_body={"simulate": {"fault": fault, "after_chunks": 1}},
        )

    assert (caught.value.status_code, caught.value.body["error"]["type"]) == (status, word)
    assert caught.value.response.headers["x-pointsman-route"] == "plain-claude"


@pytest.mark.parametrize("fault", ["cut", "garbage", "error_body"])
async def test_a_stream_that_breaks_raises(anthropic_sdk: Sdk, fault: str) -> None:
    pieces = []
    with pytest.raises(anthropic.APIStatusError):  # noqa: PT012  # it may raise when it opens, or later
        async with anthropic_sdk.messages.stream(
            model="plain-claude",
            max_tokens=50,
            messages=[HI],
            extra_body={"simulate": {"fault": fault, "after_chunks": 2, "chunk_delay_seconds": 0.02}},
        ) as stream:
            async for piece in stream.text_stream:
                pieces.append(piece)

    # Where all of it came at once nothing was shown yet, and the status tells it.
    assert pieces in ([], ["This", " is"])


async def test_the_doors_own_errors_are_typed(anthropic_sdk: Sdk, wired: Wired) -> None:
    ask = {"max_tokens": 50, "messages": [HI]}
    with pytest.raises(anthropic.NotFoundError, match="nope") as caught:
        await anthropic_sdk.messages.create(model="nope", **ask)
    assert caught.value.body["error"]["type"] == "not_found_error"
    with pytest.raises(anthropic.BadRequestError, match="array"):
        await anthropic_sdk.messages.create(model="claude", max_tokens=5, messages={})
    with pytest.raises(anthropic.RequestTooLargeError, match="bytes"):
        await anthropic_sdk.messages.create(
            model="claude", max_tokens=5, messages=[HI], system="x" * MAX_BODY_BYTES
        )
    kept, wired.house.keys = wired.house.keys, keyring({}, KEYS)
    try:
        with pytest.raises(anthropic.AuthenticationError):
            await anthropic_sdk.messages.create(model="claude", **ask)
        with pytest.raises(anthropic.AuthenticationError):
            await anthropic_sdk.models.list()
        other = anthropic_sdk.with_options(api_key="shop-key-1")
        assert (await other.messages.create(model="plain-claude", **ask)).content
        with pytest.raises(anthropic.PermissionDeniedError):
            await other.messages.create(
                model="plain-claude", extra_headers={"x-pointsman-pin": "claude.model=good"}, **ask
            )
    finally:
        wired.house.keys = kept

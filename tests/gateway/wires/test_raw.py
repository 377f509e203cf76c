"""What is relayed as it comes, through the official SDK: the upstream gets the app's bytes, and the app its."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import httpx
import openai
import pytest

from gateway.house import House
from policies.outcome import Blame, Ending, Outcome
from tests.gateway.open_house import open_house
from tests.scripted_upstream import End, Received, Script, ScriptedUpstream

CONFIG = """
upstreams:
  mock: {{kind: openai, base_url: "{url}"}}
flags:
  media.model:
    layer: model
    variants:
      m1: {{upstream: mock, model: whisper-9, retries: 2}}
  media.prompt:
    layer: prompt
    variants:
      v1: {{messages: [{{role: system, content: Hello}}]}}
routes:
  media: {{}}
"""
SOUND = bytes(range(256)) * 40
ROUTE = {"x-pointsman-route": "media"}


def answer(body: bytes, kind: str = "application/json", status: int = 200) -> Script:
    head = f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"
    return Script((head.encode() + body,))


def reply(received: Received) -> Script:
    if received.path.endswith(("/audio/speech", "/content")):
        return answer(SOUND, "audio/mpeg")
    if "/missing" in received.path:
        return answer(b'{"error":{"message":"no such file"}}', status=404)
    return answer(b'{"id":"file-1","object":"file","text":"hello","data":[]}')


class Desk:
    """A house before a scripted upstream, and the SDK's client for it."""

    def __init__(self, house: House, url: str, upstream: ScriptedUpstream) -> None:
        self.house, self.url, self.upstream = house, url, upstream
        self.client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0)
        self.outcomes: list[Outcome] = []
        house.gauge.on_outcomes = self.outcomes.extend

    async def outcome(self) -> Outcome:
        await self.house.gauge.aclose()
        (only,) = self.outcomes
        return only


@pytest.fixture
async def desk(redis_url: str, tmp_path: Path) -> AsyncIterator[Desk]:
    async with ScriptedUpstream(choose=reply) as upstream:
        config = CONFIG.format(url=upstream.base_url)
        async with open_house(redis_url, tmp_path, config) as (house, url):
            made = Desk(house, url, upstream)
            yield made
            await made.client.close()


async def test_speech_is_the_upstreams_bytes(desk: Desk) -> None:
    spoken = await desk.client.audio.speech.with_raw_response.create(model="media", voice="alloy", input="Hi")

    assert spoken.content == SOUND
    assert spoken.headers["content-type"] == "audio/mpeg"
    assert spoken.headers["x-pointsman-versions"] == "model=m1"
    assert desk.upstream.requests[0].json == {"model": "whisper-9", "voice": "alloy", "input": "Hi"}


async def test_a_form_goes_on_to_the_byte_but_for_the_models_name(desk: Desk) -> None:
    heard = await desk.client.audio.transcriptions.create(model="media", file=("a.wav", SOUND))

    sent = desk.upstream.requests[0]
    assert heard.text == "hello"
    assert SOUND in sent.body
    assert b"whisper-9" in sent.body
    assert b"media" not in sent.body
    assert sent.headers["content-type"].startswith("multipart/form-data; boundary=")


async def test_files_go_by_the_header_and_have_all_their_verbs(desk: Desk) -> None:
    files = desk.client.files
    await files.create(file=("a.jsonl", b"{}"), purpose="batch", extra_headers=ROUTE)
    await files.list(extra_headers=ROUTE, limit=3)
    await files.retrieve("file-1", extra_headers=ROUTE)
    content = await files.content("file-1", extra_headers=ROUTE)
    await files.delete("file-1", extra_headers=ROUTE)

    assert content.content == SOUND
    assert [received.head.split(b" HTTP")[0] for received in desk.upstream.requests] == [
        b"POST /v1/files",
        b"GET /v1/files?limit=3",
        b"GET /v1/files/file-1",
        b"GET /v1/files/file-1/content",
        b"DELETE /v1/files/file-1",
    ]


async def test_batches_go_by_the_query_too(desk: Desk) -> None:
    async with httpx.AsyncClient(base_url=desk.url) as plain:
        made = await plain.post("/v1/batches?route=media", json={"input_file_id": "file-1"})
        listed = await plain.get("/batches?route=media&limit=2")

    assert (made.status_code, listed.status_code) == (200, 200)
    assert [received.path for received in desk.upstream.requests] == ["/v1/batches", "/v1/batches?limit=2"]
    assert desk.upstream.requests[0].json == {"input_file_id": "file-1"}


async def test_who_names_no_route_is_told_how(desk: Desk) -> None:
    with pytest.raises(openai.BadRequestError, match="x-pointsman-route"):
        await desk.client.files.list()


async def test_a_file_that_is_not_there_is_the_apps_business(desk: Desk) -> None:
    """For a completion a 404 would be the version's wrong model."""
    with pytest.raises(openai.NotFoundError, match="no such file"):
        await desk.client.files.retrieve("missing", extra_headers=ROUTE)

    outcome = await desk.outcome()
    assert (outcome.ending, outcome.blame) == (Ending.FAILED, Blame.CLIENT)


async def test_what_has_lasting_effects_is_asked_once(desk: Desk) -> None:
    desk.upstream.will(answer(b"{}", status=503), answer(b"{}"))

    with pytest.raises(openai.InternalServerError):
        await desk.client.files.create(file=("a.jsonl", b"{}"), purpose="batch", extra_headers=ROUTE)

    assert len(desk.upstream.requests) == 1


async def test_bytes_that_break_off_break_off_for_the_app_too(desk: Desk) -> None:
    """No error event stands in an audio file: the connection says that it is not whole."""
    head = b"HTTP/1.1 200 X\r\ncontent-type: audio/mpeg\r\ncontent-length: 9999\r\n\r\n"
    desk.upstream.will(Script((head + SOUND[:500], 0.05, End.CUT)))

    with pytest.raises((httpx.RemoteProtocolError, openai.APIConnectionError)):
        await desk.client.audio.speech.create(model="media", voice="alloy", input="Hi")

    outcome = await desk.outcome()
    assert (outcome.ending, outcome.blame) == (Ending.FAILED, Blame.UPSTREAM)


@pytest.mark.parametrize("name", ["../models", "a/b", "..", "%2e%2e", "a?x=1", "a b", "ä"])
async def test_an_id_stays_one_step_of_the_path(desk: Desk, name: str) -> None:
    async with httpx.AsyncClient(base_url=desk.url) as plain:
        await plain.get(f"/v1/files/{quote(name, safe='')}/content", headers=ROUTE)

    for received in desk.upstream.requests:
        assert received.path.startswith("/v1/files/")
        assert received.path.count("/") == 4
        assert "/../" not in received.path


async def test_another_method_is_told_which_there_are(desk: Desk) -> None:
    async with httpx.AsyncClient(base_url=desk.url) as plain:
        refused = await plain.put("/v1/files", headers=ROUTE)

    assert refused.status_code == 405


async def test_a_route_that_is_none_is_told_by_the_name_that_it_has_there(desk: Desk) -> None:
    with pytest.raises(openai.NotFoundError, match="route 'nobody' is no route here; known: media"):
        await desk.client.files.list(extra_headers={"x-pointsman-route": "nobody"})
    with pytest.raises(openai.NotFoundError, match="vector store 'nobody' is no route here"):
        await desk.client.vector_stores.search("nobody", query="Hi")

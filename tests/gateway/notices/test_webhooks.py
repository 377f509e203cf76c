"""Webhooks against a scripted server: shapes, signatures, and every way in which an answer can be bad."""

from __future__ import annotations

import base64
import hashlib
import hmac
import ssl
from collections.abc import AsyncIterator

import pytest
import trustme

from gateway.notices.channel import Notice, NotSent
from gateway.notices.web import MAX_ANSWER_BYTES, Poster, masked
from gateway.notices.webhooks import CloudEventsChannel, SlackChannel
from gateway.notices.words import OURS, Words, words_of
from tests.policies.notices.outboxes import NOON, event
from tests.scripted_upstream import ScriptedUpstream
from tests.scripts import End, Script, chunked, head, json_answer

EVENT = event("c0ffee", reason="8 % errors <!channel>", ref="c0ffee", anchor="7:" + "ab" * 32)
OK = Script((head(200, "text/plain", content_length=2) + b"ok",))


@pytest.fixture
async def server() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as upstream:
        yield upstream


@pytest.fixture
async def poster() -> AsyncIterator[Poster]:
    made = Poster()
    yield made
    await made.aclose()


def slack(
    poster: Poster, server: ScriptedUpstream, words: Words = OURS, seconds: float = 5.0
) -> SlackChannel:
    return SlackChannel(poster, lambda: f"{server.address}/services/T0001/hook-s3cret", words, seconds)


def cloud(poster: Poster, server: ScriptedUpstream, secret: str | None = "s3cret") -> CloudEventsChannel:
    keyed = None if secret is None else lambda: secret
    return CloudEventsChannel(
        poster, lambda: f"{server.address}/hook", keyed, OURS, 5.0, "default", lambda: NOON
    )


async def test_slack_gets_text_and_blocks(poster: Poster, server: ScriptedUpstream) -> None:
    server.will(OK)
    found = await slack(poster, server).send(Notice(EVENT))

    (request,) = server.requests
    assert found == "200 ok"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"].startswith("pointsman/")
    assert "&lt;!channel&gt;" in request.json["text"]
    assert "pointsman rollback show c0ffee" in request.json["text"]
    assert [block["type"] for block in request.json["blocks"]] == ["section", "section"]


async def test_a_template_says_it_in_other_words(poster: Poster, server: ScriptedUpstream) -> None:
    server.will(OK)
    await slack(poster, server, words_of("{{ severity }}: {{ title }}")).send(Notice(EVENT))

    assert server.requests[0].json == {"text": "critical: rolled back"}


@pytest.mark.parametrize(
    "template", ["{{ nothing.there }}", "{% for i in range(99999999) %}x{% endfor %}", "  "]
)
async def test_a_template_that_fails_keeps_nobody_from_being_told(
    template: str, poster: Poster, server: ScriptedUpstream
) -> None:
    server.will(OK)
    await slack(poster, server, words_of(template)).send(Notice(EVENT))

    assert "rolled back" in server.requests[0].json["text"]


async def test_a_cloud_event_is_complete_and_signed(poster: Poster, server: ScriptedUpstream) -> None:
    server.will(OK)
    await cloud(poster, server).send(Notice(EVENT))

    (request,) = server.requests
    body, stamp = request.json, str(int(NOON))
    assert request.headers["content-type"].startswith("application/cloudevents+json")
    assert {name: body[name] for name in ("specversion", "id", "source", "type", "subject")} == {
        "specversion": "1.0",
        "id": "c0ffee",
        "source": "/pointsman/default",
        "type": "io.pointsman.rollback.v1",
        "subject": "flag/chat.prompt",
    }
    assert (body["time"], body["data"]["anchor"]) == (EVENT.time, EVENT.anchor)
    ours = hmac.new(b"s3cret", f"{stamp}.".encode() + request.body, hashlib.sha256).hexdigest()
    assert request.headers["x-pointsman-timestamp"] == stamp
    assert request.headers["x-pointsman-signature"] == f"sha256={ours}"


async def test_it_is_signed_as_standard_webhooks_are(poster: Poster, server: ScriptedUpstream) -> None:
    server.will(OK)
    key = b"0123456789abcdef01234567"
    await cloud(poster, server, "whsec_" + base64.b64encode(key).decode()).send(Notice(EVENT))

    (request,) = server.requests
    signed = f"c0ffee.{int(NOON)}.".encode() + request.body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert (request.headers["webhook-id"], request.headers["webhook-signature"]) == (
        "c0ffee",
        f"v1,{expected}",
    )


async def test_without_a_secret_nothing_is_signed(poster: Poster, server: ScriptedUpstream) -> None:
    server.will(OK)
    await cloud(poster, server, None).send(Notice(EVENT))

    assert "x-pointsman-signature" not in server.requests[0].headers


async def test_a_500_is_no_success_and_tells_no_address(poster: Poster, server: ScriptedUpstream) -> None:
    server.will(json_answer(b"no_service for /services/T0001/hook-s3cret", status=500))

    with pytest.raises(NotSent) as failed:
        await slack(poster, server).send(Notice(EVENT))
    assert "answered 500: no_service" in str(failed.value)
    assert "s3cret" not in str(failed.value)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_refused_and_nobody_else_is_called(
    status: int, poster: Poster, server: ScriptedUpstream
) -> None:
    async with ScriptedUpstream() as private:
        location = f"{private.address}/latest/meta-data"
        server.will(Script((head(status, "text/plain", content_length=0, location=location),)))
        with pytest.raises(NotSent, match=r"a redirect to 127\.0\.0\.1: redirects are refused"):
            await slack(poster, server).send(Notice(EVENT))

        assert (len(server.requests), private.connections) == (1, 0)


@pytest.mark.parametrize(
    "script",
    [
        Script((End.HANG,)),
        Script((head(200, "text/plain", content_length=100) + b"o", End.HANG)),
        Script((head(200, "text/plain", transfer_encoding="chunked"), *[chunked(b"x"), 0.05] * 200)),
        Script((b"HTTP/1.1 200 OK\r\n", *[b"x-a: b\r\n", 0.05] * 200)),
    ],
    ids=["hangs", "stops", "trickles", "trickles its head"],
)
async def test_a_server_that_takes_its_time_is_given_up_at_the_deadline(
    script: Script, poster: Poster, server: ScriptedUpstream
) -> None:
    server.will(script)

    with pytest.raises(NotSent, match=r"no whole answer within 0\.3 s"):
        await slack(poster, server, seconds=0.3).send(Notice(EVENT))


async def test_of_a_huge_answer_little_is_read(poster: Poster, server: ScriptedUpstream) -> None:
    size = 64 * 1024 * 1024
    server.will(Script((head(200, "text/plain", content_length=size), *[b"x" * 65_536] * (size // 65_536))))
    found = await slack(poster, server).send(Notice(EVENT))

    assert len(found) < MAX_ANSWER_BYTES
    assert server.requests[0].sent < size


async def test_a_compressed_bomb_is_not_unpacked(poster: Poster, server: ScriptedUpstream) -> None:
    server.will(
        Script((head(200, "text/plain", content_length=4, content_encoding="gzip") + b"\x1f\x8b\x08\x00",))
    )

    assert (await slack(poster, server).send(Notice(EVENT))).startswith("200")


@pytest.mark.parametrize(
    "script", [Script((End.CUT,)), Script((b"nonsense\r\n\r\n", End.CLOSE)), Script((End.CLOSE,))]
)
async def test_a_broken_answer_is_no_success(
    script: Script, poster: Poster, server: ScriptedUpstream
) -> None:
    server.will(script)

    with pytest.raises(NotSent, match="cannot be reached"):
        await slack(poster, server).send(Notice(EVENT))


@pytest.mark.parametrize(
    "url", ["http://[", "ftp://x/y", "nonsense", "http://127.0.0.1:1/hook-s3cret", "http://\x00/"]
)
async def test_an_address_that_is_none_is_no_success_and_is_not_told(url: str, poster: Poster) -> None:
    with pytest.raises(NotSent) as failed:
        await SlackChannel(poster, lambda: url, OURS, 5.0).send(Notice(EVENT))
    assert "s3cret" not in str(failed.value)


async def test_a_server_that_nobody_vouches_for_gets_nothing(poster: Poster) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    async with ScriptedUpstream(tls=context) as server:
        with pytest.raises(NotSent, match="certificate"):
            await slack(poster, server).send(Notice(EVENT))

        assert server.requests == []


async def test_the_environments_proxy_is_not_asked(
    poster: Poster, server: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    server.will(OK)

    assert await slack(poster, server).send(Notice(EVENT)) == "200 ok"


def test_what_is_masked() -> None:
    url = "https://hooks.slack.com/services/T0001/B0002/abcdef?token=zyxw"

    assert masked("no T0001 at /services/T0001/B0002/abcdef, abcdef", url) == "no … at …, …"

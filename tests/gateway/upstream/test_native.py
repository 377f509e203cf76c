"""What a request to an OpenAI-compatible provider looks like, and what cannot be one."""

from __future__ import annotations

import asyncio

import pytest

from flags.errors import Invalid
from gateway.errors import BadRequest
from gateway.patience import Patience
from gateway.spec import UpstreamSpec
from gateway.upstream.base import UpstreamRequest
from gateway.upstream.native import NativeUpstream
from tests.gateway.upstream.asking import ask, everything
from tests.gateway.upstream.conftest import Make
from tests.scripted_upstream import ScriptedUpstream, events


async def test_a_completion_and_a_stream(server: ScriptedUpstream, native: Make) -> None:
    upstream = native()

    whole = await ask(upstream, b'{"model": "m"}')
    assert b'"chat.completion"' in await everything(whole)
    stream = await ask(upstream, b'{"model": "m", "stream": true}')
    assert await everything(stream) == b"".join(events("scripted", " answer"))


async def test_the_path_follows_the_base_url_and_comes_before_its_query(
    server: ScriptedUpstream, native: Make
) -> None:
    for base, path in [("/v1/", "/v1/x"), ("", "/x"), ("/a/b?api-version=3", "/a/b/x?api-version=3")]:
        upstream = native(base_url=f"http://127.0.0.1:{server.port}{base}")
        await everything(await upstream.send(UpstreamRequest("/x", b"{}")))

        assert server.requests[-1].path == path


async def test_the_operators_headers_are_sent_and_win(server: ScriptedUpstream, native: Make) -> None:
    await ask(
        native(api_key="sk", headers={"X-Org": "Acmé", "Authorization": "Basic x", "User-Agent": "mine"})
    )

    headers = server.requests[0].headers
    assert headers["x-org"].encode("latin-1").decode() == "Acmé"
    assert (headers["authorization"], headers["user-agent"]) == ("Basic x", "mine")


async def test_a_requests_headers_come_on_top_and_displace_none_of_the_upstreams(
    server: ScriptedUpstream, native: Make
) -> None:
    extra = [
        (b"openai-beta", b"x"),
        (b"Authorization", b"stolen"),
        (b"host", b"evil"),
        (b"content-length", b"9"),
    ]

    await ask(native(api_key="sk"), headers=extra)

    head = server.requests[0].head.lower()
    assert b"openai-beta: x\r\n" in head
    assert b"stolen" not in head
    assert (head.count(b"host:"), head.count(b"content-length:")) == (1, 1)


@pytest.mark.parametrize(
    "extra", [(b"x", b"a\r\nhost: evil"), (b"x\r\ny", b"a"), (b"x", b"a\0"), (b"", b"a"), (b"x ", b"")]
)
async def test_a_header_that_would_break_out_of_its_line_is_refused_and_nothing_is_sent(
    server: ScriptedUpstream, native: Make, extra: tuple[bytes, bytes]
) -> None:
    with pytest.raises(BadRequest):
        await ask(native(), headers=[extra])
    assert server.connections == 0


@pytest.mark.parametrize("path", ["/x y", "/x\r\nhost: evil", "/é"])
async def test_a_path_that_would_break_out_of_its_line_is_refused(native: Make, path: str) -> None:
    with pytest.raises(BadRequest):
        await native().send(UpstreamRequest(path, b""))


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"base_url": None}, "base_url"),
        ({"base_url": "ftp://host/v1"}, "base_url"),
        ({"base_url": "host:80/v1"}, "base_url"),
        ({"base_url": "http:///v1"}, "base_url"),
        ({"base_url": "http://a..b/v1"}, "base_url"),
        ({"base_url": f"http://{'a' * 64}.example/v1"}, "base_url"),
        ({"base_url": "http://host:port/v1"}, "base_url"),
        ({"base_url": "http://[::1/v1"}, "base_url"),
        ({"base_url": "http://host/a\nb"}, "base_url"),
        ({"base_url": "http://höst/v1"}, "base_url"),
        ({"headers": {"x": "a\r\nb"}}, "headers.x"),
        ({"headers": {"x y": "a"}}, "headers.x y"),
        ({"headers": {"Host": "other"}}, "headers.Host"),
        ({"headers": {"Accept-Encoding": "gzip"}}, "headers.Accept-Encoding"),
    ],
)
async def test_a_document_that_cannot_be_used_says_where(
    native: Make, fields: dict[str, object], path: str
) -> None:
    with pytest.raises(Invalid) as caught:
        native(**fields)
    assert caught.value.path == path


@pytest.mark.parametrize("scheme", ["http", "ftp"])
async def test_a_password_in_a_url_is_refused_and_not_repeated(native: Make, scheme: str) -> None:
    with pytest.raises(Invalid) as caught:
        native(base_url=f"{scheme}://me:geheim@host/v1")
    assert "geheim" not in str(caught.value)


async def test_a_state_can_be_read_from_every_representation(server: ScriptedUpstream, native: Make) -> None:
    upstream = native()
    answer = await ask(upstream)

    assert f"127.0.0.1:{server.port}: 1 busy, 0 idle, 0 waiting" in repr(upstream)
    assert repr(answer).startswith("<NativeAnswer 200")


async def test_an_upstream_is_made_without_a_running_request() -> None:
    """Nothing is connected before it is needed."""
    loop = asyncio.get_running_loop()
    spec = UpstreamSpec(kind="openai", base_url="https://api.example.invalid/v1")

    upstream = NativeUpstream(spec, patience=Patience(loop), loop=loop)

    assert upstream.pool.size == 0

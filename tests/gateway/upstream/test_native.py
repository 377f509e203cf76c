"""What a request to a provider looks like, of each kind, and what cannot be one."""

from __future__ import annotations

import asyncio

import pytest

from flags.errors import Invalid
from gateway.errors import BadRequest
from gateway.patience import Patience
from gateway.spec import UpstreamSpec
from gateway.upstream.base import UpstreamRequest
from gateway.upstream.endpoint import Endpoint, Heads
from gateway.upstream.native import NativeUpstream
from gateway.upstream.paths import MANNERS, OPENAI
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
        (b"content-type", b"text/evil"),
    ]

    await ask(native(api_key="sk"), headers=extra)

    head = server.requests[0].head.lower()
    assert b"openai-beta: x\r\n" in head
    assert b"stolen" not in head
    assert [head.count(b"\r\n%b:" % name) for name in (b"host", b"content-length", b"content-type")] == [
        1
    ] * 3


@pytest.mark.parametrize(
    "extra", [(b"x", b"a\r\nhost: evil"), (b"x\r\ny", b"a"), (b"x", b"a\0"), (b"", b"a"), (b"x ", b"")]
)
async def test_a_header_that_would_break_out_of_its_line_is_refused_and_nothing_is_sent(
    server: ScriptedUpstream, native: Make, extra: tuple[bytes, bytes]
) -> None:
    with pytest.raises(BadRequest):
        await ask(native(), headers=[extra])
    assert server.connections == 0


@pytest.mark.parametrize(
    "path",
    ["/x y", "/x\r\nhost: evil", "/é", "/x#y", "/files/../admin", "/files/%2e%2E/admin", "/files/./x", "/.."],
)
async def test_a_path_that_would_break_out_of_its_line_is_refused(native: Make, path: str) -> None:
    with pytest.raises(BadRequest):
        await native().send(UpstreamRequest(path, b""))


# Methods and bodies


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_get_and_a_delete_send_no_body_and_nothing_about_one(
    server: ScriptedUpstream, native: Make, method: str
) -> None:
    request = UpstreamRequest("/files/file-1?limit=2", b"left out", method=method)
    upstream = native(base_url=f"http://127.0.0.1:{server.port}/v1?api-version=3")
    for _ in range(2):
        await everything(await upstream.send(request))

    [first, second] = server.requests
    assert first.head.startswith(f"{method} /v1/files/file-1?limit=2&api-version=3 HTTP/1.1".encode())
    assert "content-length" not in first.headers
    assert "content-type" not in first.headers
    assert first.headers["accept"] == "*/*"
    assert (first.body, second.head, server.connections) == (b"", first.head, 1)


async def test_a_body_of_another_type_is_sent_as_it_is(server: ScriptedUpstream, native: Make) -> None:
    body = b"--b\r\n\r\n\0\xff\r\n--b--\r\n"
    kind = b"multipart/form-data; boundary=b"

    await native().send(UpstreamRequest("/audio/transcriptions", body, content_type=kind))

    [received] = server.requests
    assert received.headers["content-type"] == kind.decode()
    assert received.body == body


async def test_a_content_type_that_would_break_out_of_its_line_is_refused(native: Make) -> None:
    with pytest.raises(BadRequest):
        await native().send(UpstreamRequest("/files", b"", content_type=b"a\r\nhost: evil"))


def test_only_heads_of_hot_paths_are_kept() -> None:
    """Ids, queries and boundaries are without number: none may fill the memory."""
    heads = Heads(Endpoint.parse("http://host/v1"), OPENAI)
    for path in ("/chat/completions", "/responses", "/messages"):
        heads.head(UpstreamRequest(path, b""))
    kept = len(heads._ready)
    for number in range(100):
        heads.head(UpstreamRequest(f"/files/file-{number}", b"", method="GET"))
        heads.head(UpstreamRequest(f"/models?after={number}", b"", method="GET"))
        heads.head(UpstreamRequest("/images/generations", b"", content_type=b"multipart; %d" % number))

    assert (kept, len(heads._ready)) == (3, 3)


# Kinds


async def test_anthropic_is_given_its_host_its_key_and_its_version(
    server: ScriptedUpstream, native: Make
) -> None:
    for base in ("", "/", "/v1", "/proxy"):
        upstream = native(kind="anthropic", base_url=f"http://127.0.0.1:{server.port}{base}", api_key="sk")
        await everything(await upstream.send(UpstreamRequest("/messages", b"{}")))

    headers = server.requests[0].headers
    assert [each.path for each in server.requests] == ["/v1/messages"] * 3 + ["/proxy/v1/messages"]
    assert (headers["x-api-key"], headers["anthropic-version"]) == ("sk", "2023-06-01")
    assert "authorization" not in headers


async def test_the_apps_version_wins_over_ours_and_the_operators_over_both(
    server: ScriptedUpstream, native: Make
) -> None:
    sent = [(b"anthropic-version", b"2024-01-01"), (b"anthropic-beta", b"b1"), (b"x-api-key", b"stolen")]
    base = f"http://127.0.0.1:{server.port}"
    for operators in ({}, {"Anthropic-Version": "2025-05-05"}):
        upstream = native(kind="anthropic", base_url=base, api_key="sk", headers=operators)
        await everything(await upstream.send(UpstreamRequest("/messages", b"{}", sent)))

    assert [each.headers["anthropic-version"] for each in server.requests] == ["2024-01-01", "2025-05-05"]
    for received in server.requests:
        assert received.head.lower().count(b"anthropic-version") == 1
        assert (received.headers["anthropic-beta"], received.headers["x-api-key"]) == ("b1", "sk")


async def test_a_key_may_go_bare_into_a_header_of_the_documents_choice(
    server: ScriptedUpstream, native: Make
) -> None:
    await ask(native(api_key="sk", auth_header="api-key"))
    await ask(native(kind="anthropic", api_key="sk", auth_header="Authorization"))
    await ask(native(kind="qdrant", api_key="sk"))

    azure, proxy, qdrant = (each.headers for each in server.requests)
    assert (azure["api-key"], "authorization" in azure) == ("sk", False)
    assert (proxy["authorization"], "x-api-key" in proxy) == ("sk", False)
    assert (qdrant["api-key"], "anthropic-version" in qdrant) == ("sk", False)


@pytest.mark.parametrize(
    ("path", "kinds"),
    [
        ("/chat/completions", {"openai"}),
        ("/vector_stores/kb/search", {"openai"}),
        ("/files/file-1/content?x=1", {"openai"}),
        ("/models", {"openai", "anthropic"}),
        ("/models/claude", {"openai", "anthropic"}),
        ("/messages", {"anthropic"}),
        ("/messages?beta=true", {"anthropic"}),
        ("/messages/count_tokens", {"anthropic"}),
        ("/messages/batches/b1/results", {"anthropic"}),
        ("/messagesque", {"openai"}),
        ("/collections/kb/points/query", {"qdrant"}),
    ],
)
def test_each_kind_speaks_its_own_paths(path: str, kinds: set[str]) -> None:
    assert {kind for kind, manner in MANNERS.items() if manner.speaks(path)} == kinds


async def test_anthropics_address_is_known(patience: Patience) -> None:
    loop = asyncio.get_running_loop()

    upstream = NativeUpstream(UpstreamSpec(kind="anthropic"), patience=patience, loop=loop)

    assert "api.anthropic.com" in repr(upstream)
    assert upstream.speaks("/messages")
    assert not upstream.speaks("/chat/completions")


# Documents


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
        ({"api_key": "k", "auth_header": "Host"}, "auth_header"),
        ({"api_key": "k", "auth_header": "a b"}, "auth_header"),
        ({"api_key": "k\r\nx: y"}, "api_key"),
        ({"kind": "qdrant", "base_url": None}, "base_url"),
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

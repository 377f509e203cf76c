"""TLS to a provider: names and authorities are checked, and the connection is kept like any other."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme

from gateway.errors import UpstreamRefused, UpstreamTimedOut, UpstreamUnavailable
from gateway.upstream.tls import client_context
from tests.gateway.upstream.asking import ask, everything
from tests.gateway.upstream.conftest import Make
from tests.scripted_upstream import End, ScriptedUpstream, events, stream_answer


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


def context_for(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["h2", "http/1.1"])
    authority.issue_cert(name).configure_cert(context)
    return context


@pytest.fixture
async def secure(authority: trustme.CA) -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream(tls=context_for(authority, "localhost")) as upstream:
        yield upstream


async def test_an_answer_over_tls_and_the_connection_kept(
    secure: ScriptedUpstream, native: Make, ca_file: str
) -> None:
    upstream = native(base_url=secure.base_url, ca_file=ca_file)

    for _ in range(3):
        assert b"scripted" in await everything(await ask(upstream))

    assert secure.connections == 1
    [connection] = upstream.pool._connections
    raw = connection._transport.get_extra_info("socket")
    assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
    assert connection._transport.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"


async def test_a_large_body_and_a_long_stream_pass_through_tls(
    secure: ScriptedUpstream, native: Make, ca_file: str
) -> None:
    pieces = [b"x" * 100_000] * 20
    secure.will(stream_answer(*pieces))
    upstream = native(base_url=secure.base_url, ca_file=ca_file)

    answer = await ask(upstream, b"y" * 3_000_000)

    assert await everything(answer) == b"".join(pieces)
    assert len(secure.requests[0].body) == 3_000_000


async def test_closing_in_the_middle_hangs_up_at_once(
    secure: ScriptedUpstream, native: Make, ca_file: str
) -> None:
    secure.will(stream_answer(*events("a"), End.HANG))
    upstream = native(base_url=secure.base_url, ca_file=ca_file)
    answer = await ask(upstream)
    await answer.chunk()

    answer.close()

    await secure.requests[0].closed.wait()


async def test_an_unknown_authority_is_refused(secure: ScriptedUpstream, native: Make) -> None:
    with pytest.raises(UpstreamRefused, match="certificate is not accepted"):
        await ask(native(base_url=secure.base_url))


async def test_a_certificate_for_another_name_is_refused(
    authority: trustme.CA, native: Make, ca_file: str
) -> None:
    async with ScriptedUpstream(tls=context_for(authority, "other.example")) as upstream:
        with pytest.raises(UpstreamRefused, match="certificate is not accepted"):
            await ask(native(base_url=upstream.base_url, ca_file=ca_file))
        assert upstream.requests == []


async def test_a_server_without_tls_is_refused(server: ScriptedUpstream, native: Make, ca_file: str) -> None:
    upstream = native(base_url=f"https://localhost:{server.port}/v1", ca_file=ca_file)
    server.close_connections()

    with pytest.raises((UpstreamRefused, UpstreamTimedOut)):
        await ask(upstream, connect_seconds=0.2)
    assert upstream.pool.size == 0


async def test_the_connect_deadline_covers_the_handshake(native: Make, ca_file: str) -> None:
    async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await hold.wait()
        writer.close()

    hold = asyncio.Event()
    listener = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]

    with pytest.raises(UpstreamTimedOut) as caught:
        await ask(native(base_url=f"https://localhost:{port}/v1", ca_file=ca_file), connect_seconds=0.05)

    assert caught.value.phase == "connect"
    hold.set()
    listener.close()
    await listener.wait_closed()


def test_the_system_is_trusted_where_no_authority_is_named() -> None:
    context = client_context()

    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_file_of_authorities_that_cannot_be_used_is_named(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)

    with pytest.raises(UpstreamUnavailable, match=str(path)):
        client_context(str(path))

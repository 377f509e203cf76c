"""The open door against clients that do not behave: a real gateway, raw sockets, a scripted upstream."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from gateway.http.protocol import HEAD_LOOKS, MAX_AHEAD, MAX_HEAD_BYTES, Corked, Protocol
from tests import plain
from tests.fleet import CONFIG, Fleet
from tests.scripted_upstream import (
    End,
    Received,
    Script,
    ScriptedUpstream,
    events,
    scripted_upstream_in_thread,
    stream_answer,
)

BODY = b'{"model":"support-bot","stream":true,"messages":[]}'
ASK = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n%%s\r\n" % len(BODY)


def slow_stream(received: Received) -> Script | None:
    """A stream of half a second whose last bytes come a little after [DONE], as providers send them."""
    if b'"stream":true' not in received.body:
        return None
    *first, done = events("one", "two")
    return stream_answer(*first, 0.4, done, 0.05)


@pytest.fixture(scope="module")
def upstream() -> Iterator[ScriptedUpstream]:
    with scripted_upstream_in_thread(slow_stream) as scripted:
        yield scripted


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, upstream: ScriptedUpstream) -> Iterator[Fleet]:
    config = CONFIG.replace("{kind: simulated}", f"{{kind: openai, base_url: {upstream.base_url}}}")
    config = config.replace("model: gpt-4.1}", "model: gpt-4.1, total_seconds: 2}")
    with Fleet(tmp_path_factory.mktemp("fleet"), config, workers=1) as running:
        yield running


def connected(fleet: Fleet) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(fleet.url.rpartition(":")[2])), timeout=20)


def until_closed(app: socket.socket) -> bytes:
    received = b""
    while data := app.recv(65536):
        received += data
    return received


def test_an_apps_connection_outlives_its_streams(fleet: Fleet, upstream: ScriptedUpstream) -> None:
    """uvicorn says "disconnect" after every answer's end; that is no client that left."""
    before = upstream.connections
    with httpx.Client(timeout=20) as app:
        for _ in range(3):
            streamed = fleet.ask(app, stream=True)
            assert streamed.text.endswith("data: [DONE]\n\n")
            assert fleet.ask(app).status_code == 200

    assert "Traceback" not in fleet.log
    # A second one may be opened while the last bytes of the first answer are still awaited.
    assert upstream.connections - before <= 2


def flood(app: socket.socket) -> None:
    """One header of many megabytes."""
    app.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-flood: ")
    for _ in range(64):
        app.sendall(b"a" * MAX_HEAD_BYTES)
        time.sleep(0.01)


def test_a_head_without_end_is_cut_off_and_nobody_waits_for_it(fleet: Fleet) -> None:
    with connected(fleet) as app, pytest.raises((BrokenPipeError, ConnectionResetError)):
        flood(app)

    assert fleet.ask().status_code == 200


def test_a_large_head_within_the_bound_is_taken(fleet: Fleet) -> None:
    answer = plain.get(f"{fleet.url}/livez", headers={"x-large": "a" * (MAX_HEAD_BYTES - 1024)})

    assert answer.status_code == 200


def test_an_upgrade_that_we_do_not_do_keeps_its_body(fleet: Fleet) -> None:
    head = (
        b"connection: upgrade, http2-settings, close\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n"
    )
    with connected(fleet) as app:
        app.sendall(ASK % head + BODY)
        received = until_closed(app)

    assert received.startswith(b"HTTP/1.1 200")
    assert b"[DONE]" in received


def test_requests_ahead_of_their_answers_are_answered_in_order_up_to_the_bound(fleet: Fleet) -> None:
    """The last one asks to close."""
    asked = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n"
    with connected(fleet) as app:
        app.sendall(asked * MAX_AHEAD + asked.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))

        assert until_closed(app).count(b"HTTP/1.1 200 ") == MAX_AHEAD + 1


def hurry(app: socket.socket) -> None:
    """A hundred thousand requests, without a look at any answer."""
    for _ in range(100):
        app.sendall(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n" * 1000)


def test_a_flood_of_requests_ahead_of_their_answers_is_hung_up_on(fleet: Fleet) -> None:
    """Before anybody asks whose they are: each costs memory, and one read from the socket holds thousands."""
    with connected(fleet) as app, pytest.raises(ConnectionError):
        hurry(app)

    assert plain.get(f"{fleet.url}/livez").status_code == 200
    assert "Traceback" not in fleet.log


def test_every_request_of_a_lost_connection_learns_of_it(fleet: Fleet, upstream: ScriptedUpstream) -> None:
    """Two requests in one write, and gone: the upstream of the first is hung up on."""
    upstream.will(stream_answer(*events("one")[:1], End.HANG))
    count = len(upstream.requests)
    with connected(fleet) as app:
        app.sendall((ASK % b"" + BODY) * 2)
        while len(upstream.requests) == count:
            time.sleep(0.01)
        time.sleep(0.4)

    deadline = time.monotonic() + 5
    while not upstream.requests[count].closed.is_set():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_client_that_stops_reading_cannot_hold_an_answer_beyond_its_time(
    fleet: Fleet, upstream: ScriptedUpstream
) -> None:
    flood = stream_answer(*[events("x" * 60_000)[1]] * 400, End.HANG)
    upstream.will(flood)
    count = len(upstream.requests)
    with connected(fleet) as app:
        app.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        app.sendall(ASK % b"" + BODY)
        deadline = time.monotonic() + 15
        while len(upstream.requests) == count or not upstream.requests[count].closed.is_set():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert upstream.requests[count].sent < 23_000_000, "the upstream was held back meanwhile"


class Wire:
    """A transport that keeps what is written, call by call."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def close(self) -> None:
        self.closed = True


class Turn:
    """A loop that turns when it is told to."""

    def __init__(self) -> None:
        self.soon: list[object] = []

    def call_soon(self, call: object) -> None:
        self.soon.append(call)

    def turn(self) -> None:
        calls, self.soon = self.soon, []
        for call in calls:
            call()  # type: ignore[operator]


def test_what_is_written_in_one_turn_of_the_loop_is_written_at_once() -> None:
    wire, loop = Wire(), Turn()
    corked = Corked(wire, loop)  # type: ignore[arg-type]
    corked.write(b"head")
    corked.write(b"body")
    assert wire.writes == []

    loop.turn()
    corked.write(b"next")
    corked.close()
    loop.turn()

    assert wire.writes == [b"headbody", b"next"]
    assert wire.closed


@pytest.mark.parametrize(("in_message", "looks"), [(True, HEAD_LOOKS)])
def test_a_connection_on_which_a_head_never_ends_is_closed_after_some_looks(
    in_message: bool, looks: int
) -> None:
    protocol = Protocol.__new__(Protocol)
    protocol.cycle = None
    protocol._in_message = in_message
    wire = Wire()
    wire.is_closing = lambda: False  # type: ignore[attr-defined]
    protocol.transport = wire  # type: ignore[assignment]

    for _ in range(looks):
        protocol.look()
    assert not wire.closed
    protocol.look()

    assert wire.closed


def test_the_folder_of_data_must_be_one(tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.write_text("no folder")
    fleet = Fleet(tmp_path, CONFIG)

    done = fleet.command("serve", "--data-dir", str(file), "--port", "0")

    assert done.returncode == 1
    assert "cannot be used" in done.stderr
    assert "Traceback" not in done.stderr

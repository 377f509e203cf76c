"""Bad input to a running gateway: a clear 4xx in OpenAI's error shape, or a refused write; nothing changes."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import plain
from tests.fleet import CONFIG, Fleet

CHAT = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """One server for all of them; its ledger must hold at the end too."""
    with Fleet(tmp_path_factory.mktemp("fleet"), CONFIG, workers=1) as running:
        yield running
        running.json("audit", "verify")


def stands(fleet: Fleet) -> tuple[Any, Any]:
    """What every route serves, and the whole of the ledger's last entry: its number, its hash, what it leads to."""
    with httpx.Client(base_url=f"{fleet.url}/admin/v1", timeout=10) as client:
        routes = client.get("/status").raise_for_status().json()["routes"]
        return routes, client.get("/audit").raise_for_status().json()


@pytest.fixture
def unchanged(fleet: Fleet) -> Iterator[None]:
    """What is served and the ledger are afterwards what they were before."""
    before = stands(fleet)
    yield
    assert stands(fleet) == before
    assert fleet.ask().status_code == 200


def error_of(answer: httpx.Response) -> dict[str, Any]:
    """The error in OpenAI's shape."""
    error = answer.json()["error"]
    assert error.keys() >= {"message", "type", "param", "code"}
    assert isinstance(error["code"], str)
    assert answer.headers["x-request-id"]
    return dict(error)


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"null", 400),
        (b"[]", 400),
        (b'{"model": "support-bot"}', 400),
        (b'{"model": ["support-bot"], "messages": []}', 400),
        (b'{"model": "support-bot", "messages": "hi"}', 400),
        (b'{"model": "support-bot", "messages": [], "stream": 1}', 400),
        (b'{"model": "support-bot", "messages": [], "prompt_variables": 7}', 400),
        (b'{"model": "support-bot", "messages": [{"role": "user", "content": "\xff\xfe"}]}', 400),
        (b'{"model": "support-bot", "messages": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", 400),
        (
            b'{"model": "support-bot", "messages": [], "x": '
            + b'{"a":' * 100_000
            + b"1"
            + b"}" * 100_000
            + b"}",
            400,
        ),
        (b'{"model": "gpt-5", "messages": []}', 404),
        (b'{"model": "", "messages": []}', 404),
        (b'{"model": "../../etc/passwd", "messages": []}', 404),
        (b'{"model": "\\ud800", "messages": []}', 400),
        (b"\x00" * 1000, 400),
    ],
)
def test_a_body_that_cannot_be_served_is_refused_in_openais_shape(
    fleet: Fleet, body: bytes, status: int
) -> None:
    answer = plain.post(fleet.url + CHAT, content=body, timeout=20)

    assert answer.status_code == status
    error_of(answer)


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    ("headers", "status", "param"),
    [
        ({"x-pointsman-context": "[]"}, 400, "x-pointsman-context"),
        ({"x-pointsman-context": "{"}, 400, "x-pointsman-context"),
        ({"x-pointsman-context": "[" * 5000}, 400, "x-pointsman-context"),
        ({"x-pointsman-pin": "support-bot.prompt=v99"}, 400, "x-pointsman-pin"),
        ({"x-pointsman-pin": "nope=v1"}, 400, "x-pointsman-pin"),
        ({"x-pointsman-pin": "=;=;;"}, 400, "x-pointsman-pin"),
        ({"baggage": "=,;=%%%"}, 200, None),
        ({"x-pointsman-targeting-key": "\xff"}, 200, None),
    ],
)
def test_headers_that_make_no_sense_are_refused_or_harmless(
    fleet: Fleet, headers: dict[str, str], status: int, param: str | None
) -> None:
    raw = {name: value.encode("latin-1") for name, value in headers.items()}
    answer = plain.post(
        fleet.url + CHAT, json={"model": "support-bot", "messages": MESSAGES}, headers=raw, timeout=20
    )

    assert answer.status_code == status
    if param:
        assert error_of(answer)["param"] == param


@pytest.mark.usefixtures("unchanged")
def test_an_oversize_body_is_refused_by_its_declared_and_by_its_real_length(fleet: Fleet) -> None:
    big = 33 * 1024 * 1024

    def pieces() -> Iterator[bytes]:
        for _ in range(33):
            yield b"x" * (1024 * 1024)

    declared = plain.post(fleet.url + CHAT, content=b"x" * big, timeout=30)
    streamed = plain.post(fleet.url + CHAT, content=pieces(), timeout=30)

    assert (declared.status_code, streamed.status_code) == (413, 413)
    assert error_of(declared)["code"] == "request_too_large"


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    "raw",
    [
        b"GARBAGE\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: nope\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nZZ\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_bytes_that_are_no_http_close_that_connection_and_no_other(fleet: Fleet, raw: bytes) -> None:
    with socket.create_connection(("127.0.0.1", int(fleet.url.rpartition(":")[2])), timeout=5) as app:
        app.sendall(raw)
        app.shutdown(socket.SHUT_WR)
        answer = app.recv(65536)

    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    ("path", "body", "status", "where"),
    [
        ("flags/support-bot.prompt/switch", b'{"variant": "v99"}', 404, None),
        ("flags/support-bot.prompt/switch", b'{"variant": "v7", "sfae": "v6"}', 422, "sfae"),
        ("flags/support-bot.prompt/switch", b'{"variant": 7}', 422, "variant"),
        ("flags/support-bot.prompt/switch", b"{", 400, None),
        ("flags/support-bot.prompt/switch", b"[" * 100_000, 422, None),
        ("flags/support-bot.prompt/rollback", b"{}", 422, "reason"),
        ("flags/support-bot.prompt/rollback", b'{"reason": "x"}', 422, None),
        ("flags/nope/rollback", b'{"reason": "x"}', 404, None),
        ("flags/support-bot.prompt/withdraw", b'{"variant": "v6", "reason": "x"}', 422, None),
        ("flags/support-bot.prompt/rollout", b'{"variant": "v7", "percent": 101}', 422, "percent"),
        ("flags/support-bot.prompt/rollout", b'{"variant": "v7", "percent": 1.234}', 422, "percent"),
        ("flags/support-bot.prompt/rollout", b'{"variant": "v6", "percent": 5}', 422, None),
        ("flags/..%2f..%2fx/switch", b'{"variant": "v7"}', 404, None),
        ("revert", b'{"object": "flag/support-bot.prompt", "to_revision": 99999, "reason": "x"}', 404, None),
        ("revert", b'{"object": "nonsense", "to_revision": 1, "reason": "x"}', 422, "object"),
        ("apply", b'{"declaration": {"flags": {"x": {"variants": {}, "colour": 1}}}}', 422, None),
        ("apply", b'{"declaration": {"flags": {"support-bot.prompt": {"layer": "prompt", "variants": {"v6": {"messages": '
                  b'[{"role": "system", "content": "edited"}]}}, "serve": "v6"}}}}', 422, None),
    ],
)  # fmt: skip
def test_a_write_that_makes_no_sense_is_refused_with_its_path(
    fleet: Fleet, path: str, body: bytes, status: int, where: str | None
) -> None:
    answer = plain.post(f"{fleet.url}/admin/v1/{path}", content=body, timeout=20)

    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["code"]
    assert error["message"]
    if where:
        assert error["path"] == where


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    ("variant", "says"),
    [
        ({"messages": [{"role": "system", "content": "{% for %}"}]}, "line 1"),
        (
            {
                "messages": [
                    {"role": "system", "content": "{% for i in range(9999) %}" * 3 + "x" + "{% endfor %}" * 3}
                ]
            },
            "",
        ),
        ({"messages": [{"role": "system", "content": "{{ ''.__class__.__mro__ }}"}]}, ""),
        ({"messages": []}, "messages"),
        ({"mesages": []}, "mesages"),
        ("text", ""),
    ],
)
def test_a_version_that_could_not_be_served_cannot_be_written(fleet: Fleet, variant: Any, says: str) -> None:
    flag = {
        "layer": "prompt",
        "serve": "v6",
        "variants": {"v9": variant, "v6": {"messages": [{"role": "system", "content": "You are v6."}]}},
    }
    answer = plain.post(
        f"{fleet.url}/admin/v1/apply",
        json={"declaration": {"flags": {"support-bot.prompt": flag}}},
        timeout=20,
    )

    assert answer.status_code == 422, answer.text
    assert says in answer.text
    assert "v9" in answer.text


@pytest.mark.usefixtures("unchanged")
def test_a_variant_that_names_a_missing_upstream_cannot_be_written(fleet: Fleet) -> None:
    flag = {"layer": "model", "serve": "m", "variants": {"m": {"upstream": "gone", "model": "m"}}}
    answer = plain.post(
        f"{fleet.url}/admin/v1/apply", json={"declaration": {"flags": {"x.model": flag}}}, timeout=20
    )

    assert answer.status_code == 422
    assert "gone" in answer.text
    assert "mock" in answer.text


@pytest.mark.parametrize(
    "path",
    ["/", "/v1", "/v1/nope", "/v1/chat/completions/x", "/admin", "/admin/v1/nope", "/%00", "/v1/models/nope"],
)
def test_paths_that_lead_nowhere_say_so(fleet: Fleet, path: str) -> None:
    answer = plain.get(fleet.url + path)

    assert answer.status_code == 404
    assert answer.json()["error"]["message"]


def test_a_wrong_method_is_told_which_is_right(fleet: Fleet) -> None:
    answer = plain.get(fleet.url + CHAT)

    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "flags: {x: {variants: {a: 1}, serve: b}}",
        "upstreams: {a: {kind: openai, api_key: sk-123}}",
        "x: 1",
        "",
        "[1]",
    ],
)
def test_a_config_file_that_check_refuses_is_not_served(tmp_path: Path, fleet: Fleet, text: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)

    checked = fleet.command("check", str(file), "--json")
    assert checked.returncode == 1, checked.stdout
    assert "sk-123" not in checked.stdout + checked.stderr
    other = Fleet(tmp_path / "other", text)
    with pytest.raises(AssertionError):
        other.start()
    assert other.stop() == 1
    problem = json.loads(checked.stderr)["error"]
    assert problem["message"]

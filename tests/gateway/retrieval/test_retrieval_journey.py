"""Two embedded indexes behind a real server: chat over them, search them, roll back, and what a vanished one does."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fleet import START_SECONDS, Fleet

CONFIG = """
upstreams: {mock: {kind: simulated}}
flags:
  help.model: {layer: model, variants: {m: {upstream: mock, model: m}}}
  help.prompt:
    layer: prompt
    variants:
      v1: {messages: [{role: system, content: "{% for p in passages %}{{ p.text }}{% endfor %}"}]}
  help.retriever:
    layer: retriever
    variants:
      r1: {kind: embedded, mode: text, top_k: 2, timeout_seconds: 5s, on_error: fail}
  kb.index:
    layer: index
    serve: i1
    variants: {i1: {store: old}, i2: {store: new}, i3: {store: gone}}
routes:
  help: {index: kb.index}
"""
ASKED = {"model": "help", "messages": [{"role": "user", "content": "How long may I return a parcel?"}]}


def built(fleet: Fleet, name: str, text: str) -> None:
    folder = fleet.folder / name
    folder.mkdir()
    (folder / "returns.md").write_text(f"# Returns\n\n{text}\n")
    done = fleet.command("index", "build", str(folder), "--name", name)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def fleet(tmp_path: Path) -> Any:
    made = Fleet(tmp_path, CONFIG, workers=1)
    built(made, "old", "You may return a parcel within thirty days.")
    built(made, "new", "You may return a parcel within ninety days.")
    with made:
        yield made


def test_an_index_is_switched_rolled_back_and_guarded(fleet: Fleet) -> None:
    with httpx.Client(base_url=fleet.url) as client:
        first = client.post("/v1/chat/completions", json=ASKED, headers={"x-pointsman-cite": "1"})
        refused = fleet.command("switch", "kb.index", "i3")
        switched = fleet.command("switch", "kb.index", "i2")
        found = client.post("/v1/vector_stores/help/search", json={"query": "return a parcel"})
        (fleet.data_dir / "indexes" / "old.sqlite").unlink()
        stopped = fleet.command("rollback", "kb.index", "--reason", "wrong answers")
        forced = fleet.command("rollback", "kb.index", "--reason", "wrong answers", "--anyway")
        broken = client.post("/v1/chat/completions", json=ASKED)

    assert first.status_code == 200
    assert first.headers["x-pointsman-citations"].startswith("file-")
    assert first.headers["x-pointsman-versions"] == "prompt=v1;retriever=r1;index=i1;model=m"
    assert (refused.returncode, "no index gone" in refused.stderr) == (3, True)
    assert "these versions fit: i2, i1" in refused.stderr
    assert switched.returncode == 0
    assert "ninety days" in found.json()["data"][0]["content"][0]["text"]
    assert found.headers["x-pointsman-versions"] == "retriever=r1;index=i2"
    assert (stopped.returncode, "--anyway" in stopped.stderr) == (3, True)
    assert (forced.returncode, "does not fit" in forced.stderr) == (0, True)
    assert (broken.status_code, broken.json()["error"]["code"]) == (502, "retrieval_failed")
    assert str(fleet.data_dir) not in broken.text


def test_a_server_starts_on_an_index_that_is_not_there_and_warns(tmp_path: Path) -> None:
    config = CONFIG.replace("serve: i1", "serve: i3")
    with Fleet(tmp_path, config, workers=1) as fleet:
        answer = httpx.post(f"{fleet.url}/v1/chat/completions", json=ASKED)
        deadline = time.monotonic() + START_SECONDS
        while "what it serves does not fit" not in fleet.log and time.monotonic() < deadline:
            time.sleep(0.02)
        log = fleet.log

    assert answer.status_code == 502
    assert "flag kb.index: what it serves does not fit: embedded index gone: no index gone" in log


@pytest.mark.parametrize("path", ["/v1/vector_stores/help/search", "/vector_stores/help/search"])
@pytest.mark.parametrize(
    "body", [b"", b"[]", b"\xff", b'{"query":', b'{"query":"q","filters":' + b'{"filters":[' * 30_000, b'{"query":"\\ud800"}']
)  # fmt: skip
def test_hostile_searches_are_answered_in_openais_words(shared: Fleet, path: str, body: bytes) -> None:
    answer = httpx.post(shared.url + path, content=body)

    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_a_query_of_a_megabyte_is_searched_by_its_beginning(shared: Fleet) -> None:
    answer = httpx.post(f"{shared.url}/v1/vector_stores/help/search", json={"query": "parcel " * 150_000})

    assert answer.status_code == 200
    assert answer.json()["data"]


@pytest.mark.parametrize("name", ["nope", "%2e%2e", "%00", "a%2Fb", "x" * 3000])
def test_a_route_that_is_none_is_not_found(shared: Fleet, name: str) -> None:
    answer = httpx.post(f"{shared.url}/v1/vector_stores/{name}/search", json={"query": "q"})

    assert answer.status_code == 404


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made = Fleet(tmp_path_factory.mktemp("shared"), CONFIG, workers=1)
    built(made, "old", "You may return a parcel within thirty days.")
    with made:
        yield made

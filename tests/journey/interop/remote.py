"""A flag client that runs elsewhere, in Node or in a browser, and does what its test says. Knows no protocol of flags."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
# How long a client that has nothing to do waits for its next word; shorter than any client's own patience.
POLL_SECONDS = 5.0
# A browser that starts on a loaded machine takes some seconds; a client that takes longer has failed.
ANSWER_SECONDS = 40.0
_TYPES = {".html": "text/html", ".mjs": "text/javascript", ".js": "text/javascript"}


class Failed(Exception):
    """Raised when the client could not do what it was told; the message is the client's own."""


@dataclass(frozen=True, slots=True)
class Told:
    """One event of the client's provider; `at` is when its handler ran, in Unix milliseconds of the client's clock."""

    event: str
    at: float
    flags: tuple[str, ...]
    message: str


class Remote:
    """A client and the door by which it is told what to do; a context manager.

    `launch` makes the command line from the door's port; `packages` is the folder with the client's `node_modules`.
    """

    def __init__(self, launch: Callable[[int], Sequence[str]], packages: Path, log: Path) -> None:
        self._launch, self._packages, self._log = launch, packages, log
        self._orders: queue.Queue[dict[str, Any]] = queue.Queue()
        self._answers: dict[int, queue.Queue[dict[str, Any]]] = {}
        self._numbers = count(1)
        self._closing = threading.Event()
        self.events: list[Told] = []
        self._server = _Server(("127.0.0.1", 0), partial(_Door, self))
        self._process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"Remote(port={self._server.server_port}, pid={self._process and self._process.pid})"

    def __enter__(self) -> Remote:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._launch(self._server.server_port), cwd=self._packages, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._closing.set()
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._server.shutdown()
        self._server.server_close()

    def do(self, verb: str, **words: Any) -> Any:
        """What the client answers to one order. Raises Failed."""
        number = next(self._numbers)
        answer = self._answers[number] = queue.Queue()
        self._orders.put({"id": number, "verb": verb, **words})
        try:
            said = answer.get(timeout=ANSWER_SECONDS)
        except queue.Empty:
            raise AssertionError(f"no answer to {verb}: {self._log.read_text()[-2000:]}") from None
        if "error" in said:
            raise Failed(said["error"])
        return said["result"]

    def start(
        self, kind: str, url: str, *, key: str | None = None, context: Any = None, **options: Any
    ) -> None:
        """Make the provider `kind` (web or server) its provider, and wait until it is ready. Raises Failed."""
        headers = {"headers": [["Authorization", f"Bearer {key}"]]} if key else {}
        self.do("start", kind=kind, options={"baseUrl": url, **headers, **options}, context=context)

    def ask(self, kind: str, key: str, fallback: Any, context: Any = None) -> dict[str, Any]:
        """The evaluation details of one flag: value, variant, reason, errorCode, flagMetadata."""
        found: dict[str, Any] = self.do("ask", type=kind, key=key, fallback=fallback, context=context)
        return found

    def requests(self) -> list[dict[str, Any]]:
        """The requests that the provider made so far, without its event stream's."""
        made: list[dict[str, Any]] = self.do("requests")
        return made

    def changes(self) -> list[Told]:
        """The changes of flags that the provider told so far."""
        return [told for told in list(self.events) if told.event == "PROVIDER_CONFIGURATION_CHANGED"]

    def changed(self, flag: str, *, after: int = 0) -> Told:
        """The first change that names `flag` among those after the first `after`; waits for it."""
        deadline = time.monotonic() + ANSWER_SECONDS
        while time.monotonic() < deadline:
            for told in self.changes()[after:]:
                if flag in told.flags:
                    return told
            time.sleep(0.02)
        raise AssertionError(f"{flag} did not change: {self.events} {self._log.read_text()[-2000:]}")

    def order(self) -> Mapping[str, Any] | None:
        """The next order; None when there is none for a while."""
        try:
            return self._orders.get(timeout=POLL_SECONDS)
        except queue.Empty:
            return None

    def heard(self, said: dict[str, Any]) -> None:
        """Take what the client said: an answer, or an event."""
        if "id" in said:
            self._answers.pop(said["id"]).put(said)
        else:
            self.events.append(Told(said["event"], said["at"], tuple(said["flags"]), said["message"]))

    def file(self, path: str) -> Path | None:
        """The file that a page asks for: its own two, or one of its packages."""
        if path in {"/", "/client.mjs"}:
            return HERE / ("page.html" if path == "/" else "client.mjs")
        found = (self._packages / path.lstrip("/")).resolve()
        inside = found.is_relative_to((self._packages / "node_modules").resolve())
        return found if inside and found.is_file() else None

    @property
    def port(self) -> int:
        """Where its page is served: part of the page's origin."""
        return self._server.server_port

    @property
    def closing(self) -> bool:
        """Whether the test is over."""
        return self._closing.is_set()


class _Server(ThreadingHTTPServer):
    """The test's own door; a client that ends while it waits is no error."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing for a client that hung up; what else went wrong shows as ever."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Door(BaseHTTPRequestHandler):
    """What a client sees of its test."""

    protocol_version = "HTTP/1.1"

    def __init__(self, remote: Remote, *given: Any) -> None:
        self._remote = remote
        super().__init__(*given)

    def do_GET(self) -> None:
        """The next order, or a file."""
        if self.path == "/next":
            order = self._remote.order()
            body = json.dumps(order).encode() if order else b""
            self._answer(410 if self._remote.closing else 200 if order else 204, body)
            return
        file = self._remote.file(self.path.partition("?")[0])
        if file is None:
            self._answer(404, b"")
        else:
            self._answer(200, file.read_bytes(), _TYPES.get(file.suffix, "application/octet-stream"))

    def do_POST(self) -> None:
        """What the client says."""
        said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._remote.heard(said)
        self._answer(204, b"")

    def _answer(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if status != 204:
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing: a client asks again every few seconds."""

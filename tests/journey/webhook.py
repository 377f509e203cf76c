"""A webhook's receiver for tests, on a thread of its own: what it was sent, and what it is told to answer. Knows HTTP only."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Receiver:
    """What came: bodies that it took (2xx), and how many it did not. `status` is what it answers from now on."""

    def __init__(self, status: int = 200, *, location: str = "") -> None:
        self.status, self.location = status, location
        self.taken: list[dict[str, Any]] = []
        self.refused = 0
        # Cleared: it answers nothing, until it is set or the receiver is closed.
        self.answers = threading.Event()
        self.answers.set()
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._made())
        self._server.daemon_threads = True

    def __repr__(self) -> str:
        return f"<Receiver {self.url}: {len(self.taken)} taken, {self.refused} refused>"

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_port}/hook"

    def of(self, kind: str) -> Counter[str]:
        """How often each event of a kind was taken, by what it is about: `flag` or `rollback/<id>`."""
        found = [each for each in self.taken if each["type"] == f"io.pointsman.{kind}.v1"]
        return Counter(str(each["id"]) for each in found)

    def _made(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Answer(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # the library's name
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.answers.wait(120)
                with receiver._lock:
                    if receiver.status < 300:
                        receiver.taken.append(json.loads(body))
                    else:
                        receiver.refused += 1
                self.send_response(receiver.status)
                if receiver.location:
                    self.send_header("location", receiver.location)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing."""

        return Answer

    @contextmanager
    def listening(self) -> Iterator[Receiver]:
        """Meanwhile it listens."""
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield self
        finally:
            self.answers.set()
            self._server.shutdown()
            self._server.server_close()
            thread.join()

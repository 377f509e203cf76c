"""One operator's keep-alive connection to the admin API, as a benchmark uses it."""

from __future__ import annotations

import http.client
import json
import time

ALIVE_SECONDS = 30.0


class Operator:
    """Calls endpoints, one after the other; anything but 200 is an error."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def call(self, method: str, path: str, body: dict[str, object] | None = None) -> dict[str, object]:
        """The answer's document. Raises RuntimeError for any other status than 200."""
        headers = {"Content-Type": "application/json"}
        self._connection.request(method, f"/admin/v1{path}", json.dumps(body) if body else None, headers)
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{method} {path}: {answer.status} {text[:500]!r}")
        found: dict[str, object] = json.loads(text)
        return found

    def verb(self, flag: str, verb: str, **body: object) -> dict[str, object]:
        """One verb on one flag."""
        return self.call("POST", f"/flags/{flag}/{verb}", {"reason": "benchmark", **body})

    def wait_for(self, workers: int) -> None:
        """Until that many are alive: the first 200 comes as soon as one of them is."""
        deadline = time.monotonic() + ALIVE_SECONDS
        while time.monotonic() < deadline:
            found = self.call("GET", "/workers")["workers"]
            assert isinstance(found, list)
            if sum(worker["alive"] for worker in found) >= workers:
                return
            time.sleep(0.05)
        raise RuntimeError(f"{workers} workers were not alive within {ALIVE_SECONDS:.0f} s")

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

"""The server as the commands see it: one request, one JSON answer. Knows no verb.

Python's own http.client: httpx takes 0.2 s to import, and an emergency brake has no time to lose.
"""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, quote, urlencode, urlsplit

from gateway.cli.problem import FAILED, REFUSED, CommandError, failed
from gateway.settings import default_data_dir, system_user

START = "pointsman serve"
# What an answer may take beyond the time that the server itself was asked to wait for the fleet.
ANSWER_SECONDS = 30.0
# Longer than the server's heartbeat (15 s): silence beyond that is a dead connection.
STREAM_SECONDS = 45.0


@dataclass(frozen=True, slots=True)
class Access:
    """Where the server is, and who asks."""

    url: str
    token: str | None
    actor: str


def access(url: str | None, token: str | None, data_dir: str | None) -> Access:
    """The server to speak to: what was given, else what `server.json` says. Raises CommandError for none."""
    actor = os.environ.get("POINTSMAN_ACTOR") or system_user()
    return Access((url or _noted(data_dir)).rstrip("/"), token, actor)


def _noted(data_dir: str | None) -> str:
    folder = Path(data_dir).expanduser() if data_dir else default_data_dir(os.environ)
    note = folder / "server.json"
    try:
        return str(json.loads(note.read_text())["url"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        missing = isinstance(error, FileNotFoundError)
        message = f"no server runs here ({note} {'does not exist' if missing else 'cannot be read'})"
        raise failed(message, code="no_server", mend=f"start one: {START}, or name one with --url") from None


class Client:
    """Speaks to the operators' API. `find` tells where it is, once something is asked: usage comes first."""

    def __init__(self, find: Callable[[], Access]) -> None:
        self._find = find

    @cached_property
    def _at(self) -> Access:
        return self._find()

    @property
    def url(self) -> str:
        """Where the server is, without a slash at its end. Raises CommandError for none."""
        return self._at.url

    def get(self, path: str, query: Mapping[str, object] | None = None) -> Any:
        """The JSON of a GET."""
        sent = {name: value for name, value in (query or {}).items() if value is not None}
        return self._ask("GET", f"{path}?{urlencode(sent)}" if sent else path, None, ANSWER_SECONDS)

    def post(self, path: str, body: Mapping[str, object], *, wait_seconds: float = 0.0) -> Any:
        """The JSON of a POST; fields that are None are left out."""
        sent = {name: value for name, value in body.items() if value is not None}
        return self._ask("POST", path, json.dumps(sent).encode(), ANSWER_SECONDS + wait_seconds)

    def page(self, path: str, query: Mapping[str, object]) -> bytes:
        """The bytes of a GET, as they came: a hash is over bytes."""
        sent = {name: value for name, value in query.items() if value is not None}
        return self._send("GET", f"{path}?{urlencode(sent)}", None, ANSWER_SECONDS).read()

    def events(self, after: int | None) -> Iterator[tuple[str, int, bytes]]:
        """The server's events after a revision: (name, revision, data). Ends when the connection does."""
        path = "/events" if after is None else f"/events?after={after}"
        response = self._send("GET", path, None, STREAM_SECONDS)
        name, revision = "", 0
        try:
            for raw in iter(response.readline, b""):
                field, _, value = raw.rstrip(b"\r\n").partition(b": ")
                if field == b"event":
                    name = value.decode()
                elif field == b"id":
                    revision = int(value)
                elif field == b"data":
                    yield name, revision, value
        except (OSError, HTTPException):
            return

    def told(self, path: str, body: Mapping[str, object]) -> Iterator[tuple[str, Any]]:
        """The events that answer a POST: (name, JSON). Raises CommandError where the connection ends too early."""
        sent = {name: value for name, value in body.items() if value is not None}
        response = self._send("POST", path, json.dumps(sent).encode(), STREAM_SECONDS)
        name = ""
        try:
            for raw in iter(response.readline, b""):
                field, _, value = raw.rstrip(b"\r\n").partition(b": ")
                if field == b"event":
                    name = value.decode()
                elif field == b"data":
                    yield name, json.loads(value)
        except (OSError, HTTPException, ValueError) as error:
            raise failed(f"{self._at.url} broke off its answer: {error}") from None

    def _ask(self, method: str, path: str, body: bytes | None, seconds: float) -> Any:
        try:
            return json.loads(self._send(method, path, body, seconds).read())
        except (ValueError, HTTPException, OSError) as error:
            raise failed(f"{self._at.url} answered what is no JSON: {error}") from None

    def _send(self, method: str, path: str, body: bytes | None, seconds: float) -> HTTPResponse:
        connection = self._connection(urlsplit(self._at.url), seconds)
        headers = {"accept": "application/json", "x-pointsman-actor": quote(self._at.actor, safe=" @+:/")}
        if self._at.token:
            headers["authorization"] = f"Bearer {self._at.token}"
        if body is not None:
            headers["content-type"] = "application/json"
        base = urlsplit(self._at.url).path.rstrip("/")
        try:
            connection.request(method, f"{base}/admin/v1{path}", body, headers)
            response = connection.getresponse()
        except (OSError, HTTPException) as error:
            message = f"no server answers at {self._at.url}: {error or type(error).__name__}"
            raise failed(message, code="no_server", mend=f"start one: {START}") from None
        if response.status >= 400:
            raise _refused(response)
        if response.headers.get_content_type() not in ("application/json", "text/event-stream"):
            raise failed(f"what answers at {self._at.url} is no Pointsman", mend="check --url")
        return response

    def _connection(self, url: SplitResult, seconds: float) -> HTTPConnection:
        try:
            host, port = url.hostname, url.port
        except ValueError:
            host, port = None, None
        if not host or url.scheme not in ("http", "https"):
            raise failed(
                f"{self._at.url!r} is no URL of a server", mend="give one like http://127.0.0.1:4000"
            )
        if url.scheme == "https":
            return HTTPSConnection(host, port, timeout=seconds, context=ssl.create_default_context())
        return HTTPConnection(host, port, timeout=seconds)


def _refused(response: HTTPResponse) -> CommandError:
    """The server's own words; a 409, or a rule that refused, is exit 3."""
    try:
        problem = json.loads(response.read())["error"]
        if not isinstance(problem, dict):
            raise TypeError
    except (ValueError, KeyError, TypeError, OSError, HTTPException):
        problem = {"code": "failed", "message": f"the server answered {response.status} {response.reason}"}
    if response.status == HTTPStatus.UNAUTHORIZED:
        # The server speaks of headers, which nobody types here.
        problem = {"mend": "set POINTSMAN_TOKEN, or give --token", **problem}
    by_rule = response.status == 409 or "rule" in problem
    return CommandError(REFUSED if by_rule else FAILED, {**problem, "status": response.status})

"""A place that OFREP's doors stand in, and clients of theirs, with what matters to a test in plain sight."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import httpx

from flags.codec import document_of
from flags.model import Flag, Kind, Layer, ObjectKey, Position, StoredObject
from flags.snapshot import Snapshot
from gateway.auth import NO_KEYS, Keyring, keyring
from gateway.compiling import compile_serving
from gateway.decision import Serving
from gateway.http.asgi import ABORT
from gateway.http.ofrep.addresses import Addresses
from gateway.http.ofrep.door import OfrepDoor
from gateway.http.ofrep.hub import Hub
from gateway.price import Prices
from gateway.spec_flags import OfrepSpec
from tests.gateway.builders import MODEL, NOW, PROMPT, SIGNER, flag

BOOLEAN = {"on": True, "off": False}
GOLD = {"if": [{"==": [{"var": "plan"}, "gold"]}, "on"]}
LATE = {"if": [{">=": [{"var": "$flagd.timestamp"}, NOW + 10]}, "on", "off"]}

FLAGS: Sequence[tuple[Flag, dict[str, Any]]] = (
    flag("greeting", None, {"off": False, "on": True}, targeting=GOLD),
    flag("price", None, {"low": 1, "high": 2.5}),
    flag("gateway.cache", None, {"on": True, "off": False}),
    flag("support-bot.model", Layer.MODEL, {"gpt-4.1": MODEL}),
    flag("support-bot.prompt", Layer.PROMPT, {"v6": PROMPT}),
    flag("other.model", Layer.MODEL, {"gpt-4o": MODEL}),
)
KEYS: Any = {
    "apps": [
        {"name": "shop", "key": "shop-key-1", "attributes": {"plan": "gold"}},
        {"name": "bot", "key": "bot-key-12", "routes": ["support-bot"]},
        {"name": "page", "key": "page-key-1", "routes": []},
    ],
    "operators": [{"name": "vera", "token": "vera-token", "role": "viewer"}],
}


def serving_of(
    flags: Sequence[tuple[Flag, dict[str, Any]]] = FLAGS,
    *,
    revision: int = 7,
    written: int | None = None,
    routes: Sequence[str] = ("support-bot", "other"),
    namespace: str = "default",
) -> Serving:
    """What is served with these flags, all `written` at `revision` unless told otherwise, and routes that find theirs
    by name."""
    objects = {
        ObjectKey(Kind.FLAG, each.key): StoredObject(
            ObjectKey(Kind.FLAG, each.key), document_of(each), revision if written is None else written
        )
        for each, _ in flags
    }
    for name in routes:
        key = ObjectKey(Kind.ROUTE, name)
        objects[key] = StoredObject(key, {"spec": {}}, revision)
    contents = {name: value for _, held in flags for name, value in held.items()}
    snapshot = Snapshot.build(namespace, Position(revision, "h"), revision, objects, contents)
    return compile_serving(snapshot, prices=Prices())


@dataclass
class Standing:
    """All that the doors ask of a house."""

    serving: Serving | None = field(default_factory=serving_of)
    keys: Keyring = NO_KEYS
    ofrep: OfrepSpec = OfrepSpec()  # noqa: RUF009  # it is immutable
    signing: Any = field(default_factory=lambda: SimpleNamespace(signer=SIGNER))
    local: Mapping[str, str] = field(default_factory=dict)
    away: bool = False
    stopped: bool = False
    time: float = NOW
    marked: int = 0
    # Whether all other workers serve what this one does.
    level: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.level.set()

    def diverted(self) -> Mapping[str, str]:
        return self.local

    def degraded(self) -> bool:
        return self.away

    def stopping(self) -> bool:
        return self.stopped

    async def followed(self, seconds: float) -> None:
        await self.level.wait()

    def now(self) -> float:
        return self.time

    def marks(self) -> list[tuple[bytes, bytes]]:
        self.marked += 1
        revision = self.serving.snapshot.revision if self.serving else 0
        return [(b"x-request-id", b"req-%d" % self.marked), (b"x-pointsman-revision", b"%d" % revision)]

    def serve(self, revision: int = 8, **changed: Any) -> None:
        """Serve what `serving_of` makes."""
        self.serving = serving_of(revision=revision, **changed)

    def locked(self) -> Standing:
        """Ask for keys from now on."""
        self.keys = replace(keyring({}, KEYS), now=self.now)
        return self


def doors(house: Standing, *, base: str = "") -> tuple[OfrepDoor, Hub]:
    """The door and its hub; a draw of 0.5, a clock that stands with the house's."""
    hub = Hub(house, draw=lambda: 0.5)
    return OfrepDoor(house, hub, Addresses(house, base), clock=house.now), hub


def client_of(door: OfrepDoor, **headers: str) -> httpx.AsyncClient:
    """A client that calls the door itself; what it raises comes out."""
    transport = httpx.ASGITransport(app=door, raise_app_exceptions=True)
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:4000", headers=headers)


class Listener:
    """A client of an event stream: it keeps what comes, may stop reading, and leaves when told to."""

    def __init__(self, *, query: str = "", **headers: str) -> None:
        named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        self.scope: Any = {
            "type": "http",
            "method": "GET",
            "path": "/ofrep/v1/events",
            "query_string": query.encode(),
            "headers": [(b"host", b"127.0.0.1:4000"), *named],
            "client": ("127.0.0.1", 5),
            ABORT: self._aborted,
        }
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.parts: list[bytes] = []
        self.ended = self.aborted = False
        self.reading = asyncio.Event()
        self.reading.set()
        self._left = asyncio.Event()

    async def receive(self) -> Any:
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        await self.reading.wait()
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], dict(message["headers"])
            return
        if message["body"]:
            self.parts.append(message["body"])
        self.ended = not message.get("more_body", False)

    def leave(self) -> None:
        self._left.set()

    def _aborted(self, scope: Any, *, at_once: bool = False) -> None:
        assert scope is self.scope
        assert at_once
        self.aborted = True
        self._left.set()
        self.reading.set()

    @property
    def events(self) -> list[bytes]:
        """The events that came, without comments and what is said of reconnecting."""
        return [part for part in self.parts if part.startswith(b"id: ")]


async def turn(times: int = 5) -> None:
    """Let everybody act who can."""
    for _ in range(times):
        await asyncio.sleep(0)

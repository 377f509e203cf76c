"""Everything that changes in one worker is built here, handed over, and closed in reverse.

What changes: the reference to what is served (`serving`), the table of upstreams, the recorder's buffer, the keys,
and whether we are draining. No endpoint and no rule stands here.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import socket
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from flags.connect import connect, connect_listener
from flags.disk import DiskCopy
from flags.errors import StoreUnavailable
from flags.fleet import WorkerInfo
from flags.model import ObjectKey
from flags.snapshot import Snapshot
from flags.store import Store
from flags.watch import Watcher
from gateway import __version__
from gateway.auth import NO_KEYS, Keyring
from gateway.compiling import compile_serving
from gateway.dispatch import Dispatcher
from gateway.errors import NotReady, UpstreamUnavailable
from gateway.health import Health
from gateway.operations import Operations
from gateway.patience import Patience
from gateway.pipeline import Pipeline
from gateway.route import Serving
from gateway.settings import Settings
from gateway.spec import UpstreamSpec
from gateway.token import TokenSigner
from gateway.upstream.base import Upstream
from gateway.upstream.native import NativeUpstream
from gateway.upstream.secret import resolve
from gateway.upstream.simulated import Simulated
from gateway.upstreams import Upstreams
from policies.recorder import Recorder

# So many changes at once are a load rather than an operator's verb.
BULK = 100
# The decision token's key: as long as the hash it feeds.
TOKEN_KEY_BYTES = 32
# Between two attempts to get it while Redis is away.
KEY_AGAIN_SECONDS = 1.0
TOKEN_KEY = "decision-token"  # noqa: S105  # the name under which it is kept, not the key


class House:
    """One worker's state and its parts. `open` it in the running loop, `aclose` it in the end."""

    def __init__(self, settings: Settings, worker: WorkerInfo, *, environ: Mapping[str, str]) -> None:
        assert settings.redis is not None
        loop = asyncio.get_running_loop()
        self.settings, self.worker = settings, worker
        self.serving: Serving | None = None
        self.keys: Keyring = NO_KEYS
        self.draining = asyncio.Event()
        self.signer: TokenSigner | None = None
        self.patience = Patience(loop, clock=time.monotonic)
        self.recorder = Recorder()
        self.store = Store(connect(settings.redis), settings.namespace)
        self._listener = connect_listener(settings.redis)
        self.watcher = Watcher(self.store, self._listener, worker, self.swap)
        self.upstreams = Upstreams(lambda spec: make_upstream(spec, environ, self.patience, loop))
        self.pipeline = Pipeline(
            lambda: self.serving,
            Dispatcher(self.upstreams, draw=random.random),
            self.recorder,
            signer=lambda: self.signer,
            degraded=lambda: b"redis" if self.watcher.degraded else None,
            now=time.time,
        )
        self.operations = Operations(self.store, self.snapshot, time.monotonic)
        self._signing: asyncio.Task[None] | None = None
        self.new_id: Callable[[], str] = request_ids(os.urandom)

    def __repr__(self) -> str:
        return (
            f"<House {self.worker.id} serving={self.serving is not None} draining={self.draining.is_set()}>"
        )

    @classmethod
    async def open(cls, settings: Settings, *, environ: Mapping[str, str] = os.environ) -> House:
        """A house that follows the store; it serves as soon as a snapshot is there, from disk if Redis is away."""
        house = cls(settings, this_worker(), environ=environ)
        copy = Path(settings.data_dir) / f"snapshot-{settings.namespace}.jsonl"
        await house.watcher.start(DiskCopy(copy, settings.namespace))
        # The first answers carry a token too, unless Redis is away: then they do not wait for it.
        house._signing = asyncio.create_task(house.make_signer())
        await asyncio.wait({house._signing}, timeout=KEY_AGAIN_SECONDS)
        return house

    def swap(self, snapshot: Snapshot, changed: frozenset[ObjectKey] | None) -> None:
        """Serve from `snapshot` from now on: one assignment, so no request ever mixes two."""
        self.upstreams.follow(snapshot, changed)
        self.serving = compile_serving(snapshot, self.serving, changed)
        if changed is None or len(changed) > BULK:
            # What a full load made will stay: the collector need not look at it again (100 ms for 10,000 flags).
            gc.freeze()

    def snapshot(self) -> Snapshot:
        """The newest snapshot. Raises NotReady before the first."""
        if self.serving is None:
            raise NotReady("starting: no flags are known yet", retry_after_seconds=1)
        return self.serving.snapshot

    async def make_signer(self) -> None:
        """Take the token's key from the store; while Redis is away answers carry no token, until it is back."""
        while self.signer is None:
            try:
                key = await self.store.secret(TOKEN_KEY, lambda: os.urandom(TOKEN_KEY_BYTES))
                self.signer = TokenSigner(key)
            except StoreUnavailable:
                await asyncio.sleep(KEY_AGAIN_SECONDS)

    def health(self) -> Health:
        """What `/readyz` says."""
        revision = self.serving.snapshot.revision if self.serving else None
        return Health(revision, self.draining.is_set(), self.watcher.degraded, self.watcher.age_seconds)

    def marks(self) -> list[tuple[bytes, bytes]]:
        """The headers that every answer carries."""
        revision = self.serving.snapshot.revision if self.serving else 0
        return [(b"x-request-id", self.new_id().encode()), (b"x-pointsman-revision", b"%d" % revision)]

    def degraded(self) -> bool:
        """Whether this process serves without its store."""
        return self.watcher.degraded

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def stopping(self) -> bool:
        """Whether open streams should end, because the process does."""
        return self.draining.is_set()

    def drain(self) -> None:
        """Say that no new requests are wanted; endless answers (events) end themselves."""
        self.draining.set()

    async def aclose(self) -> None:
        """Close everything in reverse; idempotent."""
        self.drain()
        if self._signing is not None:
            self._signing.cancel()
        await self.watcher.aclose()
        await self.upstreams.aclose()
        self.patience.aclose()
        await self._listener.aclose()
        await self.store.aclose()


def this_worker() -> WorkerInfo:
    """Who this process is in the fleet: its id is new with every start."""
    host, pid = socket.gethostname(), os.getpid()
    started = datetime.now(tz=UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return WorkerInfo(f"{host}-{pid}-{os.urandom(3).hex()}", host, pid, __version__, started)


def request_ids(entropy: Callable[[int], bytes]) -> Callable[[], str]:
    """A maker of request ids: a random prefix and a counter, so they sort, never repeat, and cost 0.2 µs."""
    prefix, count = f"req-{entropy(8).hex()}-", 0

    def new() -> str:
        nonlocal count
        count += 1
        return f"{prefix}{count:x}"

    return new


def make_upstream(
    spec: UpstreamSpec, environ: Mapping[str, str], patience: Patience, loop: asyncio.AbstractEventLoop
) -> Upstream:
    """The live upstream for `spec`. Raises UpstreamUnavailable where this process cannot use it."""
    if spec.kind == "simulated":
        return Simulated(spec, loop=loop, patience=patience)
    if spec.kind == "openai":
        api_key = resolve(spec.api_key, environ) if spec.api_key else None
        return NativeUpstream(spec, api_key=api_key, patience=patience, loop=loop)
    raise UpstreamUnavailable(f"kind {spec.kind} is not spoken by this version yet")

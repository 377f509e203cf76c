"""What a worker takes from the config file when it starts, and when it is told to reread it: keys and declarations;
and, once, who follows a flagd file.

A restart undoes nothing: only what has changed in the file since it was last declared is written (gateway.declaring.plan).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from pathlib import Path

from flags.errors import FlagError, StoreUnavailable
from flags.model import Kind
from flags.store import Author
from gateway.auth import guard_bind
from gateway.config.declaration import Declaration
from gateway.config.keys import read_keyring
from gateway.config.loading import load_file
from gateway.deciding.loading import trusted
from gateway.declaring.declarations import declare
from gateway.declaring.plan import Options
from gateway.errors import GatewayError
from gateway.following.follower import Follower
from gateway.house import House
from gateway.settings import system_user
from gateway.spec_flags import OfrepSpec

log = logging.getLogger("pointsman.start")

# Between two attempts to declare while Redis is away.
AGAIN_SECONDS = 2.0
# How long the first worker waits to serve by what it has just declared: some milliseconds, seconds for 10,000 flags.
OWN_SWAP_SECONDS = 20.0


async def take_config(house: House, number: int) -> list[asyncio.Task[None]]:
    """Keys for every worker; the first also declares the file: now, or as soon as Redis is there (the task returned).

    Raises ConfigInvalid with everything that is wrong with the file, Forbidden where this address must not be
    open without keys.
    """
    declaration = await asyncio.to_thread(read, house)
    house.keys = read_keyring(house.settings.config, declaration, os.environ)
    guard_bind(house.settings.host, house.own_keys)
    house.ofrep = declaration.ofrep if declaration else OfrepSpec()
    own = declaration.others if declaration else {}
    await house.elsewhere.trust(
        trusted((spec for key, spec in own.items() if key.kind is Kind.ROUTE), os.environ)
    )
    if number != 0 or declaration is None:
        return []
    try:
        await declare_file(house)
    except StoreUnavailable as error:
        log.warning("the config file is not declared yet, Redis is away: %s", error)
        return [asyncio.create_task(declare_when_possible(house))]
    return [asyncio.create_task(tell_misfits(house))]


async def tell_misfits(house: House) -> None:
    """Warn of indexes that are served and do not fit; nobody waits for it, and nothing is refused."""
    if house.serving is None:
        return
    for line in await house.fitting.in_service(house.serving.snapshot):
        log.warning("%s", line)


def read(house: House) -> Declaration | None:
    """The config file's declaration, None without a file. Raises ConfigInvalid.

    It stands by itself, whatever the store holds: so `check` can tell whether it would be taken.
    """
    return load_file(Path(house.settings.config)) if house.settings.config else None


async def declare_file(house: House) -> None:
    """Write to the store what has changed in the file, and return when this process serves by it.

    Raises StoreUnavailable, and then it is not known whether it was written.
    """
    config = Path(house.settings.config or "")
    author = Author(os.environ.get("POINTSMAN_ACTOR") or system_user(), f"serve -c {config.name}")
    planned, committed = await declare(
        house.store,
        author,
        lambda _: load_file(config),
        Options(author.actor, lenient=True),
        insist=True,
    )
    for line in (*planned.plan.warnings, *planned.plan.notes):
        log.warning("%s", line)
    if committed.entries:
        log.info("declared %d changes of %s", len(committed.entries), config)
        await house.store.acknowledged(committed.position, OWN_SWAP_SECONDS, [house.worker.id])


async def declare_when_possible(house: House) -> None:
    """`declare_file`, as soon as Redis is there; until then this process serves what it knows."""
    while True:
        await asyncio.sleep(AGAIN_SECONDS)
        try:
            await declare_file(house)
        except StoreUnavailable:
            continue
        except FlagError as error:
            log.error("the config file was not taken, everything stays as it was: %s", error)
        return


async def follow_flagd(house: House, number: int) -> list[asyncio.Task[None]]:
    """The first worker takes the flagd file, as far as it can now, and follows it from then on (the task returned).

    Raises nothing: a file that cannot be taken, or Redis away, leaves what the store has.
    """
    if number != 0 or house.settings.flagd is None:
        return []
    follower = Follower(house.store, Path(house.settings.flagd), sleep=asyncio.sleep, now=time.time)
    committed = await follower.look()
    if committed is not None and committed.entries:
        with contextlib.suppress(StoreUnavailable):
            await house.store.acknowledged(committed.position, OWN_SWAP_SECONDS, [house.worker.id])
    return [asyncio.create_task(follower.run())]


async def reread(house: House, number: int) -> None:
    """Take the config file as it is now; where it is not good, everything stays as it was, and the log says why."""
    try:
        tasks = await take_config(house, number)
        await asyncio.gather(*tasks)
    except (FlagError, GatewayError) as error:
        log.error("the config file was not taken, everything stays as it was: %s", error)
    else:
        log.info("reread %s", house.settings.config or "the keys")

"""What a worker takes from the config file when it starts, and when it is told to reread it: keys and declarations.

A restart undoes nothing: only what has changed in the file since it was last declared is written (gateway.plan).
"""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

from flags.errors import FlagError, StoreUnavailable
from flags.model import Kind
from flags.store import Author, Draft, View
from gateway.auth import guard_bind
from gateway.config.declaration import Declaration, Known
from gateway.config.keys import read_keyring
from gateway.config.loading import load_file
from gateway.house import House
from gateway.plan import Options, Plan, plan
from gateway.settings import system_user

log = logging.getLogger("pointsman.declare")

# Between two attempts to declare while Redis is away.
AGAIN_SECONDS = 2.0
# How long the first worker waits to serve by what it has just declared: some milliseconds, seconds for 10,000 flags.
OWN_SWAP_SECONDS = 20.0


def load_declaration(house: House) -> Declaration | None:
    """The config file's declaration, None without a file. Raises ConfigInvalid with everything that is wrong."""
    if house.settings.config is None:
        return None
    objects = house.serving.snapshot.objects if house.serving else {}
    flags = {name: compiled.flag.layer for name, compiled in house.serving.snapshot.flags.items()} if house.serving else {}
    upstreams = frozenset(key.name for key in objects if key.kind is Kind.UPSTREAM)
    return load_file(Path(house.settings.config), Known(upstreams, flags))


def load_keys(house: House, declaration: Declaration | None) -> None:
    """Take the keys from environment and key file.

    Raises ConfigInvalid for a bad key file, Forbidden where this address must not be open without keys.
    """
    house.keys = read_keyring(house.settings.config, declaration, os.environ)
    guard_bind(house.settings.host, house.keys)


async def declare(house: House, declaration: Declaration) -> None:
    """Write to the store what has changed in the file, and return when this process serves by it.

    Raises StoreUnavailable, and then it is not known whether it was written.
    """
    author = Author(os.environ.get("POINTSMAN_ACTOR") or system_user(), f"serve -c {house.settings.config}")
    plans: list[Plan] = []

    def decide(view: View) -> tuple[Draft, ...]:
        plans.append(plan(declaration, view, Options(author.actor, lenient=True)))
        return plans[-1].drafts

    committed = await house.store.change(author, None, decide, insist=True)
    for line in (*plans[-1].warnings, *plans[-1].notes):
        log.warning("%s", line)
    if committed.entries:
        log.info("declared %d changes of %s", len(committed.entries), house.settings.config)
        await house.store.acknowledged(committed.position, OWN_SWAP_SECONDS, [house.worker.id])


async def declare_when_possible(house: House, declaration: Declaration) -> None:
    """`declare`, as soon as Redis is there; until then this process serves what it knows."""
    while True:
        try:
            await declare(house, declaration)
        except StoreUnavailable as error:
            log.warning("the config file is not declared yet, Redis is away: %s", error)
            await asyncio.sleep(AGAIN_SECONDS)
        except FlagError as error:
            log.error("the config file was not taken, everything stays as it was: %s", error)
            return
        else:
            return

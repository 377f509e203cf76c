"""How all switches stand for a request, compiled from the snapshot. Pure: knows flags; no route and no HTTP.

Where no switch hangs on the request a Stand is made once for all of them.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from flags.model import Context, Json
from flags.resolve import resolve
from flags.snapshot import CompiledFlag, Snapshot
from gateway.switches.table import SWITCHES, Setting, Switch

log = logging.getLogger("pointsman.switches")


class Stand(msgspec.Struct, frozen=True, gc=False):
    """How the switches stand for one request; see the table. None: each route's (or version's) own."""

    cache: bool = True
    shadow: float | None = None
    judge: float | None = None
    keep_alive: float | None = None
    content_logging: bool = False
    shield: bool = True
    retrieval: bool = True
    retries: float | None = None


USUAL = Stand()
Moving: TypeAlias = tuple[tuple[Switch, CompiledFlag], ...]


@dataclass(frozen=True, slots=True)
class Switchboard:
    """All switches as of one snapshot. `always` is how they stand for everybody; None: that hangs on who asks."""

    always: Stand | None = USUAL
    # How those stand that hang on nothing, and the others.
    base: Stand = USUAL
    moving: Moving = ()
    # Whether a rule of theirs looks at the request.
    reads_attributes: bool = False

    def stand(self, context: Context, now: int) -> Stand:
        """How they stand for `context` (its attributes count where `reads_attributes`); `now` in Unix seconds."""
        if self.always is not None:
            return self.always
        return _with(
            self.base, [(switch, setting(switch, flag, context, now)) for switch, flag in self.moving]
        )


AS_SHIPPED = Switchboard()
NOBODY = Context(None)


def switchboard(snapshot: Snapshot) -> Switchboard:
    """The switches of `snapshot`, made ready."""
    known = [(switch, flag) for switch in SWITCHES if (flag := snapshot.flags.get(switch.key)) is not None]
    for switch, flag in known:
        tell_misfits(switch, flag)
    fixed = [(switch, setting(switch, flag, NOBODY, 0)) for switch, flag in known if flag.always is not None]
    moving = tuple((switch, flag) for switch, flag in known if flag.always is None)
    base = _with(USUAL, fixed)
    reads = any(flag.rule is not None for _, flag in moving)
    return Switchboard(None if moving else base, base, moving, reads)


def setting(switch: Switch, flag: CompiledFlag, context: Context, now: int) -> Setting:
    """How one switch stands for `context`.

    A rule that fails leaves what is served, as in a layer; a disabled flag, one that serves no variant, and a value
    that the switch does not take leave it as it usually stands.
    """
    resolution = resolve(flag, context, now)
    value: Json = resolution.value
    if resolution.error is not None and flag.flag.served is not None:
        value = flag.values.get(flag.flag.served)
    return switch.setting(value if switch.fits(value) else switch.usual)


def stands_as_usual(switch: Switch, flag: CompiledFlag) -> bool:
    """Whether a switch stands for everybody as it does where nobody has said otherwise."""
    return flag.always is not None and setting(switch, flag, NOBODY, 0) == switch.setting(switch.usual)


def tell_misfits(switch: Switch, flag: CompiledFlag) -> None:
    """Say of a stored flag that it holds what the switch does not take; every write refuses it."""
    for name, value in flag.values.items():
        if not switch.fits(value):
            log.warning("%s: variant %s is not %s; it stands as usual", switch.key, name, switch.expected)


def _with(stand: Stand, settings: list[tuple[Switch, Setting]]) -> Stand:
    found = {switch.field: each for switch, each in settings}
    made = msgspec.structs.replace(stand, **found) if found else stand
    return USUAL if made == USUAL else made

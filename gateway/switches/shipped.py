"""The flags of switches that nobody has written yet: as they ship, without a stored object.

Pure: knows snapshots and views; the first write through `flag_in` makes the stored flag.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from flags.canonical import digest
from flags.change import NO_CONTENTS, View
from flags.compiled import compile_flag
from flags.errors import NotFound
from flags.model import Flag, Json, Kind, ObjectKey, Variant
from flags.snapshot import CompiledFlag, Snapshot
from gateway.switches.table import BY_KEY, OFF, ON, PREFIX, SWITCHES, Switch

VALUES: Mapping[str, bool] = MappingProxyType({ON: True, OFF: False})
# By hash.
CONTENTS: Mapping[str, Json] = MappingProxyType({digest(value): value for value in VALUES.values()})


def shipped(switch: Switch) -> Flag:
    """The flag of `switch` as it ships: variants on and off, served and safe as it usually stands."""
    usual = ON if switch.usual else OFF
    variants = {name: Variant(name, digest(value)) for name, value in VALUES.items()}
    return Flag(switch.key, variants, usual, usual)


SHIPPED: Mapping[str, CompiledFlag] = MappingProxyType(
    {each.key: compile_flag(shipped(each), CONTENTS) for each in SWITCHES}
)


def with_switches(snapshot: Snapshot) -> Snapshot:
    """`snapshot` with every switch: those that nobody has written yet answer as they ship.

    They are flags without an object: their revision is 0, and nothing exports or stores them. One whose stored flag
    cannot be read is left out, as such flags are.
    """
    missing = [key for key in SHIPPED if key not in snapshot.flags and key not in snapshot.problems]
    if not missing:
        return snapshot
    flags = snapshot.flags.mutate()
    for key in missing:
        flags[key] = SHIPPED[key]
    return replace(snapshot, flags=flags.finish())


def flag_in(view: View, key: str) -> Flag:
    """The flag `key` of `view`; of a switch that is not stored, as it ships. Raises NotFound for other flags."""
    if key in BY_KEY and ObjectKey(Kind.FLAG, key) not in view.objects:
        return SHIPPED[key].flag
    try:
        return view.flag(key)
    except NotFound as error:
        if not key.startswith(PREFIX):
            raise
        raise NotFound(str(error), mend=f"the gateway's own switches are {', '.join(BY_KEY)}") from error


def contents_for(view: View, key: str) -> Mapping[str, Json]:
    """The contents that must come with a write of flag `key`: those of a switch that is not stored yet, by hash."""
    return CONTENTS if key in BY_KEY and ObjectKey(Kind.FLAG, key) not in view.objects else NO_CONTENTS

"""A snapshot as this process alone serves it: without what its local brake took out of service. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from flags.compiled import compile_flag
from flags.snapshot import Snapshot
from policies.diversion import Diversion


def overlaid(snapshot: Snapshot, diversions: Mapping[str, Diversion]) -> Snapshot:
    """`snapshot` with the diverted releases withdrawn; those that are no longer on trial in it need no diversion."""
    flags = snapshot.flags
    for key, diversion in diversions.items():
        compiled = flags.get(key)
        flag = None if compiled is None else diversion.over(compiled.flag)
        if flag is not None:
            flags = flags.set(key, compile_flag(flag, snapshot.contents))
    return snapshot if flags is snapshot.flags else replace(snapshot, flags=flags)

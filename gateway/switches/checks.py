"""What may be declared under a switch's key, and why not. Pure: knows values and layers, no file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from flags.errors import Invalid
from flags.fields import seen
from flags.model import Json, Layer
from gateway.switches.table import BY_KEY, KEYS, PREFIX


def switch_problems(key: str, layer: Layer | None, variants: Mapping[str, Json]) -> Iterator[Invalid]:
    """What is wrong with the flag `key` as one of the gateway's own switches; nothing for all other flags.

    Paths begin at the flag.
    """
    switch = BY_KEY.get(key)
    if switch is None:
        return
    if layer is not None:
        message = f"{key} is one of the gateway's own switches, which have no layer"
        yield Invalid("layer", message, mend="remove the layer, or give the flag another name")
        return
    for name, value in variants.items():
        if not switch.fits(value):
            message = (
                f"found {seen(value)}, expected {switch.expected}: {key} is one of the gateway's own switches"
            )
            yield Invalid(
                f"variants.{name}", message, mend="write such a value, or give the flag another name"
            )


class Layered(Protocol):
    """A declared flag, as far as it is looked at here."""

    @property
    def layer(self) -> Layer | None:
        """Its layer; None for a general flag."""
        ...


def slips(flags: Mapping[str, Layered]) -> tuple[str, ...]:
    """A sentence on each flag that looks like a switch and is none."""
    known = ", ".join(sorted(KEYS))
    return tuple(
        f"flag {key!r} switches nothing in the gateway (its switches: {known})"
        for key, flag in flags.items()
        if flag.layer is None and key not in KEYS and key.startswith(PREFIX)
    )

"""What a version of a pipeline pins, read from its content. Pure: knows no route, and not what is served."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TypeAlias

from flags.model import Json, Layer

# The layers that a variant of a flag pins: by the flag's key and the variant's name. None, for other layers' flags.
Pinning: TypeAlias = Callable[[str, str], Collection[Layer]]


def pins_of(content: Json) -> Mapping[Layer, str]:
    """What one version of a pipeline pins, by layer; read loosely, since others say what is wrong with its shape."""
    found = content.get("pins") if isinstance(content, Mapping) else None
    if not isinstance(found, Mapping):
        return {}
    return {
        layer: variant
        for layer in Layer
        if layer is not Layer.PIPELINE and isinstance(variant := found.get(layer.value), str)
    }


def no_pins(flag: str, variant: str) -> Collection[Layer]:
    """Nothing is pinned by anything."""
    return ()

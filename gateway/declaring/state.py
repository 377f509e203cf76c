"""What is operated of a flag, as a file declares it and as it stands: set at its creation, compared ever after. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from flags.model import Flag, Json
from gateway.config.declaration import DeclaredFlag, rollout_document, shadow_document


def with_state(flag: Flag, declared: DeclaredFlag) -> Flag:
    """The flag, operated as the file declares it for its creation."""
    return replace(
        flag,
        serve=declared.serve,
        safe=declared.safe,
        rollout=declared.rollout,
        withdrawn=declared.withdrawn,
        shadow=declared.shadow,
    )


def state_differences(now: Flag, declared: DeclaredFlag) -> Iterator[tuple[str, Json, Json]]:
    """Each field of the state that differs: its name, what the file says, what is operated."""
    file = with_state(now, declared)
    for name in ("serve", "safe"):
        if getattr(file, name) != getattr(now, name):
            yield name, getattr(file, name), getattr(now, name)
    if (file.rollout is None) != (now.rollout is None) or (
        file.rollout and now.rollout and _share(file) != _share(now)
    ):
        yield "rollout", _share(file), _share(now)
    if file.withdrawn != now.withdrawn:
        yield "withdrawn", sorted(file.withdrawn), sorted(now.withdrawn)
    if file.shadow != now.shadow:
        yield "shadow", _mirror(file), _mirror(now)


def _share(flag: Flag) -> Json:
    """Where automation moves it, which steps it takes: on which of them it stands is no difference."""
    return None if flag.rollout is None else rollout_document(flag.rollout)


def _mirror(flag: Flag) -> Json:
    return None if flag.shadow is None else shadow_document(flag.shadow)

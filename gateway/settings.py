"""How one `serve` was started: addresses, places and limits. Read once, handed on, never changed."""

from __future__ import annotations

import getpass
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec

# CONTRACT §2: the largest request body, 32 MiB.
MAX_BODY_BYTES = 32 * 1024 * 1024


class Settings(msgspec.Struct, frozen=True, omit_defaults=True):
    """The settings of a fleet's processes on this host. `redis` None means the embedded store."""

    data_dir: str
    host: str = "127.0.0.1"
    port: int = 4000
    workers: int = 1
    redis: str | None = None
    namespace: str = "default"
    config: str | None = None
    # The flagd file that the first worker follows.
    flagd: str | None = None
    # Where what is measured is appended, for replay; None: nowhere.
    record: str | None = None
    max_body_bytes: int = MAX_BODY_BYTES
    # How long running streams get to end when a worker is told to stop.
    drain_seconds: float = 30.0

    def to_json(self) -> str:
        """For a child process; there is no secret in it but what a Redis URL may hold, so it goes by a pipe."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_json(cls, text: str) -> Settings:
        return msgspec.json.decode(text, type=cls)


def default_data_dir(environ: Mapping[str, str]) -> Path:
    """`POINTSMAN_DATA_DIR`, else `$XDG_STATE_HOME/pointsman`, else `~/.local/state/pointsman`."""
    named = environ.get("POINTSMAN_DATA_DIR")
    if named:
        return Path(named).expanduser()
    state = environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "pointsman"


def make_data_dir(path: Path) -> Path:
    """The directory, made with mode 0700 where it did not exist."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def system_user() -> str:
    """Who runs this process; "unknown" where the system has no name for the user."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    with os.fdopen(handle, "w") as file:
        file.write(text)
    Path(name).replace(path)

"""The key file that a config names, read as `serve` reads it. Knows keys and files; no store."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from flags.errors import Invalid
from gateway.auth import Keyring, keyring
from gateway.config.declaration import ConfigInvalid, Declaration, Problem
from gateway.config.files import read_source
from gateway.config.places import Unreadable

NO_ENVIRONMENT: Mapping[str, str] = {}


def read_keyring(
    config: str | None, declaration: Declaration | None, environ: Mapping[str, str] = NO_ENVIRONMENT
) -> Keyring:
    """All keys of `environ` and of the key file that the config at `config` names.

    Raises ConfigInvalid for a key file that cannot be taken, Invalid for a bad environment variable.
    """
    if config is None or declaration is None or declaration.keys_file is None:
        return keyring(environ)
    path = Path(config).parent / declaration.keys_file
    try:
        source = read_source(path, str(path))
    except Unreadable as error:
        raise ConfigInvalid(
            (_problem(path, error.fault.line, error.fault.path, error.fault.message),)
        ) from None
    if source.faults:
        raise ConfigInvalid(tuple(_problem(path, f.line, f.path, f.message) for f in source.faults))
    try:
        keyring(NO_ENVIRONMENT, source.value)
    except Invalid as error:
        raise ConfigInvalid((_problem(path, None, error.path, error.message, error.mend),)) from error
    return keyring(environ, source.value)


def _problem(path: Path, line: int | None, where: str, message: str, mend: str | None = None) -> Problem:
    return Problem(str(path), line, where, message, mend)

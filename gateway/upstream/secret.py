"""Turns a reference to a secret into the secret, in the worker that needs it.

Knows no upstream. Its errors name the reference, never the value.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from gateway.errors import UpstreamUnavailable

# 64 KiB: a key is a line; more is a wrong file.
MAX_SECRET_BYTES = 64 * 1024


# How a secret is written in a document: never the secret itself.
REFERENCES = ("os.environ/", "file:/")


def told(value: str, environ: Mapping[str, str]) -> str:
    """`value`, or the secret that it stands for. Raises UpstreamUnavailable as `resolve` does."""
    return resolve(value, environ) if value.startswith(REFERENCES) else value


def resolve(reference: str, environ: Mapping[str, str]) -> str:
    """`os.environ/NAME` or `file:/path` → its value, without surrounding white space.

    Raises UpstreamUnavailable where there is none, or where it could not stand in a header.
    """
    source, _, rest = reference.partition("/")
    if source == "os.environ":
        value = environ.get(rest, "")
        missing = f"{reference} is not set in this process's environment"
    elif reference.startswith("file:/"):
        value = _read(reference)
        missing = f"{reference} is empty"
    else:
        raise UpstreamUnavailable("a secret must be a reference: expected os.environ/NAME or file:/path")
    value = value.strip()
    if not value:
        raise UpstreamUnavailable(f"the secret {missing}")
    if not value.isascii() or not value.isprintable():
        raise UpstreamUnavailable(
            f"the secret {reference} holds line breaks or other characters that a header cannot have"
        )
    return value


def _read(reference: str) -> str:
    try:
        with Path(reference.removeprefix("file:")).open("rb") as file:
            raw = file.read(MAX_SECRET_BYTES + 1)
    except OSError as error:
        raise UpstreamUnavailable(f"the secret {reference} cannot be read: {error.strerror}") from error
    if len(raw) > MAX_SECRET_BYTES:
        raise UpstreamUnavailable(
            f"the secret {reference} is longer than {MAX_SECRET_BYTES} bytes: a wrong file?"
        )
    return raw.decode("latin-1")

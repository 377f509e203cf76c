"""Canonical JSON (RFC 8785) and the SHA-256 that names a content. Knows no flag."""

from __future__ import annotations

import hashlib

import rfc8785

from flags.errors import Invalid
from flags.model import Json


def canonical(value: Json) -> bytes:
    """The one spelling of `value` (RFC 8785, UTF-8). Raises Invalid for what JSON or I-JSON cannot hold."""
    try:
        return bytes(rfc8785.dumps(value))
    except (rfc8785.CanonicalizationError, UnicodeEncodeError, RecursionError) as error:
        raise Invalid("", f"cannot be written as JSON: {error}") from error


def digest(value: Json) -> str:
    """SHA-256 (hex) of the canonical JSON of `value`."""
    return name_of(canonical(value))


def name_of(text: bytes) -> str:
    """SHA-256 (hex) of a content's bytes as stored: its name, for they are written canonically."""
    return hashlib.sha256(text).hexdigest()

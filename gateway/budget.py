"""How much time and how many attempts an app grants its request: it may lower what a version has, never raise it.

Pure: headers in, numbers out. Knows no version and no clock.

header                       of          means
x-pointsman-timeout-seconds  ours        seconds for the whole answer, from the request's arrival
x-pointsman-max-attempts     ours        upstream attempts in all: retries, fallbacks and the shield's included
x-litellm-timeout            LiteLLM     seconds
x-litellm-num-retries        LiteLLM     attempts beyond the first
x-portkey-request-timeout    Portkey     milliseconds
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

from gateway.errors import BadRequest

TIMEOUT = b"x-pointsman-timeout-seconds"
MOST = b"x-pointsman-max-attempts"
LITELLM_TIMEOUT = b"x-litellm-timeout"
LITELLM_RETRIES = b"x-litellm-num-retries"
PORTKEY_TIMEOUT = b"x-portkey-request-timeout"
HEADERS = frozenset({TIMEOUT, MOST, LITELLM_TIMEOUT, LITELLM_RETRIES, PORTKEY_TIMEOUT})

# More digits than any count of attempts has: Python refuses to read very long ones, and nobody means them.
COUNT_DIGITS = 9

Reader: TypeAlias = Callable[[bytes | None], float | None]


class Budget(NamedTuple):
    """What an app grants; infinite where it says nothing. `attempts` is at least 1."""

    seconds: float = math.inf
    attempts: float = math.inf


UNBOUNDED = Budget()


def read_budget(headers: Mapping[bytes, bytes]) -> Budget:
    """The least of what `headers` grant.

    Raises BadRequest for a header of ours that is malformed; another gateway's is then as if it were not there.
    """
    if HEADERS.isdisjoint(headers):
        return UNBOUNDED
    seconds = min(
        _own(headers, TIMEOUT, seconds_in, "a number of seconds above 0, such as 2.5"),
        _foreign(seconds_in(headers.get(LITELLM_TIMEOUT))),
        _foreign(seconds_in(headers.get(PORTKEY_TIMEOUT))) / 1000,
    )
    retries = count_in(headers.get(LITELLM_RETRIES))
    attempts = min(
        _own(headers, MOST, attempts_in, "a whole number of at least 1"),
        math.inf if retries is None else retries + 1,
    )
    return Budget(seconds, attempts)


def seconds_in(value: bytes | None) -> float | None:
    """A positive number; None for anything else."""
    try:
        seconds = float(value or b"")
    except ValueError:
        return None
    return seconds if 0 < seconds < math.inf else None


def count_in(value: bytes | None) -> int | None:
    """A whole number; None for anything else."""
    text = (value or b"").strip()
    return int(text) if text.isdigit() and len(text) <= COUNT_DIGITS else None


def attempts_in(value: bytes | None) -> int | None:
    """A whole number above 0; None for anything else."""
    return count_in(value) or None


def _own(headers: Mapping[bytes, bytes], name: bytes, read: Reader, expected: str) -> float:
    sent = headers.get(name)
    if sent is None:
        return math.inf
    found = read(sent)
    if found is None:
        shown = sent[:64].decode("latin-1")
        raise BadRequest(f"header {name.decode()}: found {shown!r}, expected {expected}", param=name.decode())
    return found


def _foreign(found: float | None) -> float:
    return math.inf if found is None else found

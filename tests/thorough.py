"""How many examples a property is tried on: fewer in the usual run than in the full one. Knows no property."""

from __future__ import annotations

from hypothesis import settings

# `make test-all` runs under this profile.
FULL = "full"
# Enough to find in the usual run what is often wrong; the full one looks for what seldom is.
SHARE = 3


def examples(number: int) -> int:
    """So many in the full run, and a third of them in the usual one."""
    return number if settings.get_current_profile_name() == FULL else number // SHARE

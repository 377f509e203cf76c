"""What can go wrong with an embedded index; the rest are the flags' own Invalid, Refused and NotFound.

FlagError (flags.errors)
├── IndexUnreadable   the file is not, or no longer, an index that this version reads
└── Uninstalled       this Python lacks what was asked for; the mend says what to install
"""

from __future__ import annotations

from flags.errors import FlagError


class IndexUnreadable(FlagError):
    """Raised when an index's file vanished, was cut or replaced, or is none of ours. Building it anew helps."""


class Uninstalled(FlagError):
    """Raised when full text search, or the packages that embeddings need, are not there."""

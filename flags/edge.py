"""The edge of what is done again and again, or for one of many: what goes wrong there is told, and is not the last.

Knows nothing of what is done. An `except Exception` of its own stands only where a failure is answered, not just told.
"""

from __future__ import annotations

import logging
from types import TracebackType

from flags.errors import StoreUnavailable


class Edge:
    """`with Edge(log, "automation"): …` goes on behind the block whatever an exception ended; cancellation passes.

    A bug is logged with its traceback; that Redis is away is none, and takes one quiet line. `what` is logging's
    message, with its `args`.
    """

    __slots__ = ("_args", "_log", "_what")

    def __init__(self, log: logging.Logger, what: str, *args: object) -> None:
        self._log, self._what, self._args = log, what, args

    def __repr__(self) -> str:
        return f"<Edge of {self._what % self._args}>"

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if isinstance(error, StoreUnavailable):
            self._log.info(self._what + ": waiting for Redis: %s", *self._args, error)
        elif isinstance(error, Exception):
            self._log.error(self._what + " went wrong; going on", *self._args, exc_info=error)
        return isinstance(error, Exception)

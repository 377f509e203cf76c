"""Which passages pass a filter, remembered for the filters that come again and again. Knows no question."""

from __future__ import annotations

import sqlite3
import threading
from collections import OrderedDict

from gateway.index.conditions import Condition, condition
from gateway.index.filters import Filter

# A retriever's version has one filter; an app that sends its own has a few. A mask takes a byte a passage.
KEPT_MAX = 32


class Masks:
    """The masks of one index, which never changes. What changes here: which masks are kept, the least used going first."""

    def __init__(self, passages: int) -> None:
        self._passages = passages
        self._kept: OrderedDict[Condition, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, connection: sqlite3.Connection, filter_: Filter) -> bytes:
        """A byte for each passage by its number (0 is none): 1 where it passes. Raises sqlite3.Error."""
        where = condition(filter_, "p.attributes")
        with self._lock:
            known = self._kept.get(where)
            if known is not None:
                self._kept.move_to_end(where)
                return known
        mask = self._made(connection, where)
        with self._lock:
            self._kept[where] = mask
            if len(self._kept) > KEPT_MAX:
                self._kept.popitem(last=False)
        return mask

    def _made(self, connection: sqlite3.Connection, where: Condition) -> bytes:
        mask = bytearray(self._passages + 1)
        sql = f"SELECT p.id FROM passages p WHERE {where.sql}"  # noqa: S608  # every word of a user's is a parameter
        for (number,) in connection.execute(sql, where.parameters):
            mask[number] = 1
        return bytes(mask)

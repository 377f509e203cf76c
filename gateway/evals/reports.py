"""Keeps reports of evals in Redis: by the hash of their JSON, so that a link names a content. Knows no suite."""

from __future__ import annotations

import asyncio
import hashlib
import re
import zlib

import msgspec

from flags.call import CALL_SECONDS
from flags.errors import Invalid, NotFound
from flags.store import Store
from policies.evals.report import Report, document

# Longer than a year, so that last year's release can be looked into; a ledger entry tells its figures for ever.
KEPT_SECONDS = 400 * 86_400
# Of what runs by itself and passes nobody reads last month's.
ROUTINE_SECONDS = 7 * 86_400
# What Redis takes in a second of one value, on a slow network.
BYTES_A_SECOND = 4_000_000
# A report's own bound is far below; what was written by another program may not fill the memory.
REPORT_BYTES = 64 * 1024 * 1024
ID = re.compile(r"[0-9a-f]{64}")


class Reports:
    """The reports of one namespace. Keeps no state of its own; all calls raise StoreUnavailable when Redis is away."""

    def __init__(self, store: Store) -> None:
        self._calls, self._keys = store.calls, store.keys

    async def keep(self, report: Report, *, seconds: int = KEPT_SECONDS) -> str:
        """Keep a report for `seconds`; its id."""
        # A thread, because a large one takes a tenth of a second.
        name, packed = await asyncio.to_thread(_packed, report)
        key = self._keys.report(name)
        limit = CALL_SECONDS + len(packed) / BYTES_A_SECOND
        await self._calls.run(lambda redis: redis.set(key, packed, ex=seconds), seconds=limit)
        return name

    async def read(self, name: str) -> bytes:
        """The JSON of a report. Raises NotFound for one that is not kept (any more), Invalid for what is no id."""
        if not ID.fullmatch(name):
            raise Invalid("id", f"found {name[:80]!r}, expected a report's id: 64 hexadecimal digits")
        key = self._keys.report(name)
        limit = CALL_SECONDS + REPORT_BYTES / 8 / BYTES_A_SECOND
        packed = await self._calls.run(lambda redis: redis.get(key), seconds=limit)
        if packed is None:
            raise NotFound(
                f"there is no report {name[:12]}…; they are kept for {KEPT_SECONDS // 86_400} days",
                mend="run the suite again: pointsman eval run FLAG VARIANT",
            )
        return await asyncio.to_thread(_unpacked, packed)


def _packed(report: Report) -> tuple[str, bytes]:
    text = msgspec.json.encode(document(report))
    return hashlib.sha256(text).hexdigest(), zlib.compress(text)


def _unpacked(packed: bytes) -> bytes:
    reader = zlib.decompressobj()
    text = reader.decompress(packed, REPORT_BYTES)
    if reader.unconsumed_tail:
        raise Invalid("id", f"this report is longer than {REPORT_BYTES:,} bytes")
    return text

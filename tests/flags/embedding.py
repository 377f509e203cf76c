"""A supervising process for tests: `python -m tests.flags.embedding DATA_DIR [pipe]` owns or joins the embedded server.

Prints `owner PID` or `joiner` once the server answers, and the same again after a take-over. Ends on SIGTERM.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from flags.embedded import Embedded


async def main(data_dir: str, lifeline: str = "") -> None:
    embedded = Embedded(Path(data_dir), death_signal=False if lifeline == "pipe" else None)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await embedded.start()
    told = ""
    try:
        while not ended.is_set():
            now = f"owner {embedded.pid}" if embedded.pid else "joiner"
            if now != told:
                print(now, flush=True)
            told = now
            await asyncio.sleep(0.01)
    finally:
        await embedded.aclose()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gateway.deciding.threads import Busy, Threads


async def test_the_answer_comes_back_to_the_loop() -> None:
    threads = Threads(2, "t")

    assert await threads.run(lambda: threading.current_thread().daemon, 5) is True
    threads.close()


async def test_what_is_raised_comes_back_too() -> None:
    threads = Threads(2, "t")

    with pytest.raises(ZeroDivisionError):
        await threads.run(lambda: 1 // 0, 5)
    threads.close()


@pytest.mark.parametrize("left", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
async def test_what_would_end_the_process_ends_no_thread_and_no_loop(left: BaseException) -> None:
    threads = Threads(1, "t")

    def leave() -> None:
        raise left

    with pytest.raises(RuntimeError, match=type(left).__name__):
        await threads.run(leave, 5)
    assert await threads.run(lambda: 1, 5) == 1
    threads.close()


async def test_nobody_waits_for_a_call_that_hangs_nor_behind_it() -> None:
    threads, go = Threads(1, "t"), threading.Event()

    with pytest.raises(TimeoutError):
        await threads.run(go.wait, 0.01)
    with pytest.raises(Busy):
        await threads.run(lambda: 1, 5)

    go.set()
    while threads._working:
        await asyncio.sleep(0.001)
    assert await threads.run(lambda: 1, 5) == 1
    threads.close()


def test_a_thread_that_hangs_keeps_no_process_from_ending() -> None:
    code = (
        "import asyncio, threading\nfrom gateway.deciding.threads import Threads\n"
        "async def main():\n"
        "    try: await Threads(1, 't').run(threading.Event().wait, 0.01)\n"
        "    except TimeoutError: print('gone')\n"
        "asyncio.run(main())"
    )

    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        timeout=60,
        check=True,
        cwd=Path(__file__).parents[3],
    )

    assert done.stdout.strip() == b"gone"

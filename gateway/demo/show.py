"""Puts the demo together: builds stage, traffic and screen, tells the story, and closes all in reverse.

Whatever ends it (its own end, Ctrl-C, a failure), nothing that it started is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Coroutine

from openai import AsyncOpenAI

from gateway.demo import summary
from gateway.demo.screen import Screen, make_screen
from gateway.demo.stage import Stage, StageFailed, end_on_signals, shown_program
from gateway.demo.story import BAD, SAFE, Story
from gateway.demo.summary import Played
from gateway.demo.tally import Tally
from gateway.demo.traffic import ROUTE, make_client

DRAW_EVERY_SECONDS = 0.2
# What a shell reports for a program that Ctrl-C has ended.
INTERRUPTED = 130


class Show:
    """One performance. What changes here: the exit code, known once the story was told, and whether we are closing."""

    def __init__(self, screen: Screen) -> None:
        self.exit_code = INTERRUPTED
        self.closing = False
        self._screen = screen
        self._clock = asyncio.get_running_loop().time
        self._tally = Tally()

    async def run(self, *, once: bool) -> None:
        """Start all, tell the story, stay up unless `once`; cancelled or not, leave nothing behind."""
        stage = Stage(os.environ, self._clock)
        try:
            self._screen.say(
                "Starting an embedded store, a simulated provider and a gateway with 2 workers …"
            )
            await stage.start()
            self._screen.say(f"The gateway serves on {stage.url}")
            async with make_client(stage.url) as client:
                await self._perform(stage, client, once=once)
        except StageFailed as failure:
            self.exit_code = 1
            self._screen.say(f"The demo failed: {failure}")
        finally:
            self.closing = True
            try:
                self._screen.close()
            finally:
                # Even where the terminal is gone, and writing to it fails.
                await stage.aclose()
            self._screen.say("Stopped and cleaned up.")

    async def _perform(self, stage: Stage, client: AsyncOpenAI, *, once: bool) -> None:
        story = Story(stage, client, self._tally, say=self._screen.say, clock=self._clock)
        async with running(story.traffic.run(), self._draw()):
            brake = await story.tell()
            played = Played(story.samples, story.pulled, brake, SAFE, BAD)
            for line in summary.lines(played):
                self._screen.say(line)
            self.exit_code = 0 if summary.all_hold(played) else 1
            if self.exit_code:
                self._screen.say(f"The server said:\n{stage.log_tail()}")
            if not once:
                for line in hints(stage.url, shown_program()):
                    self._screen.say(line)
                await asyncio.Event().wait()  # until Ctrl-C cancels us

    async def _draw(self) -> None:
        while True:
            self._screen.draw(self._tally.picture(self._clock()))
            await asyncio.sleep(DRAW_EVERY_SECONDS)


@contextlib.asynccontextmanager
async def running(*work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """What goes on beside the body, and ends with it; what crashed meanwhile is told at the end."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        if not task.cancelled():
            task.result()


def hints(url: str, program: str) -> list[str]:
    """What to try while it stays up."""
    return [
        f"It stays up, with its traffic, until Ctrl-C. In another terminal: export POINTSMAN_URL={url}",
        f"  {program} status",
        f"  {program} explain {ROUTE} --key user-7",
        f"  {program} log",
        f"  {program} rollback show",
        f"  {program} audit verify --recompute",
        f'  {program} restore support-bot.prompt {BAD} --reason "let me see it again"',
        f'  {program} rollback {ROUTE} --reason "enough"',
        "or see the machine do it once more:",
        f'  {program} restore support-bot.prompt v7 --reason "once more"',
        f"  {program} rollout support-bot.prompt v7 --percent 10",
        f"  {program} top",
        "or be an app:",
        f"  curl -i {url}/v1/chat/completions -H 'content-type: application/json' \\",
        f"""    -d '{{"model": "{ROUTE}", "messages": [{{"role": "user", "content": "Hello?"}}]}}'""",
        f'  OpenAI(base_url="{url}/v1", api_key="none").chat.completions.create(model="{ROUTE}", messages=…)',
    ]


async def perform(*, once: bool) -> int:
    """The show, ended early by Ctrl-C, a closed terminal or SIGTERM; the exit code."""
    loop = asyncio.get_running_loop()
    show = Show(make_screen(sys.stdout, loop.time))
    task = asyncio.create_task(show.run(once=once))
    end_on_signals(show, task)
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return show.exit_code


def run(*, once: bool) -> int:
    """Run the demo in this terminal; the exit code: 0 all as it should, 1 not so, 130 ended before."""
    return asyncio.run(perform(once=once))

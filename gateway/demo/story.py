"""The story that the demo tells: a new version, trouble, one command, peace. Knows neither processes nor screens' ways."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from openai import AsyncOpenAI

from gateway.demo.stage import Stage, StageFailed, Typed
from gateway.demo.tally import Sample, Tally
from gateway.demo.traffic import REFUNDS, Traffic

SAFE, BAD = "v6", "v7"
SWITCH = f'pointsman switch support-bot.prompt {BAD} --reason "warmer answers"'
ROLLBACK = f'pointsman rollback support-bot.prompt --reason "errors since {BAD}"'

CALM_SECONDS = 2.0
# Long enough for the errors to show in every column of the screen.
TROUBLE_SECONDS = 2.5
ENOUGH_ERRORS = 10
ENOUGH_ANSWERS = 50
# On a machine that is too slow for the counts above, the story goes on after so long.
PATIENCE_SECONDS = 6.0
LOOK_EVERY_SECONDS = 0.05


class Story:
    """Tells itself once. What changes here: the requests of the show, and whether it is over."""

    def __init__(
        self,
        stage: Stage,
        client: AsyncOpenAI,
        tally: Tally,
        *,
        say: Callable[[str], None],
        clock: Callable[[], float],
    ) -> None:
        self.samples: list[Sample] = []
        self.traffic = Traffic(client, self._note, clock)
        self._stage, self._tally, self._say, self._clock = stage, tally, say, clock
        self._over = False

    async def tell(self) -> Typed:
        """From the first request to the last proof; the command that rolled back.

        Raises StageFailed where a command does not do its part.
        """
        await self._calm()
        await self._new_version()
        await self._trouble()
        brake = await self._brake()
        await self._peace(brake)
        self._over = True
        return brake

    def _note(self, sample: Sample) -> None:
        self._tally.add(sample)
        # After the show people may play for hours.
        if not self._over:
            self.samples.append(sample)

    async def _calm(self) -> None:
        self._say(
            f"{SAFE} of the prompt serves. Apps ask through the OpenAI SDK, a third of them by streams."
        )
        await asyncio.sleep(CALM_SECONDS)

    async def _new_version(self) -> None:
        self._say(f"{BAD} looks good in review. An operator serves it to all:")
        await self._type(SWITCH)
        await asyncio.sleep(CALM_SECONDS)

    async def _trouble(self) -> None:
        self._say(f"Now people ask about refunds, and {BAD} goes bad: its users see errors, and wait.")
        self.traffic.questions = REFUNDS
        await asyncio.sleep(TROUBLE_SECONDS)
        await self._until(lambda: self._tally.errors_of(BAD) >= ENOUGH_ERRORS)

    async def _brake(self) -> Typed:
        self._say("The operator pulls the brake:")
        return await self._type(ROLLBACK)

    async def _peace(self, brake: Typed) -> None:
        self._say(f"The same questions go on; {SAFE} answers them.")
        await asyncio.sleep(CALM_SECONDS)
        await self._until(lambda: sum(one.began > brake.ended for one in self.samples) >= ENOUGH_ANSWERS)

    async def _type(self, line: str) -> Typed:
        self._say(f"  $ {line}")
        typed = await self._stage.type(line)
        for said in typed.output.splitlines():
            self._say(f"  {said}")
        if typed.exit_code:
            raise StageFailed(f"the command ended with exit code {typed.exit_code}: {line}")
        return typed

    async def _until(self, enough: Callable[[], bool]) -> None:
        until = self._clock() + PATIENCE_SECONDS
        while not enough() and self._clock() < until:  # noqa: ASYNC110  # answers come, there is no event for "enough"
            await asyncio.sleep(LOOK_EVERY_SECONDS)

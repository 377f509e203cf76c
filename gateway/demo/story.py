"""The story that the demo tells: four candidates go wrong and the machine withdraws each; then an operator's hand.

Knows neither processes nor screens' ways.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from openai import AsyncOpenAI

from gateway.demo.stage import Noted, Stage, StageFailed, Typed
from gateway.demo.tally import Sample, Tally
from gateway.demo.traffic import Traffic
from gateway.demo.trial import Pulled, Trial, clauses

SAFE, BAD = "v6", "v9"
PROMPT, MODEL = "support-bot.prompt", "support-bot.model"
SWITCH = f'pointsman switch {PROMPT} {BAD} --reason "more generous"'
ROLLBACK = f'pointsman rollback {PROMPT} --reason "we cannot grant every refund"'

TRIALS = (
    Trial(
        PROMPT, "v7", "fails half its calls", "warmer answers",
        bad=lambda one: one.shielded or one.error is not None,
        aside="No user sees it: whatever v7 fails is answered by v6 in its place.",
    ),
    Trial(
        MODEL, "patient", "is ten times slower", "thinks before it answers",
        bad=lambda one: one.model == "patient",
    ),
    Trial(
        MODEL, "grand", "costs ten times as much", "the best there is",
        bad=lambda one: one.model == "grand",
    ),
    Trial(
        PROMPT, "v8", "answers so that nobody is helped", "shorter answers",
        bad=lambda one: one.prompt == "v8" and one.score == 0.0,
        rated=True,
    ),
)  # fmt: skip

# The machine knows what is usual after 200 answers (policies: the control's quantiles).
USUAL_ANSWERS = 220
USUAL_SECONDS = 20.0
# A look at peace: enough answers to show that nobody gets the candidate any more.
CALM_SECONDS = 1.2
# A candidate at 10 % meets four requests a second here, and ten of them are plenty; a slow machine may take long.
WITHDRAWN_SECONDS = 60.0
EVERYWHERE_SECONDS = 6.0
ENOUGH_ANSWERS = 30
# On a machine that is too slow for that many, the story goes on after so long.
PATIENCE_SECONDS = 6.0
LOOK_EVERY_SECONDS = 0.02


class Story:
    """Tells itself once. What changes here: the requests of the show, what the machine did, and whether it is over."""

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
        self.pulled: list[Pulled] = []
        self.traffic = Traffic(client, self._note, clock)
        self._stage, self._tally, self._say, self._clock = stage, tally, say, clock
        self._over = False

    async def tell(self) -> Typed:
        """From the first request to the last proof; the command that rolled back.

        Raises StageFailed where a command, or the machine, does not do its part.
        """
        await self._calm()
        for trial in TRIALS:
            await self._try(trial)
        brake = await self._operator()
        self._over = True
        return brake

    def _note(self, sample: Sample) -> None:
        self._tally.add(sample)
        # After the show people may play for hours.
        if not self._over:
            self.samples.append(sample)

    async def _calm(self) -> None:
        self._say(
            f"{SAFE} of the prompt and the small model serve. Apps ask through the OpenAI SDK, a third of them by streams."
        )
        await self._until(lambda: len(self.samples) >= USUAL_ANSWERS, USUAL_SECONDS)

    async def _try(self, trial: Trial) -> None:
        """A candidate for a tenth of the users, until the machine has withdrawn it everywhere."""
        self._say(f"{trial.candidate}: {trial.praise}. A tenth of the users try it, and it {trial.fault}:")
        before = await self._stage.newest()
        self.traffic.rates = trial.rated
        typed = await self._type(trial.command)
        if trial.aside:
            self._say(f"  {trial.aside}")
        entry = await self._withdrawal(trial, before)
        withdrawn = self._clock()
        self._say(f"  {entry.actor} withdrew {trial.candidate}:")
        for clause in clauses(entry.reason):
            self._say(f"    {clause}")
        everywhere = await self._everywhere(entry)
        await asyncio.sleep(CALM_SECONDS)
        self.traffic.rates = False
        self.pulled.append(
            Pulled(trial, entry.actor, entry.reason, typed.began, withdrawn, everywhere, self._clock())
        )

    async def _withdrawal(self, trial: Trial, before: int) -> Noted:
        until = self._clock() + WITHDRAWN_SECONDS
        while self._clock() < until:
            for entry in await self._stage.noted(before):
                if entry.object == f"flag/{trial.flag}" and entry.action == "rollback":
                    return entry
            await asyncio.sleep(LOOK_EVERY_SECONDS)
        tried = sum(trial.tried(one) for one in self.samples)
        raise StageFailed(
            f"{trial.candidate} {trial.fault}, answered {tried} requests, and was not withdrawn within "
            f"{WITHDRAWN_SECONDS:g} s. The server said:\n{self._stage.log_tail()}"
        )

    async def _everywhere(self, entry: Noted) -> float:
        until = self._clock() + EVERYWHERE_SECONDS
        while self._clock() < until:
            if await self._stage.slowest() >= entry.revision:
                return self._clock()
            await asyncio.sleep(LOOK_EVERY_SECONDS)
        raise StageFailed(
            f"not every worker acknowledged revision {entry.revision} within {EVERYWHERE_SECONDS:g} s"
        )

    async def _operator(self) -> Typed:
        """What no figure shows is still a person's to see, and one command to end."""
        self._say(f"{BAD} is fine by every figure, and served to all:")
        await self._type(SWITCH)
        await asyncio.sleep(CALM_SECONDS)
        self._say("But a person reads what it promises, and pulls the brake by hand:")
        brake = await self._type(ROLLBACK)
        await asyncio.sleep(CALM_SECONDS)
        await self._until(
            lambda: sum(one.began > brake.ended for one in self.samples) >= ENOUGH_ANSWERS, PATIENCE_SECONDS
        )
        return brake

    async def _type(self, line: str) -> Typed:
        self._say(f"  $ {line}")
        typed = await self._stage.type(line)
        for said in typed.output.splitlines():
            self._say(f"  {said}")
        if typed.exit_code:
            raise StageFailed(f"the command ended with exit code {typed.exit_code}: {line}")
        return typed

    async def _until(self, enough: Callable[[], bool], seconds: float) -> None:
        until = self._clock() + seconds
        while not enough() and self._clock() < until:  # noqa: ASYNC110  # answers come, there is no event for "enough"
            await asyncio.sleep(LOOK_EVERY_SECONDS)

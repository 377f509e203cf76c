"""The demo on a real model: two prompts and an index, questions whose answers stream in, a switch and a rollback.

Starts all it needs and leaves nothing behind, as the other demo does.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from openai import AsyncOpenAI, OpenAIError

from gateway.demo.real import RealModel
from gateway.demo.stage import Stage, StageFailed, end_on_signals, shown_program
from gateway.demo.traffic import ROUTE, make_client

CONFIG = Path(__file__).with_name("real-bot.yaml")
TEXTS = Path(__file__).with_name("texts")
INDEX = "acme-1"
# Each is answered by one of the texts, and what an answer that used it must hold. No model can know it otherwise.
QUESTIONS = (
    ("When does the shop in Bergen open on Monday?", "10:00"),
    ("How many years of warranty does a kettle have?", "5"),
    ("Which number do I call to have my kettle repaired?", "555-0134"),
)
FLAG, GOOD, BAD = "support-bot.prompt", "v1", "v2"
INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer: what was served, which files were cited, how it came, and whether it said what the text says."""

    versions: str
    citations: str
    text: str
    chunks: int
    first_seconds: float
    seconds: float
    right: bool


class RealShow:
    """One performance. `write` shows text as it comes. What changes here: whether we are cleaning up."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self.closing = False
        self._write = write
        self._clock = asyncio.get_running_loop().time

    async def run(self) -> bool:
        """Whether all went as it should. Raises StageFailed where something did not start."""
        began = self._clock()
        self._say("Starting a small real model (SmolLM2-135M-Instruct, on this CPU) …")
        async with RealModel() as model:
            self._say(
                f"It serves after {self._clock() - began:.1f} s on {model.base_url}, as OpenAI's API does."
            )
            with tempfile.TemporaryDirectory(prefix="pointsman-real-") as folder:
                config = config_for(model.base_url, Path(folder))
                stage = Stage(os.environ, self._clock, config=config)
                try:
                    return await self._perform(stage)
                finally:
                    self.closing = True
                    await stage.aclose()
                    self._say("Stopped and cleaned up.")

    async def _perform(self, stage: Stage) -> bool:
        await self._type(stage, f"pointsman index build {TEXTS} --name {INDEX}")
        await stage.start()
        self._say(f"The gateway serves on {stage.url}\n")
        async with make_client(stage.url) as client:
            self._say("Prompt v1 hands the model what the index holds about each question:\n")
            before = await self._ask_all(client)
            self._say("Prompt v2 forgets to, so the model makes its answers up:\n")
            await self._type(stage, f"pointsman switch {FLAG} {BAD}")
            during = await self._ask_all(client)
            self._say("A person notices, and goes back:\n")
            line = f'pointsman rollback {FLAG} --to {GOOD} --reason "it makes its answers up"'
            await self._type(stage, line)
            after = await self._ask_all(client)
        return self._sum_up(before, during, after)

    async def _type(self, stage: Stage, line: str) -> None:
        self._say(f"$ {line.replace('pointsman', shown_program(), 1)}")
        typed = await stage.type(line)
        self._say(f"{typed.output}\n")
        if typed.exit_code:
            raise StageFailed(f"{line} ended with {typed.exit_code}\n{stage.log_tail()}")

    async def _ask_all(self, client: AsyncOpenAI) -> list[Answered]:
        return [await self._ask(client, question, says) for question, says in QUESTIONS]

    async def _ask(self, client: AsyncOpenAI, question: str, says: str) -> Answered:
        """Ask one question, and show each token as it comes."""
        self._say(f"? {question}")
        began, first, parts = self._clock(), 0.0, []
        try:
            raw = await client.chat.completions.with_raw_response.create(
                model=ROUTE,
                messages=[{"role": "user", "content": question}],
                stream=True,
                extra_headers={"x-pointsman-cite": "1"},
            )
            self._write("  ")
            async for chunk in raw.parse():
                text = chunk.choices[0].delta.content if chunk.choices else None
                if text:
                    first = first or self._clock() - began
                    parts.append(text)
                    self._write(text.replace("\n", " "))
        except OpenAIError as error:
            raise StageFailed(f"no answer: {error}") from error
        whole = "".join(parts)
        versions, cited = (raw.headers.get(f"x-pointsman-{name}", "") for name in ("versions", "citations"))
        answered = Answered(versions, cited, whole, len(parts), first, self._clock() - began, says in whole)
        found = f"; found {cited}" if cited else ""
        self._say(
            f"\n  {len(parts)} tokens, the first after {first:.1f} s, all after {answered.seconds:.1f} s"
        )
        self._say(f"  by {versions}{found}\n")
        return answered

    def _sum_up(self, before: list[Answered], during: list[Answered], after: list[Answered]) -> bool:
        for name, answers in (("v1", before), ("v2", during), ("v1 again", after)):
            right = sum(answer.right for answer in answers)
            self._say(f"{name}: {right} of {len(answers)} answers say what the texts say")
        served = [(before, GOOD), (during, BAD), (after, GOOD)]
        as_named = all(f"prompt={prompt}" in one.versions for answers, prompt in served for one in answers)
        streamed = all(one.chunks > 1 for answers, _ in served for one in answers)
        cited = all(one.citations for answers, _ in served for one in answers)
        self._say(f"Each answer named the version that gave it: {'yes' if as_named else 'NO'}")
        self._say(f"Each answer came token by token: {'yes' if streamed else 'NO'}")
        self._say(f"Each answer named the text that was found for it: {'yes' if cited else 'NO'}")
        return as_named and streamed and cited

    def _say(self, line: str) -> None:
        self._write(f"{line}\n")


def config_for(base_url: str, folder: Path) -> Path:
    """The demo's config file, written into `folder` for a model that serves on `base_url`."""
    config = folder / "pointsman.yaml"
    config.write_text(CONFIG.read_text("utf-8").replace("BASE_URL", base_url), "utf-8")
    return config


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


async def _perform() -> int:
    show = RealShow(_write)
    task = asyncio.create_task(show.run())
    end_on_signals(show, task)
    try:
        return 0 if await task else 1
    except StageFailed as failure:
        _write(f"The demo failed: {failure}\n")
        return 1
    except asyncio.CancelledError:
        return INTERRUPTED


def run() -> int:
    """Run it in this terminal; the exit code: 0 all as it should, 1 not so, 130 ended before."""
    return asyncio.run(_perform())

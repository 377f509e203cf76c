"""Steady traffic through the official OpenAI SDK, as an app would send it. Knows only a base URL and a route's name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from openai import APIError, APIStatusError, AsyncOpenAI, DefaultAsyncHttpxClient
from openai.types.chat import ChatCompletionUserMessageParam

from gateway.demo.tally import Sample

ROUTE = "support-bot"
REQUESTS_PER_SECOND = 30
# Distinct users; each is one targeting key.
USERS = 200
# Every third request streams.
STREAMS = 3
# Far more than the slowest version needs; beyond it the traffic waits rather than piles up.
MAX_UNDER_WAY = 64
ANSWER_SECONDS = 20.0

EVERYDAY = ("When do you open?", "Do you ship to Norway?", "How do I reset my password?")
REFUNDS = ("Where is my refund?", "How long does a refund take?", "Do you ship to Norway?")


def make_client(url: str) -> AsyncOpenAI:
    """The SDK as apps use it, but without retries (errors shall be seen) and without this machine's proxies."""
    return AsyncOpenAI(
        base_url=f"{url}/v1",
        api_key="not-needed-on-loopback",
        max_retries=0,
        timeout=ANSWER_SECONDS,
        http_client=DefaultAsyncHttpxClient(trust_env=False),
    )


class Traffic:
    """The users. What changes here: what they ask (`questions`), and how many asked so far."""

    def __init__(
        self, client: AsyncOpenAI, note: Callable[[Sample], None], clock: Callable[[], float]
    ) -> None:
        self.questions: Sequence[str] = EVERYDAY
        self._client, self._note, self._clock = client, note, clock
        self._asked = 0
        self._places = asyncio.Semaphore(MAX_UNDER_WAY)

    async def run(self) -> None:
        """Ask at a steady rate until cancelled; no answer holds up the next question."""
        due = self._clock()
        async with asyncio.TaskGroup() as under_way:
            while True:
                await self._places.acquire()
                under_way.create_task(self._one(self._asked))
                self._asked += 1
                # After a pause of this machine the lost questions are not made up for.
                due = max(due + 1 / REQUESTS_PER_SECOND, self._clock())
                await asyncio.sleep(due - self._clock())

    async def _one(self, number: int) -> None:
        try:
            self._note(await self._ask(number))
        finally:
            self._places.release()

    async def _ask(self, number: int) -> Sample:
        question = self.questions[number % len(self.questions)]
        messages: list[ChatCompletionUserMessageParam] = [{"role": "user", "content": question}]
        user = f"user-{number % USERS:03}"
        prompt, failure = None, None
        began = self._clock()
        try:
            if number % STREAMS:
                whole = await self._client.chat.completions.with_raw_response.create(
                    model=ROUTE, messages=messages, user=user
                )
                prompt = prompt_version(whole.headers.get("x-pointsman-versions"))
                whole.parse()
            else:
                stream = await self._client.chat.completions.with_raw_response.create(
                    model=ROUTE, messages=messages, user=user, stream=True
                )
                prompt = prompt_version(stream.headers.get("x-pointsman-versions"))
                async for _ in stream.parse():
                    pass
        except APIStatusError as error:
            prompt = prompt_version(error.response.headers.get("x-pointsman-versions"))
            failure = str(error.status_code)
        except APIError as error:
            failure = type(error).__name__
        return Sample(began, self._clock(), prompt, failure)


def prompt_version(versions: str | None) -> str | None:
    """`prompt=v7;model=small` names v7."""
    pairs = (part.partition("=") for part in (versions or "").split(";"))
    return next((version for layer, _, version in pairs if layer == "prompt"), None)

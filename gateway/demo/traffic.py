"""Steady traffic through the official OpenAI SDK, as an app would send it. Knows only a base URL and a route's name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace

import httpx
from openai import APIError, APIStatusError, AsyncOpenAI, DefaultAsyncHttpxClient
from openai.types.chat import ChatCompletionUserMessageParam

from gateway.demo.tally import Sample

ROUTE = "support-bot"
REQUESTS_PER_SECOND = 40
# Distinct users; each is one targeting key. So many that a tenth of them is not soon all asked.
USERS = 2000
# Every third request streams.
STREAMS = 3
# Far more than the slowest version needs; beyond it the traffic waits rather than piles up.
MAX_UNDER_WAY = 64
ANSWER_SECONDS = 20.0

QUESTIONS = ("When do you open?", "Where is my refund?", "How do I reset my password?")
# Shorter answers help nobody; and of those who get one, every twentieth user is never content.
HELPFUL_WORDS = 4
GRUMBLERS = 20


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
    """The users. What changes here: whether they rate what they get (`rates`), and how many asked so far."""

    def __init__(
        self, client: AsyncOpenAI, note: Callable[[Sample], None], clock: Callable[[], float]
    ) -> None:
        self.rates = False
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
        messages: list[ChatCompletionUserMessageParam] = [
            {"role": "user", "content": QUESTIONS[number % len(QUESTIONS)]}
        ]
        headers: Mapping[str, str] = {}
        text, failure = "", None
        began = self._clock()
        try:
            if number % STREAMS:
                whole = await self._client.chat.completions.with_raw_response.create(
                    model=ROUTE, messages=messages, user=user(number)
                )
                headers = whole.headers
                text = whole.parse().choices[0].message.content or ""
            else:
                stream = await self._client.chat.completions.with_raw_response.create(
                    model=ROUTE, messages=messages, user=user(number), stream=True
                )
                headers = stream.headers
                async for chunk in stream.parse():
                    text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
        except APIStatusError as error:
            headers, failure = error.response.headers, str(error.status_code)
        except APIError as error:
            failure = type(error).__name__
        sample = Sample(
            began,
            self._clock(),
            version(headers, "prompt"),
            failure,
            version(headers, "model"),
            shielded="x-pointsman-shielded" in headers,
        )
        if self.rates and failure is None:
            return await self._rate(sample, headers, score(text, number))
        return sample

    async def _rate(self, sample: Sample, headers: Mapping[str, str], value: float) -> Sample:
        """Tell the gateway what the user thinks of the answer; what it does not take is a failure."""
        said = {"decision": headers.get("x-pointsman-decision"), "metric": "accuracy", "value": value}
        try:
            await self._client.post("/feedback", cast_to=httpx.Response, body=said)
        except APIError as error:
            return replace(sample, error=f"feedback: {type(error).__name__}")
        return replace(sample, score=value)


def user(number: int) -> str:
    """Who asks."""
    return f"user-{number % USERS:04}"


def score(text: str, number: int) -> float:
    """What a user thinks of an answer: 1 for helped."""
    return float(len(text.split()) >= HELPFUL_WORDS and number % GRUMBLERS != 0)


def version(headers: Mapping[str, str], layer: str) -> str | None:
    """Of `prompt=v7;model=small` in the answer's headers, `prompt` is v7; None where none is named."""
    pairs = (part.partition("=") for part in headers.get("x-pointsman-versions", "").split(";"))
    return next((found for name, _, found in pairs if name == layer), None)

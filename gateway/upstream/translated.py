"""A provider that is spoken to through litellm: any wire's request in, that wire's answer out. Knows no route, no flag.

`kind: litellm`, and the translator of an `openai` or `anthropic` upstream that is asked in the other family's dialect.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from flags.errors import Invalid
from gateway.dialects.dialect import ANTHROPIC, OPENAI
from gateway.errors import GatewayError, UpstreamError, UpstreamUnavailable
from gateway.patience import Patience
from gateway.spec import UpstreamSpec
from gateway.upstream.base import JSON, Answer, UpstreamRequest
from gateway.upstream.litellm_library import Library
from gateway.upstream.secret import REFERENCES, resolve
from gateway.upstream.translated_answer import TranslatedAnswer
from gateway.upstream.translated_calls import Call, Manner, call_for, serves
from gateway.upstream.translated_errors import Refusal, broken_by, forget, meaning_of
from gateway.upstream.translated_stream import Events, whole

JSON_HEADERS = ((b"content-type", JSON),)
EVENT_HEADERS = ((b"content-type", b"text/event-stream; charset=utf-8"),)

# A provider's stream that does not close by then is left to litellm's own timeout.
CLOSE_SECONDS = 1.0

# Which provider of litellm the other kinds are.
PROVIDERS = (("openai", "openai"), ("anthropic", "anthropic"))

# Secrets shorter than this would blot out ordinary words of a message.
MIN_SECRET = 6


# litellm asks nobody without a key; a server that wants none reads none.
NO_KEY = "none"


class Translated:
    """Implements `base.Upstream`. What changes here: which answers run.

    Raises Invalid where the document names no provider, UpstreamUnavailable where a secret is missing.
    """

    def __init__(
        self,
        spec: UpstreamSpec,
        library: Library,
        *,
        environ: Mapping[str, str],
        patience: Patience,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.running: set[TranslatedAnswer] = set()
        self._manner, self._secrets = manner_of(spec, environ)
        self._library = library
        self._patience = patience
        self._loop = loop

    def speaks(self, path: str) -> bool:
        """Whether requests with this path can be translated."""
        return serves(path)

    async def send(self, request: UpstreamRequest) -> Answer:
        """Ask the provider, and return when it began to answer, or answered whole. Raises UpstreamError."""
        answer = TranslatedAnswer(
            self.running, patience=self._patience, loop=self._loop, expires_at=request.expires_at
        )
        try:
            await answer.head(self._work(answer, request))
        except UpstreamError as error:
            if error.status == 504 and not self._library.is_ready:
                raise UpstreamUnavailable(
                    "the library that translates for this upstream is still being loaded; try again in some seconds"
                ) from error
            raise
        return answer

    def retire(self) -> None:
        """Connections are litellm's and shared; answers under way end by themselves."""

    async def aclose(self) -> None:
        """End all answers under way. Idempotent."""
        running = tuple(self.running)
        for answer in running:
            answer.close()
        await asyncio.gather(*(each.task for each in running if each.task), return_exceptions=True)

    async def _work(self, answer: TranslatedAnswer, request: UpstreamRequest) -> None:
        """One request, to the end of its answer."""
        try:
            litellm = await self._library.ready()
            left = max(1.0, request.expires_at - self._loop.time())
            call = call_for(litellm, request, self._manner, left)
            await self._answered(answer, call, request.path)
        except Refusal as refusal:
            _refused(answer, refusal, request.path)
        except UpstreamError as error:
            answer.fail(error)
        except Exception as error:  # noqa: BLE001  # the edge to a library that lets through whatever its providers raise
            self._failed(answer, error, request.path)

    async def _answered(self, answer: TranslatedAnswer, call: Call, path: str) -> None:
        result: Any = await call.function(**call.arguments)  # `Any`: litellm has as many answers as functions
        if call.streams and hasattr(result, "__aiter__"):
            await _streamed(answer, result, path)
        else:
            answer.starts(200, JSON_HEADERS)
            answer.end(whole(result, path, in_base64=call.in_base64))

    def _failed(self, answer: TranslatedAnswer, error: Exception, path: str) -> None:
        self._tell(answer, error, path)
        forget(error)

    def _tell(self, answer: TranslatedAnswer, error: Exception, path: str) -> None:
        if answer.status:
            answer.fail(broken_by(error, self._secrets))
            return
        told = meaning_of(error, self._secrets)
        if isinstance(told, Refusal):
            _refused(answer, told, path)
        else:
            answer.fail(told)

    def __repr__(self) -> str:
        return f"<Translated {self._manner.provider}, {len(self.running)} answers under way>"


async def _streamed(answer: TranslatedAnswer, stream: Any, path: str) -> None:
    events = Events(stream, path)
    try:
        async for item in stream:
            data = events.event(item)
            if not data:
                continue
            if not answer.status:
                answer.starts(200, EVENT_HEADERS)
            await answer.put(data)
        last = events.end()
        if not answer.status:
            answer.starts(200, EVENT_HEADERS)
        answer.end(last)
    finally:
        await _let_go(events.truth, stream)


async def _let_go(*streams: Any) -> None:
    """Close the provider's stream, so that nothing goes on writing."""
    for stream in streams:
        aclose = getattr(stream, "aclose", None)
        if aclose is None:
            continue
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await aclose()
        except Exception:  # noqa: BLE001, S110  # the edge to a library: the answer is told already, only a connection is lost
            pass


def _refused(answer: TranslatedAnswer, refusal: Refusal, path: str) -> None:
    answer.starts(refusal.status, (*JSON_HEADERS, *refusal.headers))
    answer.end(error_body(refusal, path))


def error_body(error: GatewayError, path: str) -> bytes:
    """The error in the dialect of the path's wire."""
    dialect = ANTHROPIC if path.startswith("/messages") else OPENAI
    return dialect.error_body(error)


def manner_of(spec: UpstreamSpec, environ: Mapping[str, str]) -> tuple[Manner, tuple[str, ...]]:
    """How an upstream is asked, and the secrets that this holds. Raises Invalid, UpstreamUnavailable."""
    provider = dict(PROVIDERS).get(spec.kind) or spec.provider
    if not provider:
        raise Invalid("provider", "is missing", mend="name one that litellm knows, as in provider: bedrock")
    secrets: list[str] = []
    fixed = {name: _resolved(value, environ, secrets) for name, value in spec.params.items()}
    headers = dict(spec.headers)
    secrets.extend(headers.values())
    if spec.api_key is not None:
        fixed["api_key"] = key = resolve(spec.api_key, environ)
        secrets.append(key)
        if spec.auth_header is not None:
            headers[spec.auth_header] = key
    elif spec.kind != "litellm":
        fixed["api_key"] = NO_KEY
    if spec.base_url is not None:
        fixed["api_base"] = spec.base_url.rstrip("/")
    if headers:
        fixed["extra_headers"] = headers
    if spec.ca_file is not None:
        fixed["ssl_verify"] = spec.ca_file
    told = tuple(each for each in secrets if len(each) >= MIN_SECRET)
    return Manner(provider, fixed, spec.connect_seconds), told


def _resolved(value: object, environ: Mapping[str, str], secrets: list[str]) -> object:
    """A parameter with its references to secrets replaced, at any depth; what they stand for goes to `secrets`."""
    if isinstance(value, str) and value.startswith(REFERENCES):
        secrets.append(resolve(value, environ))
        return secrets[-1]
    if isinstance(value, dict):
        return {name: _resolved(inner, environ, secrets) for name, inner in value.items()}
    if isinstance(value, list):
        return [_resolved(inner, environ, secrets) for inner in value]
    return value

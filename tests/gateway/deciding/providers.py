"""Providers for tests: the SDK's own in memory, flagd's Python core, and ones that hang, raise or give rubbish.

The functions without arguments are factories, named in tests as `tests.gateway.deciding.providers:<name>`.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Mapping
from typing import Any

from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext
from openfeature.flag_evaluation import FlagResolutionDetails, Reason
from openfeature.provider import AbstractProvider, Metadata
from openfeature.provider.in_memory_provider import InMemoryFlag, InMemoryProvider

FLAG = "support-bot.prompt"


def constant(variant: str) -> InMemoryProvider:
    """Gives one version to all."""
    return InMemoryProvider({FLAG: InMemoryFlag(variant, {variant: variant})})


def splitting(percent: float, candidate: str = "v7", serve: str = "v6") -> InMemoryProvider:
    """Tosses a coin of its own, and says SPLIT."""

    def toss(flag: Any, context: EvaluationContext) -> FlagResolutionDetails[str]:
        bucket = zlib.crc32((context.targeting_key or "").encode()) % 10_000
        name = candidate if bucket < percent * 100 else serve
        return FlagResolutionDetails(name, variant=name, reason=Reason.SPLIT)

    variants = {serve: serve, candidate: candidate}
    return InMemoryProvider({FLAG: InMemoryFlag(serve, variants, context_evaluator=toss)})


class Odd(AbstractProvider):
    """Resolves texts (and nothing else) by a function."""

    def __init__(self, text: Callable[[], FlagResolutionDetails[str]]) -> None:
        super().__init__()
        self._text = text

    def get_metadata(self) -> Metadata:
        return Metadata("odd")

    def resolve_string_details(
        self, flag_key: str, default_value: str, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[str]:
        return self._text()

    def _mismatch(self, *_: Any, **__: Any) -> Any:
        raise TypeError("a text only")

    resolve_boolean_details = resolve_integer_details = resolve_float_details = _mismatch
    resolve_object_details = _mismatch


class Flagd(AbstractProvider):
    """flagd's Python core as a provider."""

    def __init__(self, flags: Mapping[str, Any]) -> None:
        super().__init__()
        import json  # noqa: PLC0415  # only here

        self._core = FlagdCore()
        self._core.set_flags(json.dumps({"flags": flags}))

    def get_metadata(self) -> Metadata:
        return Metadata("flagd")

    def resolve_string_details(
        self, flag_key: str, default_value: Any, evaluation_context: Any = None
    ) -> Any:
        return self._core.resolve_string_value(flag_key, default_value, evaluation_context)

    def resolve_object_details(
        self, flag_key: str, default_value: Any, evaluation_context: Any = None
    ) -> Any:
        return self._core.resolve_object_value(flag_key, default_value, evaluation_context)

    def resolve_boolean_details(
        self, flag_key: str, default_value: Any, evaluation_context: Any = None
    ) -> Any:
        return self._core.resolve_boolean_value(flag_key, default_value, evaluation_context)

    def resolve_integer_details(
        self, flag_key: str, default_value: Any, evaluation_context: Any = None
    ) -> Any:
        return self._core.resolve_integer_value(flag_key, default_value, evaluation_context)

    def resolve_float_details(self, flag_key: str, default_value: Any, evaluation_context: Any = None) -> Any:
        return self._core.resolve_float_value(flag_key, default_value, evaluation_context)


def always_v7() -> InMemoryProvider:
    return constant("v7")


def half() -> InMemoryProvider:
    return splitting(50.0)


def hanging() -> Odd:
    return Odd(lambda: (threading.Event().wait() and FlagResolutionDetails("")) or FlagResolutionDetails(""))


def raising() -> Odd:
    def text() -> FlagResolutionDetails[str]:
        raise RuntimeError("kaputt")

    return Odd(text)


def broken() -> Odd:
    raise OSError("no such service")


def nothing() -> object:
    return object()


async def coroutine() -> Odd:
    return raising()

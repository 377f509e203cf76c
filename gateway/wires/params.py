"""A version's parameters as each wire calls them. Pure: names and JSON; no request and no upstream.

A model version's `params` are written once, in the words of chat completions; other endpoints call them otherwise, or
know them not. What an endpoint is known to lack is left out there; a name that nobody here knows is some provider's own
(`top_k`, `thinking`, `input_type`) and goes along on every wire but where only what is listed is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from gateway.ask import object_in
from gateway.errors import BadRequest
from gateway.wires.tooling import (
    choice_for_messages,
    choice_for_responses,
    format_for_messages,
    format_for_responses,
    tools_for_messages,
    tools_for_responses,
)

Raw = msgspec.Raw

CHAT = "chat"
NO_PARAMS: Mapping[str, bytes] = MappingProxyType({})
NOT_LOCKED: frozenset[str] = frozenset()

# Between an object's name and a field's in it: `reasoning.effort`. The object's other fields stay the app's.
WITHIN = "."

_NULL = Raw(b"null")
_encode = msgspec.json.Encoder().encode


class Word(NamedTuple):
    """What a wire calls a parameter, and how it spells the value; None: it cannot say this."""

    name: str
    spell: Callable[[object], object | None] = lambda value: value


class Speech(NamedTuple):
    """How a wire differs from chat: other words, what it lacks, and where that is known, all that it takes."""

    words: Mapping[str, Word]
    lacks: frozenset[str]
    takes: frozenset[str] | None = None

    def say(self, params: Mapping[str, object]) -> dict[str, bytes]:
        """The JSON of each parameter by its name here; a parameter written in this wire's own word counts most."""
        said = {}
        for name, value in sorted(params.items(), key=lambda item: item[0] not in self.words):
            word = self.words.get(name) or Word(name)
            spelt = word.spell(value)
            unknown = self.takes is not None and word.name.partition(WITHIN)[0] not in self.takes
            if spelt is not None and word.name not in self.lacks and not unknown:
                said[word.name] = _encode(spelt)
        return said


def _list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _number(value: object) -> object | None:
    return None if isinstance(value, bool) else value


# What only chat has.
_CHATS = frozenset(
    (
        "audio",
        "function_call",
        "functions",
        "modalities",
        "prediction",
        "stream_options",
        "web_search_options",
    )
)
# How OpenAI's two older wires choose tokens; its newer one and Anthropic's have none of it.
_DRAWS = frozenset(("frequency_penalty", "logit_bias", "logprobs", "n", "presence_penalty", "seed"))
_ANSWERS = frozenset(
    (
        "max_completion_tokens", "parallel_tool_calls", "reasoning_effort", "response_format", "store", "tool_choice",
        "tools", "top_logprobs", "verbosity",
    )
)  # fmt: skip
# About an account at OpenAI.
_OPENAIS = frozenset(
    ("metadata", "prompt_cache_key", "prompt_cache_retention", "safety_identifier", "service_tier")
)

# `logprobs` is a switch in chat and a number there.
_COMPLETIONS = Speech(
    {"max_completion_tokens": Word("max_tokens"), "logprobs": Word("logprobs", _number)},
    (_CHATS | _ANSWERS | _OPENAIS) - {"max_completion_tokens"},
)
# `dimensions`, `encoding_format`, `user` and a provider's own (`input_type`, `truncate`) are left.
_EMBEDDINGS = Speech(
    {},
    _CHATS | _DRAWS | _ANSWERS | _OPENAIS | {"max_tokens", "stop", "temperature", "top_k", "top_p", "min_p"},
)
_RESPONSES = Speech(
    {
        "max_tokens": Word("max_output_tokens"),
        "max_completion_tokens": Word("max_output_tokens"),
        "reasoning_effort": Word("reasoning.effort"),
        "verbosity": Word("text.verbosity"),
        "response_format": Word("text.format", format_for_responses),
        "tools": Word("tools", tools_for_responses),
        "tool_choice": Word("tool_choice", choice_for_responses),
    },
    _CHATS | _DRAWS | {"stop"},
)
# `service_tier` has other values there, and the app's `user` is its `metadata.user_id`, which no version can know.
# `max_tokens` must be there: where neither app nor version gives it, that is the provider's to say.
_MESSAGES = Speech(
    {
        "max_completion_tokens": Word("max_tokens"),
        "max_output_tokens": Word("max_tokens"),
        "stop": Word("stop_sequences", _list),
        "response_format": Word("output_config.format", format_for_messages),
        "tools": Word("tools", tools_for_messages),
        "tool_choice": Word("tool_choice", choice_for_messages),
    },
    _CHATS
    | _DRAWS
    | _OPENAIS
    | {"parallel_tool_calls", "reasoning_effort", "store", "top_logprobs", "user", "verbosity"},
)
# What counts as input; anything else is refused there.
_COUNTED = frozenset(
    (
        "cache_control",
        "context_management",
        "mcp_servers",
        "output_config",
        "thinking",
        "tool_choice",
        "tools",
    )
)

SPEECHES: Mapping[str, Speech] = MappingProxyType(
    {
        CHAT: Speech({}, frozenset()),
        "completions": _COMPLETIONS,
        "embeddings": _EMBEDDINGS,
        "responses": _RESPONSES,
        "messages": _MESSAGES,
        "count_tokens": _MESSAGES._replace(takes=_COUNTED),
    }
)

# Two names for one thing, of which a provider takes one: the app's word counts, or a locked one.
RIVALS: Mapping[str, str] = MappingProxyType(
    {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
)


def params_by_wire(params: Mapping[str, object]) -> Mapping[str, Mapping[str, bytes]]:
    """Each parameter's JSON, by the name of the wire and then by the name that it has there."""
    return {wire: speech.say(params) for wire, speech in SPEECHES.items()}


def names_anywhere(names: Iterable[str]) -> frozenset[str]:
    """What chat's `names` are called on any wire: what is locked on one is locked on all."""
    words = [
        speech.words[name].name for name in names for speech in SPEECHES.values() if name in speech.words
    ]
    return frozenset((*names, *words))


def put_params(fields: dict[str, Raw], params: Mapping[str, bytes], locked: frozenset[str]) -> None:
    """A version's parameters, where the app sent none or the model version has locked them."""
    for name, value in params.items():
        if WITHIN in name:
            _put_within(fields, name, value, locked=name in locked)
            continue
        rival = RIVALS.get(name)
        if name in locked:
            fields[name] = Raw(value)
            if rival is not None:
                fields.pop(rival, None)
        elif name not in fields and (rival is None or rival not in fields):
            fields[name] = Raw(value)


def _put_within(fields: dict[str, Raw], name: str, value: bytes, *, locked: bool) -> None:
    """One field of an object of which the app may have sent others; what is no object is the provider's to judge."""
    outer, _, inner = name.partition(WITHIN)
    sent = fields.get(outer)
    try:
        held = {} if sent is None or sent == _NULL else object_in(sent, outer)
    except BadRequest:
        if not locked:
            return
        held = {}
    if locked or inner not in held:
        held[inner] = Raw(value)
        fields[outer] = Raw(_encode(held))

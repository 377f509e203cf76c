"""A request's and an answer's texts as OpenTelemetry's GenAI conventions have messages: roles with parts, JSON. Pure.

Reads leniently: what cannot be read is left out. `Any`: bodies come in every shape. Source: gen-ai-input-messages.json and
gen-ai-output-messages.json of the conventions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

# Characters of all texts of an attribute: what a log line shows. Collectors refuse far larger ones.
TEXT_CHARACTERS = 64 * 1024
# Parts that are told of one request: far more than a conversation has.
MOST_PARTS = 1000
_FINISH = re.compile(rb'"(?:finish_reason|stop_reason)"\s*:\s*"([a-z_]{1,32})"')


class Part(msgspec.Struct, frozen=True, omit_defaults=True):
    """A text; of anything else only what it is."""

    type: str
    content: str = ""


class InputMessage(msgspec.Struct, frozen=True):
    """What somebody said."""

    role: str
    parts: list[Part]


class OutputMessage(msgspec.Struct, frozen=True):
    """What was answered, and why it ended."""

    role: str
    parts: list[Part]
    finish_reason: str


def asked_in(body: bytes, wire: str) -> str:
    """The messages of a request as JSON; "" where its wire has none, or they cannot be read."""
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    if not isinstance(fields, dict):
        return ""
    found = [*_orders(fields, wire), *_said(fields, wire)]
    return msgspec.json.encode(_bounded(found)).decode() if found else ""


def answered_in(text: str, body: bytes, *, ended: bool) -> str:
    """An answer of `text` as JSON; `body` (as it went out) says why it ended. Not `ended`: it was broken off."""
    reasons = _FINISH.findall(body)
    reason = reasons[-1].decode() if reasons else "stop" if ended else "error"
    message = OutputMessage("assistant", [Part("text", text[:TEXT_CHARACTERS])], reason)
    return msgspec.json.encode([message]).decode()


def _orders(fields: dict[str, Any], wire: str) -> Iterator[InputMessage]:
    """What stands beside the messages as the system's."""
    content = fields.get({"messages": "system", "responses": "instructions"}.get(wire, ""))
    if content:
        yield InputMessage("system", [*_parts(content)])


def _said(fields: dict[str, Any], wire: str) -> Iterator[InputMessage]:
    found = fields.get({"responses": "input", "completions": "prompt"}.get(wire, "messages"))
    if isinstance(found, str):
        yield InputMessage("user", [Part("text", found)])
        return
    for each in found if isinstance(found, list) else ():
        if isinstance(each, dict) and isinstance(each.get("role"), str):
            yield InputMessage(each["role"], [*_parts(each.get("content"))])


def _parts(content: Any) -> Iterator[Part]:
    if isinstance(content, str):
        yield Part("text", content)
    for each in content if isinstance(content, list) else ():
        if isinstance(each, dict) and isinstance(each.get("type"), str):
            text = each.get("text")
            yield Part("text", text) if isinstance(text, str) else Part(each["type"])


def _bounded(messages: list[InputMessage]) -> list[InputMessage]:
    """As much as there is room for, the last ones first: they are what was asked."""
    kept: list[InputMessage] = []
    room, parts_left = TEXT_CHARACTERS, MOST_PARTS
    for message in reversed(messages):
        if room <= 0 or parts_left <= 0:
            break
        parts = message.parts[:parts_left]
        shown = []
        for part in parts:
            shown.append(Part(part.type, part.content[: max(room, 0)]))
            room -= len(part.content)
        parts_left -= len(parts) or 1
        kept.append(InputMessage(message.role, shown))
    return kept[::-1]

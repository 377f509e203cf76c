"""The text of an answer from its bytes as they were relayed, whole or as a stream, on each wire that has text.

Pure. Reads leniently: what cannot be read is no text, and is not judged. `Any`: answers come in every shape.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

# Wires whose answers are texts.
WIRES = frozenset({"chat", "completions", "messages", "responses"})


def text_of(body: bytes, wire: str) -> str:
    """What the answer says; "" where it says nothing, or cannot be read. Of several choices the first."""
    if body.lstrip()[:1] == b"{":
        return _whole(_read(body), wire)
    return "".join(_told(event, wire) for event in _events(body))


def _events(body: bytes) -> Iterator[Any]:
    """The documents of a stream."""
    for line in body.splitlines():
        if line.startswith(b"data:"):
            yield _read(line[5:])


def _whole(found: Any, wire: str) -> str:
    if wire == "messages":
        return _joined(_at(found, "content"))
    if wire == "responses":
        return "".join(_joined(_at(item, "content")) for item in _list(_at(found, "output")))
    choice = _first(found)
    if wire == "completions":
        return _text(_at(choice, "text"))
    message = _at(choice, "message")
    return _joined(_at(message, "content")) or _text(_at(message, "refusal"))


def _told(event: Any, wire: str) -> str:
    """What one event adds."""
    if wire == "messages":
        delta = _at(event, "delta")
        return _text(_at(delta, "text")) if _at(delta, "type") == "text_delta" else ""
    if wire == "responses":
        spoken = _at(event, "type") in {"response.output_text.delta", "response.refusal.delta"}
        return _text(_at(event, "delta")) if spoken else ""
    choice = _first(event)
    if wire == "completions":
        return _text(_at(choice, "text"))
    delta = _at(choice, "delta")
    return _joined(_at(delta, "content")) or _text(_at(delta, "refusal"))


def _first(found: Any) -> Any:
    """The choice that is called the first."""
    choices = _list(_at(found, "choices"))
    return next((each for each in choices if _at(each, "index") in {0, None}), None)


def _joined(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(_text(_at(part, "text")) or _text(_at(part, "refusal")) for part in _list(content))


def _read(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _at(found: Any, name: str) -> Any:
    return found.get(name) if isinstance(found, dict) else None


def _list(found: Any) -> list[Any]:
    return found if isinstance(found, list) else []


def _text(found: Any) -> str:
    return found if isinstance(found, str) else ""

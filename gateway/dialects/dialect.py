"""In which words an app is told that something went wrong: OpenAI's or Anthropic's. Knows errors, no request."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from gateway.dialects import anthropic, openai
from gateway.errors import GatewayError


class Dialect(NamedTuple):
    """`error_event` ends a stream that failed after its first content; `tail` follows an error that the upstream itself
    has sent as its last event."""

    error_body: Callable[[GatewayError], bytes]
    error_event: Callable[[GatewayError], bytes]
    tail: bytes


OPENAI = Dialect(openai.error_body, openai.error_event, openai.DONE)
RESPONSES = Dialect(openai.error_body, openai.response_error_event, openai.DONE)
ANTHROPIC = Dialect(anthropic.error_body, anthropic.error_event, b"")

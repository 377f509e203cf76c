"""What the gateway looks for in a provider's JSON: content, usage, an end, an error. All else stays unread.

Knows no stream and no connection. Documents of the expected shape are read at one go (0.5 µs); any other
shape is read leniently, for an odd answer is still the provider's answer.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from gateway.errors import UpstreamGarbled
from gateway.taps.reported import name_in, names_in

# What of a delta shows nothing to a reader; all else that is not empty does (text, refusal, tools, audio…).
NO_CONTENT = frozenset(("role", "name", "id", "index"))

# No provider counts this far; beyond it numbers are noise. Sums of years stay below the 2**63 that Redis counts to.
COUNT_MAX = 10**9
# A number beyond it makes a document one of an odd shape, which is read by `count`.
Count = Annotated[int, Meta(ge=0, le=COUNT_MAX)]
# No single request costs this much; beyond it a number is no USD.
COST_MAX_USD = 1e6

# So much of a provider's error is quoted.
QUOTED_CHARACTERS = 500


_NOTHING = re.compile(rb"\s*(\{\s*\})?\s*")


class InputDetails(msgspec.Struct, frozen=True, gc=False):
    """What a provider tells of a prompt's tokens."""

    cached_tokens: Count | None = None


class OutputDetails(msgspec.Struct, frozen=True, gc=False):
    """What a provider tells of a completion's tokens."""

    reasoning_tokens: Count | None = None


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Tokens as the provider counted them; None where it told nothing."""

    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    prompt_tokens_details: InputDetails | None = None
    completion_tokens_details: OutputDetails | None = None
    # What the request cost, by those who say so (OpenRouter: USD). `Any`: some say it in parts.
    cost: Any = None

    @property
    def cost_usd(self) -> float | None:
        """What the provider says it charges, in USD; None where it says nothing that can be a cost."""
        return usd(self.cost)

    @property
    def cached_tokens(self) -> int | None:
        """Of the prompt's tokens, those that the provider had in its cache."""
        return self.prompt_tokens_details.cached_tokens if self.prompt_tokens_details else None

    @property
    def reasoning_tokens(self) -> int | None:
        """Of the completion's tokens, those that nobody sees."""
        return self.completion_tokens_details.reasoning_tokens if self.completion_tokens_details else None


class Choice(msgspec.Struct, frozen=True, gc=False):
    """One of an answer's choices. `Any`: whatever a delta holds besides its role is content."""

    finish_reason: str | None = None
    delta: dict[str, Any] | None = None
    text: Any = None

    @property
    def has_content(self) -> bool:
        """Whether something came that a user could see."""
        if self.delta:
            for name, value in self.delta.items():
                if value and name not in NO_CONTENT:
                    return True
        return bool(self.text)


class Document(msgspec.Struct, frozen=True, gc=False):
    """A chunk of a stream, or a whole answer. `Any`: errors come in every shape."""

    choices: list[Choice] | None = None
    usage: Usage | None = None
    error: Any = None

    @property
    def tells_error(self) -> bool:
        """An `error` that is not empty."""
        return is_error(self.error)

    @property
    def is_usage_only(self) -> bool:
        """Whether this is the chunk that `include_usage` adds."""
        return self.choices == [] and self.usage is not None and not self.tells_error


class JsonPeek(msgspec.Struct, frozen=True, gc=False):
    """What was seen in a whole answer."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    finish_reason: str | None = None
    cost_usd: float | None = None
    # Of the input, what was put into the provider's cache, where that has a price of its own.
    written_tokens: int | None = None
    # As whom the provider answered, and whether it only said that it will not.
    model: str | None = None
    fingerprint: str | None = None
    refused: bool = False


class Said(msgspec.Struct, frozen=True, gc=False):
    """A choice's message, of which only a refusal is read."""

    refusal: Any = None


class Answer(msgspec.Struct, frozen=True, gc=False):
    """One choice of a whole answer."""

    finish_reason: str | None = None
    message: Said | None = None


class Answers(msgspec.Struct, frozen=True, gc=False):
    """A whole answer of the expected shape. A Struct beside Document: a stream's chunks need not be searched for more."""

    choices: list[Answer]
    usage: Usage | None = None
    error: Any = None
    model: Any = None
    system_fingerprint: Any = None


_DOCUMENT = msgspec.json.Decoder(Document)
_decode_answers = msgspec.json.Decoder(Answers).decode
_NO_USAGE = Usage()


def read_document(payload: bytes) -> Document:
    """Look into one document. Raises UpstreamGarbled where it is no JSON."""
    try:
        document = _DOCUMENT.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _lenient(payload)
    return document if document.choices is not None else _lenient(payload)


def peek_json(body: bytes) -> JsonPeek:
    """Look at a whole answer that came with a 2xx.

    Raises UpstreamGarbled when it is no answer: empty, no JSON, no object with anything in it, or an error.
    """
    try:
        answers = _decode_answers(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _peek_any(body)
    if is_error(answers.error):
        return _peek_any(body)
    usage, reason, refused = answers.usage or _NO_USAGE, None, False
    for choice in answers.choices:
        reason = choice.finish_reason or reason
        refused = refused or bool(choice.message is not None and choice.message.refusal)
    return JsonPeek(
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.cached_tokens,
        usage.reasoning_tokens,
        reason,
        usage.cost_usd,
        None,
        name_in(answers.model),
        name_in(answers.system_fingerprint),
        refused,
    )


def _peek_any(body: bytes) -> JsonPeek:
    """A whole answer of any other shape."""
    if not body.strip():
        raise UpstreamGarbled("the upstream answered with an empty body")
    document = read_document(body)
    if document.tells_error:
        raise UpstreamGarbled(f"the upstream answered with an error under a success status: {error_in(body)}")
    if document.choices is None and not _is_filled_object(body):
        raise UpstreamGarbled("the upstream's answer is not a JSON object with anything in it")
    usage = document.usage or Usage()
    reasons = [choice.finish_reason for choice in document.choices or () if choice.finish_reason]
    return JsonPeek(
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.cached_tokens,
        usage.reasoning_tokens,
        reasons[-1] if reasons else None,
        usage.cost_usd,
        None,
        *names_in(body),
    )


def error_in(payload: bytes) -> str:
    """The message of an error document, as far as there is one."""
    try:
        found = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return payload[:QUOTED_CHARACTERS].decode("utf-8", "replace")
    return error_text(found)


def error_text(found: object) -> str:
    """The message in what a provider gives as an error, in whatever shape."""
    if isinstance(found, dict):
        found = found.get("error") or found
    if isinstance(found, dict):
        found = found.get("message") or found
    text = found if isinstance(found, str) else json.dumps(found, separators=(",", ":"), ensure_ascii=False)
    # A lone surrogate, which Python's reader takes, could not be sent on.
    return text[:QUOTED_CHARACTERS].encode("utf-8", "replace").decode()


def is_error(told: object) -> bool:
    """Whether an `error` field says that there is one: it is not empty."""
    return told is not None and told is not False and told != ""


def expect_answer(body: bytes, error: object) -> None:
    """Raises UpstreamGarbled where a body that came with a 2xx is no answer: an error, or nothing in it."""
    if is_error(error):
        raise UpstreamGarbled(
            f"the upstream answered with an error under a success status: {error_text(error)}"
        )
    if _NOTHING.fullmatch(body):
        raise UpstreamGarbled("the upstream's answer is empty")


def read_lenient(payload: bytes) -> dict[str, Any] | None:
    """JSON that only Python's own reader takes, as providers send and apps read it: lone surrogates (an emoji split
    over two deltas), numbers beyond a double. None for what is no object. Raises UpstreamGarbled where it is no JSON."""
    try:
        found = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise UpstreamGarbled(f"what the upstream sent is not JSON: {error}") from error
    return found if isinstance(found, dict) else None


def _is_filled_object(body: bytes) -> bool:
    return bool(read_lenient(body))


def _lenient(payload: bytes) -> Document:
    """Take from JSON of an unexpected shape what can be understood."""
    found = read_lenient(payload)
    if found is None:
        return Document()
    choices = found.get("choices")
    usage = found.get("usage")
    return Document(
        choices=[_choice(each) for each in choices] if isinstance(choices, list) else None,
        usage=_usage(usage) if isinstance(usage, dict) else None,
        # vLLM sends the error itself: {"object": "error", "message": …}.
        error=found if found.get("object") == "error" else found.get("error"),
    )


def _choice(found: object) -> Choice:
    if not isinstance(found, dict):
        return Choice()
    reason, delta = found.get("finish_reason"), found.get("delta")
    return Choice(
        finish_reason=None if reason is None else str(reason),
        delta=delta if isinstance(delta, dict) else None,
        text=found.get("text"),
    )


def _usage(found: dict[str, object]) -> Usage:
    given, made = found.get("prompt_tokens_details"), found.get("completion_tokens_details")
    return Usage(
        prompt_tokens=count(found.get("prompt_tokens")),
        completion_tokens=count(found.get("completion_tokens")),
        prompt_tokens_details=InputDetails(count(given.get("cached_tokens")))
        if isinstance(given, dict)
        else None,
        completion_tokens_details=OutputDetails(count(made.get("reasoning_tokens")))
        if isinstance(made, dict)
        else None,
        cost=found.get("cost"),
    )


def usd(told: object) -> float | None:
    """What a provider says that it charges, where that can be a cost in USD."""
    if isinstance(told, int | float) and not isinstance(told, bool) and 0 <= told < COST_MAX_USD:
        return float(told)
    return None


def count(found: object) -> int | None:
    """A whole number of tokens; a float that is one (12.0) counts as it, and what cannot be a count as none."""
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found <= COUNT_MAX:
        return None
    return int(found) if found == int(found) else None

"""A way in: what one endpoint's bodies and answers mean. Knows bytes and JSON, no route, no flag and no connection."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from flags.model import Json, Layer
from gateway.ask import Ask
from gateway.dialects.dialect import OPENAI, Dialect
from gateway.dialects.openai import EVENT_STREAM
from gateway.errors import BadRequest, UpstreamGarbled
from gateway.index.passage import Passage
from gateway.prompt import PreparedPrompt
from gateway.retrieval.retriever import Asked
from gateway.taps.peek import JsonPeek, peek_json
from gateway.taps.sse import Tap
from gateway.upstream.base import Answer, Headers

_encode = msgspec.json.Encoder().encode

EVERY_LAYER = frozenset(Layer)
WITHOUT_PROMPT = frozenset({Layer.PIPELINE, Layer.MODEL})
STREAM_HEAD = (EVENT_STREAM, (b"cache-control", b"no-cache"))


class Wire(ABC):
    """One endpoint's language. It has no state: one instance serves every request (a raw one is made for each)."""

    # By which parameters, metrics and caches know it; GenAI's conventions call it the operation.
    name: str
    operation: str = "chat"
    # Below the upstream's base.
    path: str
    method: Literal["POST", "GET", "DELETE"] = "POST"
    # What an app calls the name of a route here.
    named_by: str = "model"
    content_type: bytes = b"application/json"
    dialect: Dialect = OPENAI
    # Which layers apply here: the others are neither resolved nor named in the headers.
    layers: frozenset[Layer] = EVERY_LAYER
    # Whether its streams have room for an error event; where not, one that fails is broken off.
    framed: bool = True
    # Whether a 404 speaks of something that the app named (a file), and not of the version's model.
    finds: bool = False
    # Whether a model answers; where none does, what was found is the answer.
    asks_model: bool = True
    # Whether another attempt may be made where one has failed: what has lasting effects is asked once.
    repeatable: bool = True
    # Whether the provider keeps prompts of its own, which a body's `prompt.id` names: their variables are not ours.
    keeps_prompts: bool = False

    @abstractmethod
    def read(self, body: bytes) -> Ask:
        """The call in `body`. Raises BadRequest for what is none."""

    def repeats(self, ask: Ask) -> bool:
        """Whether it may be asked again after an attempt that the upstream has heard of."""
        return self.repeatable

    def replayable(self, ask: Ask) -> bool:
        """Whether the shield may stand before it: what a candidate fails is asked again of its control."""
        return self.repeatable

    def mirrored(self, ask: Ask) -> Ask:
        """What a shadow is asked: the same, without what an answer would leave behind."""
        return ask

    def question(self, ask: Ask) -> str:
        """The text of the last user message, "" where there is none."""
        return ""

    def searched(self, ask: Ask) -> Asked:
        """What to search for, where the route has a retriever."""
        return Asked((ask.question(),))

    def found(self, passages: Sequence[Passage]) -> bytes:
        """The answer of a wire that asks no model."""
        raise AssertionError(f"a model answers on {self.name}")

    def put_prompt(
        self, fields: dict[str, msgspec.Raw], prompt: PreparedPrompt, variables: Mapping[str, Json]
    ) -> None:
        """Put the served prompt into the body's fields. Raises TemplateFailed."""
        raise AssertionError(f"the prompt layer does not apply to {self.name}")

    def ask_usage(self, fields: dict[str, msgspec.Raw], ask: Ask) -> None:  # noqa: B027  # most need not be asked
        """Ask for the tokens of a stream where the app did not: without them its cost is unknown."""

    def body(self, ask: Ask, fields: dict[str, msgspec.Raw], model: bytes) -> bytes:
        """The upstream's body, with its own name for the model (JSON) in the route's place. Raises BadRequest."""
        fields["model"] = msgspec.Raw(model)
        try:
            return _encode(fields)
        except (TypeError, ValueError) as error:
            raise BadRequest(f"the body cannot be sent on: {error}") from error

    def tap(self, ask: Ask, answer: Answer) -> Tap:
        """What watches the stream `answer`. Raises UpstreamGarbled where it is none."""
        expect_event_stream(answer)
        return Tap(hide_usage=not ask.wants_usage)

    def head(self, answer: Answer) -> tuple[int, Headers]:
        """Status and content type of a stream as the app gets it."""
        return 200, STREAM_HEAD

    def peek(self, body: bytes) -> JsonPeek:
        """What a whole answer tells. Raises UpstreamGarbled where a 2xx holds none: empty, no JSON, an error."""
        return peek_json(body)


def expect_event_stream(answer: Answer) -> None:
    """Raises UpstreamGarbled when a stream was asked for and something else came."""
    content_type = dict(answer.headers).get(b"content-type", b"")
    if not 200 <= answer.status < 300 or not content_type.lower().startswith(b"text/event-stream"):
        kind = content_type.decode("latin-1")[:100] or "no content type"
        raise UpstreamGarbled(f"a stream was asked for; the upstream answered {answer.status} with {kind}")

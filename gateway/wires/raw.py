"""What is relayed as it comes: audio, images, files, batches, and what hangs below a response or a message batch.

The route says which upstream answers, with whose key; the model's name is put in where the endpoint takes one. No other
layer applies. Knows paths and forms, nothing of what the bodies mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple
from urllib.parse import parse_qsl, quote, urlencode

import msgspec

from gateway.ask import Ask, body_fields, text_field
from gateway.dialects.dialect import ANTHROPIC, OPENAI, Dialect
from gateway.errors import BadRequest, UpstreamGarbled
from gateway.taps.sse import Tap
from gateway.upstream.base import Answer, Headers
from gateway.wires.base import WITHOUT_PROMPT, Wire
from gateway.wires.multipart import boundary_of, find_field, with_field

Method = Literal["POST", "GET", "DELETE"]

FORM = b"multipart/form-data"
JSON = b"application/json"
# By which a call names its route where its body has no model.
ROUTE_HEADER, ROUTE_PARAM = b"x-pointsman-route", "route"


class Relayed(NamedTuple):
    """One endpoint: `names_model` tells that its body holds a model's name, `repeatable` that asking twice does no harm."""

    method: Method
    path: str
    operation: str
    names_model: bool = False
    repeatable: bool = True
    dialect: Dialect = OPENAI


RELAYED = (
    Relayed("POST", "/audio/speech", "speech", names_model=True),
    Relayed("POST", "/audio/transcriptions", "transcription", names_model=True),
    Relayed("POST", "/audio/translations", "translation", names_model=True),
    Relayed("POST", "/images/generations", "image_generation", names_model=True),
    Relayed("POST", "/images/edits", "image_edit", names_model=True),
    Relayed("POST", "/images/variations", "image_variation", names_model=True),
    Relayed("POST", "/moderations", "moderation", names_model=True),
    Relayed("POST", "/files", "files", repeatable=False),
    Relayed("GET", "/files", "files"),
    Relayed("GET", "/files/{file_id}", "files"),
    Relayed("DELETE", "/files/{file_id}", "files", repeatable=False),
    Relayed("GET", "/files/{file_id}/content", "files"),
    Relayed("POST", "/batches", "batches", repeatable=False),
    Relayed("GET", "/batches", "batches"),
    Relayed("GET", "/batches/{batch_id}", "batches"),
    Relayed("POST", "/batches/{batch_id}/cancel", "batches", repeatable=False),
    Relayed("GET", "/responses/{response_id}", "responses"),
    Relayed("DELETE", "/responses/{response_id}", "responses", repeatable=False),
    Relayed("POST", "/responses/{response_id}/cancel", "responses", repeatable=False),
    Relayed("GET", "/responses/{response_id}/input_items", "responses"),
    Relayed("POST", "/messages/batches", "batches", repeatable=False, dialect=ANTHROPIC),
    Relayed("GET", "/messages/batches", "batches", dialect=ANTHROPIC),
    Relayed("GET", "/messages/batches/{batch_id}", "batches", dialect=ANTHROPIC),
    Relayed("DELETE", "/messages/batches/{batch_id}", "batches", repeatable=False, dialect=ANTHROPIC),
    Relayed("GET", "/messages/batches/{batch_id}/results", "batches", dialect=ANTHROPIC),
    Relayed("POST", "/messages/batches/{batch_id}/cancel", "batches", repeatable=False, dialect=ANTHROPIC),
)


class Came(NamedTuple):
    """What a call tells beside its body: the ids in its path, its query (as bytes), its headers."""

    ids: Mapping[str, str]
    query: bytes
    headers: Mapping[bytes, bytes]


class Raw(Wire):
    """One call of a relayed endpoint (made for each, since its path is its own)."""

    name, layers, framed = "raw", WITHOUT_PROMPT, False

    def __init__(self, relayed: Relayed, came: Came) -> None:
        self.operation, self.dialect = relayed.operation, relayed.dialect
        self.named_by = "model" if relayed.names_model else "route"
        self.method, self.repeatable, self.finds = relayed.method, relayed.repeatable, bool(came.ids)
        self.content_type = came.headers.get(b"content-type", JSON)
        self._names_model, self._headers = relayed.names_model, came.headers
        query = parse_qsl(came.query.decode("latin-1"), keep_blank_values=True)
        self._route_param = next((value for name, value in query if name == ROUTE_PARAM), None)
        rest = urlencode([pair for pair in query if pair[0] != ROUTE_PARAM])
        # An id is the provider's; whatever else it is, it stays one step of the path.
        ids = {name: quote(value, safe="") for name, value in came.ids.items()}
        self.path = relayed.path.format(**ids) + (f"?{rest}" if rest else "")
        # Dots would lead out of the path at the upstream.
        self._odd_id = any(value in {".", ".."} for value in came.ids.values())
        self._body = b""
        self._boundary: bytes | None = None

    def read(self, body: bytes) -> Ask:
        """The call. Raises BadRequest where neither the body nor anything else names a route."""
        self._body = body
        if self._odd_id:
            raise BadRequest("the address names no id: expected a name, found dots")
        fields: dict[str, msgspec.Raw] = {}
        named: str | None = None
        if self.content_type.lower().startswith(FORM) and body:
            self._boundary = boundary_of(self.content_type)
            field = find_field(body, self._boundary, "model")
            named = field.value if field else None
        elif self._names_model:
            fields = body_fields(body)
            named = text_field(fields, "model")
        return Ask(self, fields, self._route(named if self._names_model else None), stream=True)

    def _route(self, named: str | None) -> str:
        header = self._headers.get(ROUTE_HEADER)
        found = (header.decode("utf-8", "replace") if header else None) or self._route_param or named
        if not found:
            place = "model, or " if self._names_model else ""
            raise BadRequest(
                f"no route is named: expected {place}the header x-pointsman-route, or ?route= in the address",
                param="model" if self._names_model else None,
            )
        return found

    def replayable(self, ask: Ask) -> bool:
        """Never shielded: a file, a picture or a batch made twice is paid twice."""
        return False

    def body(self, ask: Ask, fields: dict[str, msgspec.Raw], model: bytes) -> bytes:
        """The body as it came, with the upstream's own name for the model where it takes one."""
        if not self._names_model:
            return self._body
        if self._boundary is not None:
            return with_field(self._body, self._boundary, "model", msgspec.json.decode(model, type=str))
        return super().body(ask, fields, model)

    def tap(self, ask: Ask, answer: Answer) -> Tap:
        """Nothing is looked for: the first byte is the first content, and the connection's own end is the end."""
        if not 200 <= answer.status < 300:
            raise UpstreamGarbled(f"the upstream answered with status {answer.status}, which is no answer")
        return Unread()

    def head(self, answer: Answer) -> tuple[int, Headers]:
        """The upstream's own status and content type."""
        kind = next((pair for pair in answer.headers if pair[0] == b"content-type"), None)
        return answer.status, [kind] if kind else []


class Unread(Tap):
    """A tap on bytes that mean nothing to us."""

    @property
    def ended_well(self) -> bool:
        """The connection says so: a broken one raises."""
        return True

    def feed(self, data: bytes) -> bytes:
        """All of it."""
        self.first_content = True
        return data

    def flush(self) -> bytes:
        """Nothing is held."""
        return b""

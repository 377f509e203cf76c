"""Files and batches of a simulated provider, in memory. Knows no time, no fault and no connection."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Any

import msgspec

from gateway.upstream.base import UpstreamRequest
from gateway.upstream.wording import Whole
from gateway.upstream.wording_errors import is_anthropics
from gateway.upstream.wording_media import form

# Enough for any test; the oldest go first.
MAX_THINGS = 100
MAX_BYTES = 16 * 1024 * 1024
# 14 November 2023: when everything here was made, so that the same calls always get the same answers.
CREATED = 1_700_000_000
CREATED_TEXT = "2023-11-14T22:13:20Z"
EXPIRES_TEXT = "2023-11-15T22:13:20Z"


class Missing(Exception):
    """Raised when there is no such path, file or batch, or none with this method."""


class Thing(msgspec.Struct, frozen=True):
    """A file with its bytes, or a batch."""

    document: dict[str, Any]
    content: bytes = b""


class OpenAIBatch(msgspec.Struct, frozen=True):
    """What a batch is made of."""

    input_file_id: str
    endpoint: str
    completion_window: str = "24h"
    metadata: dict[str, Any] | None = None


class AnthropicBatch(msgspec.Struct, frozen=True):
    """What a batch of messages is made of."""

    requests: list[dict[str, Any]]


class Shelf:
    """The things of one kind that were put here. What changes here: those, and how many there were."""

    def __init__(self) -> None:
        self._things: dict[str, OrderedDict[str, Thing]] = {}
        self._count = 0

    def answer(self, request: UpstreamRequest) -> Whole:
        """Put, show, list, cancel or take away. Raises Missing, msgspec.DecodeError."""
        path = request.path.partition("?")[0]
        root = next((each for each in ROOTS if path == each or path.startswith(f"{each}/")), None)
        if root is None:
            raise Missing(f"a simulated upstream has no {path}")
        things = self._things.setdefault(root, OrderedDict())
        rest = path[len(root) + 1 :].split("/") if path != root else []
        match request.method, rest:
            case "POST", []:
                return self._put(root, things, request)
            case "GET", []:
                return _list(root, [each.document for each in reversed(things.values())])
            case "GET", [name] if name in things:
                return _whole(things[name].document)
            case "GET", [name, "content"] if name in things and root == "/files":
                return Whole(things[name].content, b"application/octet-stream")
            case "POST", [name, "cancel"] if name in things and root != "/files":
                things[name] = Thing(things[name].document | _cancelled(root))
                return _whole(things[name].document)
            case "DELETE", [name] if name in things:
                del things[name]
                return _whole(_deleted(root, name))
        raise Missing(f"a simulated upstream has no {path} to {request.method}")

    def _put(self, root: str, things: OrderedDict[str, Thing], request: UpstreamRequest) -> Whole:
        self._count += 1
        digest = hashlib.sha256(b"%d %b" % (self._count, request.body)).hexdigest()[:24]
        thing = ROOTS[root](digest, request)
        things[thing.document["id"]] = thing
        while len(things) > MAX_THINGS or sum(len(each.content) for each in things.values()) > MAX_BYTES:
            things.popitem(last=False)
        return _whole(thing.document)


def _file(digest: str, request: UpstreamRequest) -> Thing:
    fields = form(request)
    if "file" not in fields:
        raise msgspec.ValidationError("the form has no field `file`")
    sent = fields["file"]
    purpose = fields["purpose"].value.decode(errors="replace") if "purpose" in fields else "user_data"
    document = {
        "id": f"file-{digest}",
        "object": "file",
        "bytes": len(sent.value),
        "created_at": CREATED,
        "filename": sent.filename or "file",
        "purpose": purpose,
        "status": "processed",
    }
    return Thing(document, sent.value)


def _batch(digest: str, request: UpstreamRequest) -> Thing:
    asked = msgspec.json.decode(request.body, type=OpenAIBatch)
    document = {
        "id": f"batch_{digest}",
        "object": "batch",
        "endpoint": asked.endpoint,
        "errors": None,
        "input_file_id": asked.input_file_id,
        "completion_window": asked.completion_window,
        "status": "in_progress",
        "created_at": CREATED,
        "request_counts": {"total": 0, "completed": 0, "failed": 0},
        "metadata": asked.metadata,
    }
    return Thing(document)


def _message_batch(digest: str, request: UpstreamRequest) -> Thing:
    asked = msgspec.json.decode(request.body, type=AnthropicBatch)
    waiting = {"processing": len(asked.requests), "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}
    document = {
        "id": f"msgbatch_{digest}",
        "type": "message_batch",
        "processing_status": "in_progress",
        "request_counts": waiting,
        "created_at": CREATED_TEXT,
        "expires_at": EXPIRES_TEXT,
        "ended_at": None,
        "cancel_initiated_at": None,
        "archived_at": None,
        "results_url": None,
    }
    return Thing(document)


# What each root holds, and how one of its things is made.
ROOTS = {"/files": _file, "/batches": _batch, "/messages/batches": _message_batch}


def _cancelled(root: str) -> dict[str, Any]:
    if is_anthropics(root):
        return {"processing_status": "canceling", "cancel_initiated_at": CREATED_TEXT}
    return {"status": "cancelling", "cancelling_at": CREATED}


def _deleted(root: str, name: str) -> dict[str, Any]:
    if is_anthropics(root):
        return {"id": name, "type": "message_batch_deleted"}
    return {"id": name, "object": root[1:].removesuffix("s"), "deleted": True}


def _list(root: str, documents: list[dict[str, Any]]) -> Whole:
    page: dict[str, Any] = {
        "data": documents,
        "has_more": False,
        "first_id": documents[0]["id"] if documents else None,
        "last_id": documents[-1]["id"] if documents else None,
    }
    return _whole(page if is_anthropics(root) else {"object": "list"} | page)


def _whole(document: dict[str, Any]) -> Whole:
    return Whole(msgspec.json.encode(document))

"""What the mock provider says on other wires than chat: whole answers and streams as HTTP. Bytes only; knows no gateway."""

from __future__ import annotations

import json
from typing import NamedTuple

from tests.bench import wire

TEXT = ("lorem ipsum dolor sit amet " * 40)[: wire.ANSWER_CHARACTERS]
WORDS = tuple(f" word{number:03d}" for number in range(wire.CONTENT_EVENTS))
# A small model's vector (as long as some that are in use), not a large one's: the wire is measured, not memcpy.
DIMENSIONS = 256

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nx-request-id: req_mock\r\nContent-Length: %d\r\n\r\n"
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


class Spoken(NamedTuple):
    """A wire's answer, and the writes of its stream (none: it has no streams)."""

    answer: bytes
    writes: tuple[bytes, ...] = ()


def spoken() -> dict[bytes, Spoken]:
    """By the path that is asked."""
    return {
        b"/v1/completions": completions(),
        b"/v1/embeddings": embeddings(),
        b"/v1/responses": responses(),
        b"/v1/messages": messages(),
    }


def completions() -> Spoken:
    """OpenAI's older wire."""
    base = {"id": "cmpl-bench", "object": "text_completion", "created": 1_700_000_000, "model": "mock-model"}
    usage = {"prompt_tokens": 200, "completion_tokens": 64, "total_tokens": 264}
    texts = [{"index": 0, "text": word, "logprobs": None, "finish_reason": None} for word in WORDS]
    ends = {"index": 0, "text": "", "logprobs": None, "finish_reason": "stop"}
    events = [_data({**base, "choices": [each]}) for each in (*texts, ends)]
    events += [_data({**base, "choices": [], "usage": usage}), b"data: [DONE]\n\n"]
    return Spoken(_whole({**base, "choices": [{**ends, "text": TEXT}], "usage": usage}), _writes(events))


def embeddings() -> Spoken:
    """One vector."""
    vector = [round(number / DIMENSIONS, 6) for number in range(DIMENSIONS)]
    data = [{"object": "embedding", "index": 0, "embedding": vector}]
    usage = {"prompt_tokens": 200, "total_tokens": 200}
    return Spoken(_whole({"object": "list", "model": "mock-model", "data": data, "usage": usage}))


def responses() -> Spoken:
    """OpenAI's newer wire: every event has a name."""
    item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed"}
    part = {"type": "output_text", "text": TEXT, "annotations": []}
    usage = {"input_tokens": 200, "output_tokens": 64, "total_tokens": 264}
    begun = {"id": "resp_1", "object": "response", "created_at": 1_700_000_000, "model": "mock-model",
             "status": "in_progress", "output": []}  # fmt: skip
    ended = {**begun, "status": "completed", "output": [{**item, "content": [part]}], "usage": usage}
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    told: list[dict[str, object]] = [{"type": "response.created", "response": begun}]
    told += [{"type": "response.output_text.delta", **place, "delta": word} for word in WORDS]
    told += [{"type": "response.completed", "response": ended}]
    return Spoken(_whole(ended), _writes([_named(event) for event in told]))


def messages() -> Spoken:
    """Anthropic's wire: every event has a name."""
    base = {"id": "msg_1", "type": "message", "role": "assistant", "model": "mock-model"}
    usage = {"input_tokens": 200, "output_tokens": 64}
    start = {**base, "content": [], "stop_reason": None, "stop_sequence": None, "usage": usage}
    stop = {"stop_reason": "end_turn", "stop_sequence": None}
    told: list[dict[str, object]] = [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    ]
    told += [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}}
        for word in WORDS
    ]
    told += [
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": stop, "usage": usage},
        {"type": "message_stop"},
    ]
    whole = {**base, "content": [{"type": "text", "text": TEXT}], **stop, "usage": usage}
    return Spoken(_whole(whole), _writes([_named(event) for event in told]))


def _whole(document: dict[str, object]) -> bytes:
    body = json.dumps(document, separators=(",", ":")).encode()
    return HEAD % len(body) + body


def _data(document: dict[str, object]) -> bytes:
    return b"data: " + json.dumps(document, separators=(",", ":")).encode() + b"\n\n"


def _named(document: dict[str, object]) -> bytes:
    return b"event: " + str(document["type"]).encode() + b"\n" + _data(document)


def _writes(events: list[bytes]) -> tuple[bytes, ...]:
    """One HTTP chunk and one write for each event."""
    writes = [b"%x\r\n%s\r\n" % (len(event), event) for event in events]
    return (STREAM_HEAD + writes[0], *writes[1:-1], writes[-1] + b"0\r\n\r\n")

"""What goes over the wire in the benchmarks: request bodies, answers, streams, in OpenAI's format. Bytes only."""

from __future__ import annotations

import json

TEXT = 'The quick brown fox jumps over the lazy dog and then "explains" itself,\nline by line. ' * 20
CONTENT_EVENTS = 64
# What a right answer must hold, and how often.
JSON_MARK, STREAM_MARK = b"lorem ipsum dolor", b" word"
ANSWER_CHARACTERS = 700

_ANSWER = {
    "id": "chatcmpl-bench",
    "object": "chat.completion",
    "created": 1_700_000_000,
    "model": "mock-model",
}
_CHUNK = {
    "id": "chatcmpl-bench",
    "object": "chat.completion.chunk",
    "created": 1_700_000_000,
    "model": "mock-model",
}


def request_body(model: str, size: int, *, stream: bool) -> bytes:
    """A chat completion of at least `size` bytes, as an app would send it."""
    messages = [{"role": "system", "content": "You are a helpful assistant."}]
    body = {"model": model, "messages": messages, "temperature": 0.7, "max_tokens": 256, "user": "user-12345"}
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    text = TEXT[: 700 if size < 4000 else 900]
    while len(json.dumps(body)) < size:
        messages.append({"role": "assistant" if len(messages) % 2 == 0 else "user", "content": text})
    return json.dumps(body).encode()


def http_request(
    port: int, path: str, headers: dict[str, str], body: bytes, *, method: str = "POST"
) -> bytes:
    """The request as it goes out on a keep-alive connection."""
    lines = [
        f"{method} {path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Content-Type: application/json",
        "Accept: */*",
    ]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + f"\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body


def json_answer() -> bytes:
    """The upstream's whole HTTP answer of about 1 KB."""
    content = ("lorem ipsum dolor sit amet " * 40)[:ANSWER_CHARACTERS]
    message = {"role": "assistant", "content": content, "refusal": None}
    body = json.dumps(
        _ANSWER
        | {"choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}]}
        | {"usage": {"prompt_tokens": 200, "completion_tokens": 150, "total_tokens": 350}},
        separators=(",", ":"),
    ).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nx-request-id: req_mock\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


def stream_writes() -> tuple[bytes, ...]:
    """The upstream's stream: role, contents, finish, usage and [DONE], one HTTP chunk and one write for each."""
    deltas = [{"role": "assistant", "content": ""}]
    deltas += [{"content": f" word{number:03d}"} for number in range(CONTENT_EVENTS)]
    events = [_event([_choice(delta, None)]) for delta in deltas]
    events.append(_event([_choice({}, "stop")]))
    events.append(_event([], usage={"prompt_tokens": 200, "completion_tokens": 64, "total_tokens": 264}))
    events.append(b"data: [DONE]\n\n")
    writes = [b"%x\r\n%s\r\n" % (len(event), event) for event in events]
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\n"
    writes[0] = head + b"Transfer-Encoding: chunked\r\n\r\n" + writes[0]
    writes[-1] += b"0\r\n\r\n"
    return tuple(writes)


def _choice(delta: dict[str, str], finish: str | None) -> dict[str, object]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}


def _event(choices: list[dict[str, object]], **more: object) -> bytes:
    chunk = _CHUNK | {"system_fingerprint": "fp_mock", "choices": choices} | more
    return b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n"

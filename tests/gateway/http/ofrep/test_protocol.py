"""What a whole worker answers has the shapes of OFREP 0.3's own document (open-feature/protocol, service/openapi.yaml).

Written anew where that document contradicts itself: by its `oneOf`, an integer would be a float and a code default too,
and DEFAULT (which its ADR-0006 shows) no reason.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from tests.gateway.open_house import open_house

FLAGS = "/ofrep/v1/evaluate/flags"
CONFIG = """
flags:
  switch: {variants: {"on": true, "off": false}, serve: "off"}
  ratio: {variants: {one: 1, half: 0.5}, serve: one}
  count: {variants: {few: 1, many: 20}, serve: few, metadata: {team: shop, version: mine, weight: 1.5}}
  words: {variants: {a: hello}, serve: a}
  shape: {variants: {a: {sizes: [1, {deep: null}]}}, serve: a}
  ruled: {variants: {a: 1, b: 2}, serve: a, targeting: {if: [{var: beta}, b, null]}}
  drawn: {variants: {a: 1, b: 2}, serve: a, rollout: {variant: b, percent: 50}}
  closed: {variants: {a: 1}, serve: a, state: DISABLED}
  yours: {variants: {a: 1}, serve: null}
  lost: {variants: {a: 1}, serve: a, targeting: {if: [{var: beta}, gone, null]}}
  fails: {variants: {a: 1}, serve: a, targeting: {if: [{"%": [1, {var: nought}]}, a]}}
"""
KEYS = ("switch", "ratio", "count", "words", "shape", "ruled", "drawn", "closed", "yours", "lost", "fails")

REASONS = ["STATIC", "TARGETING_MATCH", "SPLIT", "DISABLED", "UNKNOWN", "DEFAULT"]
METADATA = {"type": "object", "additionalProperties": {"type": ["boolean", "string", "number"]}}
VALUE = {"type": ["boolean", "string", "number", "object"]}


def shape(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": required, "properties": properties}


def failure(required: list[str], *codes: str) -> dict[str, Any]:
    text = {"type": "string"}
    return shape(required, key=text, errorCode={"enum": codes}, errorDetails=text, metadata=METADATA)


SUCCESS = shape(
    # `variant` and `errorDetails` need not be there by the document, but the Python client reads them unguarded.
    ["key", "reason", "variant"],
    key={"type": "string"},
    reason={"enum": REASONS},
    variant={"type": "string"},
    value=VALUE,
    metadata=METADATA,
)
FAILED = ("PARSE_ERROR", "TARGETING_KEY_MISSING", "INVALID_CONTEXT", "GENERAL")
FAILURE = failure(["key", "errorCode", "errorDetails"], *FAILED)
NOT_FOUND = failure(["key", "errorCode", "errorDetails"], "FLAG_NOT_FOUND")
BULK_FAILURE = failure(["errorCode", "errorDetails"], *FAILED)
STREAM = shape(
    ["type"],
    type={"const": "sse"},
    url={"type": "string", "pattern": "^https?://"},
    endpoint=shape(["requestUri"], requestUri={"type": "string", "pattern": "^/"}),
    inactivityDelaySec={"type": "integer", "minimum": 1},
) | {"oneOf": [{"required": ["url"]}, {"required": ["endpoint"]}]}
BULK = shape(
    ["flags"],
    flags={"type": "array", "items": {"oneOf": [SUCCESS, FAILURE]}},
    metadata=METADATA,
    eventStreams={"type": "array", "minItems": 1, "items": STREAM},
)


@pytest.fixture
async def client(redis_url: str, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with open_house(redis_url, tmp_path, CONFIG) as (_, url), httpx.AsyncClient(base_url=url) as found:
        yield found


def wrong(found: httpx.Response, schema: dict[str, Any]) -> list[str]:
    """What is wrong with the answer."""
    errors = Draft202012Validator(schema).iter_errors(found.json())
    return [f"{found.request.url}: {each.message} at {each.json_path}" for each in errors]


@pytest.mark.parametrize(
    ("context", "failing"),
    [({"targetingKey": "user-7", "nought": 2}, set()), ({"beta": True, "nought": 0}, {"lost", "fails"})],
)
async def test_every_flag_alone_and_all_together_have_the_shapes(
    client: httpx.AsyncClient, context: dict[str, Any], failing: set[str]
) -> None:
    alone = [await client.post(f"{FLAGS}/{key}", json={"context": context}) for key in KEYS]
    together = await client.post(FLAGS, json={"context": context})

    problems = [each for one in alone for each in wrong(one, SUCCESS if one.status_code == 200 else FAILURE)]
    assert problems == []
    assert {one.json()["key"] for one in alone if one.status_code != 200} == failing
    assert wrong(together, BULK) == []
    assert together.json()["flags"] == [
        one.json() for one in sorted(alone, key=lambda one: one.json()["key"])
    ]


@pytest.mark.parametrize("body", ["{", "7", '{"context": []}', '{"context": {"targetingKey": 7}}'])
async def test_a_body_that_holds_no_context_is_told_of_in_the_shapes(
    client: httpx.AsyncClient, body: str
) -> None:
    alone = await client.post(f"{FLAGS}/words", content=body)
    together = await client.post(FLAGS, content=body)

    assert (alone.status_code, together.status_code) == (400, 400)
    assert wrong(alone, FAILURE) == []
    assert wrong(together, BULK_FAILURE) == []


async def test_a_flag_that_is_not_there_and_a_foreign_page_are_told_of_in_the_shapes(
    client: httpx.AsyncClient,
) -> None:
    missing = await client.post(f"{FLAGS}/__proto__", json={})
    foreign = await client.post(f"{FLAGS}/words", json={}, headers={"origin": "https://evil.example"})

    assert (missing.status_code, foreign.status_code) == (404, 403)
    assert wrong(missing, NOT_FOUND) == []
    assert wrong(foreign, FAILURE) == []


async def test_who_has_the_answer_gets_no_body(client: httpx.AsyncClient) -> None:
    tag = (await client.post(FLAGS, json={})).headers["etag"]

    found = await client.post(FLAGS, json={}, headers={"if-none-match": tag})

    assert (found.status_code, found.content, found.headers["etag"]) == (304, b"", tag)


async def test_what_was_answered_is_counted_and_shown(client: httpx.AsyncClient) -> None:
    tag = (await client.post(FLAGS, json={})).headers["etag"]
    await client.post(FLAGS, json={}, headers={"if-none-match": tag})
    await client.post(f"{FLAGS}/words", json={})
    await client.post(f"{FLAGS}/nothing", json={})

    lines = (await client.get("/metrics")).text.splitlines()

    counted = [
        line.partition('answer="')[2] for line in lines if line.startswith("pointsman_ofrep_answers_total")
    ]
    assert counted == ['one"} 1', 'all"} 1', 'unchanged"} 1', 'failed"} 1']

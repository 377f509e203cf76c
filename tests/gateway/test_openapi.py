"""The OpenAPI document: valid, and complete in both directions."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import pytest
from starlette.routing import Route

from gateway.http.admin import ENDPOINTS, PREFIX, admin_mount
from gateway.http.events import event
from gateway.http.openapi import document
from policies.policy import ERROR_RATE, Policy
from tests.gateway.measured import V7, failed, measure, outcome, score
from tests.gateway.office import Office, by


@pytest.fixture(scope="module")
def written() -> dict[str, Any]:
    # By way of JSON, as a client gets it.
    return json.loads(json.dumps(document(PREFIX, ENDPOINTS)))


def test_every_route_is_in_the_document_and_the_other_way_round(written: dict[str, Any]) -> None:
    mount = admin_mount(object())
    routes = {PREFIX + route.path for route in mount.routes if isinstance(route, Route)}

    assert routes == written["paths"].keys()
    described = {(method.upper(), path) for path, found in written["paths"].items() for method in found}
    assert described == {(endpoint.method, PREFIX + endpoint.path) for endpoint in ENDPOINTS}


def test_every_reference_leads_to_a_schema_and_every_schema_is_one(written: dict[str, Any]) -> None:
    schemas = written["components"]["schemas"]

    for name in re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(written)):
        assert name in schemas
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_operations_have_names_of_their_own_and_describe_their_errors(written: dict[str, Any]) -> None:
    operations = [each for found in written["paths"].values() for each in found.values()]

    assert len({each["operationId"] for each in operations}) == len(operations)
    for each in operations:
        assert {"401", "403", "503"} <= each["responses"].keys()
        assert {"200", "202"} & each["responses"].keys()
        assert ("requestBody" in each) <= ("422" in each["responses"])


def test_a_signal_is_an_alertmanagers_message_or_cloud_events(written: dict[str, Any]) -> None:
    content = written["paths"]["/admin/v1/signals"]["post"]["requestBody"]["content"]
    event = {"$ref": "#/components/schemas/CloudEvent"}

    assert {media: each["schema"] for media, each in content.items()} == {
        "application/json": {"$ref": "#/components/schemas/Alerts"},
        "application/cloudevents+json": event,
        "application/cloudevents-batch+json": {"type": "array", "items": event},
    }


def test_bodies_refuse_unknown_fields_in_the_document_too(written: dict[str, Any]) -> None:
    assert written["components"]["schemas"]["SwitchBody"]["additionalProperties"] is False


@pytest.mark.parametrize(
    ("shape", "good", "bad"),
    [
        (
            "RolloutBody",
            [{"variant": "v7", "percent": 5}, {"action": "pause", "variant": None}],
            [{}, {"variant": "v7"}, {"percent": 5}, {"action": "pause", "percent": 5}, {"variant": None, "percent": 5},
             {"variant": "v7", "percent": 5, "action": "pause"}, {"action": None}, {"variant": "v7", "percent": 101}],
        ),
        (
            "RevertBody",
            [{"object": "flag/x", "to_revision": 1, "reason": "r"}],
            [{"object": each, "to_revision": 1, "reason": "r"} for each in ("x", "flag/", "flag/a b", "nope/x", "")]
            + [{"object": "flag/x", "to_revision": 0, "reason": "r"}, {"object": "flag/x", "to_revision": 1, "reason": " "}],
        ),
        ("ApplyBody", [{"declaration": {"routes": {}}}], [{"declaration": {}}, {}]),
        ("DiffBody", [{"declaration": {"routes": {}}}], [{"declaration": {}}, {}]),
        (
            "ExplainBody",
            [{"route": "r", "pins": {"a.prompt": "v7"}}],
            [{"route": "r", "pins": {"a b": "v7"}}, {"route": "r", "pins": {"a": ""}}, {"route": "r", "pins": {"a": 1}}],
        ),
    ],
)  # fmt: skip
async def test_the_document_takes_and_refuses_the_bodies_that_the_code_does(
    office: Office, written: dict[str, Any], shape: str, good: list[Any], bad: list[Any]
) -> None:
    schema = {"$ref": f"#/components/schemas/{shape}", "components": written["components"]}
    validator = jsonschema.Draft202012Validator(schema)
    (path,) = (each.path for each in ENDPOINTS if each.body is not None and each.body.__name__ == shape)

    async with office.client() as client:
        for body, taken in [*((each, True) for each in good), *((each, False) for each in bad)]:
            assert validator.is_valid(body) is taken, body
            answer = await client.post(path.replace("{key}", "support-bot.prompt"), json=body)
            # What the schema takes may still be refused by a rule, or name what does not exist.
            assert (answer.json().get("error", {}).get("code") == "invalid") is not taken, answer.text


async def test_the_events_are_what_the_document_says(office: Office, written: dict[str, Any]) -> None:
    answers = written["paths"][f"{PREFIX}/events"]["get"]["responses"]
    schema = answers["200"]["content"]["text/event-stream"]["schema"]
    (entry,) = await office.store.read_log_bytes(0, 1)
    lines = event("change", 1, entry).decode().splitlines()

    found = dict(line.split(": ", 1) for line in lines if line)
    jsonschema.validate(found, {**schema, "components": written["components"]})
    assert found["id"] == "1"
    assert json.loads(found["data"])["revision"] == 1


async def test_the_answers_are_what_the_document_says(office: Office) -> None:
    office.policies = {"error-brake": Policy("error-brake", ERROR_RATE, limit=0.05)}
    await office.operations.rollout(by(), "support-bot.prompt", "v7", 10)
    await measure(office, [outcome(), failed(V7)], [score("accuracy", 1.0)])
    async with office.client() as client:
        written = (await client.get("/openapi.json")).json()
        for method, path, body in (
            ("GET", "/status", None),
            ("GET", "/flags", None),
            ("GET", "/flags/{key}", None),
            ("GET", "/gauges", None),
            ("GET", "/history?route=support-bot&minutes=2", None),
            ("GET", "/gauges?route=absent", None),
            ("GET", "/history?route=absent", None),
            ("GET", "/evidence", None),
            ("GET", "/evidence/{key}", None),
            ("GET", "/workers", None),
            ("GET", "/log", None),
            ("GET", "/audit", None),
            ("GET", "/upstreams", None),
            ("POST", "/explain", {"route": "support-bot", "targeting_key": "u1"}),
            ("POST", "/flags/{key}/explain", {"targeting_key": "u1", "attributes": {"plan": "pro"}}),
            ("POST", "/flags/{key}/rollback", {"reason": "because"}),
            ("POST", "/flags/{key}/switch", {"variant": "absent"}),
        ):
            answer = await client.request(method, path.replace("{key}", "support-bot.prompt"), json=body)
            operation = written["paths"][PREFIX + path.partition("?")[0]][method.lower()]
            described = operation["responses"][str(answer.status_code)]
            schema = described["content"]["application/json"]["schema"]
            jsonschema.validate(answer.json(), {**schema, "components": written["components"]})

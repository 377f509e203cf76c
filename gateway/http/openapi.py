"""The OpenAPI 3.1 document of the operators' API, made from the table of endpoints and the shapes they name.

Nothing is described twice: what is sent and answered comes from the msgspec Structs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec

from gateway import __version__
from gateway.auth import Role
from gateway.http.bodies import RolloutBody, ShadowBody
from gateway.http.endpoint import Endpoint
from gateway.shapes import ErrorShape

REFERENCE = "#/components/schemas/{name}"

# What an answer other than 200 means here (CONTRACT §7).
ERRORS: Mapping[str, str] = {
    "400": "The body is no JSON",
    "401": "A token is needed, or this one is not known",
    "403": "This caller may not do this",
    "404": "There is no such object",
    "405": "Not this method",
    "409": "Somebody else changed the same object meanwhile; `theirs` holds their Changes",
    "413": "The body is too large",
    "422": "Not what it should be (`path` says where), or refused by a rule (`rule` names it)",
    "503": "The store is away; nothing is known to have been written",
}
# What the Structs cannot say: a rollout is started or moved, or it is steered; never both, and never neither. A
# shadow has a version and a share, or it ends.
_ABSENT: Mapping[str, Any] = MappingProxyType({"type": "null"})


def _without(*names: str) -> dict[str, Any]:
    """None of these may say anything."""
    return {name: dict(_ABSENT) for name in names}


EITHER_OR: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        RolloutBody.__name__: {
            "oneOf": [
                {
                    "title": "start or move",
                    "required": ["variant", "percent"],
                    "properties": {
                        "variant": {"type": "string"},
                        "percent": {"type": "number"},
                        **_without("action", "steps", "hold_seconds", "min_requests"),
                    },
                },
                {
                    "title": "start, or go on, in steps",
                    "required": ["variant", "steps"],
                    "properties": {
                        "variant": {"type": "string"},
                        "steps": {"type": "array"},
                        **_without("action", "percent"),
                    },
                },
                {
                    "title": "steer",
                    "required": ["action"],
                    "properties": {
                        "action": {"type": "string"},
                        **_without("variant", "percent", "steps", "hold_seconds", "min_requests"),
                    },
                },
            ]
        },
        ShadowBody.__name__: {
            "oneOf": [
                {
                    "title": "shadow",
                    "required": ["variant", "percent"],
                    "properties": {"variant": {"type": "string"}, "percent": {"type": "number"}},
                },
                {
                    "title": "end it",
                    "properties": {"percent": dict(_ABSENT)},
                    "anyOf": [{"required": ["percent"]}, {"properties": _without("variant")}],
                },
            ]
        },
    }
)
ALWAYS = ("401", "403", "503")
WITH_BODY = ("400", "413", "422")


def document(prefix: str, endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """The whole document. `Any`: a JSON Schema is a tree without a type of its own."""
    shapes = [ErrorShape, *(shape for endpoint in endpoints for shape in _shapes(endpoint))]
    _, components = msgspec.json.schema_components(shapes, ref_template=REFERENCE)
    components = {name: {**schema, **EITHER_OR.get(name, {})} for name, schema in components.items()}
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        operations = paths.setdefault(prefix + endpoint.path, {})
        operations[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Pointsman: the operators' API",
            "version": __version__,
            "description": "Look at what is served, and throw the switch.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        # Empty: on loopback without configured tokens nobody is asked for one.
        "security": [{"token": []}, {}],
        "paths": paths,
        "components": {
            "schemas": dict(components),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _shapes(endpoint: Endpoint) -> list[type]:
    """The shapes of one endpoint; its query is spread into parameters instead."""
    shapes: list[type] = [endpoint.answer] if issubclass(endpoint.answer, msgspec.Struct) else []
    return [*shapes, *([endpoint.body] if endpoint.body else []), *endpoint.also.values()]


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": _operation_id(endpoint),
        "summary": endpoint.summary,
        "parameters": [*_path_parameters(endpoint), *_query_parameters(endpoint)],
        "responses": {
            str(endpoint.status): _success(endpoint),
            **{code: _failure(code) for code in _codes(endpoint)},
        },
    }
    if endpoint.body is not None:
        content = {
            media: {"schema": _schema(shape)}
            for media, shape in {"application/json": endpoint.body, **endpoint.also}.items()
        }
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _operation_id(endpoint: Endpoint) -> str:
    words = re.sub(r"[{}.]", "", endpoint.path).strip("/").replace("/", "_")
    return f"{endpoint.method.lower()}_{words}"


def _path_parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    names = re.findall(r"{(\w+)}", endpoint.path)
    return [{"name": n, "in": "path", "required": True, "schema": {"type": "string"}} for n in names]


def _query_parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    if endpoint.query is None:
        return []
    (_,), components = msgspec.json.schema_components([endpoint.query], ref_template=REFERENCE)
    properties = components[endpoint.query.__name__]["properties"]
    parameters = [
        {"name": name, "in": "query", "required": False, "schema": schema}
        for name, schema in properties.items()
    ]
    if endpoint.media == "text/event-stream":
        schema = {"type": "string", "pattern": "^[0-9]{1,15}$"}
        parameters.append({"name": "Last-Event-ID", "in": "header", "required": False, "schema": schema})
    return parameters


def _success(endpoint: Endpoint) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object"}
    # For a stream of events OpenAPI 3.1 has no word of its own: the schema is that of each event.
    if issubclass(endpoint.answer, msgspec.Struct):
        schema = _reference(endpoint.answer)
    return {"description": endpoint.summary, "content": {endpoint.media: {"schema": schema}}}


def _codes(endpoint: Endpoint) -> list[str]:
    codes = {*ALWAYS}
    if endpoint.body is not None:
        codes |= {*WITH_BODY}
    if endpoint.query is not None:
        codes.add("422")
    names_one = endpoint.query is not None and "route" in endpoint.query.__struct_fields__
    if "{" in endpoint.path or endpoint.body is not None or names_one:
        codes.add("404")
    if endpoint.needs is not Role.VIEWER:
        codes |= {"409", "422"}
    return sorted(codes)


def _failure(code: str) -> dict[str, Any]:
    content = {"application/json": {"schema": _reference(ErrorShape)}}
    return {"description": ERRORS[code], "content": content}


def _schema(shape: type) -> dict[str, Any]:
    (schema,), _ = msgspec.json.schema_components([shape], ref_template=REFERENCE)
    return schema


def _reference(shape: type) -> dict[str, str]:
    return {"$ref": REFERENCE.format(name=shape.__name__)}

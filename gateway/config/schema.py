"""The config file's JSON Schema (draft 2020-12), made from the shapes that the loader uses. Knows shapes only.

What no schema can say (that a route's flags exist, that a template compiles) only the loader checks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec

from flags.model import Layer
from gateway.checking import DURATION
from gateway.content import OURS, SERVED, SHAPES
from gateway.spec import ConfigSpec

Schema: TypeAlias = dict[str, object]
_DEFS = "#/$defs/{name}"
_FILE: Mapping[str, Any] = {
    "type": "object",
    "properties": {"file": {"type": "string", "description": "a path below the config file's folder"}},
    "required": ["file"],
    "additionalProperties": False,
}


def config_schema() -> Schema:
    """The schema of a whole config file."""
    contents = [SHAPES[layer] for layer in SERVED]
    (root, *_), definitions = msgspec.json.schema_components(
        [ConfigSpec, *contents], ref_template=_DEFS, schema_hook=_anything
    )
    definitions = {name: _durations(each) for name, each in definitions.items()}
    flag = definitions["FlagSpec"]
    flag["properties"] = _flag_fields(flag["properties"])
    record = definitions["RecordSpec"]["properties"]
    for each in contents:
        # A version's record stands beside its content.
        definitions[each.__name__]["properties"] |= record
    flag["oneOf"] = [_by_layer(layer.value, SHAPES[layer].__name__, record) for layer in sorted(SERVED)] + [
        _plain_flag()
    ]
    config = definitions["ConfigSpec"]
    # A section with nothing under it is empty.
    config["properties"] = {name: _or_null(each) for name, each in config["properties"].items()}
    config["minProperties"] = 1
    for content in ("ModelContent", "PipelineContent"):
        params = definitions[content]["properties"]["params"]
        params["propertyNames"] = {"not": {"enum": sorted(OURS)}}
    pinnable = [layer.value for layer in Layer if layer is not Layer.PIPELINE]
    definitions["PipelineContent"]["properties"]["pins"]["propertyNames"] = {"enum": pinnable}
    definitions["PromptContent"]["properties"]["messages"]["minItems"] = 1
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Pointsman's config file",
        **root,
        "$defs": definitions,
    }


def _flag_fields(fields: Schema) -> Schema:
    """With `serve` as something that may be left out."""
    served = {**fields}
    served["layer"] = {"enum": [*sorted(layer.value for layer in SERVED), None]}
    return served


def _by_layer(layer: str, content: str, record: Schema) -> Schema:
    file = {**_FILE, "properties": {**_FILE["properties"], **record}}
    variant: Schema = {"oneOf": [{"$ref": _DEFS.format(name=content)}, file]}
    return {
        "required": ["layer"],
        "properties": {
            "layer": {"const": layer},
            "serve": {"type": "string"},
            "variants": {"additionalProperties": variant},
        },
    }


def _plain_flag() -> Schema:
    kinds = ("boolean", "string", "number", "object")
    return {
        "properties": {"layer": {"type": "null"}},
        "anyOf": [{"properties": {"variants": {"additionalProperties": _or_file(kind)}}} for kind in kinds],
    }


def _or_file(kind: str) -> Schema:
    return {"anyOf": [{"type": kind}, dict(_FILE)]}


def _or_null(schema: object) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _durations(definition: Schema) -> Schema:
    """`10m` wherever seconds are expected."""
    fields = definition.get("properties")
    if not isinstance(fields, dict):
        return definition
    duration = {"type": "string", "pattern": f"^{DURATION.pattern}$"}
    widened = {
        name: {"anyOf": [each, duration]} if name.endswith("seconds") else each
        for name, each in fields.items()
    }
    return {**definition, "properties": widened}


def _anything(shape: type) -> Schema:
    """`object` in a shape is any JSON."""
    if shape is object:
        return {"description": "any JSON"}
    raise NotImplementedError

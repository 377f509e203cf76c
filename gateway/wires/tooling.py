"""Tools and answer formats, written as chat completions have them, in the words of other wires.

Pure: JSON in, JSON out. Knows no request. What already has another wire's form is left as it is.
"""

from __future__ import annotations

from typing import TypeAlias

# What a version's author wrote: any JSON.
Written: TypeAlias = object

_NO_ARGUMENTS = {"type": "object", "properties": {}}


def tools_for_messages(tools: Written) -> Written:
    """`{name, description, input_schema}` of each function."""
    return [_tool_for_messages(tool) for tool in tools] if isinstance(tools, list) else tools


def _tool_for_messages(tool: Written) -> Written:
    function = _function_of(tool)
    if function is None:
        return tool
    others = {name: value for name, value in function.items() if name != "parameters"}
    return {**others, "input_schema": function.get("parameters") or _NO_ARGUMENTS}


def tools_for_responses(tools: Written) -> Written:
    """Each function's fields beside its type."""
    if not isinstance(tools, list):
        return tools
    functions = [(tool, _function_of(tool)) for tool in tools]
    return [tool if function is None else {"type": "function", **function} for tool, function in functions]


def _function_of(tool: Written) -> dict[str, object] | None:
    """The function of a chat tool, with what stands beside it (`cache_control`); None for any other tool."""
    if not isinstance(tool, dict) or not isinstance(tool.get("function"), dict):
        return None
    beside = {name: value for name, value in tool.items() if name not in {"type", "function"}}
    return {**tool["function"], **beside}


def choice_for_messages(choice: Written) -> Written:
    """`{type: auto|any|none}`, or `{type: tool, name}`."""
    if isinstance(choice, str):
        return {"type": "any" if choice == "required" else choice}
    name = _named(choice)
    return choice if name is None else {"type": "tool", "name": name}


def choice_for_responses(choice: Written) -> Written:
    """`{type: function, name}` where one is named."""
    name = _named(choice)
    return choice if name is None else {"type": "function", "name": name}


def _named(choice: Written) -> object | None:
    function = choice.get("function") if isinstance(choice, dict) else None
    return function.get("name") if isinstance(function, dict) else None


def format_for_messages(form: Written) -> Written | None:
    """`{type: json_schema, schema}`; None for what has no schema, which that wire cannot ask for."""
    schema = _schema_of(form)
    return None if schema is None else {"type": "json_schema", "schema": schema.get("schema")}


def format_for_responses(form: Written) -> Written:
    """The schema's fields beside its type."""
    schema = _schema_of(form)
    return form if schema is None else {"type": "json_schema", **schema}


def _schema_of(form: Written) -> dict[str, object] | None:
    schema = form.get("json_schema") if isinstance(form, dict) else None
    return schema if isinstance(schema, dict) else None

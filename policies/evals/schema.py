"""Answers as JSON, and JSON Schema within a budget, whatever a suite's schema asks for. Knows no assertion.

The validator is `jsonschema`, with three things taken from it: patterns go through policies.evals.patterns, references
lead nowhere outside the schema, and every keyword looks at the clock, since references can double at each step.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from flags.model import Json
from policies.evals.verdict import NotEvaluated

# An answer of 1 MiB is a quarter of a million tokens.
TEXT_CHARS_MAX = 1 << 20
# CPU time; an ordinary answer and schema take less than a millisecond.
SECONDS_MAX = 2.0
PATTERN_SECONDS_MAX = 0.25
# Where in a text JSON may begin; each try may read on to the end.
STARTS_MAX = 100
# One validator's keyword: (validator, its value, instance, schema) → errors. `Any`: jsonschema has no types.
_Keyword = Callable[[Any, Any, Any, Any], Iterator[Any] | None]


def parsed(text: str) -> Json:
    """The JSON that a text is. Raises ValueError where it is none; NaN and infinities are none."""
    if len(text) > TEXT_CHARS_MAX:
        raise NotEvaluated(f"the answer is longer than {TEXT_CHARS_MAX} characters")
    try:
        found: Json = _DECODER.decode(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return found


def embedded(text: str) -> Iterator[Json]:
    """Each object or list in a text, the outermost ones, in order; from the first hundred places where one may begin."""
    at, tries = 0, 0
    while tries < STARTS_MAX and len(text) <= TEXT_CHARS_MAX:
        starts = [found for found in (text.find("{", at), text.find("[", at)) if found >= 0]
        if not starts:
            return
        at, tries = min(starts), tries + 1
        try:
            found, at = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            at += 1
        else:
            yield found


def unmet(instance: Json, schema: Json, *, clock: Callable[[], float] = time.thread_time) -> str | None:
    """Why `instance` is not what `schema` asks for; None where it is. Blocks for up to SECONDS_MAX.

    A schema without `$schema` is one of draft 2020-12, of draft 7 where it uses what only that has (promptfoo's default).
    Raises NotEvaluated for what is no schema, leads outside itself, or takes too long.
    """
    # The first import takes some 50 ms, and most suites have no schema.
    from jsonschema import exceptions  # noqa: PLC0415
    from referencing import Registry  # noqa: PLC0415
    from referencing import exceptions as lost  # noqa: PLC0415

    try:
        base, bare = _draft(schema)
        base.check_schema(bare)
        bounded = _bounded(base, clock)
        checker = bounded(bare, registry=Registry(), format_checker=base.FORMAT_CHECKER)
        error = next(checker.iter_errors(instance), None)
    except exceptions.SchemaError as error:
        raise NotEvaluated(f"the schema is none: {error.message[:200]}") from None
    except (exceptions.UnknownType, lost.Unresolvable) as error:
        raise NotEvaluated(f"the schema leads nowhere: {str(error)[:200]}") from None
    except (RecursionError, ArithmeticError, ValueError, TypeError, AttributeError) as error:
        raise NotEvaluated(f"the schema cannot be followed: {type(error).__name__}") from None
    return None if error is None else f"{error.json_path}: {error.message[:300]}"


def _draft(schema: Json) -> tuple[Any, Json]:
    """The draft's validator, and the schema without `$schema`: jsonschema takes its own, unbounded validator at each one."""
    from jsonschema import Draft7Validator, Draft202012Validator, validators  # noqa: PLC0415

    if isinstance(schema, bool):
        return Draft202012Validator, schema
    if not isinstance(schema, Mapping):
        raise NotEvaluated("the schema is no mapping")
    bare = {name: each for name, each in schema.items() if name != "$schema"}
    written = json.dumps(bare)
    if '"$schema": "' in written:
        raise NotEvaluated(
            "a `$schema` within the schema is not followed", mend="name the draft at its top only"
        )
    if '"unevaluatedProperties"' in written and '"patternProperties"' in written:
        # jsonschema would match those patterns itself, without bound.
        raise NotEvaluated("`unevaluatedProperties` beside `patternProperties` is not evaluated here")
    if "$schema" not in schema:
        return (Draft7Validator if _is_seven(bare) else Draft202012Validator), bare
    base = validators.validator_for(schema, default=None)
    if base is None:
        raise NotEvaluated(f"`$schema` {str(schema['$schema'])[:80]!r} is no draft that is known here")
    return base, bare


def _is_seven(schema: Json) -> bool:
    if isinstance(schema, Mapping):
        old = not {"dependencies", "additionalItems"}.isdisjoint(schema) or isinstance(
            schema.get("items"), list
        )
        return old or any(_is_seven(each) for each in schema.values())
    return isinstance(schema, list) and any(_is_seven(each) for each in schema)


def _bounded(base: Any, clock: Callable[[], float]) -> Any:
    """A draft's validator each of whose keywords looks at the clock; those that match patterns are ours."""
    from jsonschema import validators  # noqa: PLC0415

    until = clock() + SECONDS_MAX
    ours = {"pattern": _pattern, "patternProperties": _pattern_properties}
    ours |= {"additionalProperties": _additional_properties}

    def timed(keyword: _Keyword) -> _Keyword:
        def look(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
            if clock() > until:
                raise NotEvaluated(f"the schema takes more than {SECONDS_MAX:g} s", mend="make it simpler")
            yield from keyword(validator, value, instance, schema) or ()

        return look

    return validators.extend(
        base, {name: timed(ours.get(name, keyword)) for name, keyword in base.VALIDATORS.items()}
    )


def _pattern(validator: Any, pattern: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if validator.is_type(instance, "string") and not _matches(pattern, instance):
        yield _error(f"{instance[:80]!r} does not match {pattern[:80]!r}")


def _pattern_properties(validator: Any, patterns: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if not validator.is_type(instance, "object"):
        return
    for pattern, inner in patterns.items():
        for name, value in instance.items():
            if _matches(pattern, name):
                yield from validator.descend(value, inner, path=name, schema_path=pattern)


def _additional_properties(validator: Any, allowed: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if not validator.is_type(instance, "object"):
        return
    patterns = schema.get("patternProperties", {})
    for name, value in instance.items():
        if name in schema.get("properties", {}) or any(_matches(each, name) for each in patterns):
            continue
        if allowed is False:
            yield _error(f"the property {name[:80]!r} is not allowed")
        elif validator.is_type(allowed, "object"):
            yield from validator.descend(value, allowed, path=name)


def _matches(pattern: str, text: str) -> bool:
    from policies.evals.patterns import search  # noqa: PLC0415 - see checks.py

    return search(pattern, text, seconds=PATTERN_SECONDS_MAX)


def _error(message: str) -> Any:
    from jsonschema import exceptions  # noqa: PLC0415

    return exceptions.ValidationError(message)


def _no_constant(name: str) -> Json:
    raise ValueError(f"{name} is no JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)

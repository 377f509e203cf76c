"""Reading a rule's data: `var`, `missing` and `missing_some`. Knows neither operators nor flags.

A scope is the evaluation context at a rule's root, and the item (any JSON value) inside `map` and its kin.
"""

from __future__ import annotations

from flags.coercion import Value, number, text


def read(scope: Value, key: Value = None, default: Value = None) -> Value:
    """What `key` (a dotted path, or an index) names in `scope`; `default` where that is nothing or null."""
    if key is None or key == "":
        return scope
    if isinstance(key, (int, float)):
        return _indexed(scope, key, default)
    return walked(scope, text(key).split("."), default)


def walked(scope: Value, path: list[str], default: Value) -> Value:
    """What lies at the end of `path`, step by step through objects, arrays and texts."""
    for step in path:
        if isinstance(scope, dict):
            scope = scope.get(step)
        elif isinstance(scope, (list, str)):
            # JavaScript's `length` is all that an array or a text has beside its items; it ends the walk
            # there.
            if step == "length":
                return len(scope)
            scope = _item(scope, step)
        else:
            return default
        if scope is None:
            return default
    return scope


def _item(items: list[Value] | str, step: str) -> Value:
    try:
        index = int(step)
    except ValueError:
        return None
    # "01" and " 1" are no indexes.
    return items[index] if step == str(index) and 0 <= index < len(items) else None


def _indexed(scope: Value, key: int | float, default: Value) -> Value:
    # JSON objects have no numeric names, so only arrays and texts can answer; a null item stays null.
    if not isinstance(scope, (list, str)):
        return default
    try:
        index = int(key)
    except ValueError:
        return default
    return scope[index] if index == key and 0 <= index < len(scope) else default


def missing(scope: Value, *keys: Value) -> list[Value]:
    """The `keys` (or those in the array that comes first) that name nothing, null or ""."""
    names = keys[0] if keys and isinstance(keys[0], list) else keys
    return [name for name in names if read(scope, name) in (None, "")]


def missing_some(scope: Value, needed: Value = 0, keys: Value = None, *_: Value) -> list[Value]:
    """[] where at least `needed` of `keys` are there, else those that are not."""
    if not isinstance(keys, list):
        return []
    absent = missing(scope, keys)
    return [] if len(keys) - len(absent) >= number(needed) else absent

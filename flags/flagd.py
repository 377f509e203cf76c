"""flagd's flag files (schema v0), in and out. Knows documents only: no store, no upstream, no evaluation.

In: a file becomes a list of declarations in the shape of our own config. Out: flags and their contents become
a file that flagd answers alike, rollouts and withdrawn variants included.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from flags.codec import check_values
from flags.compiled import WHOLE
from flags.errors import Invalid, NotFound
from flags.fields import check_fields, check_name, object_of, scalars_of, seen, undefined
from flags.model import Document, Flag, Json
from flags.targeting import compile_rule, expanded

SCHEMA = "https://flagd.dev/schema/v0/flags.json"

FILE_FIELDS = frozenset({"$schema", "$evaluators", "metadata", "flags"})
# `source` and `selector` are what flagd's sync adds; it ignores them in a file, and so do we.
FLAG_FIELDS = frozenset(
    {"key", "state", "variants", "defaultVariant", "targeting", "metadata", "source", "selector"}
)


def declarations_from(document: Json) -> list[dict[str, Json]]:
    """The flags of a flagd file as declarations: `{key, variants, serve, targeting?, state?, metadata?}`.

    `$evaluators` are expanded, the file's metadata is merged under each flag's. Raises Invalid with the path
    in the file. `state` is given for disabled flags only.
    """
    root = object_of(document, "")
    check_fields(root, FILE_FIELDS, "")
    evaluators = object_of(root.get("$evaluators", {}), "$evaluators")
    metadata = scalars_of(root.get("metadata"), "metadata")
    return [
        _declaration(key, object_of(flag, path), path, evaluators=evaluators, metadata=metadata)
        for key, flag, path in _flags_of(root.get("flags"))
    ]


def _flags_of(found: Json) -> Iterable[tuple[str, Json, str]]:
    if isinstance(found, Mapping):
        return [(key, flag, f"flags.{key}") for key, flag in found.items()]
    if not isinstance(found, (list, tuple)):
        raise Invalid("flags", f"expected an object (or an array) of flags, found {type(found).__name__}")
    listed = [(_key(flag, f"flags.{index}"), flag, f"flags.{index}") for index, flag in enumerate(found)]
    keys = [key for key, _, _ in listed]
    for index, key in enumerate(keys):
        if key in keys[:index]:
            raise Invalid(f"flags.{index}.key", f"flag {key!r} is defined twice")
    return listed


def _key(flag: Json, path: str) -> str:
    key = object_of(flag, path).get("key")
    if not isinstance(key, str):
        raise Invalid(f"{path}.key", f"expected the flag's key, found {seen(key)}")
    return key


def _declaration(
    key: str, flag: Document, path: str, *, evaluators: Document, metadata: Document
) -> dict[str, Json]:
    check_fields(flag, FLAG_FIELDS, path)
    check_name(key, path, "flag")
    variants = _variants(flag.get("variants"), f"{path}.variants")
    serve = _default(flag.get("defaultVariant"), variants, f"{path}.defaultVariant")
    optional: dict[str, Json] = {
        "targeting": _targeting(key, flag.get("targeting"), f"{path}.targeting", evaluators),
        "state": _state(flag.get("state"), f"{path}.state"),
        "metadata": {**metadata, **scalars_of(flag.get("metadata"), f"{path}.metadata")} or None,
    }
    declared: dict[str, Json] = {"key": key, "variants": variants, "serve": serve}
    return declared | {name: value for name, value in optional.items() if value is not None}


def _variants(found: Json, path: str) -> dict[str, Json]:
    variants = dict(object_of(found, path))
    if not variants:
        raise Invalid(path, "expected at least one variant, found none")
    for name in variants:
        check_name(name, f"{path}.{name}", "variant")
    try:
        check_values(None, variants)
    except Invalid as error:
        raise error.under(path.removesuffix(".variants")) from None
    return variants


def _default(found: Json, variants: Mapping[str, Json], path: str) -> str | None:
    # flagd takes a boolean for the name of its text, and "" for none.
    name = str(found).lower() if isinstance(found, bool) else found
    if name is None or name == "":
        return None
    if not isinstance(name, str) or name not in variants:
        raise undefined(path, str(name), variants)
    return name


def _targeting(key: str, found: Json, path: str, evaluators: Document) -> Json:
    if found is None or found == {}:
        return None
    try:
        rule = expanded(found, evaluators)
        compile_rule(rule, key)
    except Invalid as error:
        raise error.under(path) from None
    return rule


def _state(found: Json, path: str) -> str | None:
    if found not in ("ENABLED", "DISABLED"):
        raise Invalid(path, f"expected ENABLED or DISABLED, found {seen(found)}")
    return "DISABLED" if found == "DISABLED" else None


def document_from(flags: Iterable[Flag], contents: Mapping[str, Json]) -> dict[str, Json]:
    """A flagd file that answers as these flags do now.

    Only the reason of a rollout differs (flagd knows no SPLIT). Raises NotFound where `contents` lacks a
    rule. A variant whose content was erased is left out, and so is a flag that has none left, for flagd
    refuses a whole file for it.
    """
    exported = {flag.key: _exported(flag, contents) for flag in flags}
    return {"$schema": SCHEMA, "flags": {key: flag for key, flag in exported.items() if flag["variants"]}}


def _exported(flag: Flag, contents: Mapping[str, Json]) -> dict[str, Json]:
    rule = _exported_rule(flag, _rule(flag, contents))
    optional: dict[str, Json] = {"targeting": rule, "metadata": dict(flag.metadata) or None}
    exported: dict[str, Json] = {
        "state": "ENABLED" if flag.enabled else "DISABLED",
        "variants": {name: contents[v.hash] for name, v in flag.variants.items() if v.hash in contents},
        "defaultVariant": flag.served,
    }
    return exported | {name: value for name, value in optional.items() if value is not None}


def _rule(flag: Flag, contents: Mapping[str, Json]) -> Json:
    if flag.targeting is None:
        return None
    if flag.targeting not in contents:
        raise NotFound(f"flag {flag.key!r}: its targeting rule {flag.targeting} is not there")
    return contents[flag.targeting] or None


def _exported_rule(flag: Flag, rule: Json) -> Json:
    """Targeting, then the rollout where targeting gave null; null leaves it to the default variant."""
    coin = _exported_rollout(flag)
    if rule is None:
        return coin
    targeting = _landing(flag, rule)
    # The rule is written twice: JSONLogic can bind a value (`reduce`) only where the context is out of sight,
    # and the coin needs the context.
    return targeting if coin is None else {"if": [{"===": [rule, None]}, coin, targeting]}


def _landing(flag: Flag, rule: Json) -> Json:
    """`rule`, with *withdrawn → safe* around its result."""
    if not flag.withdrawn:
        return rule
    result: Json = {"var": "current"}
    names = sorted(flag.withdrawn)
    by_value = [clause for name in names if (clause := _named_by_value(name, result)) is not None]
    # In an array only a text equals a text, so a result of another type is let through as it is.
    by_text: Json = {"in": [result, names]}
    withdrawn: Json = {"or": [by_text, *by_value]} if by_value else by_text
    return {"reduce": [[rule], {"if": [withdrawn, flag.safe, result]}, None]}


def _named_by_value(name: str, result: Json) -> Json:
    """Whether `result` is the boolean or integer whose text is `name`; flagd takes those for names too.

    The second half tells 1 from true where the evaluator is written in Python.
    """
    spelled: Json = {"cat": [result]}
    if name in ("true", "false"):
        return {
            "and": [{"===": [result, name == "true"]}, {"!==": [spelled, "1" if name == "true" else "0"]}]
        }
    if name.isdecimal() and str(int(name)) == name:
        return {"and": [{"===": [result, int(name)]}, {"===": [spelled, name]}]}
    return None


def _exported_rollout(flag: Flag) -> Json:
    """DESIGN §4's rule; without a targeting key there is no coin."""
    if flag.rollout is None:
        return None
    candidate, weight = flag.rollout.variant, flag.rollout.weight
    landed = flag.safe if candidate in flag.withdrawn else candidate
    who: Json = {"var": "targetingKey"}
    key: Json = {"cat": [{"var": "$flagd.flagKey"}, "/", candidate, "/", who]}
    return {"if": [who, {"fractional": [key, [flag.served, WHOLE - weight], [landed, weight]]}, None]}

"""A flag's stored document ↔ Flag: parsed strictly once, so that nobody validates again.

Knows no contents but their JSON types: the document holds names, state and hashes only. Every error tells the
path, what was found and what was expected.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from flags.errors import Invalid
from flags.fields import (
    boolean_of,
    check_fields,
    check_name,
    choice_of,
    count_of,
    hash_of,
    number_of,
    object_of,
    scalars_of,
    seen,
    text_of,
    texts_of,
    time_of,
    undefined,
)
from flags.model import (
    NOTHING,
    Document,
    Flag,
    Followed,
    Json,
    Layer,
    Rollout,
    RolloutState,
    Shadow,
    Soak,
    Variant,
)
from flags.promotion import promotion_document, promotion_from

STATE_FIELDS = frozenset({"enabled", "serve", "safe", "rollout", "withdrawn", "shadow"})
# What automation notes about what it, or somebody, did.
NOTED_FIELDS = frozenset({"changed_at", "braked_at", "quarantined"})
DECLARED_FIELDS = frozenset(
    {"layer", "variants", "targeting", "metadata", "declared", "soak", "promotion", "written", "followed"}
)
FLAG_FIELDS = STATE_FIELDS | NOTED_FIELDS | DECLARED_FIELDS
VARIANT_FIELDS = frozenset({"hash", "generation", "created_by", "created_at", "served_at"})
ROLLOUT_FIELDS = frozenset({"variant", "percent", "step", "state", "steps", "hold_seconds", "min_requests"})
SOAK_FIELDS = frozenset({"seconds", "requests"})
SHADOW_FIELDS = frozenset({"variant", "percent"})
FOLLOWED_FIELDS = frozenset({"file", "text", "rollout"})


def flag_from(key: str, document: Document, revision: int) -> Flag:
    """The flag that `document` describes. Raises Invalid with the path of the first thing that is wrong."""
    check_name(key, "", "flag")
    check_fields(document, FLAG_FIELDS, "")
    serve = text_of(document.get("serve"), "serve")
    layer = document.get("layer")
    flag = Flag(
        key=key,
        variants=_variants(document.get("variants")),
        serve=serve,
        # DESIGN: a flag created without `safe` gets what it serves.
        safe=text_of(document.get("safe", serve), "safe") or serve,
        layer=None if layer is None else choice_of(Layer, layer, "layer"),
        enabled=boolean_of(document.get("enabled", True), "enabled"),
        rollout=_rollout(document.get("rollout")),
        withdrawn=frozenset(texts_of(document.get("withdrawn"), "withdrawn")),
        targeting=hash_of(document.get("targeting"), "targeting"),
        metadata=scalars_of(document.get("metadata"), "metadata") or NOTHING,
        declared=hash_of(document.get("declared"), "declared"),
        changed_at=time_of(document.get("changed_at"), "changed_at"),
        braked_at=time_of(document.get("braked_at"), "braked_at"),
        quarantined=_hashes(document.get("quarantined"), "quarantined"),
        soak=_soak(document.get("soak")),
        shadow=_shadow(document.get("shadow")),
        promotion=promotion_from(document.get("promotion")),
        written=hash_of(document.get("written"), "written"),
        followed=_followed(document.get("followed")),
        revision=revision,
    )
    check_flag(flag)
    return flag


def _variants(found: Json) -> Mapping[str, Variant]:
    if not isinstance(found, Mapping) or not found:
        raise Invalid("variants", f"expected an object with at least one variant, found {seen(found)}")
    return {name: _variant(name, document) for name, document in found.items()}


def _variant(name: str, found: Json) -> Variant:
    path = f"variants.{name}"
    check_name(name, path, "variant")
    document = object_of(found, path)
    check_fields(document, VARIANT_FIELDS, path)
    content = hash_of(document.get("hash"), f"{path}.hash")
    if content is None:
        raise Invalid(f"{path}.hash", "expected the SHA-256 of the content, found nothing")
    return Variant(
        name=name,
        hash=content,
        generation=count_of(document.get("generation", 1), f"{path}.generation", at_least=1),
        created_by=text_of(document.get("created_by"), f"{path}.created_by") or "",
        created_at=text_of(document.get("created_at"), f"{path}.created_at") or "",
        served_at=time_of(document.get("served_at"), f"{path}.served_at"),
    )


def _rollout(found: Json) -> Rollout | None:
    if found is None:
        return None
    document = object_of(found, "rollout")
    check_fields(document, ROLLOUT_FIELDS, "rollout")
    variant = text_of(document.get("variant"), "rollout.variant")
    if variant is None:
        raise Invalid("rollout.variant", "expected the candidate's name, found nothing")
    step = document.get("step")
    return Rollout(
        variant=variant,
        percent=number_of(document.get("percent"), "rollout.percent", "0 to 100"),
        step=None if step is None else count_of(step, "rollout.step", at_least=0),
        state=choice_of(RolloutState, document.get("state", RolloutState.RUNNING.value), "rollout.state"),
        steps=_steps(document.get("steps")),
        hold_seconds=_duration(document.get("hold_seconds", 0.0), "rollout.hold_seconds"),
        min_requests=count_of(document.get("min_requests", 0), "rollout.min_requests", at_least=0),
    )


def _steps(found: Json) -> tuple[float, ...]:
    if found is None:
        return ()
    if not isinstance(found, (list, tuple)):
        raise Invalid("rollout.steps", f"expected an array of percentages, found {seen(found)}")
    return tuple(
        float(number_of(each, f"rollout.steps[{index}]", "0 to 100")) for index, each in enumerate(found)
    )


def _soak(found: Json) -> Soak:
    if found is None:
        return Soak()
    document = object_of(found, "soak")
    check_fields(document, SOAK_FIELDS, "soak")
    usual = Soak()
    return Soak(
        seconds=_duration(document.get("seconds", usual.seconds), "soak.seconds"),
        requests=count_of(document.get("requests", usual.requests), "soak.requests", at_least=0),
    )


def _shadow(found: Json) -> Shadow | None:
    if found is None:
        return None
    document = object_of(found, "shadow")
    check_fields(document, SHADOW_FIELDS, "shadow")
    variant = text_of(document.get("variant"), "shadow.variant")
    if variant is None:
        raise Invalid("shadow.variant", "expected the name of a variant, found nothing")
    return Shadow(variant, number_of(document.get("percent"), "shadow.percent", "0 to 100"))


def _followed(found: Json) -> Followed | None:
    if found is None:
        return None
    document = object_of(found, "followed")
    check_fields(document, FOLLOWED_FIELDS, "followed")
    file, text = (
        text_of(document.get("file"), "followed.file"),
        hash_of(document.get("text"), "followed.text"),
    )
    if not file or text is None:
        raise Invalid("followed", "expected a file and the hash of a text")
    return Followed(file, text, text_of(document.get("rollout"), "followed.rollout"))


def _duration(found: Json, path: str) -> float:
    """Seconds, finite and not negative."""
    value = float(number_of(found, path, "seconds"))
    if not 0 <= value < math.inf:
        raise Invalid(path, f"expected seconds from 0 on, found {seen(found)}")
    return value


def _hashes(found: Json, path: str) -> frozenset[str]:
    names = [hash_of(each, f"{path}[{index}]") for index, each in enumerate(texts_of(found, path))]
    return frozenset(name for name in names if name is not None)


def check_flag(flag: Flag) -> None:
    """Raises Invalid where the flag's parts do not fit each other; what a write leaves behind must pass."""
    for path, name in _named(flag):
        if name not in flag.variants:
            raise undefined(path, name, flag.variants)
    if flag.layer is not None and flag.serve is None:
        mend = f"name one of {', '.join(flag.variants)}"
        raise Invalid("serve", f"a {flag.layer} flag must serve a variant, found nothing", mend=mend)
    if flag.safe in flag.withdrawn:
        raise Invalid("safe", f"variant {flag.safe!r} is withdrawn, so it cannot be where a rollback lands")
    if flag.rollout is not None:
        _check_rollout(flag, flag.rollout)
    if flag.shadow is not None:
        _check_percent(flag.shadow.percent, "shadow.percent")


def _named(flag: Flag) -> Iterator[tuple[str, str]]:
    """Every variant that the state names, with the path where it does."""
    if flag.serve is not None:
        yield "serve", flag.serve
    if flag.safe is not None:
        yield "safe", flag.safe
    if flag.rollout is not None:
        yield "rollout.variant", flag.rollout.variant
    if flag.shadow is not None:
        yield "shadow.variant", flag.shadow.variant
    for name in sorted(flag.withdrawn):
        yield "withdrawn", name


def _check_rollout(flag: Flag, rollout: Rollout) -> None:
    if flag.serve is None:
        raise Invalid("rollout", "a rollout shares with what is served, and `serve` is null")
    if rollout.variant == flag.serve:
        raise Invalid(
            "rollout.variant", f"variant {rollout.variant!r} is served already; a candidate is another"
        )
    _check_percent(rollout.percent, "rollout.percent")
    if rollout.steps:
        check_steps(rollout.steps, "rollout.steps")
        step = rollout.step
        if step is None or step >= len(rollout.steps) or rollout.steps[step] != rollout.percent:
            message = f"expected which of `steps` is {rollout.percent:g} %, found {step}"
            raise Invalid("rollout.step", message)


def check_steps(steps: Sequence[float], path: str) -> None:
    """Raises Invalid unless the percentages rise, from above 0 to 100 at most, with two decimals."""
    before = 0.0
    for index, percent in enumerate(steps):
        _check_percent(percent, f"{path}[{index}]")
        if percent <= before:
            raise Invalid(
                f"{path}[{index}]", f"expected more than {before:g}, found {percent:g}: each step gives more"
            )
        before = percent


def _check_percent(percent: float, path: str) -> None:
    if not 0 <= percent <= 100:
        raise Invalid(path, f"expected 0 to 100, found {percent}")
    # 7.1 is no exact binary number: what two decimals leave over is far below this.
    if abs(percent * 100 - round(percent * 100)) > 1e-6:
        raise Invalid(path, f"expected at most two decimals, found {percent}")


def check_values(layer: Layer | None, values: Mapping[str, Json], *, mixed: bool = False) -> None:
    """Raises Invalid unless the variants' `values` can be one flag's.

    Objects for a layer, else of one JSON type; with `mixed` booleans and numbers may stand side by side.

    The types are flagd's: boolean, string, number, object. (What an object must hold for a layer, others
    check.)
    """
    expected = "object" if layer is not None else None
    for name, value in values.items():
        found = _type(value)
        if found is None:
            message = f"expected a boolean, string, number or object; found {seen(value)}"
            raise Invalid(f"variants.{name}", message)
        expected = expected or found
        if found != expected and not (mixed and {found, expected} == {"boolean", "number"}):
            whose = "the variants before it" if layer is None else f"a {layer} flag's variants"
            raise Invalid(
                f"variants.{name}", f"found a value of type {found}; {whose} are of type {expected}"
            )


def _type(value: Json) -> str | None:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, str):
        return "string"
    return "object" if isinstance(value, Mapping) else None


def document_of(flag: Flag) -> dict[str, Json]:
    """The document that `flag_from` reads back to the same flag.

    Raises Invalid for a flag that it would refuse.
    """
    # Refused here rather than by the reader: what is committed must be readable by every worker.
    check_flag(flag)
    document: dict[str, Json] = {
        "variants": {name: _variant_document(variant) for name, variant in flag.variants.items()},
        "serve": flag.serve,
        "safe": flag.safe,
    }
    optional: dict[str, Json] = {
        "layer": None if flag.layer is None else flag.layer.value,
        "enabled": None if flag.enabled else False,
        "rollout": None if flag.rollout is None else _rollout_document(flag.rollout),
        "withdrawn": sorted(flag.withdrawn) or None,
        "targeting": flag.targeting,
        "metadata": dict(flag.metadata) or None,
        "declared": flag.declared,
        "changed_at": flag.changed_at or None,
        "braked_at": flag.braked_at or None,
        "quarantined": sorted(flag.quarantined) or None,
        "soak": None if flag.soak == Soak() else _soak_document(flag.soak),
        "shadow": None if flag.shadow is None else _shadow_document(flag.shadow),
        "promotion": None if flag.promotion is None else promotion_document(flag.promotion),
        "written": flag.written,
        "followed": None if flag.followed is None else _followed_document(flag.followed),
    }
    return document | {name: value for name, value in optional.items() if value is not None}


def _followed_document(followed: Followed) -> dict[str, Json]:
    return {name: value for name, value in followed._asdict().items() if value is not None}


def _variant_document(variant: Variant) -> dict[str, Json]:
    document: dict[str, Json] = {"hash": variant.hash, "generation": variant.generation}
    optional = {
        "created_by": variant.created_by,
        "created_at": variant.created_at,
        "served_at": variant.served_at,
    }
    return document | {name: value for name, value in optional.items() if value}


def _rollout_document(rollout: Rollout) -> dict[str, Json]:
    document: dict[str, Json] = {
        "variant": rollout.variant,
        "percent": rollout.percent,
        "state": rollout.state.value,
    }
    optional: dict[str, Json] = {
        "step": rollout.step,
        "steps": list(rollout.steps) or None,
        "hold_seconds": rollout.hold_seconds or None,
        "min_requests": rollout.min_requests or None,
    }
    return document | {name: value for name, value in optional.items() if value is not None}


def _soak_document(soak: Soak) -> dict[str, Json]:
    return {"seconds": soak.seconds, "requests": soak.requests}


def _shadow_document(shadow: Shadow) -> dict[str, Json]:
    return {"variant": shadow.variant, "percent": shadow.percent}

"""What `apply --prune` may take away, and who still needs it. Pure; knows documents, no store and no file."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from flags.change import View
from flags.errors import Invalid
from flags.model import Flag, Json, Kind, Layer, ObjectKey
from gateway.config.declaration import Declaration, DeclaredFlag
from policies.case import layer_flags
from policies.pinning import pins_of


def pruned(flag: Flag, declared: DeclaredFlag, pinned: Collection[str] = ()) -> Flag:
    """Without the variants that the file lacks and nothing serves, could serve, pins, or keeps out of service."""
    used = {flag.serve, flag.safe, *flag.withdrawn, *pinned}
    used |= {each.variant for each in (flag.rollout, flag.shadow) if each is not None}
    kept = {name: each for name, each in flag.variants.items() if name in declared.variants or name in used}
    return flag if kept.keys() == flag.variants.keys() else replace(flag, variants=kept)


def pinned_variants(
    declaration: Declaration, view: View, contents: Mapping[str, Json]
) -> Mapping[str, Collection[str]]:
    """By flag, the variants that are pinned by a pipeline of a route that stays."""
    found: dict[str, set[str]] = {}
    for key, spec in declaration.others.items():
        if key.kind is Kind.ROUTE:
            layers = layer_flags(key.name, spec)
            for content in _staying(layers[Layer.PIPELINE], declaration, view, contents):
                for layer, variant in pins_of(content).items():
                    found.setdefault(layers[layer], set()).add(variant)
    return found


def _staying(
    pipeline: str, declaration: Declaration, view: View, contents: Mapping[str, Json]
) -> Iterator[Json]:
    """The contents of a pipeline's versions that no pruning takes away."""
    declared = declaration.flags.get(pipeline)
    if declared is None:
        return
    yield from declared.variants.values()
    if ObjectKey(Kind.FLAG, pipeline) not in view.objects:
        return
    try:
        flag = view.flag(pipeline)
    except Invalid:
        return  # what cannot be read stays as it is, and is told of
    yield from (contents.get(each.hash) for each in pruned(flag, declared).variants.values())

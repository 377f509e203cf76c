"""What an object names that must exist beside it: a version's upstreams, a route's flags, a policy's metric. Pure.

The rules are those by which a config file is checked. Knows documents; no store and no file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from flags.change import Draft, View
from flags.codec import document_of
from flags.errors import FlagError, Invalid, Refused
from flags.model import NOTHING, Document, Flag, Json, Kind, Layer, ObjectKey
from gateway.config.checks import policy_problems, route_problems
from gateway.content import unknown_upstreams
from gateway.declaring.pins import unknown_pins
from gateway.spec import ConfigSpec, MetricSpec, PolicySpec, RouteSpec
from gateway.spec_rulebook import SignalSpec


def check_references(
    key: ObjectKey, after: Document | Flag, view: View, contents: Mapping[str, Json]
) -> None:
    """Raises Refused (`missing_reference`) where `after`, put at `key`, would name what `view` does not have.

    `contents` holds those of a flag's versions, by hash, and of the pipelines beside it.
    """
    found: list[Invalid] = []
    if isinstance(after, Flag):
        found += _flag_problems(after, view, contents)
    elif key.kind is Kind.ROUTE:
        found += route_problems(key.name, msgspec.convert(_spec(after), RouteSpec), _layers(view))
    elif key.kind is Kind.POLICY:
        spec = msgspec.convert(_spec(after), PolicySpec)
        signals = {name: SignalSpec(secret="") for name in _names(view, Kind.SIGNAL)}
        config = ConfigSpec(metrics=_metrics(view), signals=signals)
        found += policy_problems(key.name, spec, config, _names(view, Kind.ROUTE))
    found += _pin_problems(key, after, view, contents)
    if found:
        message = "; ".join(f"{each.path}: {each.message}" for each in found)
        mend = f"bring back first what is missing (pointsman revert OBJECT …), or declare {key} anew"
        raise Refused(
            "missing_reference", f"{key} as it was does not fit what is there now: {message}", mend=mend
        )


def _pin_problems(
    key: ObjectKey, after: Document | Flag, view: View, contents: Mapping[str, Json]
) -> Iterator[Invalid]:
    document = document_of(after) if isinstance(after, Flag) else after
    return unknown_pins(view, [Draft("revert", key, document)], contents)


def _flag_problems(flag: Flag, view: View, contents: Mapping[str, Json]) -> Iterator[Invalid]:
    path = f"flags.{flag.key}"
    if flag.layer in (Layer.MODEL, Layer.RETRIEVER):
        upstreams = _names(view, Kind.UPSTREAM)
        for name, variant in flag.variants.items():
            for problem in unknown_upstreams(contents.get(variant.hash), upstreams):
                yield problem.under(f"{path}.variants.{name}")
    # A flag that was deleted and declared anew may have had another layer, on which routes do not count.
    layers = {**_layers(view), flag.key: flag.layer}
    for key, stored in view.objects.items():
        if key.kind is Kind.ROUTE:
            spec = msgspec.convert(_spec(stored.document), RouteSpec)
            uses = {str(getattr(spec, layer) or f"{key.name}.{layer}") for layer in Layer}
            if flag.key in uses:
                yield from (p for p in route_problems(key.name, spec, layers) if repr(flag.key) in p.message)


def _spec(document: Document) -> Document:
    found = document.get("spec", NOTHING)
    return found if isinstance(found, Mapping) else NOTHING


def _names(view: View, kind: Kind) -> frozenset[str]:
    return frozenset(key.name for key in view.objects if key.kind is kind)


def _metrics(view: View) -> dict[str, MetricSpec]:
    held = {key.name: each for key, each in view.objects.items() if key.kind is Kind.METRIC}
    return {name: msgspec.convert(_spec(each.document), MetricSpec) for name, each in held.items()}


def _layers(view: View) -> dict[str, Layer | None]:
    """Every flag that can be read, with its layer."""
    found: dict[str, Layer | None] = {}
    for key in view.objects:
        if key.kind is Kind.FLAG:
            try:
                found[key.name] = view.flag(key.name).layer
            except FlagError:
                continue
    return found

"""What a config's sections say about each other and about the world. Knows specs; reads no file, writes nothing.

Each check yields Invalid with the path from the file's root; shapes are right already.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from math import inf
from types import MappingProxyType
from urllib.parse import urlsplit

import msgspec
from msgspec import UNSET

from flags.codec import check_steps, check_values
from flags.errors import Invalid
from flags.flagd.marks import check_unmarked
from flags.flagd.spelling import check_spelling
from flags.model import Json, Layer
from flags.targeting import compile_rule
from gateway.config.checks_signals import outside_problems, source_problems, taken_names
from gateway.config.declaration import Known
from gateway.config.promoting import promotion_problems
from gateway.content import SECRET_REFERENCE, secret_problems
from gateway.spec import ConfigSpec, FlagSpec, PolicySpec, RouteSpec, UpstreamSpec
from gateway.spec_base import EVERY_NAME
from gateway.switches.table import MIXED
from policies.policy import ALPHA, BUILT_IN, OUTSIDE, Metric, MetricKind, check_limit, metric_from
from policies.tally import SECONDS_KEPT

MEASURED = frozenset(metric.name for metric in BUILT_IN if metric.kind is not MetricKind.SCORE)
SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "x-api-key", "api-key", "cookie"})
_ADDRESS = frozenset({"base_url", "api_key", "auth_header", "headers", "ca_file"})
# Which fields an upstream of a kind has a use for, besides those that all have.
_FIELDS_OF: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "openai": _ADDRESS | {"translate"},
        "anthropic": _ADDRESS | {"translate"},
        "litellm": _ADDRESS | {"provider", "params"},
        "qdrant": _ADDRESS,
        "simulated": frozenset({"rules", "reply", "headers", "api_key"}),
    }
)
_SPECIAL = (
    "base_url", "api_key", "auth_header", "headers", "ca_file", "translate", "provider", "params", "rules", "reply",
)  # fmt: skip
# RFC 9110 §5.6.2: what a field's name is made of.
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
EXAMPLES = MappingProxyType({"openai": "https://api.openai.com/v1", "qdrant": "http://127.0.0.1:6333"})


def upstream_problems(name: str, spec: UpstreamSpec) -> Iterator[Invalid]:
    """What is wrong with an upstream by itself. Secrets are not repeated."""
    path = f"upstreams.{name}"
    for field in _SPECIAL:
        if field not in _FIELDS_OF[spec.kind] and getattr(spec, field):
            yield Invalid(
                f"{path}.{field}", f"an upstream of kind {spec.kind} has no `{field}`", mend="remove it"
            )
    if spec.base_url is None and spec.kind in EXAMPLES:
        yield Invalid(path, "`base_url` is missing", mend=f"add base_url, for example {EXAMPLES[spec.kind]}")
    if spec.auth_header is not None and not HEADER_NAME.fullmatch(spec.auth_header):
        yield Invalid(f"{path}.auth_header", "is no name for a header", mend="write api-key, for example")
    if spec.kind == "litellm" and spec.provider is None:
        yield Invalid(path, "`provider` is missing", mend="add provider, for example bedrock")
    if spec.base_url is not None:
        yield from url_problems(f"{path}.base_url", spec.base_url)
    for header, value in spec.headers.items():
        if header.lower() in SECRET_HEADERS and not SECRET_REFERENCE.fullmatch(value):
            mend = "write os.environ/NAME or file:/path"
            yield Invalid(f"{path}.headers.{header}", "a secret stands here in plain text", mend=mend)
    yield from secret_problems(spec.params, f"{path}.params")


def url_problems(path: str, url: str) -> Iterator[Invalid]:
    """An address that cannot be called, or that holds a password."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable, parts = False, urlsplit("")
    if not usable:
        yield Invalid(path, "expected an address that begins with http:// or https:// and names a host")
    elif parts.username or parts.password:
        yield Invalid(path, "a secret stands in the address", mend="use api_key: os.environ/NAME")


def flag_problems(key: str, spec: FlagSpec) -> Iterator[Invalid]:
    """What is wrong with a flag's state; its contents are checked where they are read."""
    path = f"flags.{key}"
    serve = served_by(spec)
    known = f"(variants: {', '.join(spec.variants)})"
    if serve is UNSET:
        yield Invalid(
            path, f"`serve` is missing, and there is more than one variant {known}", mend="add serve: NAME"
        )
        return
    if serve is None and spec.layer is not None:
        yield Invalid(f"{path}.serve", f"a {spec.layer} flag must serve a variant", mend=f"name one {known}")
    if spec.promotion is not None:
        yield from promotion_problems(f"{path}.promotion", spec.promotion)
    for unknown in sorted(spec.records.keys() - spec.variants.keys()):
        yield Invalid(f"{path}.records.{unknown}", f"variant {unknown!r} is not defined {known}")
    named = [("serve", serve), ("safe", spec.safe)] + [
        (f"withdrawn[{i}]", name) for i, name in enumerate(spec.withdrawn)
    ]
    named += [("rollout.variant", spec.rollout.variant)] if spec.rollout else []
    named += [("shadow.variant", spec.shadow.variant)] if spec.shadow else []
    for where, name in named:
        if name is not None and name not in spec.variants:
            yield Invalid(f"{path}.{where}", f"variant {name!r} is not defined {known}")
    safe = spec.safe or serve
    if safe in spec.withdrawn:
        yield Invalid(
            f"{path}.safe",
            f"variant {safe!r} is withdrawn, so it cannot be safe",
            mend="name another in `safe`",
        )
    if spec.rollout:
        yield from _rollout_problems(f"{path}.rollout", spec, str(serve) if serve else None)
    if spec.shadow:
        yield from _shadow_problems(f"{path}.shadow", spec, str(serve) if serve else None)
    yield from _flagd_problems(path, spec)


def _flagd_problems(path: str, spec: FlagSpec) -> Iterator[Invalid]:
    """Metadata that an exported flagd file could not tell from ours, and what is no spelling of one."""
    try:
        check_unmarked(spec.metadata, f"{path}.metadata")
        check_spelling(spec.flagd or {}, f"{path}.flagd")  # type: ignore[arg-type]  # JSON already
    except Invalid as error:
        yield error


def served_by(spec: FlagSpec) -> object:
    """The variant served at creation: as given, else the only one; UNSET where that cannot be told."""
    if spec.serve is UNSET and len(spec.variants) == 1:
        return next(iter(spec.variants))
    return spec.serve


def _rollout_problems(path: str, spec: FlagSpec, serve: str | None) -> Iterator[Invalid]:
    assert spec.rollout is not None
    name, percent, steps = spec.rollout.variant, spec.rollout.percent, spec.rollout.steps
    if serve is None:
        yield Invalid(path, "a rollout shares with what is served, and `serve` is null")
    elif name == serve:
        yield Invalid(f"{path}.variant", f"variant {name!r} is served already; a candidate is another")
    if name in spec.withdrawn:
        yield Invalid(f"{path}.variant", f"variant {name!r} is withdrawn, so it cannot be the candidate")
    if (percent is None) == (steps is None):
        yield Invalid(
            path, "expected one of `percent` and `steps`", mend="percent is by hand, steps are automatic"
        )
    if percent is not None:
        yield from _percent_problems(f"{path}.percent", percent)
    try:
        check_steps(steps or (), f"{path}.steps")
    except Invalid as error:
        yield error
    for field in ("hold_seconds", "min_requests"):
        if steps is None and getattr(spec.rollout, field) is not None:
            yield Invalid(f"{path}.{field}", "goes with `steps`", mend="remove it")
    if spec.layer is None and spec.rollout.min_requests and steps is not None:
        message = "the requests that get a flag without a layer are not counted"
        yield Invalid(f"{path}.min_requests", message, mend="remove it: its steps wait for their hold alone")


def _shadow_problems(path: str, spec: FlagSpec, serve: str | None) -> Iterator[Invalid]:
    assert spec.shadow is not None
    name = spec.shadow.variant
    if name == serve:
        yield Invalid(f"{path}.variant", f"variant {name!r} is served already; a shadow is of another")
    if name in spec.withdrawn:
        yield Invalid(f"{path}.variant", f"variant {name!r} is withdrawn, so it cannot be shadowed")
    yield from _percent_problems(f"{path}.percent", spec.shadow.percent)
    if spec.layer is None:
        message = "a flag without a layer is sent no requests, so there is nothing to copy"
        yield Invalid(path, message, mend="remove it, or give the flag its layer")


def _percent_problems(path: str, percent: float) -> Iterator[Invalid]:
    if abs(percent * 100 - round(percent * 100)) > 1e-6:
        yield Invalid(path, f"expected at most two decimals, found {percent}")


def values_problems(key: str, layer: Layer | None, values: Mapping[str, Json]) -> Iterator[Invalid]:
    """Variants of one flag that are of different types."""
    try:
        check_values(layer, values, mixed=key in MIXED)
    except Invalid as error:
        yield error.under(f"flags.{key}")


def targeting_problems(key: str, rule: Json) -> Iterator[Invalid]:
    """A rule that does not compile."""
    try:
        compile_rule(rule, key, strict=True)
    except Invalid as error:
        yield error.under(f"flags.{key}.targeting")


def route_problems(name: str, spec: RouteSpec, flags: Mapping[str, Layer | None]) -> Iterator[Invalid]:
    """A route whose flags do not exist or are of another layer, or that has no model."""
    path = f"routes.{name}"
    for layer in Layer:
        given: str | None = getattr(spec, layer.value)
        key = given or f"{name}.{layer.value}"
        where = f"{path}.{layer.value}" if given else path
        if key not in flags:
            if given:
                known = ", ".join(sorted(each for each, its in flags.items() if its is layer)) or "none"
                yield Invalid(where, f"flag {key!r} is not defined ({layer} flags: {known})")
        elif flags[key] is not layer:
            has = f"layer {flags[key]}" if flags[key] else "no layer"
            yield Invalid(
                where, f"flag {key!r} has {has}; expected {layer}", mend=f"add layer: {layer} to flag {key!r}"
            )
    if spec.model is None and f"{name}.model" not in flags:
        mend = f"define flag {name}.model with layer: model, or name one: {name}: {{model: FLAG}}"
        if name == EVERY_NAME:
            mend = 'name one: "*": {model: FLAG} (its layers are found by no name)'
        yield Invalid(path, "the route has no model layer", mend=mend)


def policy_problems(
    name: str, spec: PolicySpec, config: ConfigSpec, routes: Iterable[str]
) -> Iterator[Invalid]:
    """A policy about a metric or route that does not exist, without a bound, or with one that cannot be judged."""
    path = f"policies.{name}"
    metrics = {metric.name for metric in BUILT_IN} | config.metrics.keys() | OUTSIDE
    if spec.metric in OUTSIDE:
        yield from (problem.under(path) for problem in outside_problems(spec))
    elif spec.metric not in metrics:
        listed = ", ".join(sorted(metrics))
        yield Invalid(f"{path}.metric", f"metric {spec.metric!r} is not defined (metrics: {listed})")
    elif (metric := _metric(spec.metric, config)) is not None:
        yield from (problem.under(path) for problem in _bound_problems(spec, metric))
    if spec.metric not in OUTSIDE:
        yield from (problem.under(path) for problem in _method_problems(spec))
    yield from (problem.under(path) for problem in source_problems(spec, config.signals))
    known = set(routes)
    if spec.routes is not None and not spec.routes:
        yield Invalid(f"{path}.routes", "there is no route in it", mend="leave it out to mean all routes")
    for index, route in enumerate(spec.routes or ()):
        if route not in known:
            listed = ", ".join(sorted(known)) or "none"
            yield Invalid(f"{path}.routes[{index}]", f"route {route!r} is not defined (routes: {listed})")


def _metric(name: str, config: ConfigSpec) -> Metric | None:
    """The metric that a policy names; None where its own declaration is wrong, which is told there."""
    declared = config.metrics.get(name)
    if declared is None or name in MEASURED:
        return next(metric for metric in BUILT_IN if metric.name == name)
    try:
        return metric_from(name, msgspec.to_builtins(declared))
    except Invalid:
        return None


def _bound_problems(spec: PolicySpec, metric: Metric) -> Iterator[Invalid]:
    if spec.limit is None and spec.times_safe is None:
        yield Invalid("", "there is no bound", mend="add limit, times_safe, or both")
    if spec.limit is not None:
        try:
            check_limit(metric, spec.limit)
        except Invalid as error:
            yield error
    if spec.times_safe is not None and not 1 <= spec.times_safe < inf:
        mend = "1.5 is half as much again; below 1 a version as good as the safe one would go"
        yield Invalid("times_safe", f"expected 1 or more, found {spec.times_safe:g}", mend=mend)
    if metric.kind is not MetricKind.SECONDS:
        if spec.quantile is not None:
            message = f"{spec.metric} has no quantile; latency and ttft have"
            yield Invalid("quantile", message, mend="remove it")
    elif spec.method == "threshold" and spec.limit is not None and spec.times_safe is not None:
        mend = "declare two policies, one with each"
        yield Invalid("", f"a threshold on {spec.metric} has a limit or times_safe, not both", mend=mend)


def _method_problems(spec: PolicySpec) -> Iterator[Invalid]:
    """Fields that the policy's method has no use for: whoever wrote them expects something else."""
    if spec.method == "evidence":
        for field in ("window_seconds", "min_count"):
            if getattr(spec, field) is not None:
                message = "evidence counts from a version's first request; it has no window and no minimum"
                yield Invalid(field, message, mend="remove it, or add method: threshold")
    else:
        if spec.window_seconds is not None and spec.window_seconds > SECONDS_KEPT:
            message = f"expected {SECONDS_KEPT} seconds at most, found {spec.window_seconds:g}"
            yield Invalid("window_seconds", message)
        if spec.alpha != ALPHA:
            message = "a plain threshold has no α: it does not know how sure it is"
            yield Invalid("alpha", message, mend="remove it, or use method: evidence")


def metric_problems(config: ConfigSpec) -> Iterator[Invalid]:
    """Metrics under names that are taken, and ranges that are none."""
    yield from taken_names(config.metrics)
    for name, spec in config.metrics.items():
        if name in MEASURED:
            yield Invalid(
                f"metrics.{name}", f"{name} is measured by the gateway itself", mend="choose another name"
            )
        if spec.range is None:
            continue
        if spec.type == "boolean":
            yield Invalid(
                f"metrics.{name}.range", "a boolean score is 0 or 1 and has no range", mend="remove it"
            )
        elif not -inf < spec.range[0] < spec.range[1] < inf:
            low, high = spec.range
            yield Invalid(f"metrics.{name}.range", f"expected [lowest, highest], found [{low:g}, {high:g}]")


def flags_known(config: ConfigSpec, known: Known) -> dict[str, Layer | None]:
    """Every flag that a route may name, with its layer."""
    return {
        **known.flags,
        **{key: Layer(spec.layer) if spec.layer else None for key, spec in config.flags.items()},
    }

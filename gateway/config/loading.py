"""A config file, and the files it names, become a Declaration; or everything that is wrong with them is told at once.

Knows files and sections; no store and no Redis: what exists there is passed in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from flags.canonical import canonical
from flags.errors import Invalid
from flags.flagd.reading import FILE_FIELDS
from flags.model import Document, Json, Kind, Layer, ObjectKey, Rollout, Shadow, Soak
from flags.targeting import expanded
from gateway.checking import problems_of, seconds_in
from gateway.config import checks
from gateway.config.checks_origins import origin_problems
from gateway.config.checks_rulebook import notify_problems
from gateway.config.checks_signals import signal_problems
from gateway.config.declaration import SECTIONS, ConfigInvalid, Declaration, DeclaredFlag, Known, Problem
from gateway.config.files import Source, below, read_source
from gateway.config.places import Fault, Unreadable, line_of
from gateway.config.promoting import apart, promotion_of, record_problems, suite_of
from gateway.content import content_problems
from gateway.declaring.pins import pin_problems
from gateway.importing.flagd import looks_like_flagd
from gateway.judging.checks import judge_problems
from gateway.spec import ConfigSpec, FlagSpec, RolloutSpec, RouteSpec
from gateway.spec_rulebook import PromotionSpec, RecordSpec
from gateway.switches.checks import slips, switch_problems
from policies.case import layer_flags
from policies.schedule import HOLD_SECONDS, MIN_REQUESTS, Schedule

NOTHING_KNOWN = Known()
EXPECTED = "expected the sections " + ", ".join(ConfigSpec.__struct_fields__)


def load_file(path: Path, known: Known = NOTHING_KNOWN) -> Declaration:
    """The declaration in the file at `path`.

    Raises ConfigInvalid with all problems, files and lines named; of a flagd file the first says so.
    """
    try:
        source = read_source(path, str(path))
    except Unreadable as error:
        raise ConfigInvalid((_problem(str(path), error.fault),)) from None
    try:
        return _Loading(source, path.parent, known).declaration()
    except ConfigInvalid as error:
        if not (looks_like_flagd(source.value) and source.value.keys() <= FILE_FIELDS):  # type: ignore[union-attr]
            raise
        mend = f"pointsman import {path}; or follow it: pointsman serve --flagd {path}"
        told = Problem(str(path), None, "", "this looks like a flagd file, which is no config of ours", mend)
        raise ConfigInvalid((told, *error.problems)) from None


def declaration_from(document: Json, known: Known = NOTHING_KNOWN, *, name: str = "document") -> Declaration:
    """The declaration in a document that came without a file (`Declaration.document()`). Raises ConfigInvalid."""
    return _Loading(Source(name, document, None), None, known).declaration()


def _problem(file: str, fault: Fault) -> Problem:
    return Problem(file, fault.line, fault.path, fault.message, fault.mend)


@dataclass(slots=True)
class _Loading:
    """One loading. What changes here: the problems found so far."""

    source: Source
    folder: Path | None
    known: Known
    problems: list[Problem] = field(default_factory=list)

    def declaration(self) -> Declaration:
        """All steps in order; raises ConfigInvalid after the last, if there was any problem."""
        self.problems += [_problem(self.source.name, fault) for fault in self.source.faults]
        config = self._config()
        flags = self._flags(config)
        self._check(config)
        self._check_pins(config, flags)
        if self.problems:
            raise self._refused()
        others = {
            ObjectKey(kind, name): seconds_in(each) or {}
            for kind, section in SECTIONS.items()
            if kind is not Kind.FLAG
            for name, each in self._document().get(section, {}).items()  # type: ignore[union-attr]
        }
        keys_file = config.keys.file if config.keys else None
        return Declaration(flags, others, keys_file, slips(flags), config.ofrep)  # type: ignore[arg-type]

    def _document(self) -> Mapping[str, Json]:
        document = self.source.value
        if not isinstance(document, Mapping) or not document:
            message = "this is no mapping" if document else "there is nothing in this file"
            raise self._refused(Fault(1, "", message, EXPECTED))
        # `flags:` with nothing under it is an empty section.
        return {name: value for name, value in document.items() if value is not None}

    def _refused(self, *faults: Fault) -> ConfigInvalid:
        found = {*self.problems, *(_problem(self.source.name, fault) for fault in faults)}
        return ConfigInvalid(tuple(sorted(found, key=lambda each: (each.file, each.line or 0, each.path))))

    def _config(self) -> ConfigSpec:
        """The sections with what is wrong left out, so that the rest is still checked."""
        document = self._document()
        try:
            canonical(document)
        except Invalid as error:
            self._add([error])
        wrong = problems_of(ConfigSpec, document)
        self._add(wrong)
        paths = [problem.path for problem in wrong]
        sound = {
            section: _sound(section, document[section], paths)
            for section in ConfigSpec.__struct_fields__
            if section in document and section not in paths
        }
        try:
            return msgspec.convert(seconds_in(sound), ConfigSpec)
        except msgspec.ValidationError as error:
            # There was more wrong than `problems_of` tells at once.
            raise (self._refused() if self.problems else self._refused(Fault(None, "", str(error)))) from None

    def _check(self, config: ConfigSpec) -> None:
        for name, upstream in config.upstreams.items():
            self._add(checks.upstream_problems(name, upstream))
        self._check_routes(config)
        self._add(checks.metric_problems(config))
        self._add(origin_problems(config.ofrep.cors, "ofrep.cors"))
        routes = self._routes()
        for name, policy in config.policies.items():
            self._add(checks.policy_problems(name, policy, config, routes))
        flags = checks.flags_known(config, self.known)
        for name, signal in config.signals.items():
            self._add(signal_problems(name, signal, routes, flags))
        for name, notify in config.notify.items():
            self._add(notify_problems(name, notify, routes))

    def _check_routes(self, config: ConfigSpec) -> None:
        flags = checks.flags_known(config, self.known)
        wrong = self._named("flags") - flags.keys()
        for name, route in config.routes.items():
            spec = route if route is not None else RouteSpec()
            # A flag whose shape is wrong has been told: who names it is not to blame.
            if wrong.isdisjoint(str(getattr(spec, each.value) or f"{name}.{each.value}") for each in Layer):
                self._add(checks.route_problems(name, spec, flags))
            self._add(judge_problems(name, spec, config, self._routes()))

    def _check_pins(self, config: ConfigSpec, flags: Mapping[str, DeclaredFlag]) -> None:
        """The pins of the pipelines that stand in this file, on every route that uses one."""
        declared = {key: flag.variants.keys() for key, flag in flags.items()}
        known = {key: (declared.get(key, set()) | found) for key, found in self.known.variants.items()}
        wrong = self._named("flags") - flags.keys()
        for name, route in config.routes.items():
            layers = layer_flags(name, _as_document(route))
            pipeline = flags.get(layers[Layer.PIPELINE])
            if (
                pipeline is not None
                and pipeline.layer is Layer.PIPELINE
                and wrong.isdisjoint(layers.values())
            ):
                self._add(pin_problems(name, layers, {**declared, **known}, pipeline.variants))

    def _routes(self) -> frozenset[str]:
        return self._named("routes") | self.known.routes

    def _named(self, section: str) -> frozenset[str]:
        found = self._document().get(section)
        return frozenset(found) if isinstance(found, Mapping) else frozenset()

    def _flags(self, config: ConfigSpec) -> dict[str, DeclaredFlag]:
        upstreams: dict[str, str | None] = dict.fromkeys(self.known.upstreams | self._named("upstreams"))
        upstreams.update((name, spec.kind) for name, spec in config.upstreams.items())
        return {key: self._flag(key, spec, config, upstreams) for key, spec in config.flags.items()}

    def _flag(
        self, key: str, spec: FlagSpec, config: ConfigSpec, upstreams: Mapping[str, str | None]
    ) -> DeclaredFlag:
        self._add(checks.flag_problems(key, spec))
        layer = Layer(spec.layer) if spec.layer else None
        before = len(self.problems)
        contents, records = (
            {},
            {name: (f"flags.{key}.records.{name}", each) for name, each in spec.records.items()},
        )
        for name, value in spec.variants.items():
            path = f"flags.{key}.variants.{name}"
            content, beside = apart(value, layer)  # type: ignore[arg-type]  # JSON already
            contents[name] = self._content(path, layer, content, upstreams)
            if beside:
                records[name] = path, self._record(path, beside, told=name in records)
        if len(self.problems) == before:
            self._add(checks.values_problems(key, layer, contents))
            self._add(each.under(f"flags.{key}") for each in switch_problems(key, layer, contents))
        suite_name, suite = self._suite(key, spec.promotion)
        for name, (path, record) in records.items():
            if name in contents and contents[name] is not None:
                self._add(record_problems(path, record, contents[name], contents))
        serve = checks.served_by(spec)
        served = serve if isinstance(serve, str) else None
        return DeclaredFlag(
            key,
            contents,
            served,
            spec.safe or served,
            layer=layer,
            enabled=spec.state == "ENABLED",
            rollout=_rollout(spec.rollout, counted=layer is not None) if spec.rollout else None,
            withdrawn=frozenset(spec.withdrawn),
            targeting=self._targeting(key, spec, config),
            metadata=spec.metadata,
            soak=Soak(spec.soak.seconds, spec.soak.requests) if spec.soak else Soak(),
            shadow=Shadow(spec.shadow.variant, spec.shadow.percent) if spec.shadow else None,
            promotion=promotion_of(spec.promotion, suite_name, suite) if spec.promotion else None,
            suite=suite,
            records={name: msgspec.to_builtins(record) for name, (_, record) in records.items()},
            spelling=spec.flagd or None,  # type: ignore[arg-type]  # JSON already
        )

    def _record(self, path: str, beside: Mapping[str, Json], *, told: bool) -> RecordSpec:
        """The record that stands beside a version's content; an empty one where it is none."""
        wrong = problems_of(RecordSpec, beside)
        self._add(problem.under(path) for problem in wrong)
        if told:
            self._add([Invalid(path, "its record stands here and under `records`", mend="keep one of them")])
        return RecordSpec() if wrong else msgspec.convert(beside, RecordSpec)

    def _suite(self, key: str, spec: PromotionSpec | None) -> tuple[str, Json]:
        try:
            return ("", None) if spec is None else suite_of(spec, self.folder)
        except Invalid as error:
            self._add([error.under(f"flags.{key}.promotion")])
            return "", None

    def _targeting(self, key: str, spec: FlagSpec, config: ConfigSpec) -> Document | None:
        if not spec.targeting:
            return None
        try:
            rule = expanded(spec.targeting, config.evaluators)  # type: ignore[arg-type]  # JSON already
        except Invalid as error:
            self._add([error.under(f"flags.{key}.targeting")])
            return None
        self._add(checks.targeting_problems(key, rule))
        return rule  # type: ignore[return-value]  # a mapping's expansion is one

    def _content(
        self, path: str, layer: Layer | None, value: Json, upstreams: Mapping[str, str | None]
    ) -> Json:
        source, root_path = self.source, path
        if isinstance(value, Mapping) and value.keys() == {"file"}:
            found = self._from_file(path, value["file"], layer)
            if found is None:
                return None
            source, root_path = found, ""
            value = found.value
        if layer is not None:
            value = seconds_in(value)
        for problem in content_problems(layer, value, upstreams=upstreams):
            inside = problem.under(root_path) if root_path else problem
            self._add([inside], source)
        return value

    def _from_file(self, path: str, name: Json, layer: Layer | None) -> Source | None:
        if self.folder is None:
            self._add(
                [Invalid(path, "there is no folder here to read files from", mend="send the content itself")]
            )
            return None
        try:
            if not isinstance(name, str):
                raise Invalid("", "expected a path")
            source = read_source(below(self.folder, name), str(self.folder / name))
        except Invalid as error:
            self._add([error.under(f"{path}.file")])
            return None
        except Unreadable as error:
            self.problems.append(_problem(str(self.folder / str(name)), error.fault))
            return None
        self.problems += [_problem(source.name, fault) for fault in source.faults]
        if source.root is None and layer is Layer.PROMPT:
            # A text file as a prompt is its system message.
            return Source(source.name, {"messages": [{"role": "system", "content": source.value}]}, None)
        return source

    def _add(self, problems: Iterable[Invalid], source: Source | None = None) -> None:
        source = source or self.source
        for each in problems:
            self.problems.append(
                Problem(source.name, line_of(source.root, each.path), each.path, each.message, each.mend)
            )


def _as_document(route: RouteSpec | None) -> Mapping[str, Json]:
    return {} if route is None else {layer.value: getattr(route, layer.value) for layer in Layer}


def _sound(section: str, found: Json, paths: list[str]) -> Json:
    """The objects of a section in which nothing is wrong."""
    if not isinstance(found, Mapping) or section == "keys":
        return None if any(path.startswith(f"{section}.") for path in paths) else found
    return {name: each for name, each in found.items() if not _among(paths, f"{section}.{name}")}


def _among(paths: list[str], prefix: str) -> bool:
    """Whether any of `paths` is `prefix` or lies inside it."""
    return any(path == prefix or path.startswith((f"{prefix}.", f"{prefix}[")) for path in paths)


def _rollout(spec: RolloutSpec, *, counted: bool) -> Rollout | None:
    """The rollout that is asked for; None where it is none, which the checks have told."""
    if spec.steps is None:
        return None if spec.percent is None else Rollout(spec.variant, spec.percent)
    hold = HOLD_SECONDS if spec.hold_seconds is None else spec.hold_seconds
    # Nobody counts the requests of a flag without a layer.
    usual = MIN_REQUESTS if counted else 0
    least = usual if spec.min_requests is None else spec.min_requests
    try:
        return Schedule(spec.steps, hold, least).first(spec.variant)
    except Invalid:
        return None

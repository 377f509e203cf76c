"""Recorded outcomes: JSON, one line each, written by a gateway or by hand, read back for replay. Knows no policy.

Three kinds of line; `time` is in Unix seconds, with a fraction.

an outcome  {"time": 1.25, "route": "bot", "releases": ["bot.prompt:v7:2"], "ending": "ok", "seconds": 0.8, …}: the
            fields of Outcome. Releases are `flag:variant:generation`. Left out, `blame` is `none` for ok, `upstream`
            for failed and `client` for the rest, and `how` is told from the flags' state.
a score     {"time": 1.5, "route": "bot", "releases": ["bot.prompt:v7:2"], "metric": "accuracy", "score": 0.4}
the state   {"flags": {"bot.prompt": {"layer": "prompt", "serve": "v6", "safe": "v6", "generations": {"v6": 1},
            "rollout": {"variant": "v7", "percent": 10}, "withdrawn": []}}, "routes": {"bot": {"prompt": "bot.prompt"}}}
            A pipeline's flag also has {"pins": {"p2": ["prompt", "model"]}}, the layers that its versions pin.
            From there on, for what it names; the first is usually the first line, and names all. A file without
            one has its state told from its outcomes: of the two releases of a flag that a coin (`how` c) gave, the
            one with fewer requests is the candidate, at the percentage that it had.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import msgspec

from flags.model import Flag, Layer, Rollout, Variant
from policies.outcome import Blame, CostSource, Ending, How, Outcome, Part, Release, Score

_BLAMES = {Ending.OK: Blame.NONE, Ending.FAILED: Blame.UPSTREAM}


@dataclass(frozen=True, slots=True)
class State:
    """How the flags stood, and which of them each route uses."""

    flags: Mapping[str, Flag]
    routes: Mapping[str, Mapping[Layer, str]]
    # By the key of a pipeline's flag and a version's name: the layers that it pins.
    pins: Mapping[str, Mapping[str, Collection[Layer]]] = field(default_factory=dict)

    def pinning(self, flag: str, variant: str) -> Collection[Layer]:
        """The layers that a version of a pipeline pins."""
        return self.pins.get(flag, {}).get(variant, ())


class Recorded(NamedTuple):
    """One line that could be read, with its number in the file (from 1)."""

    number: int
    time: float
    what: Outcome | Score | State


class Malformed(NamedTuple):
    """One line that could not be read, and why."""

    number: int
    message: str


Line: TypeAlias = Recorded | Malformed


class _Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """An outcome as a line has it."""

    time: float
    route: str
    releases: list[str]
    ending: Ending
    seconds: float
    request_id: str = ""
    blame: Blame | None = None
    status: int | None = None
    first_content_seconds: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost_usd: float | None = None
    cost_source: CostSource = CostSource.UNKNOWN
    attempts: int = 0
    how: str = ""
    revision: int = 0
    unit: str = ""
    part: Part = Part.WHOLE
    stumbled: bool = False
    excused: bool = False
    overhead_seconds: float = 0.0
    refused: bool = False
    reported: tuple[str, str | None, str | None] | None = None


class _Score(msgspec.Struct, frozen=True, omit_defaults=True):
    """A score as a line has it."""

    time: float
    route: str
    releases: list[str]
    metric: str
    score: float
    key: str = ""
    how: str = ""
    unit: str = ""
    decided_at: int = 0


class _Rollout(msgspec.Struct, frozen=True):
    variant: str
    percent: float


class _Flag(msgspec.Struct, frozen=True, omit_defaults=True):
    serve: str
    safe: str | None = None
    layer: Layer | None = None
    rollout: _Rollout | None = None
    withdrawn: list[str] = []
    generations: dict[str, int] = {}
    revision: int = 0
    changed_at: str = ""
    pins: dict[str, list[Layer]] = {}


class _State(msgspec.Struct, frozen=True, omit_defaults=True):
    """The state as a line has it."""

    flags: dict[str, _Flag]
    routes: dict[str, dict[Layer, str]] = {}
    time: float = 0.0


def outcome_line(outcome: Outcome, time: float) -> bytes:
    """The outcome as one line, without its newline."""
    fields = {name: getattr(outcome, name) for name in Outcome.__struct_fields__}
    fields["releases"] = [_text(release) for release in outcome.releases]
    return msgspec.json.encode(_Outcome(time=time, **fields))


def score_line(score: Score, time: float) -> bytes:
    """The score as one line, without its newline."""
    releases = [_text(release) for release in score.releases]
    return msgspec.json.encode(
        _Score(
            time,
            score.route,
            releases,
            score.metric,
            score.value,
            score.key,
            score.how,
            score.unit,
            score.decided_at,
        )
    )


def state_line(state: State, time: float = 0.0) -> bytes:
    """The state as one line, without its newline. Flags that serve nothing are left out: no route uses them."""
    flags = {
        key: _line_of(flag, state.pins.get(key, {}))
        for key, flag in state.flags.items()
        if flag.serve is not None
    }
    return msgspec.json.encode(
        _State(flags, {route: dict(layers) for route, layers in state.routes.items()}, time)
    )


def read_lines(lines: Iterable[bytes | str]) -> Iterator[Line]:
    """The lines, in their order; blank ones are passed over. Times of states default to the line before."""
    time = 0.0
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        try:
            found = _read(text)
        except (msgspec.DecodeError, ValueError) as error:
            # UnicodeDecodeError is a ValueError too.
            yield Malformed(number, str(error))
            continue
        time = found[0] or time
        yield Recorded(number, time, found[1])


def _read(text: bytes | str) -> tuple[float, Outcome | Score | State]:
    kinds = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    if "flags" in kinds:
        state = msgspec.json.decode(text, type=_State)
        return state.time, _state_of(state)
    if "score" in kinds:
        score = msgspec.json.decode(text, type=_Score)
        released = tuple(map(_release, score.releases))
        return score.time, Score(
            score.key,
            score.route,
            released,
            score.how,
            score.unit,
            score.metric,
            score.score,
            score.decided_at,
        )
    line = msgspec.json.decode(text, type=_Outcome)
    fields = {name: getattr(line, name) for name in Outcome.__struct_fields__}
    fields["releases"] = tuple(map(_release, line.releases))
    fields["blame"] = line.blame or _BLAMES.get(line.ending, Blame.CLIENT)
    fields["status"] = line.status if line.status is not None else 200 if line.ending is Ending.OK else 500
    return line.time, Outcome(**fields)


def _text(release: Release) -> str:
    return f"{release.flag}:{release.variant}:{release.generation}"


def _release(text: str) -> Release:
    flag, _, rest = text.partition(":")
    variant, _, generation = rest.partition(":")
    if not (flag and variant and generation.isdecimal()):
        raise ValueError(f"release {text!r}: expected flag:variant:generation, for example bot.prompt:v7:1")
    return Release(flag, variant, int(generation))


def _line_of(flag: Flag, pins: Mapping[str, Collection[Layer]]) -> _Flag:
    rollout = _Rollout(flag.rollout.variant, flag.rollout.percent) if flag.rollout else None
    return _Flag(
        serve=str(flag.serve),
        safe=flag.safe,
        layer=flag.layer,
        rollout=rollout,
        withdrawn=sorted(flag.withdrawn),
        generations={name: variant.generation for name, variant in flag.variants.items()},
        revision=flag.revision,
        changed_at=flag.changed_at,
        pins={variant: sorted(layers) for variant, layers in pins.items()},
    )


def _state_of(state: _State) -> State:
    flags = {key: _flag_of(key, line) for key, line in state.flags.items()}
    routes = state.routes or _routes_by_name(flags)
    pins = {key: state.flags[key].pins for key, flag in flags.items() if flag.layer is Layer.PIPELINE}
    return State(flags, routes, pins)


def _flag_of(key: str, line: _Flag) -> Flag:
    rollout = Rollout(line.rollout.variant, line.rollout.percent) if line.rollout else None
    names = {line.serve, line.safe or line.serve, *line.withdrawn, *line.generations}
    names |= {rollout.variant} if rollout else set()
    return Flag(
        key,
        # A recording keeps no contents; a name stands for its hash.
        {name: Variant(name, name, line.generations.get(name, 1)) for name in sorted(names)},
        line.serve,
        line.safe or line.serve,
        line.layer or _layer(key),
        rollout=rollout,
        withdrawn=frozenset(line.withdrawn),
        changed_at=line.changed_at,
        revision=line.revision,
    )


def _layer(key: str) -> Layer | None:
    """`bot.prompt` is a prompt's flag, by the name that routes look for."""
    last = key.rpartition(".")[2]
    return Layer(last) if last in tuple(Layer) else None


def _routes_by_name(flags: Mapping[str, Flag]) -> dict[str, dict[Layer, str]]:
    routes: dict[str, dict[Layer, str]] = {}
    for key, flag in flags.items():
        if flag.layer is not None:
            routes.setdefault(key.rpartition(".")[0], {})[flag.layer] = key
    return routes


def state_told_by(outcomes: Sequence[Outcome]) -> State:
    """The state that outcomes without a state line come from (see above)."""
    tossed, seen = Counter[Release](), Counter[Release]()
    routes: dict[str, dict[Layer, str]] = {}
    for outcome in outcomes:
        seen.update(outcome.releases)
        pairs = zip(outcome.releases, outcome.how, strict=False)
        tossed.update(release for release, how in pairs if how == How.COIN.value)
        layers = routes.setdefault(outcome.route, {})
        for release in outcome.releases:
            if release.flag not in layers.values():
                free = (layer for layer in Layer if layer not in layers)
                layers[_layer(release.flag) or next(free, Layer.MODEL)] = release.flag
    return State({flag: _told(flag, tossed, seen) for flag in {release.flag for release in seen}}, routes)


def _told(flag: str, tossed: Counter[Release], seen: Counter[Release]) -> Flag:
    by_coin = [release for release, _ in tossed.most_common() if release.flag == flag]
    served = (by_coin or [release for release, _ in seen.most_common() if release.flag == flag])[0]
    variants = {served.variant: Variant(served.variant, served.variant, served.generation)}
    rollout = None
    others = [release for release in by_coin if release.variant != served.variant]
    if others:
        other = others[0]
        variants[other.variant] = Variant(other.variant, other.variant, other.generation)
        percent = 100 * tossed[other] / (tossed[served] + tossed[other])
        rollout = Rollout(other.variant, round(percent, 2))
    return Flag(flag, variants, served.variant, served.variant, _layer(flag), rollout=rollout)

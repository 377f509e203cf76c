"""Which indexes and retrievers would meet if a flag served another version, and whether they fit. Knows flags and routes;
the stores are asked by gateway.retrieval.preflight.

Only flags of the layers index, retriever and pipeline (which pins both) can bring two together that do not fit.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import msgspec

from flags.errors import Invalid, Refused
from flags.model import Flag, Json, Kind, Layer, StoredObject
from flags.snapshot import CompiledFlag, Snapshot
from gateway.checking import parse
from gateway.compiling import spec
from gateway.declaring.declarations import Planned
from gateway.retrieval.preflight import (
    FIT,
    PREFLIGHT_SECONDS,
    Fit,
    Fitness,
    Misfit,
    Preflight,
    Unknown,
    worst,
)
from gateway.spec import IndexContent, PipelineContent, RetrieverContent
from gateway.upstreams import Upstreams
from policies.case import layer_flags

S = TypeVar("S", IndexContent, RetrieverContent, PipelineContent)

MAY_MISFIT = frozenset({Layer.INDEX, Layer.RETRIEVER, Layer.PIPELINE})
# Versions that are tried when another is looked for that fits; each may cost a look at its store.
OTHERS_MAX = 8
REFUSED = "index_unfit"


@dataclass(frozen=True, slots=True)
class Meeting:
    """An index, and the retrievers that would search it."""

    index: IndexContent
    retrievers: tuple[RetrieverContent, ...]


class Fitting:
    """Judges versions before they are served. Without a preflight everything fits."""

    def __init__(self, preflight: Preflight, upstreams: Upstreams | None = None) -> None:
        """With `upstreams`, those that a declaration brings along are asked as well."""
        self._preflight, self._upstreams = preflight, upstreams

    async def passes(
        self,
        snapshot: Snapshot,
        key: str,
        after: Flag,
        before: Flag | None,
        *,
        brake: bool,
        anyway: bool = False,
    ) -> list[str]:
        """Warnings of what could not be told, before flag `key` becomes `after`.

        `snapshot` has what else there will be. Raises Refused where a version that users will newly get does not fit;
        with `anyway` that is a warning too. `brake`: the mend names that way.
        """
        variants = newly(before, after)
        if not variants or after.layer not in MAY_MISFIT:
            return []
        loop = asyncio.get_running_loop()
        until = loop.time() + PREFLIGHT_SECONDS
        fitness = await self.judge(snapshot, key, variants)
        if isinstance(fitness, Fit):
            return []
        message = f'flag "{key}": {", ".join(sorted(variants))}: {fitness.reason}'
        if isinstance(fitness, Unknown) or anyway:
            return [f"not checked: {message}" if isinstance(fitness, Unknown) else f"does not fit: {message}"]
        fitting: list[str] = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                fitting = await self.others(snapshot, key, variants)
        raise Refused(REFUSED, message, mend=mend_of(fitting, brake=brake))

    async def lands(self, snapshot: Snapshot, key: str, variant: str) -> bool | None:
        """Whether `variant` would fit; None where nobody can tell. For automation, which asks nobody twice."""
        fitness = await self.judge(snapshot, key, [variant])
        return None if isinstance(fitness, Unknown) else isinstance(fitness, Fit)

    async def planned(self, snapshot: Snapshot, planned: Planned) -> list[str]:
        """As `passes`, for every flag that a declaration would write, and every route, on what there would be then."""
        future = await asyncio.to_thread(future_of, snapshot, planned)
        if self._upstreams is None:
            return await self._foreseen(future, planned)
        upstreams = self._upstreams.foreseen(future, [draft.key for draft in planned.plan.drafts])
        try:
            return await Fitting(self._preflight.among(upstreams))._foreseen(future, planned)
        finally:
            await upstreams.aclose()

    async def _foreseen(self, future: Snapshot, planned: Planned) -> list[str]:
        warnings: list[str] = []
        for key, before in _concerned(future, planned).items():
            warnings += await self.passes(future, key, future.flags[key].flag, before, brake=False)
        return warnings

    async def judge(self, snapshot: Snapshot, key: str, variants: Collection[str]) -> Fitness:
        """Whether flag `key` may serve all of `variants`, as everything else is in `snapshot`."""
        found = [meeting for name in sorted(variants) for meeting in meetings(snapshot, key, name)]
        return worst(
            await asyncio.gather(*(self._preflight.check(each.index, each.retrievers) for each in found))
        )

    async def others(self, snapshot: Snapshot, key: str, but: Collection[str]) -> list[str]:
        """The flag's newest other versions that do fit and are not withdrawn."""
        flag = snapshot.flags[key].flag
        names = [
            name for name in reversed([*flag.variants]) if name not in but and name not in flag.withdrawn
        ]
        tried = names[:OTHERS_MAX]
        judged = await asyncio.gather(*(self.judge(snapshot, key, [name]) for name in tried))
        return [name for name, fitness in zip(tried, judged, strict=True) if fitness == FIT]

    async def in_service(self, snapshot: Snapshot) -> list[str]:
        """What is served now and does not fit, in sentences."""
        told = []
        for key, flag in snapshot.flags.items():
            if flag.flag.layer in (Layer.INDEX, Layer.PIPELINE):
                fitness = await self.judge(snapshot, key, pointed_at(flag.flag))
                if isinstance(fitness, Misfit):
                    told.append(f"flag {key}: what it serves does not fit: {fitness.reason}")
        return told


def pointed_at(flag: Flag) -> frozenset[str]:
    """The variants that users may get without anybody's doing: what is served, its candidate, and `safe`."""
    names = (flag.served, flag.rollout.variant if flag.rollout else None, flag.safe)
    return frozenset(name for name in names if name is not None)


def newly(before: Flag | None, after: Flag) -> frozenset[str]:
    """The variants that `after` points to, and users of `before` did not get yet; a candidate that is promoted is one."""
    names = pointed_at(after)
    if before is None:
        return names
    if after.safe == before.safe and after.served != after.safe:
        names -= {after.safe or ""}
    return names - {before.served or ""}


def may_misfit(document: Json) -> bool:
    """Whether a declaration has flags or routes that can bring an index and a retriever together."""
    flags = document.get("flags") if isinstance(document, Mapping) else None
    found = flags.values() if isinstance(flags, Mapping) else ()
    layers = {each.get("layer") for each in found if isinstance(each, Mapping)}
    return not layers.isdisjoint(MAY_MISFIT) or (
        isinstance(document, Mapping) and bool(document.get("routes"))
    )


def future_of(snapshot: Snapshot, planned: Planned) -> Snapshot:
    """What there would be once `planned` is written."""
    drafts, revision = planned.plan.drafts, planned.view.position.revision
    changes = {
        each.key: None if each.after is None else StoredObject(each.key, each.after, revision)
        for each in drafts
    }
    contents = {
        **planned.contents,
        **{name: value for each in drafts for name, value in each.contents.items()},
    }
    return snapshot.changed(planned.view.position, revision, changes, contents)


def _concerned(future: Snapshot, planned: Planned) -> dict[str, Flag | None]:
    """The flags that would be written, with what they were; and, as if they were new, the indexes of such routes."""
    found: dict[str, Flag | None] = {}
    for draft in planned.plan.drafts:
        if draft.after is not None and draft.key.kind is Kind.ROUTE:
            index = layer_flags(draft.key.name, spec(draft.after))[Layer.INDEX]
            found |= {index: None} if index in future.flags else {}
    for draft in planned.plan.drafts:
        if draft.after is not None and draft.key.kind is Kind.FLAG and draft.key.name not in found:
            there = draft.key in planned.view.objects
            found[draft.key.name] = planned.view.flag(draft.key.name) if there else None
    return {key: before for key, before in found.items() if key in future.flags}


def meetings(snapshot: Snapshot, key: str, variant: str) -> Iterator[Meeting]:
    """What would meet if flag `key` served `variant`: on each of its routes, with what the other layer points to."""
    flag = snapshot.flags.get(key)
    if flag is None or flag.flag.layer not in MAY_MISFIT:
        return
    seen: set[bytes] = set()
    for route, stored in snapshot.of_kind(Kind.ROUTE).items():
        used = layer_flags(route, spec(stored.document))
        if used[flag.flag.layer] != key:
            continue
        for meeting in _on_route(snapshot, used, flag, variant):
            # Routes that share both flags have the same meetings.
            if (known := msgspec.json.encode(meeting)) not in seen:
                seen.add(known)
                yield meeting


def _on_route(
    snapshot: Snapshot, used: dict[Layer, str], flag: CompiledFlag, variant: str
) -> Iterator[Meeting]:
    wanted: dict[Layer, Collection[str] | None] = {Layer.INDEX: None, Layer.RETRIEVER: None}
    if flag.flag.layer is Layer.PIPELINE:
        pipeline = _content(PipelineContent, flag.values.get(variant))
        pins = {} if pipeline is None else pipeline.pins
        wanted |= {layer: [pins[layer.value]] for layer in wanted if layer.value in pins}
        if wanted == {Layer.INDEX: None, Layer.RETRIEVER: None}:
            return
    elif flag.flag.layer is not None:
        wanted[flag.flag.layer] = [variant]
    indexes = _contents(IndexContent, snapshot.flags.get(used[Layer.INDEX]), wanted[Layer.INDEX])
    retrievers = _contents(
        RetrieverContent, snapshot.flags.get(used[Layer.RETRIEVER]), wanted[Layer.RETRIEVER]
    )
    for index in indexes if retrievers else ():
        yield Meeting(index, retrievers)


def _contents(shape: type[S], flag: CompiledFlag | None, names: Collection[str] | None) -> tuple[S, ...]:
    """The contents of a flag's `names`, or of all that it points to; what cannot be read is told elsewhere."""
    if flag is None:
        return ()
    found = (_content(shape, flag.values.get(name)) for name in sorted(names or pointed_at(flag.flag)))
    return tuple(each for each in found if each is not None)


def _content(shape: type[S], value: Json) -> S | None:
    try:
        return None if value is None else parse(shape, value)
    except Invalid:
        return None


def mend_of(fitting: Sequence[str], *, brake: bool) -> str:
    """What to do instead."""
    named = ", ".join(islice(fitting, OTHERS_MAX))
    ways = [f"these versions fit: {named}" if fitting else "mend the index, or build another"]
    if brake:
        ways.append("--anyway goes ahead all the same")
    else:
        ways.append("a pipeline flag moves an index and its retriever at once")
    return "; ".join(ways)

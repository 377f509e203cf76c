"""What operators get back, as JSON: deeds, flags, status, log, explanations. Shapes only, no behaviour.

CONTRACT §6 fixes the fields. Free JSON is typed `Any`, because msgspec cannot take our recursive Json.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from flags.ledger import Entry
from gateway.figures.shapes import RouteGauges, VersionShape


class Done(msgspec.Struct, frozen=True, rename={"origin": "from"}, omit_defaults=True):
    """What a verb did. `acknowledged` of `workers` serve by it; `missing` names the others."""

    # The Change's id; null where nothing had to change.
    id: str | None
    # The flag's key; for an object that is no flag, `<kind>/<name>`.
    flag: str
    # Every route that this flag serves.
    routes: list[str]
    # JSON: `from`.
    origin: str | None
    to: str | None
    # False: it was so already, and no Change was written.
    changed: bool
    # Whether a Change stands in the ledger.
    committed: bool
    revision: int
    acknowledged: int
    workers: int
    missing: list[str]
    # From the receipt of the command to the last acknowledgement.
    milliseconds: float
    # What a request without a pin, outside rollout and targeting, gets after it; left out for null.
    served: str | None = None
    # After a rollback: versions, neither safe nor withdrawn, that the targeting rule may still serve to some.
    targeted: list[str] = []
    # After a restore: the version's content was in quarantine, and is no more.
    released: bool = False
    ungoverned: list[str] = []
    # What could not be told before it was done: an index whose store did not answer.
    warnings: list[str] = []


class VariantShape(msgspec.Struct, frozen=True):
    """One version of a flag. `lifecycle` is the stage in its life: draft, evaluated, approved, production, superseded,
    rejected, deprecated, withdrawn, or quarantined (rolled back by automation under this or another name, until a
    person restores it). `value` where one flag without a layer is asked for."""

    hash: str
    generation: int
    lifecycle: str
    created_by: str
    created_at: str
    value: Any = msgspec.UNSET


class RolloutShape(msgspec.Struct, frozen=True):
    """A candidate and its share (percent) of the users.

    Where automation raises it: `steps` are the percentages, `step` (from 0) which of them it has `since` when; the
    next one waits for `hold_seconds` from then, `min_requests` of the candidate, and for no policy to object.
    """

    variant: str
    percent: float
    step: int | None
    state: Literal["running", "paused"]
    steps: list[float] | msgspec.UnsetType = msgspec.UNSET
    since: str | msgspec.UnsetType = msgspec.UNSET
    hold_seconds: float | msgspec.UnsetType = msgspec.UNSET
    min_requests: int | msgspec.UnsetType = msgspec.UNSET


class ShadowShape(msgspec.Struct, frozen=True):
    """A version that is sent a copy of `percent` of the requests; nobody sees its answers."""

    variant: str
    percent: float


class LastGoodShape(msgspec.Struct, frozen=True):
    """The last known good version, and why it is that one; null where rules exist that no version satisfies."""

    variant: str | None
    reason: str


class FlagShape(msgspec.Struct, frozen=True):
    """One flag. `served` is what a request without a pin, outside the rollout, gets now; null where disabled.

    `ungoverned` says what of the promotion rules the safe version itself lacks.
    """

    key: str
    layer: str | None
    enabled: bool
    serve: str | None
    safe: str | None
    served: str | None
    withdrawn: list[str]
    rollout: RolloutShape | None
    variants: dict[str, VariantShape]
    targeting: Any
    routes: list[str]
    # The revision of the last Change of this flag.
    revision: int
    last_known_good: LastGoodShape
    ungoverned: list[str]
    # What its versions did in the last minutes, where one flag is asked for.
    gauges: list[VersionShape] = []
    shadow: ShadowShape | None = None


class LayerStatus(msgspec.Struct, frozen=True):
    """What one layer of a route serves; `served` is null where its flag is not `enabled` and requests leave it out.

    `pinned_by` is the pipeline's version that chose it on this route, in place of the flag's own.
    """

    flag: str
    served: str | None
    safe: str | None
    rollout: RolloutShape | None
    shadow: ShadowShape | None = None
    pinned_by: str | None = None
    enabled: bool = True


class SwitchStatus(msgspec.Struct, frozen=True):
    """One of the gateway's own switches that does not stand as usual for everybody.

    `served` is the variant that answers where neither rule nor rollout chooses another; null: it stands as `usual`.
    `targeted`: a rule may choose others.
    """

    served: str | None
    value: Any
    usual: bool
    rollout: RolloutShape | None
    targeted: bool
    about: str


class WorkerShape(msgspec.Struct, frozen=True):
    """One worker process and how far it follows."""

    id: str
    host: str
    pid: int
    version: str
    started: str
    revision: int
    age_seconds: float
    alive: bool


class DecidedByShape(msgspec.Struct, frozen=True):
    """Who decides a route in the store's place. `why` of the answering worker the store does all the same; "" where it
    does not."""

    provider: str
    why: str


class StatusShape(msgspec.Struct, frozen=True):
    """Everything at a glance: per route and layer, what is served.

    `diverted` by flag: the version that the answering worker serves no more by its local brake, while the store is away.
    `switches`: the gateway's own, those that do not stand as usual. `flags`: those that no route uses, by name; `served`
    null: the caller's own default, as of all that is not `enabled`. `decided_by` by route: whose decisions an OpenFeature
    provider takes.
    """

    revision: int
    degraded: bool
    namespace: str
    workers: list[WorkerShape]
    routes: dict[str, dict[str, LayerStatus]]
    # The figures of the last minutes, by route.
    minutes: int
    gauges: dict[str, RouteGauges]
    diverted: dict[str, str]
    switches: dict[str, SwitchStatus] = {}
    flags: dict[str, LayerStatus] = {}
    decided_by: dict[str, DecidedByShape] = {}


class ObjectShape(msgspec.Struct, frozen=True):
    """A route, policy or upstream: the stored document (secrets are references), the last revision."""

    key: str
    kind: str
    document: Mapping[str, Any]
    revision: int


class FlagPage(msgspec.Struct, frozen=True):
    """Flags by name. `next` is the name to go on after; null at the end."""

    items: list[FlagShape]
    next: str | None


class ObjectPage(msgspec.Struct, frozen=True):
    """Objects of one kind by name. `next` is the name to go on after; null at the end."""

    items: list[ObjectShape]
    next: str | None


class WorkerList(msgspec.Struct, frozen=True):
    """All workers that were heard of lately."""

    workers: list[WorkerShape]


class LogPage(msgspec.Struct, frozen=True):
    """Entries of the ledger, oldest first. `next` is the revision to go on after; null at the end."""

    entries: list[Entry]
    next: int | None


class EventShape(msgspec.Struct, frozen=True):
    """One server-sent event. `id` is the revision, `data` JSON: the entry, or the revision that the ledger fell back to, or up
    to which it was archived meanwhile."""

    event: Literal["change", "history_changed", "archived"]
    id: Annotated[str, msgspec.Meta(pattern="^[0-9]+$")]
    data: Annotated[str, msgspec.Meta(extra_json_schema={"contentMediaType": "application/json"})]


class HeldShape(msgspec.Struct, frozen=True):
    """One object as it is stored."""

    revision: int
    document: Mapping[str, Any]


class AuditShape(msgspec.Struct, frozen=True):
    """What the ledger must lead to: its head (revision and hash) and every object, by `<kind>/<name>`.

    `bad_contents` are the hashes whose stored content is another. `checkpoint` is what stays of the archived part,
    `kept_anchor` (SIZE:ROOT) what Redis notes of a part of the ledger; `unreadable` tells which of them was made unreadable.
    """

    revision: int
    hash: str
    objects: dict[str, HeldShape]
    bad_contents: list[str]
    checkpoint: Any = None
    kept_anchor: str | None = None
    unreadable: list[str] = []


class Written(msgspec.Struct, frozen=True):
    """One object that a declaration writes: `create`, `update` or `delete`, its document before and after."""

    object: str
    action: Literal["create", "update", "delete"]
    before: Any
    after: Any


class Differs(msgspec.Struct, frozen=True):
    """One place where file and store differ. null: there is nothing on that side."""

    object: str
    path: str
    file: Any
    state: Any


class DiffShape(msgspec.Struct, frozen=True):
    """A declaration beside the store, the operated state included; `writes` is what `apply` would do."""

    differences: list[Differs]
    writes: list[Written]
    warnings: list[str]
    revision: int


class AppliedShape(msgspec.Struct, frozen=True):
    """What `apply` wrote; with `dry_run` what it would write, and `committed` is false."""

    changed: bool
    committed: bool
    revision: int
    writes: list[Written]
    warnings: list[str]
    # Where the file says another state than the one operated, which is not touched.
    notes: list[str]
    acknowledged: int
    workers: int
    missing: list[str]
    milliseconds: float


class LayerExplained(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a context gets what it gets from one flag. The last `weight` of 10,000 are the candidate's."""

    flag: str
    variant: str | None
    reason: str
    why: str
    generation: int
    wanted: str | None = None
    pinned: bool = False
    bucket: int | None = None
    weight: int | None = None
    rule: Any = None
    error: str | None = None


class Explained(msgspec.Struct, frozen=True):
    """What a route gives to a context, layer by layer; `headers` as an app would see them."""

    route: str
    targeting_key: str | None
    attributes: Mapping[str, Any]
    revision: int
    layers: dict[str, LayerExplained]
    headers: dict[str, str]


class FlagExplained(msgspec.Struct, frozen=True):
    """What one flag gives to a context, as OFREP and the providers would, and why. The last `weight` of 10,000 are the
    candidate's; `condition` is the one of the `rule`'s outermost `if` that held. `variant` null: the caller's own default."""

    flag: str
    layer: str | None
    targeting_key: str | None
    attributes: Mapping[str, Any]
    revision: int
    value: Any
    variant: str | None
    reason: str
    why: str
    generation: int
    wanted: str | None
    pinned: bool
    bucket: int | None
    weight: int | None
    rule: Any
    condition: Any
    error_code: str | None
    error: str | None


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is wrong: a stable `code`, a sentence, where (`path`), what to do (`mend`), which rule refused."""

    code: str
    message: str
    path: str | None = None
    mend: str | None = None
    rule: str | None = None
    # On 409: the Change that came first.
    theirs: Any = None


class ErrorShape(msgspec.Struct, frozen=True):
    """The body of every answer that is no success."""

    error: Problem

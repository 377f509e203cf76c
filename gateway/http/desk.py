"""What the operators' endpoints do: a parsed call in, a shape out. Knows HTTP only as `Call`."""

from __future__ import annotations

from msgspec import UNSET

from flags.errors import Invalid, StoreUnavailable
from flags.fleet import WorkerState
from flags.ledger import Author, entry_from
from flags.model import Json, Kind, ObjectKey
from gateway import shapes, views
from gateway.auth import Role
from gateway.config.declaration import SECTIONS
from gateway.declaring import declarations
from gateway.declaring.plan import Options
from gateway.errors import Forbidden
from gateway.http import bodies, gauge_desk
from gateway.http.endpoint import Call
from gateway.order import Order
from policies.governance.changelog import belongs
from policies.schedule import HOLD_SECONDS, MIN_REQUESTS, Schedule


async def switch(call: Call) -> shapes.Done:
    """One variant is served to all; without a reason, the command is its own."""
    body: bodies.SwitchBody = call.body
    key = call.path["key"]
    order = _order(call, f"switch {key} {body.variant}")
    return await call.house.operations.switch(order, key, body.variant, safe=body.safe)


async def rollback(call: Call) -> shapes.Done:
    """The flag's safe variant is served alone."""
    body: bodies.RollbackBody = call.body
    order, key = _order(call), call.path["key"]
    return await call.house.operations.rollback(order, key, to=body.to, anyway=body.anyway)


async def rollback_route(call: Call) -> shapes.Done:
    """The route's flag that changed last is rolled back; the answer names it."""
    body: bodies.RollbackBody = call.body
    order, key = _order(call), call.path["key"]
    return await call.house.operations.rollback_route(order, key, to=body.to, anyway=body.anyway)


async def withdraw(call: Call) -> shapes.Done:
    """One variant is out of service."""
    body: bodies.WithdrawBody = call.body
    order, key = _order(call), call.path["key"]
    return await call.house.operations.withdraw(order, key, body.variant, anyway=body.anyway)


async def restore(call: Call) -> shapes.Done:
    """A withdrawn variant is back."""
    return await call.house.operations.restore(_order(call), call.path["key"], call.body.variant)


async def rollout(call: Call) -> shapes.Done:
    """A rollout runs, moved, or was steered. Raises Invalid where the body says both, or neither."""
    body: bodies.RolloutBody = call.body
    key = call.path["key"]
    if body.action is not None:
        if (body.variant, body.percent, body.steps, body.hold_seconds, body.min_requests) != (None,) * 5:
            raise Invalid("action", "expected either an action, or variant and percent (or steps)")
        return await call.house.operations.steer(
            _order(call, f"rollout {body.action} {key}"), key, body.action
        )
    if body.variant is None:
        raise Invalid("variant", "expected variant and percent, or an action (pause, resume, promote, abort)")
    share = _share(body, counted=_counts(call, key, body))
    told = f"--percent {share:g}" if isinstance(share, float) else str(share)
    order = _order(call, f"rollout {key} {body.variant} {told}")
    return await call.house.operations.rollout(order, key, body.variant, share)


def _counts(call: Call, key: str, body: bodies.RolloutBody) -> bool:
    """Whether requests that get the flag's variants are counted; raises Invalid where its steps are to wait for some
    and nobody does."""
    known = call.snapshot.flags.get(key)
    counted = known is None or known.flag.layer is not None
    if body.min_requests and not counted:
        message = f'flag "{key}" has no layer, so the requests that get its variants are not counted'
        raise Invalid("min_requests", message, mend="leave it out: its steps wait for their hold alone")
    return counted


def _share(body: bodies.RolloutBody, *, counted: bool) -> float | Schedule:
    """What the candidate is to get: a percentage, or steps."""
    if (body.percent is None) == (body.steps is None):
        expected = "expected one of percent and steps, or an action (pause, resume, promote, abort)"
        raise Invalid("percent", expected)
    if body.steps is not None:
        least = MIN_REQUESTS if counted else 0
        return Schedule(
            body.steps,
            HOLD_SECONDS if body.hold_seconds is None else body.hold_seconds,
            least if body.min_requests is None else body.min_requests,
        )
    for name in ("hold_seconds", "min_requests"):
        if getattr(body, name) is not None:
            raise Invalid(name, "a percentage is raised by nobody; this goes with steps")
    assert body.percent is not None
    return float(body.percent)


async def shadow(call: Call) -> shapes.Done:
    """A version is shadowed, or none is. Raises Invalid for a share that nobody has, and a version without a share."""
    body: bodies.ShadowBody = call.body
    key = call.path["key"]
    if body.percent is None or (body.percent is UNSET and body.variant is None):
        return await call.house.operations.unshadow(_order(call, f"shadow {key} --off"), key)
    if body.percent is UNSET:
        raise Invalid("percent", "expected the share of the requests, or null to end the shadow")
    if body.variant is None:
        raise Invalid("variant", "expected the variant that is sent the copies, found nothing")
    order = _order(call, f"shadow {key} {body.variant} --percent {body.percent:g}")
    return await call.house.operations.shadow(order, key, body.variant, body.percent)


async def revert(call: Call) -> shapes.Done:
    """An object is again what it was."""
    body: bodies.RevertBody = call.body
    # What people said of versions, records and keys are no settings: what was revoked must not come back so.
    if _object_key(body.object).kind not in SECTIONS:
        kinds = ", ".join(SECTIONS)
        raise Invalid("object", f"found {body.object}, expected what a config file declares ({kinds})")
    return await call.house.operations.revert(_order(call), _object_key(body.object), body.to_revision)


async def flags(call: Call) -> shapes.FlagPage:
    """A page of flags."""
    query: bodies.PageQuery = call.query
    return views.flag_page(call.snapshot, query.after, query.limit)


async def flag(call: Call) -> shapes.FlagShape:
    """One flag, with the figures of its versions. Raises NotFound."""
    query: gauge_desk.StatusQuery = call.query
    key = call.path["key"]
    shape = views.with_values(views.flag_shape(call.snapshot, key), call.snapshot)
    seen = await gauge_desk.seen(call, query.minutes, key)
    return views.with_gauges(shape, call.snapshot, seen)


async def objects(call: Call, kind: Kind) -> shapes.ObjectPage:
    """A page of the objects of one kind."""
    query: bodies.PageQuery = call.query
    return views.object_page(call.snapshot, kind, query.after, query.limit)


async def one_object(call: Call, kind: Kind) -> shapes.ObjectShape:
    """One object of a kind. Raises NotFound."""
    return views.object_shape(call.snapshot, ObjectKey(kind, call.path["key"]))


async def status(call: Call) -> shapes.StatusShape:
    """Told even without the store: from the snapshot, with the last figures known and no workers listed."""
    query: gauge_desk.StatusQuery = call.query
    workers: list[WorkerState] = []
    # Where the store is known to be away nobody waits for it.
    degraded = call.house.degraded()
    if not degraded:
        try:
            workers = await call.house.operations.store.workers()
        except StoreUnavailable:
            degraded = True
    snapshot = call.snapshot
    gauges = await gauge_desk.gauges_of(call, snapshot, query.minutes, away=degraded)
    return views.status_shape(
        snapshot,
        workers,
        gauges,
        degraded=degraded,
        diverted=call.house.diverted(),
        decided_by=call.house.elsewhere.by_route(),
    )


async def workers(call: Call) -> shapes.WorkerList:
    """All workers. Raises StoreUnavailable."""
    return shapes.WorkerList(views.worker_shapes(await call.house.operations.store.workers()))


async def log(call: Call) -> shapes.LogPage:
    """A page of the ledger. With a filter a page may be empty and still have a `next`."""
    query: bodies.LogQuery = call.query
    wanted = str(_object_key(query.object)) if query.object else None
    texts = await call.house.operations.store.read_log_bytes(query.after, query.limit)
    following = entry_from(texts[-1]).revision if len(texts) == query.limit else None
    found = texts
    if wanted is not None:
        found = [text for text in texts if _object_of(text) == wanted]
    elif query.flag is not None:
        found = [text for text in texts if belongs(_object_of(text), query.flag)]
    return views.log_page(found, following)


async def diff(call: Call) -> shapes.DiffShape:
    """Where a declaration and the store differ. Writes nothing."""
    body: bodies.DiffBody = call.body
    options = Options(call.operator.name, reset_state=body.reset_state, prune=body.prune)
    read = declarations.from_document(body.declaration)
    return declarations.diff_shape(await declarations.preview(call.house.operations.store, read, options))


async def apply(call: Call) -> shapes.AppliedShape:
    """What a declaration changed, or with `dry_run` would change."""
    body: bodies.ApplyBody = call.body
    operations = call.house.operations
    order = _order(call, "apply")
    options = Options(
        call.operator.name, reset_state=body.reset_state, prune=body.prune, override=order.override
    )
    return await operations.apply(order, body.declaration, options, dry_run=body.dry_run)


async def export(call: Call) -> dict[str, Json]:
    """Everything as one document, contents included."""
    query: bodies.ExportQuery = call.query
    return await declarations.exported(call.house.operations.store, query.format)


def _order(call: Call, command: str = "") -> Order:
    """Who and why; a verb that needs no reason of its own is its own reason (CONTRACT §6)."""
    body = call.body
    override = getattr(body, "override", False)
    if override and call.operator.role is not Role.ADMIN:
        raise Forbidden(f"{call.operator.name} is no admin, and only an admin may override promotion rules")
    if override and not body.reason:
        raise Invalid(
            "reason", "an override takes a reason", mend="say why, for those who read the ledger later"
        )
    author = Author(call.operator.name, (body.reason or command).strip(), body.link)
    return Order(author, body.wait_seconds, override)


def _object_of(entry: bytes) -> str:
    return entry_from(entry).object


def _object_key(text: str) -> ObjectKey:
    try:
        return ObjectKey.parse(text)
    except ValueError as error:
        kinds = ", ".join(Kind)
        raise Invalid("object", f"found {text[:200]!r}, expected <kind>/<name> (kinds: {kinds})") from error

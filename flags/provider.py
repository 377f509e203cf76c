"""OpenFeature's provider for Python: flags evaluated in process, from a snapshot that follows Redis by itself.

Knows nothing of the gateway; a service needs this package, openfeature-sdk and redis.

    from openfeature import api
    from openfeature.evaluation_context import EvaluationContext
    from flags.provider import PointsmanProvider

    api.set_provider_and_wait(PointsmanProvider("redis://localhost:6379"))
    api.get_client().get_boolean_value("new-greeting", False, EvaluationContext("user-7"))

Types are taken as flagd's Python provider takes them (`flags.resolve.typed`): a boolean is no number, an integer serves as
a float, and a fraction is no integer. 1.0 and 1 are one number in canonical JSON, so a variant declared as 1.0 is the
integer 1.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from openfeature.evaluation_context import EvaluationContext
from openfeature.event import ProviderEvent, ProviderEventDetails
from openfeature.exception import ErrorCode, ProviderFatalError, ProviderNotReadyError
from openfeature.flag_evaluation import FlagMetadata, FlagResolutionDetails, FlagValueType, Reason
from openfeature.hook import Hook
from openfeature.provider import AbstractProvider, Metadata
from openfeature.track import TrackingEventDetails

from flags.asking import context_from
from flags.compiled import CompiledFlag, failed
from flags.errors import FlagError, Invalid
from flags.following import Following, Namespace
from flags.model import NOTHING, Json, Resolution
from flags.model import ErrorCode as OurErrorCode
from flags.model import Reason as OurReason
from flags.resolve import not_found, resolve, typed
from flags.snapshot import Snapshot
from flags.tracking import Tracker

T = TypeVar("T")
Objects = Sequence[FlagValueType] | Mapping[str, FlagValueType]

NAME = "pointsman"
# As long as a service may take to say at its start that its Redis is not there.
WAIT_SECONDS = 5.0
# The SDK says READY (or ERROR) right after `initialize`, in another thread than ours. What we know better is said this
# much later, so that it is the last word.
SETTLE_SECONDS = 0.1

REASONS = MappingProxyType({reason: Reason(reason.value) for reason in OurReason})
ERRORS = MappingProxyType({code: ErrorCode(code.value) for code in OurErrorCode})
CONTAINERS = frozenset((dict, list))


class SnapshotProvider(AbstractProvider):
    """Answers from the snapshot that `snapshot` gives at each call: for a process that follows the ledger already.

    `tracker` takes what is tracked, and is told who got which version of a flag that has a layer; None: `track` does
    nothing. `clock` gives Unix seconds. Never waits, takes no lock, and is safe for any thread; the async methods do the
    same. Error codes: PROVIDER_NOT_READY without a snapshot, FLAG_NOT_FOUND, TYPE_MISMATCH, INVALID_CONTEXT, and what a
    failing rule gives (PARSE_ERROR, GENERAL). A flag that is disabled, or has no default, leaves the caller's own.
    """

    def __init__(
        self,
        snapshot: Callable[[], Snapshot | None],
        *,
        hooks: Sequence[Hook] = (),
        tracker: Tracker | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        self._snapshot = snapshot
        self._hooks = tuple(hooks)
        self._tracker = tracker
        self._clock = clock

    def __repr__(self) -> str:
        snapshot = self._snapshot()
        return f"{type(self).__name__}(position={snapshot and snapshot.position})"

    def get_metadata(self) -> Metadata:
        """The provider's name."""
        return Metadata(NAME)

    def get_provider_hooks(self) -> list[Hook]:
        """The hooks that run with every evaluation by this provider."""
        return list(self._hooks)

    def resolve_boolean_details(
        self,
        flag_key: str,
        default_value: bool,  # noqa: FBT001 - the SDK's signature
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[bool]:
        """The flag's boolean."""
        return self._details(flag_key, default_value, evaluation_context, bool)

    def resolve_string_details(
        self, flag_key: str, default_value: str, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[str]:
        """The flag's string."""
        return self._details(flag_key, default_value, evaluation_context, str)

    def resolve_integer_details(
        self, flag_key: str, default_value: int, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[int]:
        """The flag's integer."""
        return self._details(flag_key, default_value, evaluation_context, int)

    def resolve_float_details(
        self, flag_key: str, default_value: float, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[float]:
        """The flag's number, as a float."""
        return self._details(flag_key, default_value, evaluation_context, float)

    def resolve_object_details(
        self, flag_key: str, default_value: Objects, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[Objects]:
        """The flag's object or list: the caller's own copy, to change as he likes."""
        return self._details(flag_key, default_value, evaluation_context, object)

    def track(
        self,
        tracking_event_name: str,
        evaluation_context: EvaluationContext | None = None,
        tracking_event_details: TrackingEventDetails | None = None,
    ) -> None:
        """Count this as a score of what the context's targeting key last got here; see `flags.tracking`. Never raises."""
        if self._tracker is None:
            return
        key = evaluation_context.targeting_key if evaluation_context is not None else None
        details = tracking_event_details
        value = details.value if details is not None else None
        attributes = details.attributes if details is not None else NOTHING
        self._tracker.add(tracking_event_name, value, key, attributes)

    def _details(
        self, key: str, default: T, asked: EvaluationContext | None, expected: type[Any]
    ) -> FlagResolutionDetails[T]:
        snapshot = self._snapshot()
        if snapshot is None:
            return FlagResolutionDetails(
                default, ErrorCode.PROVIDER_NOT_READY, "there is no snapshot yet", Reason.ERROR
            )
        flag = snapshot.flags.get(key)
        if flag is None:
            return _details_of(_missing(snapshot, key), default, snapshot, NOTHING)
        answer = self._answer(flag, asked)
        found = typed(answer, expected)
        if self._tracker is not None and flag.flag.layer is not None and asked is not None:
            self._tracker.note(asked.targeting_key, found)
        return _details_of(found, default, snapshot, flag.flag.metadata)

    def _answer(self, flag: CompiledFlag, asked: EvaluationContext | None) -> Resolution:
        if flag.always is not None:
            return flag.always
        ruled = flag.rule is not None
        try:
            context = context_from(asked, attributes=ruled)
        except Invalid as error:
            return failed(flag.flag.key, OurErrorCode.INVALID_CONTEXT, f"context.{error}")
        return resolve(flag, context, int(self._clock()) if ruled else 0)


def _missing(snapshot: Snapshot, key: str) -> Resolution:
    problem = snapshot.problems.get(key)
    if problem is None and snapshot.revision == 0:
        empty = (
            f"there is nothing in the namespace {snapshot.namespace!r} of this Redis: is it the gateway's?"
        )
        return failed(key, OurErrorCode.FLAG_NOT_FOUND, f"flag {key!r} does not exist; {empty}")
    if problem is None:
        return not_found(key)
    return failed(key, OurErrorCode.PARSE_ERROR, f"flag {key!r} as stored cannot be read: {problem}")


def _details_of(
    found: Resolution, default: T, snapshot: Snapshot, own: Mapping[str, Json]
) -> FlagResolutionDetails[T]:
    value: Any = default if found.variant is None else found.value
    return FlagResolutionDetails(
        _copied(value) if type(value) in CONTAINERS and found.variant is not None else value,
        None if found.error is None else ERRORS[found.error],
        found.message,
        REASONS[found.reason],
        found.variant,
        metadata_of(snapshot, own),
    )


def metadata_of(snapshot: Snapshot, own: Mapping[str, Json]) -> FlagMetadata:
    """An answer's metadata: the flag's `own` scalars, and over them the snapshot's `version` and `flagSetId`."""
    # Mostly it has none, and to unpack that costs half as much as the whole evaluation.
    # The codec lets a flag have no other metadata than scalars.
    return {**own, **snapshot.stamp} if own else snapshot.stamp  # type: ignore[dict-item]


def _copied(value: Any) -> Any:  # Any: a container of JSON, in and out
    if type(value) is dict:
        return {name: _copied(item) if type(item) in CONTAINERS else item for name, item in value.items()}
    return [_copied(item) if type(item) in CONTAINERS else item for item in value]


class PointsmanProvider(SnapshotProvider):
    """Follows a namespace from a thread of its own, and answers from the last snapshot whatever becomes of Redis.

    `redis` is a URL (see `flags.connect`), None: `REDIS_URL`. `copy` names a file that a snapshot copy is kept in, to start
    from where Redis is away. A Redis user that may read is enough (`+@read +@connection ~{pointsman:*}:*`); tracking
    writes, and without that right is told of once in the log. `telemetry` adds `flags.telemetry.TelemetryHook`.

    Events: READY; STALE as soon as contact is lost (answers go on), READY when it is back; ERROR where there is no
    snapshot at all, and READY when one comes later; CONFIGURATION_CHANGED with the flags that differ. After a fork the
    child answers from what it inherited and follows anew from its first evaluation on.
    """

    def __init__(
        self,
        redis: str | None = None,
        *,
        namespace: str = "default",
        wait_seconds: float = WAIT_SECONDS,
        copy: str | Path | None = None,
        hooks: Sequence[Hook] = (),
        telemetry: bool = False,
    ) -> None:
        url = redis or os.environ.get("REDIS_URL") or "redis://localhost:6379"
        followed = Namespace(url, namespace, None if copy is None else Path(copy))
        tracker = Tracker(now=time.time, new_id=lambda: uuid.uuid4().hex, entropy=os.urandom)
        self._following = Following(followed, self, tracker.send)
        super().__init__(self._following.current, hooks=_with_telemetry(hooks, telemetry), tracker=tracker)
        self._wait_seconds = wait_seconds
        # These change: why contact is lost, what the SDK believes of us, and whether it is about to say so itself.
        self._lost: str | None = None
        self._told: ProviderEvent | None = None
        self._settling = False

    def initialize(self, evaluation_context: EvaluationContext) -> None:
        """Return once there is a snapshot. Raises ProviderFatalError for a URL that can be none, ProviderNotReadyError where
        none came within `wait_seconds`; one that comes later makes the provider READY.
        """
        self._settling = True
        try:
            self._following.start()
        except FlagError as error:
            raise ProviderFatalError(f"{error}; {error.mend}") from error
        ready = self._following.wait(self._wait_seconds)
        self._told = ProviderEvent.PROVIDER_READY if ready else ProviderEvent.PROVIDER_ERROR
        self._following.later(SETTLE_SECONDS, self._settle)
        if not ready:
            why = self._lost or "Redis answers slowly"
            raise ProviderNotReadyError(f"no flags within {self._wait_seconds:g} s: {why}")

    def shutdown(self) -> None:
        """Stop following, and send what was tracked if Redis takes it at once. May be called again; `initialize` undoes it."""
        self._following.stop()

    # From the thread that follows

    def swapped(self, changed: list[str] | None) -> None:
        """A new snapshot is being served (Following's Listener)."""
        if self._lost is None:
            self._tell()
        else:
            # Read from the copy, or from a Redis that is just back: in that case the next to be heard says so.
            self._following.later(SETTLE_SECONDS, self._tell)
        if changed:
            snapshot = self._following.current()
            told: dict[str, bool | str | int | float] = {} if snapshot is None else {**snapshot.stamp}
            self.emit_provider_configuration_changed(
                ProviderEventDetails(flags_changed=changed, metadata=told)
            )

    def contact(self, lost: str | None) -> None:
        """Contact with Redis was lost or is there again (Following's Listener)."""
        self._lost = lost
        self._tell()

    def _settle(self) -> None:
        self._settling = False
        self._tell()

    def _tell(self) -> None:
        """Say how we stand, where the SDK does not know it and is not about to speak itself."""
        now = self._standing()
        if self._settling or now is self._told:
            return
        self._told = now
        error = ErrorCode.PROVIDER_NOT_READY if now is ProviderEvent.PROVIDER_ERROR else None
        self.emit(now, ProviderEventDetails(message=self._lost, error_code=error))

    def _standing(self) -> ProviderEvent:
        if self._following.current() is None:
            return ProviderEvent.PROVIDER_ERROR
        return ProviderEvent.PROVIDER_READY if self._lost is None else ProviderEvent.PROVIDER_STALE


def _with_telemetry(hooks: Sequence[Hook], telemetry: bool) -> Sequence[Hook]:  # noqa: FBT001 - passed on
    if not telemetry:
        return hooks
    from flags.telemetry import TelemetryHook  # noqa: PLC0415 - who wants none need not have OpenTelemetry

    return (*hooks, TelemetryHook())

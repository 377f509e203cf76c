"""OpenTelemetry's event for feature flags, as an OpenFeature hook. Knows no provider: it works with any.

Names by the semantic conventions 1.44, `feature_flag.evaluation`
(https://opentelemetry.io/docs/specs/semconv/feature-flags/feature-flags-events/). What they allow beside these and may
hold personal data is left out: the value, the targeting key and the context, and the texts of errors, which may quote them.
"""

from __future__ import annotations

from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import FlagEvaluationDetails, FlagValueType, Reason
from openfeature.hook import Hook, HookContext, HookHints
from opentelemetry._logs import LoggerProvider, SeverityNumber, get_logger

EVENT = "feature_flag.evaluation"
KEY = "feature_flag.key"
VARIANT = "feature_flag.result.variant"
REASON = "feature_flag.result.reason"
PROVIDER = "feature_flag.provider.name"
SET_ID = "feature_flag.set.id"
VERSION = "feature_flag.version"
ERROR_TYPE = "error.type"


class TelemetryHook(Hook):
    """Emits one log event for each evaluation, into the span that is current, if any; never raises for what it is told.

    Goes to `provider` (None: OpenTelemetry's global one). Without an SDK set up there, it costs a microsecond and does
    nothing.
    """

    def __init__(self, provider: LoggerProvider | None = None) -> None:
        self._logger = get_logger("pointsman.flags", logger_provider=provider)

    def __repr__(self) -> str:
        return f"TelemetryHook({self._logger!r})"

    def finally_after(
        self, hook_context: HookContext, details: FlagEvaluationDetails[FlagValueType], hints: HookHints
    ) -> None:
        """Tell of an evaluation that is over, well or not (Hook)."""
        self._logger.emit(
            severity_number=SeverityNumber.INFO,
            event_name=EVENT,
            attributes=attributes_of(hook_context, details),
        )


def attributes_of(asked: HookContext, details: FlagEvaluationDetails[FlagValueType]) -> dict[str, str]:
    """The event's attributes: which flag, which variant of which version, why, and by whom."""
    metadata = details.flag_metadata
    error = details.error_code
    if error is None and details.reason == Reason.ERROR:
        error = ErrorCode.GENERAL
    found = {
        KEY: details.flag_key,
        REASON: str(details.reason or Reason.UNKNOWN).lower(),
        VARIANT: details.variant,
        PROVIDER: asked.provider_metadata.name if asked.provider_metadata is not None else None,
        SET_ID: metadata.get("flagSetId"),
        VERSION: metadata.get("version"),
        ERROR_TYPE: None if error is None else str(error).lower(),
    }
    return {name: str(value) for name, value in found.items() if value is not None}

"""Whether traces and metrics go out by OTLP, and what the request path then calls. Knows the standard OTEL_* variables.

Nothing of OpenTelemetry is imported here: who does not ask for it pays one `is None` a request (gateway.otel.otlp has the rest).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from flags.model import Json

if TYPE_CHECKING:  # at run time these would be circles: both know a Trace
    from gateway.dispatch import Dispatched
    from gateway.errors import UpstreamError
    from gateway.exchange import Exchange

log = logging.getLogger("pointsman.telemetry")

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
PROTOCOL = "OTEL_EXPORTER_OTLP_PROTOCOL"
# The one that we speak; it is also the standard's default.
SPOKEN = "http/protobuf"

# An upstream's declared document, None where there is none of that name.
Place = Callable[[str], Mapping[str, Json] | None]


class Trace(Protocol):
    """One request as telemetry sees it. Every call is cheap, and never waits or raises."""

    def ask(
        self, upstream: str, model: bytes, headers: Sequence[tuple[bytes, bytes]], *, stream: bool
    ) -> Sequence[tuple[bytes, bytes]]:
        """An upstream is about to be asked: `headers`, with the trace's context for it in the app's place."""
        ...

    def answered(self, result: Dispatched | UpstreamError) -> None:
        """What came of it so far."""
        ...

    def said(self, asked: str, answered: str) -> None:
        """The messages of request and answer, JSON: called only where an operator has switched content logging on."""
        ...

    def end(self) -> None:
        """The request is over; its Exchange says how. Idempotent."""
        ...


class Telemetry(Protocol):
    """Where a worker's traces and metrics go."""

    def begin(self, x: Exchange) -> Trace:
        """A request has arrived."""
        ...

    async def aclose(self) -> None:
        """Send what is left, for 2 s at most. Idempotent."""
        ...


class Wanted(NamedTuple):
    """Which signals go out; `complaints` are the settings that nobody can follow, as sentences for the log."""

    traces: bool
    metrics: bool
    complaints: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.traces or self.metrics


def wanted(environ: Mapping[str, str]) -> Wanted:
    """What the standard's variables ask for. Off where none of them names an endpoint or an exporter."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return Wanted(traces=False, metrics=False)
    complaints: list[str] = []
    traces, metrics = (_signal(name, environ, complaints) for name in ("TRACES", "METRICS"))
    return Wanted(traces, metrics, tuple(complaints))


def _signal(name: str, environ: Mapping[str, str], complaints: list[str]) -> bool:
    chosen = f"OTEL_{name}_EXPORTER"
    exporters = {word.strip().lower() for word in environ.get(chosen, "").split(",")} - {""}
    if not exporters and not (environ.get(ENDPOINT) or environ.get(f"OTEL_EXPORTER_OTLP_{name}_ENDPOINT")):
        return False
    unknown = exporters - {"otlp", "none"}
    if unknown:
        complaints.append(
            f"{chosen}: {', '.join(sorted(unknown))} is not spoken here (expected otlp or none)"
        )
    if exporters and "otlp" not in exporters:
        return False
    own = f"OTEL_EXPORTER_OTLP_{name}_PROTOCOL"
    spoken = environ.get(own) or environ.get(PROTOCOL) or SPOKEN
    if spoken.strip().lower() != SPOKEN:
        complaints.append(
            f"{own if environ.get(own) else PROTOCOL}: {spoken} is not spoken here; set it to {SPOKEN}"
            " and name the collector's HTTP port (4318 by custom)"
        )
        return False
    return True


def open_telemetry(
    environ: Mapping[str, str], *, worker: str, namespace: str, place: Place
) -> Telemetry | None:
    """Telemetry as `environ` asks for it, None where it does not.

    Only whether and what is read from `environ`: headers, certificates, batches and sampling the SDK
    reads from the process's own, by the standard's names.
    """
    asked = wanted(environ)
    for complaint in asked.complaints:
        log.warning("%s", complaint)
    if not asked:
        return None
    from gateway.otel.otlp import open_otlp  # noqa: PLC0415  # 0.2 s and 22 MB, for those who ask for it

    try:
        return open_otlp(asked, worker=worker, namespace=namespace, place=place)
    except ValueError as error:
        # Most settings that it cannot read the SDK only complains of; no such setting may keep a gateway from serving.
        log.error("no traces and no metrics go out: %s", error)
        return None

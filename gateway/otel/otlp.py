"""Traces and metrics of requests, sent by OTLP over HTTP/protobuf. Imported only where they are wanted.

Knows OpenTelemetry's SDK, and no request (gateway.otel.tracing does). The SDK's threads send; a queue that is full
(OTEL_BSP_MAX_QUEUE_SIZE, 2,048 spans) drops.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import urlsplit

import msgspec
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import Meter, NoOpMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import NoOpTracerProvider, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from gateway import __version__
from gateway.exchange import Exchange
from gateway.otel import semconv
from gateway.otel.tracing import Attributes, Meters, RequestTrace, Signals
from gateway.telemetry import Place, Wanted

# A worker that stops sends what is left, but a collector that does not answer must not hold up the next deployment.
CLOSE_SECONDS = 2.0
# Upstreams and models of which the attributes are kept ready; beyond it they are made anew.
MAX_KEPT = 1024


class Otlp:
    """Implements `telemetry.Telemetry`. What changes here: attributes made ready for the present revision."""

    def __init__(
        self,
        tracer: Tracer,
        meters: Meters,
        close: Sequence[Callable[[], object]],
        *,
        flag_set: str,
        place: Place,
    ) -> None:
        # The standard's default passes both on; a provider need not see an app's baggage: leave it out there.
        passes_baggage = "baggage" in os.environ.get("OTEL_PROPAGATORS", "tracecontext,baggage")
        self._signals = Signals(
            tracer, meters, TraceContextTextMapPropagator(), passes_baggage, flag_set, self.target
        )
        self._close, self._place = tuple(close), place
        self._revision = -1
        self._kept: dict[tuple[str, bytes], Attributes] = {}

    def __repr__(self) -> str:
        return f"<Otlp {len(self._close)} signals, {len(self._kept)} targets>"

    def begin(self, x: Exchange) -> RequestTrace:
        """A request has arrived."""
        return RequestTrace(self._signals, x)

    def target(self, upstream: str, model: bytes, revision: int) -> Attributes:
        """What is told of every call of `model` (JSON) at `upstream`."""
        if revision != self._revision or len(self._kept) > MAX_KEPT:
            self._kept.clear()
            self._revision = revision
        found = self._kept.get((upstream, model))
        if found is None:
            found = target(upstream, msgspec.json.decode(model, type=str), self._place(upstream) or {})
            self._kept[upstream, model] = found
        return found

    async def aclose(self) -> None:
        """Send what is left, for 2 s at most; the signals do not wait for each other. Idempotent."""
        close, self._close = self._close, ()
        loop = asyncio.get_running_loop()
        done = [asyncio.Event() for _ in close]
        for shutdown, event in zip(close, done, strict=True):
            # Daemons: a thread that a dead collector holds must not hold the process.
            threading.Thread(
                target=_tell, args=(shutdown, loop, event), name="telemetry-end", daemon=True
            ).start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                for event in done:
                    await event.wait()


def _tell(shutdown: Callable[[], object], loop: asyncio.AbstractEventLoop, done: asyncio.Event) -> None:
    shutdown()
    with contextlib.suppress(RuntimeError):  # too late: the loop is closed
        loop.call_soon_threadsafe(done.set)


def target(upstream: str, model: str, document: Mapping[str, object]) -> Attributes:
    """The attributes of a call: who is asked, and for what."""
    url = urlsplit(str(document.get("base_url") or ""))
    host = url.hostname or ""
    attributes: dict[str, str | int] = {
        semconv.PROVIDER: semconv.provider_name(str(document.get("kind") or upstream), host),
        semconv.REQUEST_MODEL: model,
        semconv.UPSTREAM: upstream,
    }
    if host:
        attributes[semconv.SERVER_ADDRESS] = host
        attributes[semconv.SERVER_PORT] = url.port or (443 if url.scheme == "https" else 80)
    return attributes


def open_otlp(wanted: Wanted, *, worker: str, namespace: str, place: Place) -> Otlp:
    """Exporters, batches and instruments; what is not wanted is the API's own no-op."""
    own = Resource({semconv.SERVICE_NAME: semconv.POINTSMAN, semconv.SERVICE_VERSION: __version__})
    # What an operator says of the service counts more than we do; but which worker this is only we know.
    resource = Resource.create().merge(own).merge(OTELResourceDetector().detect())
    resource = resource.merge(Resource({semconv.SERVICE_INSTANCE_ID: worker}))
    close: list[Callable[[], object]] = []
    tracer = NoOpTracerProvider().get_tracer(semconv.POINTSMAN)
    meter = NoOpMeterProvider().get_meter(semconv.POINTSMAN)
    if wanted.traces:
        # Closed by us, in bounded time: no hook at exit.
        tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
        tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        tracer = tracers.get_tracer(semconv.POINTSMAN, __version__)
        close.append(tracers.shutdown)
    if wanted.metrics:
        reader = PeriodicExportingMetricReader(OTLPMetricExporter())
        metrics = MeterProvider([reader], resource=resource, shutdown_on_exit=False)
        meter = metrics.get_meter(semconv.POINTSMAN, __version__)
        close.append(metrics.shutdown)
    return Otlp(tracer, make_meters(meter), close, flag_set=namespace, place=place)


def make_meters(meter: Meter) -> Meters:
    """The instruments, with the bounds that the conventions advise."""
    return Meters(
        *(
            meter.create_histogram(
                told.name, told.unit, told.description, explicit_bucket_boundaries_advisory=told.bounds
            )
            for told in (
                semconv.CLIENT_DURATION,
                semconv.CLIENT_FIRST_CHUNK,
                semconv.CLIENT_TOKENS,
                semconv.SERVER_DURATION,
                semconv.SERVER_FIRST_TOKEN,
            )
        )
    )

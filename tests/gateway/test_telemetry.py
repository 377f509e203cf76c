"""Telemetry against a real OTLP receiver: what goes out, by which names, and what it may never hold up."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from gateway.dispatch import Dispatcher
from gateway.exchange import Exchange
from gateway.otel import semconv
from gateway.patience import Patience
from gateway.pipeline import Pipeline
from gateway.spec import UpstreamSpec
from gateway.switches.board import Stand, Switchboard
from gateway.telemetry import Telemetry, Wanted, open_telemetry, wanted
from gateway.upstream.native import NativeUpstream
from gateway.wires.base import Wire
from gateway.wires.completions import Completions
from gateway.wires.count_tokens import CountTokens
from gateway.wires.embeddings import Embeddings
from gateway.wires.messages import Messages
from gateway.wires.responses import Responses
from policies.recorder import Recorder
from tests.fleet import CONFIG, Fleet
from tests.gateway.builders import PROMPT, body, exchange, rollout, serving
from tests.scripted_upstream import (
    ScriptedUpstream,
    cut_before_head,
    error_answer,
    events,
    stream_answer,
)

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ROOT = Path(__file__).parents[2]
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


class Receiver:
    """What an OTLP collector got: requests as they came, decoded."""

    def __init__(self) -> None:
        self.traces: list[ExportTraceServiceRequest] = []
        self.metrics: list[ExportMetricsServiceRequest] = []

    def take(self, path: str, content: bytes) -> None:
        if path == "/v1/traces":
            self.traces.append(ExportTraceServiceRequest.FromString(content))
        else:
            assert path == "/v1/metrics"
            self.metrics.append(ExportMetricsServiceRequest.FromString(content))

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for request in self.traces
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def span(self, kind: Span.SpanKind.ValueType, name: str) -> Span:
        """The only span of this kind and name."""
        (only,) = (span for span in self.spans if span.kind == kind and span.name == name)
        return only

    def resources(self) -> list[dict[str, Any]]:
        return [plain(one.resource.attributes) for request in self.traces for one in request.resource_spans]

    def points(self, name: str) -> list[tuple[dict[str, Any], Any]]:
        """The points of a histogram with their attributes."""
        return [
            (plain(point.attributes), point)
            for request in self.metrics
            for resource in request.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.histogram.data_points
        ]


def plain(attributes: Any) -> dict[str, Any]:
    """Attributes as a dict."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


@contextmanager
def receiving() -> Iterator[tuple[Receiver, str]]:
    """A collector on a free port, and its address."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            receiver.take(self.path, self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield receiver, f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have a collector of their own."""
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with receiving() as (receiver, url):
        monkeypatch.setenv(ENDPOINT, url)
        yield receiver


class Stage:
    """A pipeline whose requests are traced, and the upstream that it asks."""

    def __init__(self, telemetry: Telemetry | None, upstream: ScriptedUpstream, patience: Patience) -> None:
        loop = asyncio.get_running_loop()
        self.telemetry, self.upstream, self.clock = telemetry, upstream, loop.time
        self.served = serving()
        native = NativeUpstream(
            UpstreamSpec(kind="openai", base_url=upstream.base_url), api_key="k", patience=patience, loop=loop
        )
        self.native, self.port = native, upstream.port
        self.pipeline = Pipeline(
            lambda: self.served,
            Dispatcher({"mock": native}, draw=lambda: 0.0),
            Recorder(),
            signer=lambda: None,
            degraded=lambda: None,
            now=lambda: 1_800_000_000.0,
            draw=lambda: 0.5,
        )

    async def ask(
        self, headers: Mapping[str, str] | None = None, *, wire: Wire | None = None, **fields: Any
    ) -> Exchange:
        x = exchange(body(**fields), headers, clock=self.clock, wire=wire)
        if self.telemetry is not None:
            x.trace = self.telemetry.begin(x)
        await self.pipeline.serve(x)
        return x


@asynccontextmanager
async def staged() -> AsyncIterator[Stage]:
    """Everything that is sent has arrived once this is left."""
    async with ScriptedUpstream() as upstream:
        patience = Patience(asyncio.get_running_loop(), tick_seconds=0.005)
        document = {"kind": "openai", "base_url": upstream.base_url}
        telemetry = open_telemetry(
            os.environ,
            worker="w-1",
            namespace="default",
            place=lambda name: document if name == "mock" else None,
        )
        stage = Stage(telemetry, upstream, patience)
        yield stage
        await stage.native.aclose()
        patience.aclose()
        if telemetry is not None:
            await telemetry.aclose()
            await telemetry.aclose()


async def test_a_request_is_one_span_with_one_for_each_call(collector: Receiver) -> None:
    """The app's trace goes on through both, and the upstream continues the inner one."""
    async with staged() as stage:
        await stage.ask({"traceparent": PARENT, "tracestate": "vendor=1", "baggage": "tier=gold"}, user="ann")

    outer = collector.span(Span.SPAN_KIND_SERVER, "chat support-bot")
    inner = collector.span(Span.SPAN_KIND_CLIENT, "chat gpt-4.1")
    assert outer.trace_id.hex() == inner.trace_id.hex() == PARENT[3:35]
    assert outer.parent_span_id.hex() == PARENT[36:52]
    assert inner.parent_span_id == outer.span_id
    sent = stage.upstream.requests[0].headers
    assert sent["traceparent"] == f"00-{PARENT[3:35]}-{inner.span_id.hex()}-01"
    assert sent["tracestate"] == "vendor=1"
    assert sent["baggage"] == "tier=gold"
    assert outer.start_time_unix_nano <= inner.start_time_unix_nano <= inner.end_time_unix_nano
    assert inner.end_time_unix_nano <= outer.end_time_unix_nano


@pytest.mark.parametrize(
    ("wire", "operation"),
    [
        (Completions(), "text_completion"),
        (Embeddings(), "embeddings"),
        (Responses(), "chat"),
        (Messages(), "chat"),
        (CountTokens(), "count_tokens"),
    ],
)
async def test_a_span_is_called_by_what_its_wire_does(
    collector: Receiver, wire: Wire, operation: str
) -> None:
    async with staged() as stage:
        await stage.ask(wire=wire)

    outer = collector.span(Span.SPAN_KIND_SERVER, f"{operation} support-bot")
    inner = collector.span(Span.SPAN_KIND_CLIENT, f"{operation} gpt-4.1")
    told = [plain(span.attributes)["gen_ai.operation.name"] for span in (outer, inner)]
    assert told == [operation, operation]


async def test_the_spans_are_told_by_the_conventions_names(collector: Receiver) -> None:
    """Attributes of the request, of the call, and of the worker."""
    async with staged() as stage:
        await stage.ask(user="ann")

    outer = plain(collector.span(Span.SPAN_KIND_SERVER, "chat support-bot").attributes)
    assert outer == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "pointsman",
        "gen_ai.request.model": "support-bot",
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "pointsman.request_id": "req-1",
        "pointsman.ending": "ok",
        "pointsman.blame": "none",
        "pointsman.attempts": 1,
        "pointsman.shielded": False,
        "pointsman.version.prompt": "v6",
        "pointsman.version.model": "gpt-4.1",
    }
    inner = plain(collector.span(Span.SPAN_KIND_CLIENT, "chat gpt-4.1").attributes)
    assert inner == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4.1",
        "gen_ai.request.stream": False,
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 1,
        "pointsman.upstream": "mock",
        "server.address": "127.0.0.1",
        "server.port": stage.port,
    }
    resource = collector.resources()[0]
    assert resource["service.name"] == "pointsman"
    assert resource["service.instance.id"] == "w-1"
    assert resource["service.version"]


async def test_each_flag_is_an_event_without_value_or_person(collector: Receiver) -> None:
    """feature_flag.evaluation tells key, variant, reason and revision; nothing tells who asked, or what."""
    async with staged() as stage:
        await stage.ask(user="ann-of-green-gables", metadata={"plan": "secret-plan"})

    span = collector.span(Span.SPAN_KIND_SERVER, "chat support-bot")
    told = {event.name: plain(event.attributes) for event in span.events}
    assert [event.name for event in span.events] == ["feature_flag.evaluation"] * 2
    assert told["feature_flag.evaluation"] == {
        "feature_flag.key": "support-bot.model",
        "feature_flag.provider.name": "pointsman",
        "feature_flag.set.id": "default",
        "feature_flag.result.variant": "gpt-4.1",
        "feature_flag.result.reason": "static",
        "feature_flag.version": "7",
    }
    everything = "".join(request.SerializeToString().decode("latin-1") for request in collector.traces)
    for secret in (
        "ann-of-green-gables",
        "secret-plan",
        "Where is my order",
        "You are v6",
        "scripted answer",
    ):
        assert secret not in everything


async def test_what_was_said_is_told_only_where_content_logging_is_on(collector: Receiver) -> None:
    async with staged() as stage:
        await stage.ask(user="quiet")
        stage.served = replace(stage.served, switches=Switchboard(Stand(content_logging=True)))
        await stage.ask(user="loud")

    told = [plain(span.attributes) for span in collector.spans if span.kind == Span.SPAN_KIND_SERVER]
    (loud,) = [each for each in told if "gen_ai.input.messages" in each]
    assert len(told) == 2
    (asked,) = json.loads(loud["gen_ai.input.messages"])
    assert asked == {"role": "user", "parts": [{"type": "text", "content": "Where is my order?"}]}
    (answered,) = json.loads(loud["gen_ai.output.messages"])
    assert (answered["role"], answered["finish_reason"]) == ("assistant", "stop")
    assert answered["parts"][0]["content"]


async def test_metrics_have_the_conventions_names_units_and_bounds(collector: Receiver) -> None:
    """Durations of calls and requests, first chunks of streams only, tokens by type."""
    async with staged() as stage:
        await stage.ask()
        await stage.ask(stream=True)

    ((attributes, calls),) = collector.points("gen_ai.client.operation.duration")
    assert attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4.1",
        "pointsman.upstream": "mock",
        "server.address": "127.0.0.1",
        "server.port": stage.port,
    }
    assert calls.count == 2
    assert list(calls.explicit_bounds) == list(semconv.SECONDS)
    assert [point.count for _, point in collector.points("gen_ai.client.operation.time_to_first_chunk")] == [
        1
    ]
    tokens = {
        told["gen_ai.token.type"]: point.sum for told, point in collector.points("gen_ai.client.token.usage")
    }
    assert tokens == {"input": 14, "output": 3}
    ((whole, requests),) = collector.points("gen_ai.server.request.duration")
    assert requests.count == 2
    assert whole["gen_ai.request.model"] == "support-bot"
    assert whole["pointsman.version.prompt"] == "v6"
    assert collector.points("gen_ai.server.time_to_first_token")[0][1].count == 2


async def test_exemplars_lead_from_a_metric_to_its_trace(collector: Receiver) -> None:
    """A histogram's exemplar names the trace it was measured in."""
    async with staged() as stage:
        await stage.ask({"traceparent": PARENT})

    ((_, point),) = collector.points("gen_ai.client.operation.duration")
    assert [one.trace_id.hex() for one in point.exemplars] == [PARENT[3:35]]


async def test_each_attempt_has_a_span_and_its_own_end(collector: Receiver) -> None:
    """A retried failure is told as one; the request is none."""
    async with staged() as stage:
        stage.served = serving(models={"gpt-4.1": {"upstream": "mock", "model": "gpt-4.1", "retries": 2}})
        stage.upstream.will(cut_before_head(), error_answer(503))
        x = await stage.ask()

    assert x.status == 200
    calls = [span for span in collector.spans if span.kind == Span.SPAN_KIND_CLIENT]
    calls.sort(key=lambda span: span.start_time_unix_nano)
    assert [plain(span.attributes).get("error.type") for span in calls] == ["upstream_closed", "503", None]
    assert [span.status.code == Status.STATUS_CODE_ERROR for span in calls] == [True, True, False]
    assert len({received.headers["traceparent"] for received in stage.upstream.requests}) == 3
    outer = collector.span(Span.SPAN_KIND_SERVER, "chat support-bot")
    assert "error.type" not in plain(outer.attributes)
    assert plain(outer.attributes)["pointsman.attempts"] == 3
    told = [
        attributes.get("error.type") for attributes, _ in collector.points("gen_ai.client.operation.duration")
    ]
    assert sorted(told, key=str) == ["503", None, "upstream_closed"]


async def test_a_shielded_request_tells_both_decisions(collector: Receiver) -> None:
    """The candidate's call that failed, the control's that answered, and which versions both were."""
    async with staged() as stage:
        stage.served = serving(
            prompts={"v6": PROMPT, "v7": {"messages": [{"role": "system", "content": "You are v7."}]}},
            prompt_state=rollout("v7", 99.99),
        )
        stage.upstream.will(error_answer(503))
        x = await stage.ask(user="ann")

    assert x.status == 200
    outer = collector.span(Span.SPAN_KIND_SERVER, "chat support-bot")
    told = [plain(event.attributes) for event in outer.events]
    variants = [
        one["feature_flag.result.variant"] for one in told if one["feature_flag.key"] == "support-bot.prompt"
    ]
    assert variants == ["v7", "v6"]
    assert plain(outer.attributes)["pointsman.shielded"] is True
    assert plain(outer.attributes)["pointsman.version.prompt"] == "v6"
    calls = sorted(
        (span for span in collector.spans if span.kind == Span.SPAN_KIND_CLIENT),
        key=lambda span: span.start_time_unix_nano,
    )
    assert [plain(span.attributes).get("error.type") for span in calls] == ["503", None]


async def test_a_stream_that_breaks_off_is_an_error_though_its_status_was_200(collector: Receiver) -> None:
    """The span ends with the stream."""
    async with staged() as stage:
        stage.upstream.will(stream_answer(*events("half", finish=False, done=False)))
        await stage.ask(stream=True)

    outer = collector.span(Span.SPAN_KIND_SERVER, "chat support-bot")
    inner = collector.span(Span.SPAN_KIND_CLIENT, "chat gpt-4.1")
    assert plain(outer.attributes)["http.response.status_code"] == 200
    assert plain(outer.attributes)["error.type"] == "upstream"
    assert outer.status.code == inner.status.code == Status.STATUS_CODE_ERROR
    assert plain(inner.attributes)["gen_ai.response.time_to_first_chunk"] > 0


async def test_a_request_that_names_no_route_is_told_without_its_words(collector: Receiver) -> None:
    """An app's mistake is no error of ours, and what it sent as a model may be anything."""
    async with staged() as stage:
        await stage.ask(model="sk-a-key-in-the-wrong-place")

    (span,) = collector.spans
    assert span.name == "chat"
    assert plain(span.attributes)["error.type"] == "404"
    assert span.status.code == Status.STATUS_CODE_UNSET
    assert b"sk-a-key" not in collector.traces[0].SerializeToString()


async def test_a_trace_that_is_not_sampled_goes_on_unsampled(collector: Receiver) -> None:
    """The app's decision holds for the upstream too; the metrics count all the same."""
    async with staged() as stage:
        await stage.ask({"traceparent": PARENT[:-1] + "0"})

    assert collector.spans == []
    assert stage.upstream.requests[0].headers["traceparent"].startswith(f"00-{PARENT[3:35]}-")
    assert stage.upstream.requests[0].headers["traceparent"].endswith("-00")
    assert collector.points("gen_ai.client.operation.duration")[0][1].count == 1


async def test_each_signal_can_be_left_out(collector: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without traces the app's own context reaches the upstream as it came."""
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    async with staged() as stage:
        await stage.ask({"traceparent": PARENT})

    assert collector.traces == []
    assert collector.points("gen_ai.client.operation.duration")
    assert stage.upstream.requests[0].headers["traceparent"] == PARENT


async def test_what_an_operator_says_of_the_service_counts(
    collector: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but which worker it is; and baggage stays here where the propagators leave it out."""
    monkeypatch.setenv("OTEL_SERVICE_NAME", "llm-edge")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=prod,service.instance.id=x")
    monkeypatch.setenv("OTEL_PROPAGATORS", "tracecontext")
    async with staged() as stage:
        await stage.ask({"baggage": "tier=gold"})

    resource = collector.resources()[0]
    assert resource["service.name"] == "llm-edge"
    assert resource["deployment.environment.name"] == "prod"
    assert resource["service.instance.id"] == "w-1"
    assert "baggage" not in stage.upstream.requests[0].headers


async def test_a_collector_that_is_down_costs_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens, every batch fails at once, and requests are answered."""
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    monkeypatch.setattr("gateway.otel.otlp.CLOSE_SECONDS", 0.05)
    async with staged() as stage:
        asked = [await stage.ask() for _ in range(20)]

    assert {x.status for x in asked} == {200}


async def test_a_collector_that_never_answers_does_not_hold_the_end_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The worker goes while the last batches still wait, and the loop runs meanwhile."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    monkeypatch.setattr("gateway.otel.otlp.CLOSE_SECONDS", 0.1)
    before = set(threading.enumerate())
    ticks: list[float] = []

    async def tick() -> None:
        while True:
            ticks.append(asyncio.get_running_loop().time())
            await asyncio.sleep(0.01)

    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv(ENDPOINT, f"http://127.0.0.1:{silent.getsockname()[1]}")
        async with staged() as stage:
            await stage.ask()
            ticking = asyncio.create_task(tick())
            assert stage.telemetry is not None
            await stage.telemetry.aclose()
            ticking.cancel()
        waiting = [thread for thread in set(threading.enumerate()) - before if thread.name == "telemetry-end"]

    assert len(waiting) == 2
    assert all(thread.daemon for thread in waiting)
    assert len(ticks) > 1


OFF = {"traces": False, "metrics": False}


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, OFF),
        ({ENDPOINT: ""}, OFF),
        ({ENDPOINT: "http://c:4318"}, {"traces": True, "metrics": True}),
        ({ENDPOINT: "http://c:4318", "OTEL_SDK_DISABLED": "TRUE"}, OFF),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c/v1/traces"}, {"traces": True, "metrics": False}),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://c/v1/metrics"}, {"traces": False, "metrics": True}),
        ({ENDPOINT: "http://c:4318", "OTEL_METRICS_EXPORTER": "none"}, {"traces": True, "metrics": False}),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, {"traces": True, "metrics": False}),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"}, OFF),
        ({"OTEL_SERVICE_NAME": "x", "OTEL_TRACES_SAMPLER": "always_on"}, OFF),
    ],
)
def test_the_standards_variables_decide(environ: dict[str, str], expected: dict[str, bool]) -> None:
    """Off by default; each signal by its own variables, else by the common ones."""
    asked = wanted(environ)

    assert asked == Wanted(**expected)
    assert bool(asked) is any(expected.values())


@pytest.mark.parametrize(
    ("environ", "complaint"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER: zipkin is not spoken here"),
        ({ENDPOINT: "http://c:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "grpc is not spoken here"),
        (
            {
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4317",
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json",
            },
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: http/json",
        ),
    ],
)
def test_a_setting_that_nobody_can_follow_is_told(
    environ: dict[str, str], complaint: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The signal stays off, and the log says what to set instead."""
    opened = open_telemetry(environ, worker="w", namespace="n", place=lambda _: None)

    assert opened is None
    assert complaint in caplog.text


def test_a_setting_that_the_sdk_refuses_stops_no_gateway(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says what is wrong; requests are served without telemetry."""
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "0")
    opened = open_telemetry(os.environ, worker="w", namespace="n", place=lambda _: None)

    assert opened is None
    assert "max_queue_size must be a positive integer" in caplog.text


def test_off_imports_nothing() -> None:
    """The request path's modules know OpenTelemetry by name only; redis-py imports its metrics API itself."""
    code = (
        "import sys, gateway.telemetry as t\n"
        "assert not [m for m in sys.modules if m.startswith('opentelemetry')]\n"
        "import gateway.worker\n"
        "assert t.open_telemetry({}, worker='w', namespace='n', place=lambda name: None) is None\n"
        "told = ('gateway.otel.otlp', 'gateway.otel.tracing', 'opentelemetry.exporter', 'opentelemetry.sdk.trace.export')\n"
        "sys.exit(', '.join(m for m in sys.modules if m.startswith(told)) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_a_well_known_provider_is_called_by_its_name() -> None:
    """By its host; any other by the dialect that it speaks."""
    assert semconv.provider_name("openai", "api.openai.com") == "openai"
    assert semconv.provider_name("openai", "acme.openai.azure.com") == "azure.ai.openai"
    assert semconv.provider_name("openai", "api.groq.com") == "groq"
    assert semconv.provider_name("openai", "localhost") == "openai"
    assert semconv.provider_name("simulated", "") == "simulated"


def test_a_served_fleet_tells_the_collector_of_every_worker(collector: Receiver, tmp_path: Path) -> None:
    """From the standard's variables alone; what was measured last is sent when the server stops."""
    with Fleet(tmp_path, CONFIG, workers=2) as fleet:
        answered = [fleet.ask() for _ in range(12)]

    assert {answer.status_code for answer in answered} == {200}
    spans = [span for span in collector.spans if span.name == "chat support-bot"]
    assert {plain(span.attributes)["pointsman.request_id"] for span in spans} == {
        answer.headers["x-request-id"] for answer in answered
    }
    assert sum(point.count for _, point in collector.points("gen_ai.server.request.duration")) == 12
    assert {span.kind for span in collector.spans} == {Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT}

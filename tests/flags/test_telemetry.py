"""The event of an evaluation, through OpenTelemetry's real SDK: which names it has, and what never is in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.evaluation_context import EvaluationContext
from openfeature.provider.in_memory_provider import InMemoryFlag, InMemoryProvider
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider

from flags.provider import SnapshotProvider
from flags.telemetry import TelemetryHook
from tests.flags.test_provider import GOLD, flag, snapshot_of

# A user's name, to be found nowhere.
SECRET = "4711-secret"


@pytest.fixture
def exporter() -> InMemoryLogRecordExporter:
    return InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]


@pytest.fixture
def hook(exporter: InMemoryLogRecordExporter) -> Iterator[TelemetryHook]:
    provider = LoggerProvider()
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    yield TelemetryHook(provider)
    provider.shutdown()


@pytest.fixture
def client(hook: TelemetryHook) -> Iterator[OpenFeatureClient]:
    """A client of a provider with the hook and the flags f (by rule) and off (disabled)."""
    snapshot = snapshot_of({"f": flag(rule=GOLD), "off": flag(enabled=False)})
    api.set_provider_and_wait(SnapshotProvider(lambda: snapshot, hooks=[hook]))
    yield api.get_client()
    api.clear_providers()


def records(exporter: InMemoryLogRecordExporter) -> list[Any]:
    return [each.log_record for each in exporter.get_finished_logs()]


async def test_one_event_for_each_evaluation_sync_or_async(
    client: OpenFeatureClient, exporter: InMemoryLogRecordExporter
) -> None:
    asked = EvaluationContext(SECRET, {"plan": "gold"})

    client.get_string_value("f", "mine", asked)
    await client.get_string_value_async("f", "mine", asked)

    told = records(exporter)
    assert [record.event_name for record in told] == ["feature_flag.evaluation"] * 2
    assert [dict(record.attributes) for record in told] == [
        {
            "feature_flag.key": "f",
            "feature_flag.result.variant": "b",
            "feature_flag.result.reason": "targeting_match",
            "feature_flag.provider.name": "pointsman",
            "feature_flag.set.id": "shop",
            "feature_flag.version": "7",
        }
    ] * 2


def test_an_answer_without_a_variant_names_none(
    client: OpenFeatureClient, exporter: InMemoryLogRecordExporter
) -> None:
    client.get_string_value("off", "mine")

    (record,) = records(exporter)
    assert record.attributes["feature_flag.result.reason"] == "disabled"
    assert "feature_flag.result.variant" not in record.attributes
    assert "error.type" not in record.attributes


@pytest.mark.parametrize(
    ("key", "asked", "error"),
    [
        ("nobody", EvaluationContext(SECRET), "flag_not_found"),
        ("f", EvaluationContext(SECRET, {"plan": "blue"}), "type_mismatch"),
        ("f", EvaluationContext(4711), "invalid_context"),  # type: ignore[arg-type]
    ],
)
def test_an_error_is_told_by_its_type_alone(
    client: OpenFeatureClient,
    exporter: InMemoryLogRecordExporter,
    key: str,
    asked: EvaluationContext,
    error: str,
) -> None:
    client.get_boolean_value(key, default_value=True, evaluation_context=asked)

    (record,) = records(exporter)
    assert record.attributes["error.type"] == error
    assert record.attributes["feature_flag.result.reason"] == "error"


def test_no_value_no_user_and_no_attribute_is_ever_told(
    client: OpenFeatureClient, exporter: InMemoryLogRecordExporter
) -> None:
    for plan in ("gold", SECRET):
        for key in ("f", "off", "nobody"):
            client.get_string_value(key, SECRET, EvaluationContext(SECRET, {"plan": plan, SECRET: SECRET}))
            client.get_boolean_value(
                key, default_value=True, evaluation_context=EvaluationContext(SECRET, {"plan": plan})
            )

    told = "".join(record.to_json() for record in exporter.get_finished_logs())
    assert told.count("feature_flag.evaluation") == 12
    for forbidden in (
        SECRET,
        "two",
        "gold",
        "feature_flag.context.id",
        "feature_flag.result.value",
        "message",
    ):
        assert forbidden not in told


def test_the_event_belongs_to_the_span_that_is_current(
    client: OpenFeatureClient, exporter: InMemoryLogRecordExporter
) -> None:
    tracer = TracerProvider().get_tracer("test")

    with tracer.start_as_current_span("request") as span:
        client.get_string_value("f", "mine")

    (record,) = records(exporter)
    context = span.get_span_context()
    assert (record.trace_id, record.span_id) == (context.trace_id, context.span_id)


def test_it_works_with_any_provider(hook: TelemetryHook, exporter: InMemoryLogRecordExporter) -> None:
    api.set_provider_and_wait(InMemoryProvider({"f": InMemoryFlag("on", {"on": SECRET})}))
    try:
        client = api.get_client()
        client.add_hooks([hook])
        client.get_string_value("f", "mine")
    finally:
        api.clear_providers()

    (record,) = records(exporter)
    assert dict(record.attributes) == {
        "feature_flag.key": "f",
        "feature_flag.result.variant": "on",
        "feature_flag.result.reason": "static",
        "feature_flag.provider.name": "In-Memory Provider",
    }


def test_without_opentelemetry_set_up_it_does_nothing() -> None:
    snapshot = snapshot_of({"f": flag()})
    api.set_provider_and_wait(SnapshotProvider(lambda: snapshot, hooks=[TelemetryHook()]))
    try:
        assert api.get_client().get_string_value("f", "mine") == "one"
    finally:
        api.clear_providers()

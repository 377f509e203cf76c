"""An Alertmanager's webhook and CloudEvents become the same signals."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flags.errors import Invalid
from gateway.errors import BadRequest
from gateway.signals.reading import signals_of
from gateway.signals.signal import Signal
from gateway.spec_rulebook import SignalSpec

SPEC = SignalSpec(secret="os.environ/S", route="support-bot")
EVENTS = {"content-type": "application/cloudevents+json; charset=utf-8"}

# As an Alertmanager 0.28 sends it.
ALERTMANAGER: dict[str, Any] = {
    "version": "4",
    "groupKey": '{}:{alertname="HighToxicity"}',
    "truncatedAlerts": 0,
    "status": "firing",
    "receiver": "pointsman",
    "groupLabels": {"alertname": "HighToxicity"},
    "commonLabels": {"alertname": "HighToxicity"},
    "commonAnnotations": {},
    "externalURL": "http://alertmanager:9093",
    "alerts": [
        {
            "status": "firing",
            "labels": {
                "alertname": "HighToxicity",
                "severity": "page",
                "pointsman_flag": "support-bot.prompt",
            },
            "annotations": {"summary": "toxic answers\nabove 1 %"},
            "startsAt": "2030-01-01T00:00:00.000Z",
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "http://prometheus:9090/graph?g0.expr=x",
            "fingerprint": "c0ffee",
        }
    ],
}
EVENT: dict[str, Any] = {
    "specversion": "1.0",
    "id": "42",
    "source": "/guardrails",
    "type": "org.example.unsafe",
    "subject": "flag/support-bot.prompt",
    "time": "2030-01-01T00:00:00Z",
    "data": {
        "variant": "v7",
        "severity": "high",
        "summary": "unsafe answers",
        "link": "https://x.example/42",
    },
}


def read(document: object, headers: dict[str, str] | None = None, spec: SignalSpec = SPEC) -> list[Signal]:
    return signals_of("src", spec, headers or {}, msgspec.json.encode(document))


def alert(**told: Any) -> dict[str, Any]:
    return {**ALERTMANAGER, "alerts": [{**ALERTMANAGER["alerts"][0], **told}]}


def test_an_alertmanagers_alert() -> None:
    (signal,) = read(ALERTMANAGER)

    assert signal == Signal(
        source="src",
        id="c0ffee/2030-01-01T00:00:00.000Z",
        name="HighToxicity",
        flag="support-bot.prompt",
        severity="page",
        summary="toxic answers above 1 %",
        link="http://prometheus:9090/graph?g0.expr=x",
        time="2030-01-01T00:00:00.000Z",
    )


def test_what_somebody_wrote_is_one_printable_line() -> None:
    evil = "\x1b[31mRED\x1b]0;x\x07\u202e\r\nforged: line\x00"

    (found,) = read(alert(labels={"alertname": evil, "severity": evil}, startsAt=evil))
    (event,) = read({**EVENT, "type": evil, "time": evil}, EVENTS)

    for text in (found.name, found.severity, found.time, event.name, event.time):
        assert (text.isprintable(), text.startswith("[31mRED")) == (True, True)


@pytest.mark.parametrize("field", ["fingerprint", "startsAt"])
def test_an_id_is_no_book(field: str) -> None:
    with pytest.raises(Invalid, match="length <= 128"):
        read(alert(**{field: "x" * 129}))


def test_one_that_is_resolved_is_another_state_of_the_same_signal() -> None:
    (signal,) = read(alert(status="resolved"))

    assert (signal.status, signal.id) == ("resolved", "c0ffee/2030-01-01T00:00:00.000Z")


def test_labels_say_what_it_is_about_else_the_sources_declaration_does() -> None:
    labels = {
        "alertname": "A",
        "pointsman_route": "other",
        "pointsman_variant": "v7",
        "pointsman_audit": "flagged",
    }
    (told,) = read(alert(labels=labels))
    (untold,) = read(alert(labels={"alertname": "A"}))

    assert (told.route, told.flag, told.variant, told.audit) == ("other", None, "v7", True)
    assert (untold.route, untold.flag) == ("support-bot", None)


def test_alerts_without_a_fingerprint_are_told_apart_by_their_labels() -> None:
    ids = {read(alert(fingerprint="", labels={"alertname": name}))[0].id for name in ("A", "A", "B")}

    assert len(ids) == 2


def test_the_three_forms_of_a_cloud_event_are_the_same_signal() -> None:
    binary = {f"ce-{name}": value for name, value in EVENT.items() if name not in ("data",)}
    found = [
        *read(EVENT, EVENTS),
        *read(EVENT["data"], {**binary, "content-type": "application/json"}),
        *read([EVENT], {"content-type": "application/cloudevents-batch+json"}),
        *read(EVENT, {"content-type": "application/json"}),
    ]

    assert found == [found[0]] * 4
    assert found[0] == Signal(
        source="src",
        id="/guardrails/42",
        name="org.example.unsafe",
        flag="support-bot.prompt",
        variant="v7",
        severity="high",
        summary="unsafe answers",
        link="https://x.example/42",
        time="2030-01-01T00:00:00Z",
    )


@pytest.mark.parametrize(
    "told", [{"type": "org.example.version.audit.flagged"}, {"data": {"audit": "flagged", "variant": "v7"}}]
)
def test_an_audits_flag_is_seen(told: dict[str, Any]) -> None:
    assert read({**EVENT, **told}, EVENTS)[0].audit


def test_data_that_is_no_object_says_nothing() -> None:
    (signal,) = read({**EVENT, "data": [1], "subject": None}, EVENTS)

    assert (signal.route, signal.flag, signal.summary) == ("support-bot", None, "")


@pytest.mark.parametrize("link", ["javascript:alert(1)", "https://x/\x1b[2J", "x" * 3000, 7])
def test_a_link_that_is_none_is_left_out(link: Any) -> None:
    assert read({**EVENT, "data": {"link": link}}, EVENTS)[0].link is None


@pytest.mark.parametrize(
    ("document", "headers", "path"),
    [
        ({**ALERTMANAGER, "version": "5"}, {}, "version"),
        ({"alerts": [{}]}, {}, "alerts[0]"),
        ({"alerts": ALERTMANAGER["alerts"] * 101}, {}, "alerts"),
        (alert(status="maybe"), {}, "alerts[0].status"),
        (alert(labels={"pointsman_flag": "../x"}), {}, "flag"),
        ({**EVENT, "specversion": "0.3"}, EVENTS, "specversion"),
        ({**EVENT, "data": {"flag": ["x"]}}, EVENTS, "flag"),
        ([EVENT] * 101, {"content-type": "application/cloudevents-batch+json"}, ""),
        ({}, {"ce-specversion": "1.0", "ce-id": ""}, "ce-id"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(document: object, headers: dict[str, str], path: str) -> None:
    with pytest.raises(Invalid) as invalid:
        read(document, headers)
    assert invalid.value.path == path


@pytest.mark.parametrize("body", [b"", b"no json", b"{}", b"[]", b'{"something": 1}', b"\xff"])
def test_what_is_neither_shape_is_refused(body: bytes) -> None:
    with pytest.raises((BadRequest, Invalid)):
        signals_of("src", SPEC, {}, body)


@given(
    st.binary(max_size=200),
    st.sampled_from([{}, EVENTS, {"ce-specversion": "1.0", "content-type": "x/json"}]),
)
def test_any_bytes_are_only_ever_refused(body: bytes, headers: dict[str, str]) -> None:
    with pytest.raises((BadRequest, Invalid)):
        signals_of("src", SPEC, headers, body)


def test_an_event_may_name_its_fields_as_an_alert_names_its_labels() -> None:
    data = {"pointsman_flag": "support-bot.prompt", "pointsman_variant": "v8", "pointsman_audit": "flagged"}
    (signal,) = read({**EVENT, "subject": None, "data": data}, EVENTS)

    assert (signal.flag, signal.variant, signal.audit) == ("support-bot.prompt", "v8", True)

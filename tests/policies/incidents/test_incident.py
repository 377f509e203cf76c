"""Which policies an incident from elsewhere meets, and what they want done about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from flags.codec import document_of
from flags.model import Document, Flag, Kind, Layer, ObjectKey, Position, Rollout, StoredObject
from flags.snapshot import Builder, Snapshot
from policies.incidents.incident import Called, Incident, called, evidence_of, place_of, triggers_in
from policies.recount import Recount
from tests.policies.working import CONTENTS, PROMPT, a_flag

SIGNAL: Document = {"metric": "signal", "action": "rollback"}
CANDIDATE = a_flag(rollout=Rollout("v7", 10))


def snapshot(*flags: Flag, **policies: Document) -> Snapshot:
    """The flags, the route `bot` (and `other`, which has a model of its own), and policies."""
    documents: dict[ObjectKey, Document] = {
        ObjectKey(Kind.FLAG, each.key): document_of(each) for each in flags
    }
    documents |= {ObjectKey(Kind.ROUTE, name): {"spec": {}} for name in ("bot", "other")}
    documents |= {
        ObjectKey(Kind.POLICY, name.replace("_", "-")): {"spec": spec} for name, spec in policies.items()
    }
    objects = {key: StoredObject(key, found, 3) for key, found in documents.items()}
    contents = {variant.hash: CONTENTS.get(name) for each in flags for name, variant in each.variants.items()}
    builder = Builder("t", Position(3, "h"), 3, objects, contents)
    for _ in builder:
        pass
    return builder.snapshot()


def incident(**told: Any) -> Incident:
    return Incident("signal", "src/1", "it burns", **{"source": "src", "name": "Toxic", **told})


def met(happened: Incident, found: Snapshot) -> list[Called]:
    return called(happened, triggers_in(found.of_kind(Kind.POLICY)), found, lambda: "id")


def subjects(happened: Incident, found: Snapshot) -> list[str | None]:
    return [
        each.breach.case.subject.variant if each.breach.case.subject else None
        for each in met(happened, found)
    ]


@pytest.mark.parametrize(
    ("narrowed", "told", "meets"),
    [
        ({}, {}, True),
        ({"source": "src"}, {}, True),
        ({"source": "other"}, {}, False),
        ({"named": "Toxic"}, {}, True),
        ({"named": "Tox*"}, {}, True),
        ({"named": "tox*"}, {}, False),
        ({"routes": ["bot"]}, {}, True),
        ({"routes": ["other"]}, {}, False),
        ({}, {"policy": "stop"}, True),
        ({}, {"policy": "another"}, False),
        ({"metric": "drift"}, {}, False),
    ],
)
def test_a_policy_meets_what_it_is_about(
    narrowed: Mapping[str, Any], told: Mapping[str, Any], meets: bool
) -> None:
    found = snapshot(CANDIDATE, stop={**SIGNAL, **narrowed})

    assert bool(met(incident(route="bot", **told), found)) is meets


def test_the_candidate_of_the_flag_named_goes() -> None:
    found = snapshot(CANDIDATE, stop=SIGNAL)

    (wanted,) = met(incident(flag=PROMPT), found)

    assert wanted.breach.case.subject is not None
    assert wanted.breach.case.subject.variant == "v7"
    assert (wanted.breach.alerts, str(wanted.on)) == (False, f"flag/{PROMPT}")
    assert wanted.breach.author.actor == "policy/stop"


def test_what_serves_everybody_goes_where_there_is_no_candidate() -> None:
    assert subjects(incident(flag=PROMPT), snapshot(a_flag(serve="v7"), stop=SIGNAL)) == ["v7"]


def test_a_version_that_is_named_and_serves_nobody_is_told_of() -> None:
    (wanted,) = met(incident(flag=PROMPT, variant="v5"), snapshot(CANDIDATE, stop=SIGNAL))

    assert wanted.breach.alerts
    assert wanted.breach.author.reason == "nothing to roll back: it burns"


def test_of_a_route_the_flag_of_the_policys_layer_goes_else_the_one_changed_last() -> None:
    model = a_flag("bot.model", Layer.MODEL, serve="v7", changed_at="2030-01-02T00:00:00.000Z")
    prompt = a_flag(serve="v7", changed_at="2030-01-01T00:00:00.000Z")

    for layer, flag in (
        ("prompt", PROMPT),
        ("model", "bot.model"),
        ("retriever", "bot.model"),
        (None, "bot.model"),
    ):
        found = snapshot(prompt, model, stop={**SIGNAL, "layer": layer})
        (wanted,) = met(incident(route="bot"), found)
        assert str(wanted.on) == f"flag/{flag}", layer


def test_a_route_with_nothing_to_go_back_to_is_told_of() -> None:
    (wanted,) = met(incident(route="bot"), snapshot(a_flag(), stop=SIGNAL))

    assert (wanted.breach.alerts, str(wanted.on)) == (True, "route/bot")


def test_an_event_that_says_nothing_of_where_happens_on_the_policys_routes() -> None:
    found = snapshot(CANDIDATE, stop={**SIGNAL, "routes": ["bot"]}, everywhere=SIGNAL)

    assert subjects(incident(), found) == [None, "v7"]


def test_a_policy_for_other_routes_is_not_met_by_a_flag_of_this_one() -> None:
    assert met(incident(flag=PROMPT), snapshot(CANDIDATE, stop={**SIGNAL, "routes": ["other"]})) == []


def test_without_a_policy_the_note_lies_on_what_it_is_about() -> None:
    found = snapshot(CANDIDATE)

    assert met(incident(route="bot"), found) == []
    assert str(place_of(incident(flag=PROMPT), found)) == f"flag/{PROMPT}"
    assert str(place_of(incident(route="bot"), found)) == "route/bot"
    assert str(place_of(incident(), found)) == "signal/src"


def test_complaints_alert_without_a_declared_policy_and_a_declared_one_stands_in_for_it() -> None:
    (shipped,) = triggers_in(snapshot().of_kind(Kind.POLICY))
    assert (shipped.policy.name, shipped.policy.limit, shipped.stored) == ("complaints", 3.0, None)

    own = snapshot(mine={"metric": "complaint", "limit": 5, "action": "rollback"})
    (declared,) = triggers_in(own.of_kind(Kind.POLICY))
    assert (declared.policy.name, declared.policy.limit, declared.policy.window_seconds) == (
        "mine",
        5.0,
        3600.0,
    )


@pytest.mark.parametrize(
    "spec", [{"metric": ["signal"]}, {"metric": "signal", "action": 7}, {}, {"metric": None}]
)
def test_what_cannot_be_read_is_left_out(spec: Document) -> None:
    assert [trigger.policy.name for trigger in triggers_in(snapshot(odd=spec).of_kind(Kind.POLICY))] == [
        "complaints"
    ]


def test_what_the_ledger_keeps_of_an_event_is_not_judged_again() -> None:
    (wanted,) = met(incident(flag=PROMPT), snapshot(CANDIDATE, stop=SIGNAL))

    assert wanted.breach.verdict.evidence == evidence_of(incident(flag=PROMPT), wanted.breach.policy)
    assert wanted.breach.verdict.evidence["formula"] == "outside/1"
    assert Recount().found == []

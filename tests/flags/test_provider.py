"""The provider's answers, from a snapshot at hand: OpenFeature's types, reasons, errors and metadata. No Redis here."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import FlagResolutionDetails, Reason
from openfeature.provider import ProviderStatus
from openfeature.track import TrackingEventDetails

from flags.canonical import digest
from flags.model import START, Document, Json, Kind, ObjectKey, Position, StoredObject
from flags.provider import SnapshotProvider, metadata_of
from flags.snapshot import Snapshot
from flags.tracking import Tracker

GOLD: Json = {"if": [{"==": [{"var": "plan"}, "gold"]}, "b", None]}
LATE: Json = {"if": [{">": [{"var": "$flagd.timestamp"}, 1_000]}, "b", None]}
BROKEN: Json = {"if": [{"no_such_operator": []}, "b", None]}


def flag(values: Sequence[Json] = ("one", "two"), rule: Json = None, **fields: Json) -> Document:
    """A stored flag with variants a, b, …, that serves a."""
    variants: dict[str, Json] = {
        name: {"hash": digest(value), "generation": 1} for name, value in zip("abcdef", values, strict=False)
    }
    found: dict[str, Json] = {"variants": variants, "serve": "a", "safe": "a"}
    return {key: value for key, value in (found | fields).items() if value is not None} | (
        {} if rule is None else {"targeting": digest(rule)}
    )


def snapshot_of(flags: Mapping[str, Document], *contents: Json, revision: int = 7) -> Snapshot:
    """A snapshot with these flags; contents besides texts, numbers and rules of this module are to be given."""
    known: list[Json] = ["one", "two", True, False, 1, 2, 1.5, GOLD, LATE, BROKEN, *contents]
    keys = {name: ObjectKey(Kind.FLAG, name) for name in flags}
    objects = {keys[name]: StoredObject(keys[name], document, revision) for name, document in flags.items()}
    held = {digest(value): value for value in known}
    return Snapshot.build("shop", Position(revision, "x"), revision, objects, held)


def provider_of(document: Document, *contents: Json, **options: Any) -> SnapshotProvider:
    """A provider that has one flag, `f`."""
    snapshot = snapshot_of({"f": document}, *contents)
    return SnapshotProvider(lambda: snapshot, **options)


def asked_for(provider: SnapshotProvider, kind: str, default: Any) -> FlagResolutionDetails[Any]:
    details: FlagResolutionDetails[Any] = getattr(provider, f"resolve_{kind}_details")("f", default)
    return details


@pytest.mark.parametrize(
    ("value", "kind", "default", "expected"),
    [
        (True, "boolean", False, True),
        ("one", "string", "x", "one"),
        (2, "integer", 0, 2),
        (1.5, "float", 0.0, 1.5),
        (2, "float", 0.0, 2.0),
        ({"a": [1]}, "object", {}, {"a": [1]}),
        ([1, {"b": 2}], "object", [], [1, {"b": 2}]),
    ],
)
async def test_each_type_is_answered_by_its_call_and_its_async_twin_alike(
    value: Json, kind: str, default: Any, expected: Any
) -> None:
    provider = provider_of(flag([value]), value)

    found = asked_for(provider, kind, default)
    twin = await getattr(provider, f"resolve_{kind}_details_async")("f", default)

    assert (found.value, type(found.value)) == (expected, type(expected))
    assert (found.variant, found.reason, found.error_code) == ("a", Reason.STATIC, None)
    assert twin == found


@pytest.mark.parametrize(
    ("value", "kind", "default"),
    [
        (True, "integer", 5),
        (True, "float", 5.0),
        (1, "boolean", False),
        (1.5, "integer", 5),
        ("one", "boolean", False),
        (1, "string", "x"),
        ("one", "object", {"d": 1}),
        ({"a": 1}, "string", "x"),
    ],
)
def test_another_type_leaves_the_callers_default(value: Json, kind: str, default: Any) -> None:
    found = asked_for(provider_of(flag([value]), value), kind, default)

    assert found.value is default
    assert (found.error_code, found.reason, found.variant) == (ErrorCode.TYPE_MISMATCH, Reason.ERROR, None)


def test_an_object_is_the_callers_own_to_change() -> None:
    provider = provider_of(flag([{"a": {"list": [1, {"deep": True}]}}]), {"a": {"list": [1, {"deep": True}]}})
    mine = asked_for(provider, "object", {}).value

    mine["a"]["list"][1]["deep"] = "spoilt"
    mine["more"] = 1

    assert asked_for(provider, "object", {}).value == {"a": {"list": [1, {"deep": True}]}}


def test_the_callers_default_comes_back_itself_and_is_not_copied() -> None:
    default: dict[str, Any] = {}

    assert asked_for(provider_of(flag(enabled=False)), "object", default).value is default


def test_a_disabled_flag_is_no_error() -> None:
    found = asked_for(provider_of(flag(enabled=False)), "string", "mine")

    assert (found.value, found.reason) == ("mine", Reason.DISABLED)
    assert (found.variant, found.error_code) == (None, None)


def test_a_flag_without_a_default_leaves_it_to_the_caller() -> None:
    document = {key: value for key, value in flag().items() if key not in ("serve", "safe")}

    found = asked_for(provider_of(document), "string", "mine")

    assert (found.value, found.reason) == ("mine", Reason.DEFAULT)
    assert (found.variant, found.error_code) == (None, None)


def test_an_unknown_flag_is_not_found_and_an_unreadable_one_says_why() -> None:
    snapshot = snapshot_of({"f": {"variants": {}, "serve": 3}})
    provider = SnapshotProvider(lambda: snapshot)

    unknown = provider.resolve_boolean_details("nobody", default_value=True)
    unreadable = provider.resolve_boolean_details("f", default_value=True)

    assert (unknown.value, unknown.error_code) == (True, ErrorCode.FLAG_NOT_FOUND)
    assert (unreadable.value, unreadable.error_code) == (True, ErrorCode.PARSE_ERROR)
    assert snapshot.problems["f"] in (unreadable.error_message or "")


def test_in_an_empty_namespace_the_answer_doubts_the_namespace() -> None:
    empty = Snapshot.build("defualt", START, 0, {}, {})

    found = SnapshotProvider(lambda: empty).resolve_boolean_details("f", default_value=True)

    assert found.error_code is ErrorCode.FLAG_NOT_FOUND
    assert "nothing in the namespace 'defualt'" in (found.error_message or "")


def test_without_a_snapshot_the_provider_is_not_ready() -> None:
    found = SnapshotProvider(lambda: None).resolve_string_details("f", "mine")

    assert (found.value, found.error_code, found.reason) == (
        "mine",
        ErrorCode.PROVIDER_NOT_READY,
        Reason.ERROR,
    )


def test_every_answer_names_its_revision_and_namespace_and_no_flag_can_say_otherwise() -> None:
    own: Document = {"owner": "web", "rank": 3, "version": "forged", "flagSetId": "forged"}
    provider = provider_of(flag(metadata=own))

    assert asked_for(provider, "string", "x").flag_metadata == {
        "owner": "web",
        "rank": 3,
        "version": "7",
        "flagSetId": "shop",
    }
    assert asked_for(provider, "boolean", default=False).flag_metadata["version"] == "7"
    assert provider.resolve_string_details("nobody", "x").flag_metadata == metadata_of(snapshot_of({}), {})


def test_attributes_reach_the_rule_and_the_key_reaches_the_coin() -> None:
    ruled = provider_of(flag(rule=GOLD))
    tossed = provider_of(flag(rollout={"variant": "b", "percent": 100}))

    gold = ruled.resolve_string_details("f", "x", EvaluationContext("u", {"plan": "gold"}))
    plain = ruled.resolve_string_details("f", "x", EvaluationContext("u", {"plan": "blue"}))
    somebody = tossed.resolve_string_details("f", "x", EvaluationContext("u"))
    nobody = tossed.resolve_string_details("f", "x", EvaluationContext(""))

    assert (gold.variant, gold.reason) == ("b", Reason.TARGETING_MATCH)
    assert (plain.variant, plain.reason) == ("a", Reason.DEFAULT)
    assert (somebody.variant, somebody.reason) == ("b", Reason.SPLIT)
    assert (nobody.variant, nobody.reason) == ("a", Reason.DEFAULT)


def test_the_clock_is_an_argument_and_nobody_can_set_it_from_the_context() -> None:
    forged = EvaluationContext("u", {"$flagd": {"timestamp": 10**9}})

    early = provider_of(flag(rule=LATE), clock=lambda: 999.9).resolve_string_details("f", "x", forged)
    late = provider_of(flag(rule=LATE), clock=lambda: 1_001.2).resolve_string_details("f", "x", forged)

    assert (early.variant, late.variant) == ("a", "b")


def test_a_failing_rule_and_a_bad_context_are_answers() -> None:
    broken = provider_of(flag(rule=BROKEN)).resolve_string_details("f", "mine", EvaluationContext("u"))
    number: Any = EvaluationContext(17)  # type: ignore[arg-type]  # what apps get wrong
    bad = provider_of(flag(rule=GOLD)).resolve_string_details("f", "mine", number)

    assert (broken.value, broken.error_code) == ("mine", ErrorCode.PARSE_ERROR)
    assert (bad.value, bad.error_code) == ("mine", ErrorCode.INVALID_CONTEXT)
    assert "targetingKey: expected a string, found int" in (bad.error_message or "")


def test_a_static_flag_answers_whatever_the_context_is() -> None:
    odd: Any = EvaluationContext(17, {"x": object()})  # type: ignore[arg-type,dict-item]

    assert provider_of(flag()).resolve_string_details("f", "x", odd).variant == "a"


def test_times_and_foreign_types_in_the_context_are_looked_at_as_texts() -> None:
    rule: Json = {"if": [{"starts_with": [{"var": "since"}, "2031"]}, "b", None]}
    asked = EvaluationContext("u", {"since": datetime(2031, 5, 1, tzinfo=UTC)})

    assert provider_of(flag(rule=rule), rule).resolve_string_details("f", "x", asked).variant == "b"


async def test_a_snapshot_provider_serves_openfeature_at_once() -> None:
    api.set_provider_and_wait(provider_of(flag([True])))
    client = api.get_client()
    try:
        assert client.get_provider_status() is ProviderStatus.READY
        assert client.get_boolean_value("f", default_value=False) is True
        assert await client.get_boolean_value_async("f", default_value=False) is True
        assert client.get_string_value("f", "mine") == "mine"
        assert await client.get_string_value_async("f", "mine") == "mine"
    finally:
        api.clear_providers()


# Tracking


def a_tracker() -> Tracker:
    return Tracker(now=lambda: 100.0, new_id=lambda: "id", entropy=bytes)


def test_a_layer_flags_answers_are_what_a_track_of_the_same_user_means() -> None:
    tracker = a_tracker()
    provider = provider_of(flag([{"text": "one"}], layer="prompt"), {"text": "one"}, tracker=tracker)
    provider.resolve_object_details("f", {}, EvaluationContext("user-1"))

    provider.track("thumbs_up", EvaluationContext("user-1"), TrackingEventDetails(1.0, {"route": "f"}))
    provider.track("thumbs_up", EvaluationContext("user-2"))
    provider.track("thumbs_up")

    assert "1 tracks wait" in repr(tracker)
    assert tracker.counts.unmatched == 2


def test_flags_without_a_layer_and_answers_that_nobody_got_are_not_remembered() -> None:
    plain, layered = a_tracker(), a_tracker()
    user = EvaluationContext("user-1")
    provider_of(flag(), tracker=plain).resolve_string_details("f", "x", user)
    asked_wrongly = provider_of(flag([{"text": "one"}], layer="prompt"), {"text": "one"}, tracker=layered)
    asked_wrongly.resolve_string_details("f", "x", user)

    assert "0 users" in repr(plain)
    assert "0 users" in repr(layered)


def test_without_a_tracker_a_track_goes_nowhere() -> None:
    provider_of(flag()).track("thumbs_up", EvaluationContext("user-1"), TrackingEventDetails(1.0))


def test_a_service_that_imports_the_provider_gets_neither_gateway_nor_litellm() -> None:
    heavy = ("gateway", "policies", "litellm", "starlette", "click", "jinja2", "openai")
    code = f"import sys, flags.provider; sys.exit(', '.join(set({heavy!r}) & set(sys.modules)) or None)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")

"""A pin names a version of the route's own flag of that layer, or it is refused; what is pinned is not taken away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from flags.canonical import digest
from flags.change import Draft, View
from flags.codec import document_of
from flags.errors import Refused
from flags.model import Document, Flag, Json, Kind, Layer, ObjectKey, Position, StoredObject
from gateway.config.declaration import ConfigInvalid, Declaration
from gateway.config.loading import declaration_from
from gateway.declaring.declarations import known_in
from gateway.declaring.pins import unknown_pins
from gateway.declaring.plan import Options, Plan, plan
from gateway.declaring.references import check_references
from policies.pinning import pins_of
from tests.gateway.builders import MODEL, flag
from tests.gateway.piped import PIPELINE, said

ROUTE = ObjectKey(Kind.ROUTE, "support-bot")
PROMPT_FLAG = ObjectKey(Kind.FLAG, "support-bot.prompt")
PIPELINE_FLAG = ObjectKey(Kind.FLAG, PIPELINE)
UPSTREAMS = {"mock": {"kind": "simulated"}}


def document(pins: Mapping[str, str], *, prompts: tuple[str, ...] = ("v6", "v7")) -> dict[str, Any]:
    """A config document of one route with a pipeline."""
    return {
        "upstreams": UPSTREAMS,
        "flags": {
            PIPELINE: {"layer": "pipeline", "variants": {"v1": {"pins": dict(pins)}}},
            "support-bot.prompt": {
                "layer": "prompt",
                "serve": "v6",
                "variants": {name: said(name) for name in prompts},
            },
            "support-bot.model": {"layer": "model", "variants": {"m1": MODEL}},
        },
        "routes": {"support-bot": {}},
    }


def stored(
    *made: tuple[Flag, Mapping[str, Any]], spec: Document | None = None
) -> tuple[View, dict[str, Json]]:
    """What the store holds: flags, and the route with `spec`."""
    objects = {
        ObjectKey(Kind.FLAG, each.key): StoredObject(ObjectKey(Kind.FLAG, each.key), document_of(each), 3)
        for each, _ in made
    }
    objects[ROUTE] = StoredObject(ROUTE, {"spec": spec or {}}, 3)
    mock = ObjectKey(Kind.UPSTREAM, "mock")
    objects[mock] = StoredObject(mock, {"spec": UPSTREAMS["mock"]}, 3)
    return View(Position(3, "h"), "2026-01-01T00:00:00Z", objects), {
        k: v for _, held in made for k, v in held.items()
    }


def usual(pins: Mapping[str, str]) -> tuple[View, dict[str, Json]]:
    return stored(
        flag(PIPELINE, Layer.PIPELINE, {"v1": {"pins": dict(pins)}}),
        flag("support-bot.prompt", Layer.PROMPT, {"v6": said("v6"), "v7": said("v7")}),
        flag("support-bot.model", Layer.MODEL, {"m1": MODEL}),
    )


def problems(found: dict[str, Any]) -> list[tuple[str, str]]:
    with pytest.raises(ConfigInvalid) as caught:
        declaration_from(found)
    return [(each.path, each.message) for each in caught.value.problems]


def planned(found: dict[str, Any], view: View, contents: Mapping[str, Json], **options: bool) -> Plan:
    declaration: Declaration = declaration_from(found, known_in(view.objects))
    return plan(declaration, view, Options("alice", **options), contents=contents)


class TestInAFile:
    def test_pins_that_name_versions_of_the_routes_flags_are_taken(self) -> None:
        assert declaration_from(document({"prompt": "v7", "model": "m1"})).flags[PIPELINE].serve == "v1"

    def test_an_unknown_version_is_told_with_its_path_and_those_that_are_known(self) -> None:
        assert problems(document({"prompt": "v9"})) == [
            (
                f"flags.{PIPELINE}.variants.v1.pins.prompt",
                "flag 'support-bot.prompt' of route 'support-bot' has no variant 'v9' (variants: v6, v7)",
            )
        ]

    def test_a_pin_for_a_layer_that_the_route_lacks_is_refused(self) -> None:
        ((path, message),) = problems(document({"retriever": "r1"}))

        assert path == f"flags.{PIPELINE}.variants.v1.pins.retriever"
        assert message.startswith("route 'support-bot' has no retriever layer")

    def test_a_pipeline_that_no_route_uses_may_pin_what_is_not_there_yet(self) -> None:
        found = document({"prompt": "v9"})
        found["flags"]["spare.pipeline"] = found["flags"].pop(PIPELINE)

        assert "spare.pipeline" in declaration_from(found).flags
        found["routes"]["support-bot"] = {"pipeline": "spare.pipeline"}
        assert [path for path, _ in problems(found)] == ["flags.spare.pipeline.variants.v1.pins.prompt"]

    @pytest.mark.parametrize(
        ("pipeline", "path", "message"),
        [
            ({"pins": {"pipeline": "v1"}}, "pins.pipeline", "expected one of"),
            ({"pins": {}, "params": {"model": "x"}}, "params.model", "written by the gateway"),
            (
                {"pins": {}, "params": {"api_key": "sk-1"}},
                "params.api_key",
                "a secret stands here in plain text",
            ),
            ({"params": {}}, "", "`pins` is missing"),
        ],
    )
    def test_what_a_pipeline_may_not_say_is_told(self, pipeline: Any, path: str, message: str) -> None:
        found = document({})
        found["flags"][PIPELINE]["variants"]["v1"] = pipeline

        ((where, told),) = problems(found)
        assert where == f"flags.{PIPELINE}.variants.v1.{path}".rstrip(".")
        assert message in told


class TestApplying:
    def test_a_pin_to_a_version_that_only_the_store_has_is_taken(self) -> None:
        view, contents = stored(
            flag("support-bot.prompt", Layer.PROMPT, {"v6": said("v6"), "v7": said("v7"), "v8": said("v8")})
        )

        assert {draft.key for draft in planned(document({"prompt": "v8"}), view, contents).drafts} >= {
            PIPELINE_FLAG
        }

    def test_a_route_that_takes_a_stored_pipeline_is_held_against_its_pins(self) -> None:
        view, contents = stored(flag("kb.pipeline", Layer.PIPELINE, {"v1": {"pins": {"prompt": "v9"}}}))
        found = document({})
        del found["flags"][PIPELINE]
        found["routes"]["support-bot"] = {"pipeline": "kb.pipeline"}

        with pytest.raises(Refused, match="has no variant 'v9'") as refused:
            planned(found, view, contents)
        assert refused.value.rule == "unknown_pin"

    def test_what_serve_finds_wrong_in_the_store_does_not_keep_it_from_starting(self) -> None:
        view, contents = stored(flag("kb.pipeline", Layer.PIPELINE, {"v1": {"pins": {"prompt": "v9"}}}))
        found = document({})
        del found["flags"][PIPELINE]
        found["routes"]["support-bot"] = {"pipeline": "kb.pipeline"}

        assert any(
            "has no variant 'v9'" in line for line in planned(found, view, contents, lenient=True).warnings
        )

    def test_pruning_keeps_what_a_pipeline_pins(self) -> None:
        view, contents = usual({"prompt": "v7"})
        found = document({"prompt": "v7"}, prompts=("v6",))
        found["flags"][PIPELINE]["variants"] = {"v1": {"pins": {"prompt": "v7"}}}

        drafts = planned(found, view, contents, prune=True).drafts
        (prompt,) = [draft.after for draft in drafts if draft.key == PROMPT_FLAG]
        assert prompt is not None
        assert prompt["variants"].keys() == {"v6", "v7"}  # type: ignore[union-attr]

    def test_pruning_takes_what_no_pipeline_pins_any_more(self) -> None:
        view, contents = usual({"prompt": "v6"})
        found = document({"prompt": "v6"}, prompts=("v6",))

        drafts = planned(found, view, contents, prune=True).drafts
        (prompt,) = [draft.after for draft in drafts if draft.key == PROMPT_FLAG]
        assert prompt is not None
        assert prompt["variants"].keys() == {"v6"}  # type: ignore[union-attr]

    def test_a_flag_that_a_pipeline_pins_is_not_deleted(self) -> None:
        view, contents = usual({"prompt": "v7"})
        found = document({})
        del found["flags"]["support-bot.prompt"]
        # Served, and so kept by pruning, although the file has it no more.
        found["flags"][PIPELINE] = {"layer": "pipeline", "variants": {"v2": {"pins": {}}}}

        with pytest.raises(Refused, match="prompt") as refused:
            planned(found, view, contents, prune=True)
        assert refused.value.rule in ("unknown_pin", "in_use")

    def test_a_pin_that_was_bad_before_stops_no_other_write(self) -> None:
        view, contents = usual({"prompt": "v9"})
        prompt = view.flag("support-bot.prompt")
        draft = Draft("declare", PROMPT_FLAG, document_of(prompt))

        assert list(unknown_pins(view, [draft], contents)) == []


class TestReverting:
    def test_a_pipeline_comes_back_only_where_its_pins_name_something(self) -> None:
        view, contents = usual({"prompt": "v7"})
        was, held = flag(PIPELINE, Layer.PIPELINE, {"v1": {"pins": {"prompt": "v5"}}})

        with pytest.raises(Refused, match="has no variant 'v5'"):
            check_references(PIPELINE_FLAG, was, view, {**contents, **held})

    def test_a_route_comes_back_only_where_its_pipelines_pins_name_something(self) -> None:
        view, contents = usual({"prompt": "v7"})
        content = {"pins": {"prompt": "v5"}}
        other = flag("kb.pipeline", Layer.PIPELINE, {"v1": content})[0]
        key = ObjectKey(Kind.FLAG, "kb.pipeline")
        view = View(view.position, view.time, {**view.objects, key: StoredObject(key, document_of(other), 2)})

        with pytest.raises(Refused, match="has no variant 'v5'"):
            check_references(
                ROUTE, {"spec": {"pipeline": "kb.pipeline"}}, view, {**contents, digest(content): content}
            )


@pytest.mark.parametrize("content", [None, 7, [], {}, {"pins": 7}, {"pins": {"prompt": 7, "x": "y"}}])
def test_what_is_no_pipeline_pins_nothing(content: Json) -> None:
    assert pins_of(content) == {}

"""What a flagd file becomes, what is told of it, and what an export of a store leaves out."""

from __future__ import annotations

from typing import Any

import pytest

from flags.codec import document_of
from flags.flagd.writing import document_from
from flags.model import (
    Flag,
    Kind,
    Layer,
    ObjectKey,
    Promotion,
    Rollout,
    RolloutState,
    StoredObject,
)
from gateway.config.declaration import Known
from gateway.config.loading import declaration_from
from gateway.declaring.declared import contents_of, created
from gateway.importing.flagd import from_flagd, looks_like_flagd, upstreams_named
from gateway.importing.flagd_losses import losses
from gateway.importing.report import Malformed, Report
from tests.flags.flagd.test_round_trip import text
from tests.flags.flagd.test_writing import FILE, a_file
from tests.flags.making import KEY, a_flag, a_rollout
from tests.flags.making import contents_of as stored_contents


def told(report: Report) -> str:
    return report.text()


def stored(flag: Flag) -> dict[ObjectKey, StoredObject]:
    key = ObjectKey(Kind.FLAG, flag.key)
    return {key: StoredObject(key, document_of(flag), 1)}


def test_a_file_goes_through_our_config_and_the_store_without_loss() -> None:
    """Import, our config's own document (what `apply` sends), a stored flag, export."""
    config, _ = from_flagd(FILE)
    declaration = declaration_from(declaration_from(config).document())
    flags, contents = [], {}
    for declared in declaration.flags.values():
        flags.append(created(declared, "tester", ""))
        contents |= contents_of(declared, flags[-1])

    assert text(document_from(flags, contents)) == text(FILE)


def test_everything_of_the_file_is_in_the_report() -> None:
    _, report = from_flagd({**FILE, "flags": {**FILE["flags"], "no name": {}}})

    assert [note.path for note in report.taken] == [
        "flags.banner", "flags.colour", "flags.limit", "flags.theme", "flags.greeting", "$evaluators.staff", "metadata",
    ]  # fmt: skip
    assert [note.path for note in report.not_taken] == ["flags.no name"]


@pytest.mark.parametrize("rule", [{"$ref": "nobody"}, {"invalid": []}, ["a"], {"if": [{"oops": 1}, "a"]}])
def test_a_flag_whose_rule_could_never_be_evaluated_is_left_and_told(rule: Any) -> None:
    file = {"flags": {**a_file(targeting=rule)["flags"], "good": a_file()["flags"]["f"]}}

    config, report = from_flagd(file)

    assert config["flags"].keys() == {"good"}  # type: ignore[union-attr]
    assert report.not_taken[0].path.startswith("flags.f.targeting")
    assert declaration_from(config).flags.keys() == {"good"}


def test_a_rollout_and_withdrawn_names_are_told() -> None:
    flag = a_flag(rollout=a_rollout(10), withdrawn=frozenset({"v6"}), layer=None)

    config, report = from_flagd(document_from([flag], stored_contents()))

    assert config["flags"][KEY]["rollout"] == {"variant": "v7", "percent": 10}  # type: ignore[index, call-overload]
    assert "the rollout of v7 at 10" in told(report)
    assert "withdrawn: v6" in told(report)


def test_a_rollout_past_its_first_step_goes_on_by_hand_and_that_is_told() -> None:
    rollout = Rollout("v7", 25, 1, steps=(5.0, 25.0), hold_seconds=60.0)

    config, report = from_flagd(document_from([a_flag(rollout=rollout)], stored_contents()))

    assert config["flags"][KEY]["rollout"] == {"variant": "v7", "percent": 25}  # type: ignore[index, call-overload]
    assert "--steps 5,25" in (report.changed[0].mend or "")


def test_an_upstream_that_a_layers_versions_name_must_be_declared_elsewhere() -> None:
    values: dict[str, Any] = {"a": {"upstream": "openai", "model": "gpt"}}
    flag = a_flag("bot.model", values, serve="a", safe="a", layer=Layer.MODEL)

    config, report = from_flagd(document_from([flag], stored_contents(values)))

    assert upstreams_named(config) == {"openai"}
    assert "declare upstreams.openai" in told(report)
    assert declaration_from(config, Known(upstreams=upstreams_named(config))).flags.keys() == {"bot.model"}


@pytest.mark.parametrize("document", [None, [], {"flags": {}}, {"flags": {"a b": {}}}, {"flags": {"f": 1}}])
def test_a_file_without_a_flag_that_can_be_taken_is_refused(document: Any) -> None:
    with pytest.raises(Malformed):
        from_flagd(document)


@pytest.mark.parametrize(
    ("document", "flagd"),
    [
        (FILE, True),
        (a_file(), True),
        ({"flags": [{"key": "f", "defaultVariant": None}]}, True),
        ({"flags": {}}, False),
        ({"flags": {"f": {"serve": "a", "state": "ENABLED"}}}, False),
        ({"$schema": "x"}, False),
        ([], False),
    ],
)
def test_a_flagd_file_is_told_from_a_config_of_ours(document: Any, flagd: bool) -> None:
    assert looks_like_flagd(document) is flagd


def test_what_an_export_leaves_out_is_listed() -> None:
    rollout = Rollout("v7", 25, 1, RolloutState.PAUSED, steps=(5.0, 25.0))
    flag = a_flag(
        rollout=rollout,
        promotion=Promotion(approvals=1),
        quarantined=frozenset({a_flag().variants["v5"].hash}),
    )
    route, card = ObjectKey(Kind.ROUTE, "bot"), ObjectKey(Kind.VERSION, f"{KEY}/v7")
    others = {key: StoredObject(key, {}, 1) for key in (route, card)}

    lines = losses(stored(flag) | others)

    assert [line.split(":")[0] for line in lines] == [f"flags.{KEY}"] * 5 + ["routes (1)"]
    assert losses(stored(a_flag())) == []


def test_a_switch_with_booleans_and_numbers_is_imported() -> None:
    mixed = {"state": "ENABLED", "variants": {"on": True, "once": 1}, "defaultVariant": "once"}

    config, _ = from_flagd({"flags": {"gateway.retries": mixed}})

    assert declaration_from(config).flags["gateway.retries"].serve == "once"

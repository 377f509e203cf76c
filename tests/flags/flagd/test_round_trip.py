"""A flagd file comes out as it went in, and a flag of ours comes back as what it was."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from flags.canonical import canonical
from flags.compiled import compile_flag
from flags.errors import Invalid
from flags.flagd.reading import declarations_from
from flags.flagd.writing import document_from
from flags.model import Context, Flag, Json, Layer, Rollout, Shadow, Soak
from flags.resolve import resolve
from tests.flags import oracle
from tests.flags.flagd.making import contents_from_declaration, flag_from_declaration
from tests.flags.flagd.test_writing import FILE, RULES, a_file, same_answer
from tests.flags.making import KEY, VALUES, a_flag, a_rollout, contents_of
from tests.flags.test_targeting_oracle import contexts, operations, typical
from tests.thorough import examples


def through(document: Any) -> dict[str, Any]:
    """The file after an import into an empty store and an export of it."""
    declared = declarations_from(document)
    contents: dict[str, Json] = {}
    for each in declared:
        contents |= contents_from_declaration(each)
    return document_from([flag_from_declaration(each) for each in declared], contents)


def back(flag: Flag, contents: dict[str, Json]) -> tuple[Flag, dict[str, Json]]:
    """The flag after an export and an import of the file into an empty store."""
    (declared,) = declarations_from(json.loads(json.dumps(document_from([flag], contents))))
    return flag_from_declaration(declared), contents_from_declaration(declared)


def text(document: Any) -> bytes:
    """What is to be the same: all but `$schema` and the order of members."""
    return canonical({name: each for name, each in document.items() if name != "$schema"})


def operated(flag: Flag) -> tuple[Any, ...]:
    """All that an export is to bring back."""
    return (
        flag.serve, flag.safe, flag.withdrawn, flag.rollout, flag.layer, flag.enabled, flag.targeting,
        dict(flag.metadata), flag.shadow, flag.soak, sorted((v.name, v.hash) for v in flag.variants.values()),
    )  # fmt: skip


# flagd → ours → flagd


def test_a_file_comes_out_as_it_went_in() -> None:
    assert text(through(FILE)) == text(FILE)


def test_an_array_of_flags_comes_out_as_an_object() -> None:
    listed = {**FILE, "flags": [{"key": key, **flag} for key, flag in FILE["flags"].items()]}

    assert text(through(listed)) == text(FILE)


@pytest.mark.parametrize(
    "fields",
    [
        {"defaultVariant": None},
        {"defaultVariant": ""},
        {"defaultVariant": False, "variants": {"false": 1, "true": 2}},
        {"defaultVariant": "false", "variants": {"false": 1, "true": 2}},
        {"targeting": {}},
        {"targeting": None},
        {"metadata": {}},
        {"metadata": {"a": True, "b": 1, "c": "x"}},
        {"state": "DISABLED", "targeting": {"if": [True, "b"]}},
        {"source": "file:flags.json", "selector": "here"},
        {"variants": {"a": {"deep": [1, {"x": None}]}, "b": {}}},
        # A rollout and withdrawn names, as we write them.
        {"targeting": {"reduce": [[{"var": "x"}], {"if": [{"in": [{"var": "current"}, ["b"]]}, "a", {"var": "current"}]}, None]}},
    ],
)  # fmt: skip
@pytest.mark.parametrize("metadata", [None, {"team": "core"}, {"a": 1}])
def test_each_spelling_is_kept(fields: dict[str, Any], metadata: dict[str, Any] | None) -> None:
    file = a_file(**fields) | ({"metadata": metadata} if metadata else {})

    assert text(through(file)) == text(file)


def test_no_default_variant_is_kept() -> None:
    file = a_file()
    del file["flags"]["f"]["defaultVariant"]

    assert text(through(file)) == text(file)


def test_evaluators_that_refer_to_others_or_that_nobody_uses_are_kept() -> None:
    file = a_file(targeting={"if": [{"$ref": "one"}, "a", "b"]}) | {
        "$evaluators": {"two": {"var": "x"}, "one": {"!": [{"$ref": "two"}]}, "none": {"var": "y"}}
    }

    assert text(through(file)) == text(file)


VARIANTS = {"v6": "six", "v7": "seven", "true": "yes", "1": "one", "1.0": "a float"}


@settings(max_examples=examples(300), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    rule=st.none() | operations | typical,
    default=st.sampled_from([None, "", "v6", True]),
    state=st.sampled_from(["ENABLED", "DISABLED"]),
    own=st.none() | st.dictionaries(st.sampled_from("abc"), st.booleans() | st.integers(0, 3) | st.text(max_size=3)),
    shared=st.dictionaries(st.sampled_from("abc"), st.booleans() | st.integers(0, 3)),
)  # fmt: skip
def test_any_file_comes_out_as_it_went_in(
    rule: Any, default: Any, state: str, own: dict[str, Any] | None, shared: dict[str, Any]
) -> None:
    flag: dict[str, Any] = {"state": state, "variants": VARIANTS, "defaultVariant": default}
    flag |= {} if rule is None else {"targeting": rule}
    flag |= {} if own is None else {"metadata": own}
    file = {"flags": {"f": flag, "g": {"state": "ENABLED", "variants": {"x": 1}}}}
    file |= {"metadata": shared} if shared else {}
    try:
        expected, declared = text(file), declarations_from(file)
    except Invalid:
        assume(False)

    assert len(declared) == 2
    assert text(through(file)) == expected


def test_file_metadata_are_written_under_each_flag_where_one_does_not_have_them() -> None:
    """flagd merges a file's metadata under every flag, so ours would get what is not its."""
    declared = declarations_from(FILE)
    contents = {name: each for one in declared for name, each in contents_from_declaration(one).items()}
    own = a_flag()
    flags = [own, *map(flag_from_declaration, declared)]

    document: Any = document_from(flags, contents | contents_of())

    assert "metadata" not in document
    assert document["flags"]["banner"]["metadata"] == {"team": "core", "version": 4}
    assert set(document["flags"][KEY].get("metadata", {})) <= {"pointsman.layer", "pointsman.safe"}


def test_evaluators_of_one_name_that_differ_are_written_out() -> None:
    files = [
        {
            "$evaluators": {"same": {"==": [{"var": "x"}, number]}},
            "flags": {f"f{number}": a_file(targeting={"if": [{"$ref": "same"}, "a", "b"]})["flags"]["f"]},
        }
        for number in (1, 2)
    ]
    declared = [each for file in files for each in declarations_from(file)]
    contents = {name: each for one in declared for name, each in contents_from_declaration(one).items()}

    document = document_from(map(flag_from_declaration, declared), contents)

    judge = oracle.Oracle(document)
    for number, variant in ((1, "b"), (2, "a")):
        assert judge.resolve("f2", Context(None, {"x": number})).variant == variant
        assert judge.resolve("f1", Context(None, {"x": number})).variant != variant


# ours → flagd → ours


@pytest.mark.parametrize("withdrawn", [[], ["v7"], ["v6"], ["v6", "v7"]])
@pytest.mark.parametrize("percent", [None, 0, 0.01, 7.1, 12.5, 100])
@pytest.mark.parametrize("rule", [*RULES, {"if": [True, None]}])
def test_a_flag_comes_back_as_what_it_was(rule: Any, percent: float | None, withdrawn: list[str]) -> None:
    rollout = None if percent is None or "v7" in withdrawn else a_rollout(percent)
    flag = a_flag(
        rule=rule, rollout=rollout, withdrawn=frozenset(withdrawn), metadata={"team": "core", "owner": 3}
    )

    again, _ = back(flag, contents_of(rule=rule))

    assert operated(again) == operated(flag)


@settings(max_examples=examples(300), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    rule=st.none() | operations | typical,
    context=contexts,
    state=st.tuples(
        st.sampled_from([None, "v5", "v6", "v7", "true"]), st.sampled_from(["v5", "v6", "v7", "1"])
    ),
    percent=st.none() | st.integers(0, 10_000),
    withdrawn=st.sets(st.sampled_from(["v5", "v6", "v7", "true", "1"])),
)
def test_any_flag_comes_back_and_answers_alike(
    rule: Any,
    context: Context,
    state: tuple[str | None, str],
    percent: int | None,
    withdrawn: set[str],
) -> None:
    values: dict[str, Any] = {"v5": "five", "v6": "six", "v7": "seven", "true": "yes", "1": "one"}
    serve, safe = state
    rollout = None if percent is None else a_rollout(percent / 100)
    assume(safe not in withdrawn)
    assume(
        rollout is None
        or (serve not in (None, "v7") and "v7" not in withdrawn and (serve not in withdrawn or safe != "v7"))
    )
    flag = a_flag(KEY, values, rule, serve=serve, safe=safe, rollout=rollout, withdrawn=frozenset(withdrawn))
    contents = contents_of(values, rule)

    again, its = back(flag, contents)

    mine, theirs = (
        resolve(compile_flag(*each), context, oracle.NOW) for each in ((flag, contents), (again, its))
    )
    assert same_answer(mine, theirs)
    if rule is None or len(rule) == 1:
        assert operated(again) == operated(flag)


def test_layer_steps_shadow_and_soak_come_back() -> None:
    steps = Rollout("v7", 5, 0, steps=(5.0, 25.0, 100.0), hold_seconds=600.0, min_requests=50)
    flag = a_flag(layer=Layer.PROMPT, rollout=steps, shadow=Shadow("v5", 2.5), soak=Soak(60.0, 10))

    again, _ = back(flag, contents_of())

    assert operated(again) == operated(flag)


def test_a_rule_that_only_looks_like_a_rollout_stays_a_rule() -> None:
    document: Any = document_from([a_flag(rollout=a_rollout(10))], contents_of())
    looks = document["flags"][KEY]["targeting"]
    flag = a_flag(rule=looks)

    again, _ = back(flag, contents_of(rule=looks))

    assert (again.rollout, again.targeting) == (None, flag.targeting)


def test_a_percentage_edited_in_the_file_is_the_rollouts() -> None:
    document = document_from([a_flag(rollout=a_rollout(10))], contents_of())
    edited = json.loads(json.dumps(document).replace("9000", "7000").replace("1000", "3000"))

    (declared,) = declarations_from(edited)

    assert declared["rollout"] == {"variant": "v7", "percent": 30}


def test_a_default_edited_past_its_marks_is_what_is_served_and_withdrawn_names_stay() -> None:
    document: Any = document_from([a_flag(withdrawn=frozenset({"v6"}))], contents_of())
    document["flags"][KEY]["defaultVariant"] = "v7"

    (declared,) = declarations_from(document)

    assert (declared["serve"], declared["safe"], declared["withdrawn"]) == ("v7", "v5", ["v6"])


@pytest.mark.parametrize(
    ("metadata", "path"),
    [
        ({"pointsman.colour": 1}, "flags.f.metadata.pointsman.colour"),
        ({"pointsman.safe": 7}, "flags.f.metadata.pointsman.safe"),
        ({"pointsman.shadow": "a"}, "flags.f.metadata"),
    ],
)
def test_a_mark_that_is_none_is_told(metadata: dict[str, Any], path: str) -> None:
    with pytest.raises(Invalid) as caught:
        declarations_from(a_file(metadata=metadata))

    assert caught.value.path == path


def test_marks_are_no_metadata_of_the_file() -> None:
    with pytest.raises(Invalid, match="for exported flags"):
        declarations_from({"metadata": {"pointsman.safe": "a"}, **a_file()})


def test_marks_are_no_metadata_of_the_flag_that_comes_back() -> None:
    again, _ = back(a_flag(metadata={"team": "core"}), contents_of())

    assert again.metadata == {"team": "core"}
    assert set(VALUES) == set(again.variants)


@pytest.mark.parametrize(
    ("key", "variants"), [("my flag", {"a": 1}), ("", {"a": 1}), ("x/y", {"a": 1}), ("f", {"a b": 1})]
)
def test_names_that_we_cannot_have_are_left_and_told(key: str, variants: dict[str, int]) -> None:
    left: list[Invalid] = []
    odd: dict[str, Any] = {"state": "ENABLED", "variants": variants}

    declared = declarations_from({"flags": {key: odd, "good": {**odd, "variants": {"a": 1}}}}, left.append)

    assert [each["key"] for each in declared] == ["good"]
    assert "is no name for a" in left[0].message

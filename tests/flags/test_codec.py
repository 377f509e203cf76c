"""A flag's document is read strictly, and written so that it reads back the same."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flags.canonical import canonical
from flags.codec import check_flag, check_values, document_of, flag_from
from flags.errors import Invalid
from flags.model import Flag, Layer, Rollout, RolloutState, Shadow, Soak, Variant
from tests.flags.making import KEY, a_flag, a_rollout

HASH = "a" * 64


def a_document(**fields: Any) -> dict[str, Any]:
    variants = {name: {"hash": HASH, "generation": 2} for name in ("v5", "v6", "v7")}
    return {"layer": "prompt", "serve": "v6", "safe": "v5", "variants": variants} | fields


def refused(document: Any, key: str = KEY) -> Invalid:
    with pytest.raises(Invalid) as caught:
        flag_from(key, document, 1)
    return caught.value


names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
hashes = st.integers(0, 2**256 - 1).map(lambda number: f"{number:064x}")


times = st.just("") | st.datetimes().map(lambda at: f"{at:%Y-%m-%dT%H:%M:%S}.250Z".rjust(24, "0"))
percents = st.integers(0, 10_000).map(lambda weight: weight / 100)


def by_hand(candidate: str) -> st.SearchStrategy[Rollout]:
    step = st.none() | st.integers(0, 5)
    return st.builds(Rollout, st.just(candidate), percents, step, st.sampled_from(RolloutState))


@st.composite
def in_steps(draw: st.DrawFn, candidate: str) -> Rollout:
    steps = sorted(draw(st.sets(percents.filter(bool), min_size=1, max_size=4)))
    step = draw(st.integers(0, len(steps) - 1))
    return Rollout(
        candidate,
        steps[step],
        step,
        draw(st.sampled_from(RolloutState)),
        tuple(steps),
        draw(st.floats(0, 1e6)),
        draw(st.integers(0, 99)),
    )


@st.composite
def flags(draw: st.DrawFn) -> Flag:
    variants = draw(st.lists(names, min_size=3, max_size=6, unique=True))
    serve, safe, candidate, *rest = variants
    return Flag(
        key=draw(names),
        variants={n: Variant(n, draw(hashes), draw(st.integers(1, 9)), "ada", "2026-01-01T00:00:00Z") for n in variants},
        serve=serve,
        safe=draw(st.sampled_from([serve, safe])),
        layer=draw(st.none() | st.sampled_from(Layer)),
        enabled=draw(st.booleans()),
        rollout=draw(st.none() | by_hand(candidate) | in_steps(candidate)),
        withdrawn=frozenset(draw(st.lists(st.sampled_from([candidate, *rest])))),
        targeting=draw(st.none() | hashes),
        metadata=draw(st.dictionaries(names, st.booleans() | st.integers(-5, 5) | st.text(max_size=5), max_size=2)),
        declared=draw(st.none() | hashes),
        changed_at=draw(times),
        braked_at=draw(times),
        quarantined=frozenset(draw(st.lists(hashes, max_size=2))),
        soak=draw(st.builds(Soak, st.floats(0, 1e6), st.integers(0, 9))),
        shadow=draw(st.none() | st.builds(Shadow, st.sampled_from(variants), percents)),
        revision=7,
    )  # fmt: skip


@given(flags())
def test_a_flag_that_is_written_reads_back_the_same(flag: Flag) -> None:
    document = document_of(flag)

    assert flag_from(flag.key, document, 7) == flag
    assert canonical(document) == canonical(document_of(flag_from(flag.key, document, 7)))


def test_what_is_not_set_is_left_out_except_serve_and_safe() -> None:
    flag = Flag("f", {"on": Variant("on", HASH)}, serve=None, safe=None)

    assert document_of(flag) == {
        "variants": {"on": {"hash": HASH, "generation": 1}},
        "serve": None,
        "safe": None,
    }


def test_a_flag_without_safe_lands_on_what_it_serves() -> None:
    document = a_document()
    del document["safe"]

    assert flag_from(KEY, document, 1).safe == "v6"


def test_withdrawn_names_are_written_in_order() -> None:
    assert document_of(a_flag(withdrawn=frozenset({"v7", "v6"})))["withdrawn"] == ["v6", "v7"]


@pytest.mark.parametrize(
    ("change", "path", "message"),
    [
        ({"serve": "b2"}, "serve", "variant 'b2' is not defined (variants: v5, v6, v7)"),
        ({"safe": "v8"}, "safe", "variant 'v8' is not defined"),
        ({"withdrawn": ["v9"]}, "withdrawn", "variant 'v9' is not defined"),
        ({"rollout": {"variant": "v9", "percent": 5}}, "rollout.variant", "variant 'v9' is not defined"),
        ({"rollout": {"variant": "v6", "percent": 5}}, "rollout.variant", "'v6' is served already"),
        ({"rollout": {"variant": "v7", "percent": -0.01}}, "rollout.percent", "expected 0 to 100"),
        ({"rollout": {"variant": "v7", "percent": 100.01}}, "rollout.percent", "expected 0 to 100"),
        ({"rollout": {"variant": "v7", "percent": float("nan")}}, "rollout.percent", "expected 0 to 100"),
        ({"rollout": {"variant": "v7", "percent": 1.005}}, "rollout.percent", "at most two decimals"),
        ({"rollout": {"variant": "v7", "percent": True}}, "rollout.percent", "found True"),
        ({"rollout": {"variant": "v7", "percent": "10"}}, "rollout.percent", "found '10'"),
        ({"rollout": {"variant": "v7"}}, "rollout.percent", "found nothing"),
        ({"rollout": {"percent": 1}}, "rollout.variant", "found nothing"),
        ({"rollout": {"variant": "v7", "percent": 1, "state": "stopped"}}, "rollout.state", "running, paused"),
        ({"rollout": {"variant": "v7", "percent": 1, "setp": 1}}, "rollout.setp", "unknown field"),
        ({"rollout": []}, "rollout", "expected an object"),
        ({"rollout": {"variant": "v7", "percent": 5, "step": 0, "steps": 5}}, "rollout.steps", "expected an array"),
        ({"rollout": {"variant": "v7", "percent": 5, "step": 1, "steps": [5, 9]}}, "rollout.step", "which of"),
        ({"rollout": {"variant": "v7", "percent": 5, "steps": [5, 9]}}, "rollout.step", "found None"),
        ({"rollout": {"variant": "v7", "percent": 5, "step": 0, "steps": [5, 5]}}, "rollout.steps[1]", "more than 5"),
        ({"rollout": {"variant": "v7", "percent": 5, "step": 0, "steps": [5, 101]}}, "rollout.steps[1]", "0 to 100"),
        ({"rollout": {"variant": "v7", "percent": 5, "hold_seconds": -1}}, "rollout.hold_seconds", "from 0 on"),
        ({"rollout": {"variant": "v7", "percent": 5, "min_requests": 1.5}}, "rollout.min_requests", "an integer"),
        ({"changed_at": "yesterday"}, "changed_at", "expected a time"),
        ({"braked_at": 5}, "braked_at", "expected a string"),
        ({"quarantined": ["abc"]}, "quarantined[0]", "expected a SHA-256"),
        ({"soak": {"hours": 1}}, "soak.hours", "unknown field"),
        ({"shadow": {"variant": "v9", "percent": 5}}, "shadow.variant", "variant 'v9' is not defined"),
        ({"shadow": {"percent": 5}}, "shadow.variant", "found nothing"),
        ({"shadow": {"variant": "v7"}}, "shadow.percent", "found nothing"),
        ({"shadow": {"variant": "v7", "percent": 100.01}}, "shadow.percent", "expected 0 to 100"),
        ({"shadow": {"variant": "v7", "percent": 1.005}}, "shadow.percent", "at most two decimals"),
        ({"shadow": {"variant": "v7", "percent": 5, "step": 1}}, "shadow.step", "unknown field"),
        ({"soak": {"seconds": float("inf")}}, "soak.seconds", "from 0 on"),
        ({"safe": "v5", "withdrawn": ["v5"]}, "safe", "'v5' is withdrawn"),
        ({"serve": None, "safe": None}, "serve", "a prompt flag must serve a variant"),
        ({"serve": 6}, "serve", "expected a string"),
        ({"layer": "promt"}, "layer", "found 'promt'"),
        ({"layer": 5}, "layer", "found 5"),
        ({"enabled": "yes"}, "enabled", "expected true or false"),
        ({"withdrawn": "v7"}, "withdrawn", "expected an array of names"),
        ({"targeting": "abc"}, "targeting", "expected a SHA-256"),
        ({"declared": 7}, "declared", "expected a string"),
        ({"metadata": {"a": {}}}, "metadata.a", "expected a boolean, number or string"),
        ({"metadata": []}, "metadata", "expected an object"),
        ({"variants": {}}, "variants", "at least one variant"),
        ({"variants": None}, "variants", "found nothing"),
        ({"variants": {"v6": {}}}, "variants.v6.hash", "found nothing"),
        ({"variants": {"v6": {"hash": "A" * 64}}}, "variants.v6.hash", "expected a SHA-256"),
        ({"variants": {"v6": {"hash": HASH, "generation": 0}}}, "variants.v6.generation", "from 1 on"),
        ({"variants": {"v6": {"hash": HASH, "generation": True}}}, "variants.v6.generation", "found True"),
        ({"variants": {"v6": {"hash": HASH, "content": {}}}}, "variants.v6.content", "unknown field"),
        ({"variants": {"v6": HASH}}, "variants.v6", "expected an object"),
        ({"variants": {"-v6": {"hash": HASH}}}, "variants.-v6", "is no name for a variant"),
        ({"variants": {"v" * 129: {"hash": HASH}}}, "variants." + "v" * 129, "is no name for a variant"),
        ({"server": "v6"}, "server", "unknown field"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_with_its_path(change: dict[str, Any], path: str, message: str) -> None:
    error = refused(a_document(**change))

    assert error.path == path
    assert message in error.message


def test_a_misspelt_field_is_told_with_the_one_that_was_meant() -> None:
    assert refused(a_document(server="v6")).mend == "did you mean 'serve'?"
    assert refused(a_document(layer="promt")).mend == "did you mean 'prompt'?"
    assert refused(a_document(serve="V6")).mend == "did you mean 'v6'?"


def test_a_key_that_is_no_name_is_refused() -> None:
    assert "no name for a flag" in refused(a_document(), key="a b").message


@pytest.mark.parametrize("percent", [0, 100, 0.01, 99.99, 7.1, 33.33, 10])
def test_percentages_of_two_decimals_are_taken(percent: float) -> None:
    flag = flag_from(KEY, a_document(rollout={"variant": "v7", "percent": percent}), 1)

    assert flag.rollout is not None
    assert flag.rollout.weight == round(percent * 100)


def test_a_flag_that_would_not_read_back_is_not_written() -> None:
    with pytest.raises(Invalid):
        document_of(a_flag(rollout=a_rollout(101)))
    with pytest.raises(Invalid):
        check_flag(a_flag(serve="v9"))


@pytest.mark.parametrize(
    "values",
    [{"on": True, "off": False}, {"a": "x", "b": ""}, {"a": 1, "b": 2.5}, {"a": {"x": 1}, "b": {}}, {}],
)
def test_values_of_one_type_may_be_one_flags(values: dict[str, Any]) -> None:
    check_values(None, values)


def test_booleans_and_numbers_may_be_one_flags_where_that_is_said() -> None:
    check_values(None, {"on": True, "some": 5, "half": 0.5, "off": False}, mixed=True)
    check_values(None, {"some": 5, "off": False}, mixed=True)
    with pytest.raises(Invalid, match="type string"):
        check_values(None, {"on": True, "b": "x"}, mixed=True)


@pytest.mark.parametrize(
    ("layer", "values", "message"),
    [
        (None, {"a": "x", "b": 1}, "found a value of type number; the variants before it are of type string"),
        (None, {"a": True, "b": 1}, "type number; the variants before it are of type boolean"),
        (None, {"a": 1, "b": None}, "found nothing"),
        (None, {"b": [1]}, "expected a boolean, string, number or object"),
        (Layer.PROMPT, {"b": "text"}, "a prompt flag's variants are of type object"),
    ],
)
def test_values_of_different_types_are_refused(
    layer: Layer | None, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(Invalid) as caught:
        check_values(layer, values)

    assert caught.value.path == "variants.b"
    assert message in caught.value.message

"""YAML's traps are told with their line and the mend, and no text can hurt the reader."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.places import Unreadable, line_of, plain
from gateway.config.reading import read_text


def faults(text: str) -> list[tuple[int | None, str, str]]:
    _, found = read_text(text)
    return [(fault.line, fault.path, fault.message) for fault in found]


def value(text: str) -> object:
    root, found = read_text(text)
    assert root is not None
    assert found == []
    return plain(root)


@pytest.mark.parametrize(
    ("text", "line", "path", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "a", "given twice (first on line 1)"),
        ("v:\n  on: 1\n", 2, "v.on", "YAML reads the key 'on' as bool"),
        ("v:\n  no: 1\n", 2, "v.no", "YAML reads the key 'no' as bool"),
        ("v: {null: 1}\n", 1, "v.null", "YAML reads the key 'null' as null"),
        ("a:\n  serve: off\n", 2, "a.serve", "YAML reads off as a boolean"),
        ("a: [x, Yes]\n", 1, "a[1]", "YAML reads Yes as a boolean"),
        ("a: .nan\n", 1, "a", "no number that JSON has"),
        ("a: -.inf\n", 1, "a", "no number that JSON has"),
        ("a: 1.0e+999\n", 1, "a", "no number that JSON has"),
        ("a: 9007199254740993\n", 1, "a", "beyond 2^53"),
        ("a: " + "9" * 10_000 + "\n", 1, "a", "beyond 2^53"),
        ("a: 010\n", 1, "a", "another base"),
        ("a: 1:30\n", 1, "a", "another base"),
        ("a: 1:30.5\n", 1, "a", "another base"),
        ("a: !!binary aGk=\n", 1, "a", "tag binary"),
        ("a: !!python/name:os.system x\n", 1, "a", "python/name"),
        ("a: !!set {x, y}\n", 1, "a", "tag:yaml.org,2002:set"),
        ("a: !mine x\n", 1, "a", "tag !mine"),
    ],
)
def test_what_yaml_would_misread_is_a_fault_at_its_place(
    text: str, line: int, path: str, message: str
) -> None:
    ((found_line, found_path, found_message),) = faults(text)

    assert (found_line, found_path) == (line, path)
    assert message in found_message


def test_the_mend_for_a_misread_word_is_to_quote_it() -> None:
    _, found = read_text("variants:\n  on: {}\n  off: {}\n")

    assert [fault.mend for fault in found] == ['quote it: "on"', 'quote it: "off"']


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: [1\n", 2, "not YAML"),
        ("a:\n\tb: 1\n", 2, "not YAML"),
        ("a: 1\n---\nb: 2\n", 2, "a second document"),
        ("a: &x [*x]\n", 1, "names nothing that is complete"),
        ("a: *nobody\n", 1, "names nothing"),
        ("? [1, 2]\n: 3\n", 1, "a key is a list or a mapping"),
        ("a: &x k\n*x : 3\n", 2, "a key is an alias"),
        ("a:\n  <<: [1]\n", 2, "merges mappings only"),
        ("[" * 5000, 1, "nested deeper than 100"),
        ("{a: " * 5000, 1, "nested deeper than 100"),
        ("a: \x01\n", None, "not YAML"),
        ("a: '\n", 2, "not YAML"),
    ],
)
def test_what_cannot_be_read_at_all_ends_with_its_line(text: str, line: int | None, message: str) -> None:
    with pytest.raises(Unreadable) as unreadable:
        read_text(text)

    assert unreadable.value.fault.line == line
    assert message in unreadable.value.fault.message


def test_a_tab_is_mended_by_spaces() -> None:
    with pytest.raises(Unreadable) as unreadable:
        read_text("a:\n\tb: 1\n")

    assert unreadable.value.fault.mend == "indent with spaces, not tabs"


def test_names_that_look_like_numbers_and_dates_stay_as_written() -> None:
    assert value("v:\n  4.10: 1\n  2024-01-01: 2024-05-06\n  7: x\n") == {
        "v": {"4.10": 1, "2024-01-01": "2024-05-06", "7": "x"}
    }


def test_scalars_are_what_json_has() -> None:
    text = 'a: [1, -2, 0x1F, 1_000, 1.5, ~, null, true, False, "on", text, "", 1e5, .5]'

    assert value(text) == {"a": [1, -2, 31, 1000, 1.5, None, None, True, False, "on", "text", "", "1e5", 0.5]}


def test_aliases_and_merges_unfold() -> None:
    text = "a: &a {x: 1, y: 2}\nb: *a\nc: {<<: *a, y: 3}\nd: {<<: [*a, {z: 4}]}\n"

    assert value(text) == {
        "a": {"x": 1, "y": 2},
        "b": {"x": 1, "y": 2},
        "c": {"x": 1, "y": 3},
        "d": {"x": 1, "y": 2, "z": 4},
    }


def test_an_alias_bomb_is_refused_in_bounded_time() -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12))
    root, _ = read_text(bomb)
    assert root is not None

    with pytest.raises(Unreadable, match="unfold"):
        plain(root)


def test_a_dotted_path_finds_its_line_though_names_hold_dots() -> None:
    root, _ = read_text(
        "flags:\n  a.b:\n    variants:\n      v1.0:\n        messages:\n          - content: x\n"
    )

    assert line_of(root, "flags.a.b.variants.v1.0.messages[0].content") == 6
    assert line_of(root, "flags.a.b.variants.v1.0.nothing") == 4
    assert line_of(root, "flags.a.b.serve") == 2
    assert line_of(root, "elsewhere") == 1
    assert line_of(None, "flags") is None


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ab:-[]{},&*!|>'\"#%@\n\t 0123.~?<é", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        root, _ = read_text(text)
        if root is not None:
            plain(root)
    except Unreadable:
        pass

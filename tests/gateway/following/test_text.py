"""Reading a flagd file for following."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.config.declaration import ConfigInvalid, Known
from gateway.following.text import read_flagd
from tests.gateway.following.making import a_flag, text_of


def written(folder: Path, text: str, name: str = "flags.json") -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_a_flag_has_the_hash_of_all_that_the_file_says_of_it(tmp_path: Path) -> None:
    def texts(**flags: object) -> dict[str, str]:
        found = read_flagd(written(tmp_path, text_of(**flags)), Known()).flags
        return {key: flag.text for key, flag in found.items()}

    one = texts(f=a_flag(), g=a_flag())
    other = texts(f=a_flag("on"), g=a_flag())

    assert one["f"] != other["f"]
    assert one["g"] == other["g"]


def test_yaml_is_read_as_well(tmp_path: Path) -> None:
    text = 'flags:\n  f:\n    state: ENABLED\n    variants: {"on": true}\n    defaultVariant: "on"\n'

    assert read_flagd(written(tmp_path, text, "flags.yaml"), Known()).flags["f"].declared.serve == "on"


def test_a_file_without_flags_is_a_file(tmp_path: Path) -> None:
    assert read_flagd(written(tmp_path, '{"flags": {}}'), Known()).flags == {}


def test_a_name_that_is_none_is_left_and_told(tmp_path: Path) -> None:
    found = read_flagd(written(tmp_path, text_of(f=a_flag()).replace('"f"', '"a b"')), Known())

    assert found.flags == {}
    assert "flags.a b" in found.left[0]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "not JSON"),
        ('{\n"flags": {', 2, "not JSON"),
        ('{\n"flags": {\n"f": {"state": "on", "variants": {"a": 1}}}}', 3, "expected ENABLED or DISABLED"),
        ('{\n"flags": {"f": {"state": "ENABLED", "variants": {"a": 1, "b": "x"}}}}', 2, "value of type string"),
        ('{"flags": {"f": {"state": "ENABLED", "variants": {"a": 1}, "targeting": {"oops": []}}}}', 1, "oops"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, text: str, line: int, message: str) -> None:
    path = written(tmp_path, text)

    with pytest.raises(ConfigInvalid) as caught:
        read_flagd(path, Known())

    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert message in str(caught.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="cannot be read"):
        read_flagd(tmp_path / "none.json", Known())


@pytest.mark.parametrize("said", ["😀 ü", "\\ud83d\\ude00", "\\😀", "ends with \\"])
def test_json_is_read_with_its_escapes(tmp_path: Path, said: str) -> None:
    """Most writers of JSON escape an emoji as two halves, which YAML does not know."""
    text = json.dumps({"flags": {"f": {"state": "ENABLED", "variants": {"x": said}, "defaultVariant": "x"}}})

    assert read_flagd(written(tmp_path, text), Known()).flags["f"].declared.variants == {"x": said}


def test_a_switch_may_hold_booleans_and_numbers_and_no_other_flag(tmp_path: Path) -> None:
    mixed = {"state": "ENABLED", "variants": {"on": True, "once": 1}, "defaultVariant": "once"}

    found = read_flagd(written(tmp_path, text_of(**{"gateway.retries": mixed})), Known()).flags

    assert found["gateway.retries"].declared.variants == {"on": True, "once": 1}
    with pytest.raises(ConfigInvalid, match="type number"):
        read_flagd(written(tmp_path, text_of(limit=mixed)), Known())

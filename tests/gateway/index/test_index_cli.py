"""`pointsman index`: builds, lists and searches without a server; one document, and the exit code that says it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import run
from tests.gateway.index.library import written


class Shell:
    """A data directory, texts, and a prompt."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.data, self.texts, self._capsys = folder / "data", written(folder / "texts"), capsys

    def __call__(self, *line: str) -> tuple[int, str, str]:
        code = run(["index", *line, "--data-dir", str(self.data)])
        return code, *self._capsys.readouterr()

    def json(self, *line: str) -> tuple[int, Any]:
        """The document on stdout, or the problem on stderr."""
        code, out, err = self(*line, "--json")
        assert bool(out) != bool(err)
        return code, json.loads(out or err)


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tmp_path, capsys)


def test_build_list_and_search(shell: Shell) -> None:
    code, built = shell.json("build", str(shell.texts), "--name", "kb")
    listed = shell.json("list")
    found = shell.json("search", "kb", "Norway", "--top-k", "2", "--mode", "text")

    assert code == 0
    assert (built["changed"], built["name"], built["documents"], built["skipped"]) == (True, "kb", 3, [])
    assert built["file"] == str(shell.data / "indexes" / "kb.sqlite")
    assert listed[0] == found[0] == 0
    assert [each["name"] for each in listed[1]["indexes"]] == ["kb"]
    (passage,) = found[1]["passages"]
    assert set(passage) == {"file_id", "filename", "score", "text", "attributes"}


def test_the_name_is_the_folders_where_none_is_given(shell: Shell) -> None:
    assert shell.json("build", str(shell.texts))[1]["name"] == "texts"


def test_building_the_same_again_is_done_and_another_is_refused(shell: Shell) -> None:
    shell("build", str(shell.texts), "--name", "kb")

    again = shell.json("build", str(shell.texts), "--name", "kb")
    written(shell.texts, {"new.txt": "new"})
    other = shell.json("build", str(shell.texts), "--name", "kb")

    assert (again[0], again[1]["changed"]) == (0, False)
    assert (other[0], other[1]["error"]["code"]) == (3, "index_exists")
    assert other[1]["error"]["mend"] == "give another name, such as kb-2"


def test_what_was_left_out_is_told(shell: Shell) -> None:
    written(shell.texts, {"a.pdf": "x", "b.txt": b"caf\xe9"})

    code, out, err = shell("build", str(shell.texts), "--name", "kb")

    assert (code, out.count("\n")) == (0, 1)
    assert "skipped: a.pdf is of no kind that is read" in err
    assert "warning: b.txt is not UTF-8 at byte 3" in err


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        (("search", "none", "x"), 1, "no index none"),
        (("search", "../x", "x"), 1, "expected a name"),
        (("search", "kb", "x", "--mode", "vector"), 1, "has no embeddings"),
        (("search", "kb", "x", "--mode", "magic"), 2, "magic"),
        (("search", "kb", "x", "--top-k", "0"), 2, "0"),
        (("search", "kb"), 2, "QUERY"),
        (("build", "nowhere"), 2, "nowhere"),
        (("build", ".", "--name", "a/b"), 1, "expected a name"),
        (("build", ".", "--name", "../kb"), 1, "expected a name"),
    ],
)
def test_what_goes_wrong_is_told_with_its_exit_code(
    shell: Shell, line: tuple[str, ...], code: int, says: str
) -> None:
    shell("build", str(shell.texts), "--name", "kb")

    found, problem = shell.json(*line)

    assert found == code
    assert says in problem["error"]["message"]


def test_no_index_yet(shell: Shell) -> None:
    assert shell("list") == (0, f"no index in {shell.data / 'indexes'}\n", "")


def test_a_person_reads_where_it_stands(shell: Shell) -> None:
    shell("build", str(shell.texts), "--name", "kb")

    code, out, _ = shell("search", "kb", "Norway")
    nothing = shell("search", "kb", "zebra")[1]

    assert code == 0
    assert out.startswith("1. 0.")
    assert "shipping.md › Shipping" in out
    assert nothing == "nothing found\n"

"""Building: what an index holds, that it never changes, and that nothing half is left behind."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from flags.errors import Invalid, Refused
from gateway import __version__
from gateway.index import building
from gateway.index.building import build
from gateway.index.errors import IndexUnreadable, Uninstalled
from gateway.index.format import Manifest, manifest_of
from tests.gateway.index.library import NOW, TEXTS, a_build, rows, written


def test_the_manifest_says_what_it_is(tmp_path: Path) -> None:
    out, built = a_build(tmp_path)

    assert built.changed
    assert (
        manifest_of(out)
        == built.manifest
        == Manifest(
            format=1,
            name="kb",
            documents=3,
            passages=3,
            hash=built.manifest.hash,
            built_at="2026-03-01T12:00:00Z",
            builder=f"pointsman {__version__}",
            passage_characters=1200,
        )
    )
    assert built.manifest.hash.startswith("sha256:")


def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    out, _ = a_build(tmp_path)

    assert out.stat().st_mode & 0o777 == 0o600
    assert out.parent.stat().st_mode & 0o777 == 0o700


def test_the_same_texts_again_change_nothing(tmp_path: Path) -> None:
    out, first = a_build(tmp_path)
    before = out.read_bytes()

    again = build(tmp_path / "kb-texts", out, now=NOW + timedelta(days=1))

    assert again == replace(first, changed=False)
    assert out.read_bytes() == before


def test_other_texts_under_a_name_that_is_taken_are_refused(tmp_path: Path) -> None:
    """Going back to an index must find what it was."""
    out, _ = a_build(tmp_path)
    before = out.read_bytes()
    written(tmp_path / "kb-texts", {"new.txt": "something else"})

    with pytest.raises(Refused) as caught:
        build(tmp_path / "kb-texts", out, now=NOW)

    assert (caught.value.rule, caught.value.mend) == ("index_exists", "give another name, such as kb-2")
    assert out.read_bytes() == before
    assert [path.name for path in out.parent.iterdir()] == ["kb.sqlite"]


def test_another_length_of_passages_is_another_index_if_it_changes_them(tmp_path: Path) -> None:
    out, _ = a_build(tmp_path, {"a.txt": "word " * 100})

    with pytest.raises(Refused):
        build(tmp_path / "kb-texts", out, now=NOW, passage_characters=200)


def test_a_build_that_lost_a_race_leaves_the_winner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, _ = a_build(tmp_path)
    out = tmp_path / "indexes" / "kb.sqlite"
    before = out.read_bytes()
    temporary = tmp_path / "indexes" / ".kb.part"
    temporary.write_bytes(b"late")

    with pytest.raises(Refused, match="by another meanwhile"):
        building._put(temporary, out)

    assert out.read_bytes() == before


def test_a_file_that_is_no_index_is_not_overwritten(tmp_path: Path) -> None:
    out = tmp_path / "indexes" / "kb.sqlite"
    out.parent.mkdir()
    out.write_text("somebody's notes")

    with pytest.raises(IndexUnreadable):
        a_build(tmp_path)

    assert out.read_text() == "somebody's notes"


@pytest.mark.parametrize("name", ["..", ".hidden", "a b", "", "x" * 129, "-x"])
def test_a_name_is_a_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(Invalid, match="name: found"):
        build(written(tmp_path / "texts"), tmp_path / f"{name}.sqlite", now=NOW)


@pytest.mark.parametrize("characters", [99, 20_001])
def test_passages_have_a_sensible_length(tmp_path: Path, characters: int) -> None:
    with pytest.raises(Invalid, match="passage_characters"):
        build(written(tmp_path / "t"), tmp_path / "a.sqlite", now=NOW, passage_characters=characters)


def test_a_folder_without_texts_makes_no_index(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="no text was found"):
        a_build(tmp_path, {"a.pdf": "x"})

    assert list((tmp_path / "indexes").iterdir()) == []


def test_there_may_be_so_many_passages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "PASSAGES_MAX", 3)

    assert a_build(tmp_path)[1].manifest.passages == 3
    with pytest.raises(Invalid, match="more than 3 passages"):
        a_build(tmp_path, TEXTS | {"four.txt": "four"}, name="more")


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(Invalid):
        a_build(tmp_path, {"a.txt": "good", "z.jsonl": "bad"})

    assert list((tmp_path / "indexes").iterdir()) == []


def test_passages_of_one_file_may_come_in_several_lines(tmp_path: Path) -> None:
    lines = rows({"text": "one", "file_id": "f"}, {"text": "two", "file_id": "f"}, {"text": "three"})

    _, built = a_build(tmp_path, lines)

    assert (built.manifest.documents, built.manifest.passages) == (2, 3)


def test_a_python_without_full_text_search_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Bare(sqlite3.Connection):
        def execute(self, sql: str, *parameters: object) -> sqlite3.Cursor:
            if "fts5" in sql:
                raise sqlite3.OperationalError("no such module: fts5")
            return super().execute(sql, *parameters)  # type: ignore[arg-type]

    connect = sqlite3.connect
    monkeypatch.setattr(
        sqlite3, "connect", lambda *given, **options: connect(*given, factory=Bare, **options)
    )

    with pytest.raises(Uninstalled, match="has no FTS5") as caught:
        a_build(tmp_path)

    assert caught.value.mend is not None

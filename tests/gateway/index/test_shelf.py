"""The shelf: indexes by name, opened once, noticed when replaced, and never outside their folder."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flags.errors import Invalid, NotFound
from gateway.index import shelf as shelf_module
from gateway.index.embedded import Search
from gateway.index.errors import IndexUnreadable
from gateway.index.shelf import Shelf
from tests.gateway.index.library import Hashing, a_build


@pytest.fixture
async def shelf(tmp_path: Path) -> AsyncIterator[Shelf]:
    made = Shelf(tmp_path)
    yield made
    await made.aclose()


async def test_an_index_is_searched_by_name(tmp_path: Path, shelf: Shelf) -> None:
    a_build(tmp_path)

    found = await shelf.asearch("kb", Search("Norway"))

    assert [each.filename for each in found] == ["shipping.md"]


async def test_an_index_is_opened_once(tmp_path: Path, shelf: Shelf) -> None:
    a_build(tmp_path)

    assert shelf.get("kb") is shelf.get("kb")


async def test_a_missing_index_is_told_with_those_that_exist(tmp_path: Path, shelf: Shelf) -> None:
    with pytest.raises(NotFound, match=r"no index kb in .*\(indexes: none\)"):
        await shelf.asearch("kb", Search("Norway"))
    a_build(tmp_path, name="a")
    a_build(tmp_path, name="b")

    with pytest.raises(NotFound, match=r"\(indexes: a, b\)") as caught:
        shelf.manifest("kb")

    assert caught.value.mend == "build it: pointsman index build DIR --name kb"


@pytest.mark.parametrize("name", ["../kb", "/etc/passwd", "", ".", "a/b", "kb\0", "x" * 129, "kb\n", "é"])
async def test_a_name_leads_nowhere_else(tmp_path: Path, shelf: Shelf, name: str) -> None:
    with pytest.raises(Invalid, match="index: found"):
        shelf.get(name)
    with pytest.raises(Invalid):
        shelf.manifest(name)


async def test_a_vanished_index_is_told(tmp_path: Path, shelf: Shelf) -> None:
    path, _ = a_build(tmp_path)
    shelf.get("kb")
    path.unlink()

    with pytest.raises(NotFound):
        shelf.get("kb")


async def test_an_index_put_in_anothers_place_is_opened_anew(tmp_path: Path, shelf: Shelf) -> None:
    a_build(tmp_path)
    before = shelf.get("kb")
    other, _ = a_build(tmp_path, {"new.txt": "Norway, again"}, name="other")
    other.rename(before.path)

    found = await shelf.asearch("kb", Search("Norway"))

    assert [each.filename for each in found] == ["new.txt"]
    assert "closed" in repr(before)


async def test_so_many_are_open_and_the_least_used_goes_first(
    tmp_path: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelf_module, "OPEN_MAX", 2)
    for name in "abc":
        a_build(tmp_path, name=name)
    a, b = shelf.get("a"), shelf.get("b")
    shelf.get("a")

    shelf.get("c")

    assert "closed" in repr(b)
    assert shelf.get("a") is a
    assert [each.filename for each in b.search(Search("Norway"))] == ["shipping.md"]


async def test_what_cannot_be_read_is_listed_apart(tmp_path: Path, shelf: Shelf) -> None:
    _, built = a_build(tmp_path)
    (tmp_path / "indexes" / "broken.sqlite").write_text("notes")
    (tmp_path / "indexes" / "folder.sqlite").mkdir()
    (tmp_path / "indexes" / "notes.txt").write_text("notes")

    listed = shelf.listed()

    assert listed.indexes == (built.manifest,)
    assert len(listed.unreadable) == 2
    with pytest.raises(IndexUnreadable):
        shelf.get("broken")


async def test_closing_twice_is_as_good_as_once(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    a_build(tmp_path)
    index = shelf.get("kb")

    await shelf.aclose()
    await shelf.aclose()

    assert "closed" in repr(index)


async def test_a_text_becomes_the_vector_that_this_process_would_search_by(tmp_path: Path) -> None:
    pytest.importorskip("numpy")
    made = Shelf(tmp_path, embedder=Hashing)

    vector = await made.embed("Norway")
    await made.aclose()

    assert all(type(each) is float for each in vector)
    assert len(vector) == Hashing.dimensions

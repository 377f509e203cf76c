"""Searching by meaning: with an embedder of our own, the installed model where there is one, and without numpy."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.index.embedded import EmbeddedIndex, Mode, Search
from gateway.index.embedder import INSTALL, MiniLM
from gateway.index.errors import IndexUnreadable, Uninstalled
from gateway.index.filters import parse_filter
from gateway.index.vectors import Hit, fused
from tests.gateway.index.library import TEXTS, Hashing, a_build, an_index


@pytest.fixture
def index(tmp_path: Path) -> Iterator[EmbeddedIndex]:
    pytest.importorskip("numpy")
    opened = an_index(tmp_path, embedder=Hashing())
    yield opened
    opened.retire()


def names(index: EmbeddedIndex, query: str, mode: Mode | None, top_k: int = 10) -> list[str]:
    return [each.filename for each in index.search(Search(query, top_k, mode))]


def test_ranks_are_fused() -> None:
    """What both rankings know comes before what one ranks first; the first of both scores 1."""
    words, meaning = [Hit(1, 0.9), Hit(2, 0.8)], [Hit(3, 0.7), Hit(2, 0.1)]

    hits = fused((words, meaning))

    assert [hit.passage for hit in hits] == [2, 1, 3]
    assert fused((words, words))[0] == Hit(1, 1.0)
    assert fused(([], [])) == []


def test_the_manifest_names_the_model(index: EmbeddedIndex) -> None:
    assert (index.manifest.embedding_model, index.manifest.dimensions) == ("hashing", 32)


def test_a_text_is_nearest_to_itself(index: EmbeddedIndex) -> None:
    for text in TEXTS.values():
        first = index.search(Search(text, 1, Mode.VECTOR))[0]

        assert first.text == text.strip()
        assert first.score == pytest.approx(1.0, abs=1e-3)


def test_vectors_find_what_shares_no_word(index: EmbeddedIndex) -> None:
    assert len(names(index, "zebra", Mode.VECTOR)) == 3
    assert names(index, "zebra", Mode.TEXT) == []


def test_where_no_mode_is_named_both_are_used(index: EmbeddedIndex) -> None:
    assert names(index, "Norway", None) == names(index, "Norway", Mode.HYBRID)
    assert names(index, "Norway", None)[0] == "shipping.md"
    assert len(names(index, "Norway", None)) == 3


def test_filters_hold_for_vectors_too(index: EmbeddedIndex) -> None:
    filters = parse_filter({"type": "eq", "key": "title", "value": "Shipping"})
    nothing = parse_filter({"type": "eq", "key": "title", "value": "none"})

    for mode in (Mode.VECTOR, Mode.HYBRID):
        found = index.search(Search("refund", 10, mode, filters=filters))

        assert [each.filename for each in found] == ["shipping.md"]
        assert index.search(Search("refund", 10, mode, filters=nothing)) == []


def test_an_index_is_searched_by_the_model_that_made_it(tmp_path: Path) -> None:
    pytest.importorskip("numpy")

    class Other(Hashing):
        name = "other"

    path, _ = a_build(tmp_path, embedder=Hashing())
    index = EmbeddedIndex.open(path, embedder=Other)
    with pytest.raises(IndexUnreadable, match="was embedded by hashing, the query is by other"):
        index.search(Search("refund"))
    index.retire()


def test_without_the_extra_words_still_find_and_vectors_say_what_to_install(
    index: EmbeddedIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)

    assert names(index, "Norway", Mode.TEXT) == ["shipping.md"]
    with pytest.raises(Uninstalled) as caught:
        names(index, "Norway", Mode.HYBRID)
    assert caught.value.mend == INSTALL
    with pytest.raises(Uninstalled):
        MiniLM.load()


def test_nothing_of_the_extra_is_imported_before_it_is_needed() -> None:
    code = (
        "import sys, gateway.index.shelf, gateway.index.building, gateway.cli.index;"
        "sys.exit(any(name in sys.modules for name in ('numpy', 'onnxruntime', 'tokenizers')))"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_the_installed_model_knows_what_is_alike() -> None:
    np = pytest.importorskip("numpy")
    try:
        model = MiniLM.load()
    except Uninstalled as missing:
        pytest.skip(missing.message)

    vectors = model.embed(
        ["Can I send a parcel back?", "How to return a package", "The moon is made of rock", "\ud800"]
    )

    assert vectors.shape == (4, model.dimensions)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1.0, abs=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2
    assert (model.embed(["How to return a package"])[0] == vectors[1]).all()

"""Searching by words: what is found, in what order, and that no question and no file does harm."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flags.errors import Invalid
from gateway.index.embedded import EmbeddedIndex, Mode, Search
from gateway.index.errors import IndexUnreadable
from gateway.index.filters import parse_filter
from tests.gateway.index.library import TEXTS, a_build, an_index, rows

SYNTAX = ['"', "'", "(", ")", "*", "^", "-", "+", ":", "{", "}", ",", "\0", "AND", "OR", "NOT", "NEAR", "NEAR/2",
          "heading", "text:", "refund*", "rowid", "é", "ﬀ", "中文", "\ud800", " ", "\n", "a_b", "don't", ";--"]  # fmt: skip


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedIndex]:
    opened = an_index(tmp_path_factory.mktemp("index"))
    yield opened
    opened.retire()


def found(index: EmbeddedIndex, query: str, top_k: int = 10, **options: object) -> list[str]:
    return [each.filename for each in index.search(Search(query, top_k, Mode.TEXT, **options))]  # type: ignore[arg-type]


def test_a_passage_is_cited_by_its_file(index: EmbeddedIndex) -> None:
    (passage,) = index.search(Search("Norway"))

    assert passage.filename == "shipping.md"
    assert passage.file_id.startswith("file-")
    assert passage.text == "# Shipping\n\nWe ship to Norway and Sweden, in three days."
    assert passage.attributes == {"path": "shipping.md", "title": "Shipping", "heading": "Shipping"}


@pytest.mark.parametrize("query", ["refunds", "Refund?", "REFUNDED", "what is a refund"])
def test_words_are_found_whatever_their_ending_and_case(index: EmbeddedIndex, query: str) -> None:
    assert set(found(index, query)) == {"returns.md", "gift-cards.txt"}


def test_any_of_the_words_finds_and_more_of_them_find_better(index: EmbeddedIndex) -> None:
    assert found(index, "refund of an unknown gift") == ["gift-cards.txt", "returns.md"]


def test_words_that_say_nothing_count_only_where_there_are_no_others(index: EmbeddedIndex) -> None:
    assert found(index, "and Norway in") == ["shipping.md"]
    assert "shipping.md" in found(index, "and in")


@pytest.mark.parametrize("query", ["", " ", "?!", "zebra", '""', "\0", "\ud800"])
def test_a_question_without_known_words_finds_nothing(index: EmbeddedIndex, query: str) -> None:
    assert found(index, query) == []


@pytest.mark.parametrize(
    "query",
    [
        '"refund',
        'refund" OR "norway" --',
        "NEAR(refund card, 2)",
        "text : refund",
        "^refund",
        "- refund",
        "refund*",
    ],
)
def test_full_text_syntax_means_nothing(index: EmbeddedIndex, query: str) -> None:
    assert "returns.md" in found(index, query)


def test_a_prefix_is_no_word(index: EmbeddedIndex) -> None:
    assert found(index, "norw*") == []


@given(query=st.lists(st.sampled_from(SYNTAX) | st.text(max_size=8), max_size=12).map("".join))
def test_no_question_fails(index: EmbeddedIndex, query: str) -> None:
    for passage in index.search(Search(query, 3, Mode.TEXT)):
        assert 0 < passage.score <= 1


@given(words=st.lists(st.sampled_from(SYNTAX), max_size=12))
def test_a_word_is_found_in_whatever_syntax(index: EmbeddedIndex, words: list[str]) -> None:
    assert "shipping.md" in found(index, " ".join([*words, "norway", *reversed(words)]))


def test_a_question_of_100_kb_is_bounded(tmp_path: Path) -> None:
    """The rarest of its words decide, and only so many."""
    words = [f"word{number}" for number in range(2_000)]
    index = an_index(tmp_path, {f"{number}.txt": " ".join(words[: number + 1]) for number in range(100)})

    asked = found(index, " ".join(words) * 10)
    index.retire()

    assert asked[0] == "99.txt"
    assert "0.txt" not in asked


def test_scores_fall_and_a_threshold_cuts_them_off(index: EmbeddedIndex) -> None:
    scores = [each.score for each in index.search(Search("refund gift card", mode=Mode.TEXT))]

    assert scores == sorted(scores, reverse=True)
    assert len(found(index, "refund gift card", score_threshold=scores[0])) == 1
    assert found(index, "refund gift card", score_threshold=1.01) == []


@pytest.mark.parametrize("top_k", [0, -1, 1001])
def test_so_many_passages_and_no_more(index: EmbeddedIndex, top_k: int) -> None:
    with pytest.raises(Invalid, match="top_k"):
        found(index, "refund", top_k)


def test_a_filter_is_kept_before_passages_are_counted(tmp_path: Path) -> None:
    lines = [{"text": f"refund {number}", "attributes": {"year": number}} for number in range(40)]
    index = an_index(tmp_path, rows(*lines))
    filters = parse_filter({"type": "gte", "key": "year", "value": 38})

    years = [each.attributes["year"] for each in index.search(Search("refund", 5, filters=filters))]
    again = index.search(Search("refund", 1, filters=filters))
    index.retire()

    assert sorted(years) == [38, 39]
    assert len(again) == 1


def test_vectors_are_asked_of_an_index_without(index: EmbeddedIndex) -> None:
    for mode in (Mode.VECTOR, Mode.HYBRID):
        with pytest.raises(Invalid, match="has no embeddings") as caught:
            index.search(Search("refund", mode=mode))

        assert "--embed" in str(caught.value.mend)


async def test_many_searches_at_once_get_their_own_answers(tmp_path: Path) -> None:
    index = an_index(tmp_path, {f"{number}.txt": f"word{number} is here" for number in range(50)})

    answers = await asyncio.gather(*(index.asearch(Search(f"word{number % 50}")) for number in range(200)))
    await index.aclose()
    await index.aclose()

    assert [[each.filename for each in answer] for answer in answers] == [
        [f"{n % 50}.txt"] for n in range(200)
    ]
    assert "closed" in repr(index)


def test_a_retired_index_still_answers(tmp_path: Path) -> None:
    index = an_index(tmp_path)

    index.retire()

    assert found(index, "Norway") == ["shipping.md"]


def test_a_file_replaced_by_another_is_not_mixed_with_it(tmp_path: Path) -> None:
    index = an_index(tmp_path)
    other, _ = a_build(tmp_path, {"a.txt": "Norway"}, name="other")
    other.rename(index.path)
    index.retire()

    with pytest.raises(IndexUnreadable, match="was replaced"):
        index.search(Search("Norway"))


def test_a_vanished_file_is_told(tmp_path: Path) -> None:
    index = an_index(tmp_path)
    index.path.unlink()
    index.retire()

    with pytest.raises(IndexUnreadable, match="is not there"):
        index.search(Search("Norway"))


@pytest.mark.parametrize("content", [b"", b"not a database", b"SQLite format 3\0" + b"\xff" * 4096])
def test_what_is_no_index_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "kb.sqlite"
    path.write_bytes(content)

    with pytest.raises(IndexUnreadable):
        EmbeddedIndex.open(path)


def test_somebody_elses_database_is_no_index(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "other.sqlite") as connection:
        connection.execute("CREATE TABLE passages (id)")
    connection.close()

    with pytest.raises(IndexUnreadable, match="not an index of Pointsman"):
        EmbeddedIndex.open(tmp_path / "other.sqlite")


@pytest.mark.parametrize("seed", range(30))
def test_a_damaged_file_is_told_or_read_and_never_crashes(tmp_path: Path, seed: int) -> None:
    path, _ = a_build(tmp_path, TEXTS | {"long.txt": "refund and Norway " * 500})
    draw, data = random.Random(seed), bytearray(path.read_bytes())
    if seed % 2:
        del data[draw.randrange(1, len(data)) :]
    for _ in range(20 if seed % 3 else 2_000):
        data[draw.randrange(100, len(data)) if len(data) > 101 else 0] = draw.randrange(256)
    path.unlink()
    path.write_bytes(data)

    try:
        index = EmbeddedIndex.open(path)
        index.retire()
        for passage in index.search(Search("refund Norway card")):
            assert isinstance(passage.text, str)
    except IndexUnreadable as told:
        assert str(path) in told.message or "missing" in told.message  # noqa: PT017  # both are good


def test_a_file_cut_while_it_is_open_is_told(tmp_path: Path) -> None:
    index = an_index(tmp_path, {f"{number}.txt": f"refund {number} " * 200 for number in range(50)})
    with index.path.open("r+b") as file:
        file.truncate(8192)

    with pytest.raises(IndexUnreadable):
        index.search(Search("refund 7", 50))

    index.retire()


def test_a_manifest_that_does_not_count_all_passages_is_told(tmp_path: Path) -> None:
    path, _ = a_build(tmp_path)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE manifest SET value = 1 WHERE field = 'passages'")
    connection.close()
    index = EmbeddedIndex.open(path)
    filters = parse_filter({"type": "ne", "key": "x", "value": 1})

    with pytest.raises(IndexUnreadable):
        index.search(Search("refund", filters=filters))

    index.retire()

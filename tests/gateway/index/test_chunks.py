"""Passages: within their length, cut where the text allows it, nothing lost, a little repeated."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.index.chunks import passages, pieces
from gateway.index.markup import Section, markdown

PARAGRAPHS = "\n\n".join(f"Paragraph {number} has some words in it." for number in range(10))


def test_a_short_text_is_one_piece() -> None:
    assert list(pieces("  a\n\nb  ", 100)) == ["a\n\nb"]


def test_a_text_is_cut_between_paragraphs() -> None:
    found = list(pieces(PARAGRAPHS, 120))

    assert len(found) > 1
    assert all(each.endswith("in it.") for each in found)


def test_a_piece_begins_with_the_last_words_of_the_one_before() -> None:
    first, second, *_ = pieces(PARAGRAPHS, 200)

    repeated = second.split("\n\n")[0]
    assert first.endswith(repeated)
    assert 0 < len(repeated) <= 25


def test_a_paragraph_that_is_too_long_is_cut_between_sentences() -> None:
    text = "The first sentence stands here. The second sentence stands there. " * 3

    assert all(each.endswith(".") for each in pieces(text, 100))


def test_a_word_that_is_too_long_is_cut() -> None:
    found = list(pieces("x" * 1000, 100))

    assert "".join(found) == "x" * 1000


@given(text=st.text(alphabet="ab.\n  !é中", max_size=2000), characters=st.integers(100, 300))
def test_no_piece_is_too_long_or_empty_and_no_letter_is_lost(text: str, characters: int) -> None:
    found = list(pieces(text, characters))

    assert all(0 < len(each) <= characters and each.strip() for each in found)
    assert set("".join(found).split()) or not text.split()
    for sign in "ab中é":
        assert sum(each.count(sign) for each in found) >= text.count(sign)


def test_a_heading_alone_goes_in_front_of_the_next_section() -> None:
    sections = markdown("# Guide\n\n## Part\nbody\n\n## End\n").sections

    assert list(passages(sections, 100)) == [
        Section("Part", "# Guide\n\n## Part\nbody"),
        Section("", "## End"),
    ]

"""Markup: where headings begin, what a page shows, and that nothing a file holds breaks the reading."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.index.markup import Marked, Section, html, markdown, plain, restructured


def headings(marked: Marked) -> list[str]:
    return [section.heading for section in marked.sections]


def test_markdown_is_cut_at_headings_of_both_kinds() -> None:
    marked = markdown("before\n\n# One #\ntext\n\nTwo\n---\nmore\n\n###### Six\nlast")

    assert marked == Marked(
        "One",
        (
            Section("", "before"),
            Section("One", "# One #\ntext"),
            Section("Two", "Two\n---\nmore"),
            Section("Six", "###### Six\nlast"),
        ),
    )


def test_markdown_in_fences_has_no_headings() -> None:
    marked = markdown("# One\n```sh\n# a comment\n~~~\n```\n# Two\n~~~\n# never closed")

    assert headings(marked) == ["One", "Two"]


@pytest.mark.parametrize(
    "text", ["#hashtag", "- item\n---", "a line\nanother\n---", "| a |\n---", "---\n---x"]
)
def test_markdown_that_only_looks_like_a_heading(text: str) -> None:
    assert headings(markdown(text)) == [""]


def test_front_matter_gives_the_title_and_is_left_out() -> None:
    marked = markdown('---\ntitle: "Returns"\nauthor: x\n---\n# Sending back\ntext')

    assert marked == Marked("Returns", (Section("Sending back", "# Sending back\ntext"),))


def test_restructured_text_is_cut_at_underlined_and_overlined_titles() -> None:
    marked = restructured("=====\nGuide\n=====\n\nintro\n\nPart\n----\nbody\n\nShort rule\n---\nstill body")

    assert headings(marked) == ["Guide", "Part"]
    assert marked.title == "Guide"
    assert marked.sections[0].text == "=====\nGuide\n=====\n\nintro\n"[:-1]


def test_a_page_is_what_its_reader_sees() -> None:
    marked = html(
        "<html><head><title>Opening &amp; hours</title><style>p{}</style></head><body>"
        "<script>alert('x')</script><p>Hello   <b>you</b><br>there<h1>Hours</h1><ul><li>Mo 9&ndash;5<li>Su closed</ul>"
        "<pre>a\n  b</pre><noscript>no</noscript><table><tr><td>1<td>2</table></body></html>"
    )

    assert marked == Marked(
        "Opening & hours",
        (
            Section("", "Hello you\nthere"),
            Section("Hours", "Hours\n\nMo 9–5\n\nSu closed\n\na\n  b\n\n1 2"),
        ),
    )


def test_a_head_that_was_never_closed_hides_nothing() -> None:
    assert html("<head><meta charset=x><body><p>seen").sections == (Section("", "seen"),)


def test_plain_text_is_one_section() -> None:
    assert plain("# no heading") == Marked("", (Section("", "# no heading"),))


@pytest.mark.parametrize("read", [plain, markdown, restructured, html])
@given(text=st.text(alphabet="#=-~`<>/hp1 \n\tab:'\"&;!") | st.text())
def test_any_text_can_be_read(read: Callable[[str], Marked], text: str) -> None:
    for section in read(text).sections:
        assert isinstance(section.text, str)


@given(text=st.text(alphabet="#=-~` \n\tabc"))
def test_markdown_and_restructured_text_lose_no_word(text: str) -> None:
    for read in (markdown, restructured):
        joined = "".join(section.text for section in read("x\n" + text).sections)

        assert sorted(joined.replace("\n", "").split()) or not text.split()
        assert "".join(joined.split()) == "".join(("x\n" + text).split())

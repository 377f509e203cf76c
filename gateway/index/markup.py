"""Texts in Markdown, reStructuredText and HTML as sections under headings. Pure; knows no file.

Markdown and reStructuredText stay as they were written, which is what a model reads best; HTML becomes plain text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class Section:
    """Text below one heading, which it begins with; `heading` is empty where there is none."""

    heading: str
    text: str


@dataclass(frozen=True, slots=True)
class Marked:
    """A text's title ("" where it has none) and its sections in order."""

    title: str
    sections: tuple[Section, ...]


_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_ATX = re.compile(r" {0,3}(#{1,6})[ \t]+(.+?)[ \t]*#*[ \t]*$")
_SETEXT = re.compile(r" {0,3}(=+|-+)[ \t]*$")
_RST_RULE = re.compile(r"([^\w\s])\1+[ \t]*$")
_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?\n)?---[ \t]*\n", re.DOTALL)
_FRONT_TITLE = re.compile(r"^title:[ \t]*(.+?)[ \t]*$", re.MULTILINE)


def plain(text: str) -> Marked:
    """A text without markup: one section."""
    return Marked("", (Section("", text),))


def markdown(text: str) -> Marked:
    """Sections by `#` and underlined headings outside fenced code; the title is the front matter's, or the first."""
    front = _FRONT_MATTER.match(text)
    body = text[front.end() :] if front else text
    named = _FRONT_TITLE.search(front[1] or "") if front else None
    marked = _sectioned(body.split("\n"), _markdown_headings(body.split("\n")))
    return Marked(named[1].strip("\"'"), marked.sections) if named else marked


def restructured(text: str) -> Marked:
    """Sections by lines that are underlined at full length; the title is the first."""
    lines = text.split("\n")
    return _sectioned(lines, _restructured_headings(lines))


def html(text: str) -> Marked:
    """What a reader sees of a page, by its headings."""
    reader = _Page()
    reader.feed(text)
    reader.close()
    return reader.marked()


def _sectioned(lines: Sequence[str], headings: Iterator[tuple[int, str]]) -> Marked:
    starts = list(headings)
    bounds = [(0, ""), *starts, (len(lines), "")]
    sections = [
        Section(heading, "\n".join(lines[start:end]).strip("\n"))
        for (start, heading), (end, _) in pairwise(bounds)
    ]
    title = starts[0][1] if starts else ""
    return Marked(title, tuple(each for each in sections if each.text.strip()))


def _markdown_headings(lines: Sequence[str]) -> Iterator[tuple[int, str]]:
    fence = ""
    for at, line in enumerate(lines):
        mark = _FENCE.match(line)
        if fence:
            # Only as many of the same sign, alone, end the code.
            if mark and mark[1].startswith(fence) and not line.strip().strip(fence[0]):
                fence = ""
        elif mark:
            fence = mark[1]
        elif heading := _ATX.match(line):
            yield at, heading[2]
        elif at and _SETEXT.match(line) and _is_title(lines, at - 1):
            yield at - 1, lines[at - 1].strip()


def _is_title(lines: Sequence[str], at: int) -> bool:
    """Whether a line that is underlined can be a heading: one line of words after a blank one."""
    line = lines[at]
    alone = at == 0 or not lines[at - 1].strip()
    return alone and bool(line.strip()) and not line.startswith(("    ", "\t", "-", "|", ">", "#", "="))


def _restructured_headings(lines: Sequence[str]) -> Iterator[tuple[int, str]]:
    for at in range(1, len(lines)):
        above, rule = lines[at - 1], _RST_RULE.match(lines[at])
        if not rule or not above.strip() or above[0].isspace() or _RST_RULE.match(above):
            continue
        over = at >= 2 and _RST_RULE.match(lines[at - 2]) is not None
        alone = at == 1 or over or not lines[at - 2].strip()
        if alone and len(lines[at].rstrip()) >= len(above.rstrip()):
            yield at - 2 if over else at - 1, above.strip()


class _Page(HTMLParser):
    """Collects a page's text. What changes here: the text of the block and of the section being read."""

    HEADINGS = frozenset(("h1", "h2", "h3", "h4", "h5", "h6"))
    UNSEEN = frozenset(("script", "style", "noscript", "template", "svg", "head", "iframe", "object"))
    LISTED = frozenset(("ul", "ol", "li", "dl", "dt", "dd", "table", "tr", "form", "figure", "details"))
    PARTS = frozenset(("section", "article", "main", "header", "footer", "nav", "aside", "address", "body"))
    BLOCKS = HEADINGS | LISTED | PARTS | frozenset(("p", "div", "pre", "blockquote", "hr"))

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._title: list[str] = []
        self._block: list[str] = []
        self._blocks: list[str] = []
        self._sections: list[Section] = []
        self._heading = ""
        self._unseen: list[str] = []
        self._in_title = self._in_pre = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "title":
            self._in_title = True
        elif tag == "body":
            # A head that was never closed ends here.
            self._unseen.clear()
        elif tag in self.UNSEEN:
            self._unseen.append(tag)
        if tag in self.HEADINGS:
            self._end_section()
        elif tag in self.BLOCKS:
            self._end_block()
        elif tag in ("br", "td", "th"):
            self._block.append("\n" if tag == "br" else " ")
        self._in_pre = self._in_pre or tag == "pre"

    def handle_endtag(self, tag: str) -> None:
        if tag == "title":
            self._in_title = False
        elif tag in self._unseen:
            del self._unseen[self._unseen.index(tag) :]
        if tag in self.HEADINGS:
            self._heading = " ".join("".join(self._block).split()) or self._heading
        if tag in self.BLOCKS:
            self._end_block()
        self._in_pre = self._in_pre and tag != "pre"

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self._title.append(data)
        elif not self._unseen:
            self._block.append(data)

    def _end_block(self) -> None:
        lines = "".join(self._block).split("\n")
        kept = lines if self._in_pre else [" ".join(line.split()) for line in lines]
        text = "\n".join(line for line in kept if line.strip())
        self._block.clear()
        if text:
            self._blocks.append(text)

    def _end_section(self) -> None:
        self._end_block()
        if self._blocks:
            self._sections.append(Section(self._heading, "\n\n".join(self._blocks)))
        self._blocks.clear()

    def marked(self) -> Marked:
        self._end_section()
        title = " ".join("".join(self._title).split())
        first = next((each.heading for each in self._sections if each.heading), "")
        return Marked(title or first, tuple(self._sections))

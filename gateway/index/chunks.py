"""Sections cut into passages of a bounded length, at paragraphs where they allow it. Pure; knows no file.

A passage that goes on where another ended begins with the other's last words, so that what was said across the
cut is found too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from gateway.index.markup import Section

# Characters: 1,200 are about 250 tokens, which is what small embedding models read.
PASSAGE_CHARACTERS = 1_200
PASSAGE_CHARACTERS_MIN, PASSAGE_CHARACTERS_MAX = 100, 20_000
# The share of a passage that is repeated in the next.
OVERLAP = 1 / 8

_PARAGRAPH = re.compile(r"\n[ \t]*\n+")
_SENTENCE = re.compile(r"(?<=[.!?。！？])\s+|\n+")


def passages(sections: Iterable[Section], characters: int = PASSAGE_CHARACTERS) -> Iterator[Section]:
    """The sections in pieces of at most `characters`; one that is a heading alone goes in front of the next."""
    above = ""
    for section in sections:
        text = f"{above}\n\n{section.text}" if above else section.text
        if section.heading and _is_bare(section):
            above = text.strip()
            continue
        above = ""
        for piece in pieces(text, characters):
            yield Section(section.heading, piece)
    for piece in pieces(above, characters):
        yield Section("", piece)


def _is_bare(section: Section) -> bool:
    """Whether a section is nothing but its heading, and the rules above and below it."""
    lines = (line.strip("# \t") for line in section.text.splitlines())
    return all(line == section.heading or not any(sign.isalnum() for sign in line) for line in lines)


def pieces(text: str, characters: int) -> Iterator[str]:
    """The text in pieces of at most `characters`, each but the first with a little of the one before."""
    overlap = int(characters * OVERLAP)
    current = ""
    fresh = False
    for paragraph in _PARAGRAPH.split(text.strip()):
        # A part leaves room for what is repeated before it, and for the blank line between.
        for separator, part in _parts(paragraph, characters - overlap - 2):
            if current and len(current) + len(separator) + len(part) > characters:
                if fresh:
                    yield current
                current = _tail(current, overlap)
            current = f"{current}{separator}{part}" if current else part
            fresh = True
    if fresh and current.strip():
        yield current


def _parts(paragraph: str, characters: int) -> Iterator[tuple[str, str]]:
    """A paragraph whole where it fits, else its sentences, else as many words as fit, else as many characters."""
    if len(paragraph) <= characters:
        if paragraph.strip():
            yield "\n\n", paragraph.strip("\n")
        return
    separator = "\n\n"
    for sentence in _SENTENCE.split(paragraph):
        for part in _broken(sentence, characters):
            yield separator, part
            separator = " "


def _broken(sentence: str, characters: int) -> Iterator[str]:
    at = 0
    while len(sentence) - at > characters:
        # A blank in the second half, or none: a word of a thousand letters is cut where it must be.
        blank = sentence.rfind(" ", at + characters // 2, at + characters)
        end = blank if blank > 0 else at + characters
        yield sentence[at:end].strip()
        at = end
    if sentence[at:].strip():
        yield sentence[at:].strip()


def _tail(text: str, characters: int) -> str:
    """The last words of `text`, whole ones, within `characters`; nothing where a word is longer."""
    if characters <= 0:
        return ""
    tail = text[-characters:]
    _, blank, words = tail.partition(" ")
    return words.strip() if blank else ""

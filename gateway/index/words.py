"""A user's question as a full text query that holds nothing but words. Knows no passage.

The question is never given to FTS5 as it came: its own tokenizer takes it apart first, and only the words it
finds are asked for, each in quotes. So quotes, NEAR, AND, `*`, `-` and column names mean nothing.
"""

from __future__ import annotations

import sqlite3

from gateway.index.format import FOLDING, TOKENIZER

# A question is a sentence or a page; of a book, its beginning is asked.
QUERY_CHARACTERS_MAX = 16_384
# Each word costs a walk over all passages that hold it.
WORDS_MAX = 64
# Passages from which on a word that is everywhere costs more than it finds.
COSTLY_PASSAGES = 1_000

# Words that say nothing of what an English question is about. In a large collection bm25 finds that out; in a small
# one "and" may stand in one passage alone, and would decide.
SILENT = frozenset({
    "a", "an", "and", "any", "are", "as", "at", "be", "but", "by", "can", "could", "did", "do", "does",
    "for", "from", "has", "have", "how", "i", "if", "in", "into", "is", "it", "its", "me", "my", "no",
    "not", "of", "on", "or", "our", "should", "so", "such", "that", "the", "their", "then", "there",
    "these", "they", "this", "to", "us", "was", "we", "were", "what", "when", "where", "which", "who",
    "why", "will", "with", "would", "you", "your",
})  # fmt: skip

_TABLES = f"""
CREATE VIRTUAL TABLE temp.asked USING fts5(words, content='', tokenize='{FOLDING}');
CREATE VIRTUAL TABLE temp.stemmed USING fts5(words, content='', tokenize='{TOKENIZER}');
CREATE VIRTUAL TABLE temp.asked_words USING fts5vocab(temp, asked, instance);
CREATE VIRTUAL TABLE temp.stemmed_words USING fts5vocab(temp, stemmed, instance);
CREATE VIRTUAL TABLE temp.known_words USING fts5vocab(main, passage_text, row);
"""


def prepare(connection: sqlite3.Connection) -> None:
    """Make the tables, in this connection's memory alone, that take questions apart."""
    connection.executescript(_TABLES)


def match_expression(connection: sqlite3.Connection, question: str, passages: int) -> str | None:
    """The question's words, rarest first, joined by OR; None where no passage holds any of them.

    Words that say nothing are left out where another was found. So are, in a large index and beside a rarer one,
    those that more than half of the passages hold: bm25 gives them a weight of 0.000001, and they cost the most.
    """
    asked = _taken_apart(connection, question)
    telling = {stem: word for stem, word in asked.items() if word not in SILENT}
    known = _known(connection, telling) or _known(connection, asked)
    found = sorted(known, key=lambda each: (each[1], each[0]))
    rarer = [word for word, count in found if count <= passages / 2 or passages < COSTLY_PASSAGES]
    words = rarer or [word for word, _ in found]
    return " OR ".join(f'"{word}"' for word in words[:WORDS_MAX]) or None


def _taken_apart(connection: sqlite3.Connection, question: str) -> dict[str, str]:
    """Each word's stem → the word as it was asked; FTS5 will stem it itself, and a stem must not be stemmed twice."""
    text = question[:QUERY_CHARACTERS_MAX].encode(errors="replace").decode()
    words = _instances(connection, "asked", text)
    stems = _instances(connection, "stemmed", text)
    return {stems[at]: word for at, word in words.items() if at in stems}


def _instances(connection: sqlite3.Connection, table: str, text: str) -> dict[int, str]:
    connection.execute(f"INSERT INTO temp.{table} (rowid, words) VALUES (1, ?)", (text,))  # noqa: S608
    try:
        rows = connection.execute(f"SELECT offset, term FROM temp.{table}_words").fetchall()  # noqa: S608
    finally:
        connection.execute(f"INSERT INTO temp.{table} ({table}) VALUES ('delete-all')")  # noqa: S608
    return dict(rows)


def _known(connection: sqlite3.Connection, stems: dict[str, str]) -> list[tuple[str, int]]:
    """The words that occur, and in how many passages."""
    found = []
    for stem, word in stems.items():
        row = connection.execute("SELECT doc FROM temp.known_words WHERE term = ?", (stem,)).fetchone()
        if row is not None:
            found.append((word.replace('"', '""'), row[0]))
    return found

"""Text as it may be shown to somebody who must see what is in it. Pure; knows no terminal.

Who approves a prompt must see all of it: an escape sequence can rub out a line, a bidirectional mark can turn one
round (Trojan Source, CVE-2021-42574), and both are spelt out here.
"""

from __future__ import annotations


def visible(text: str) -> str:
    r"""A line with everything that no eye sees spelt out (`\x1b`, `\u202e`, `\n`: it is one line); tabs stay."""
    if text.isprintable():
        return text
    return "".join(each if each == "\t" or each.isprintable() else _spelt(each) for each in text)


def _spelt(character: str) -> str:
    # Not repr(): it would also spell what is printable, such as a quote.
    return character.encode("unicode_escape", "surrogatepass").decode()

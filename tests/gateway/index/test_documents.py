"""Documents: which files are read, what is said of the others, and that nothing outside the folder is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flags.errors import Invalid, NotFound
from gateway.index import documents
from gateway.index.documents import Document, Reading, Told, documents_in
from tests.gateway.index.library import rows, written


def read(folder: Path) -> tuple[list[Document], Reading]:
    reading = Reading()
    return list(documents_in(folder, reading)), reading


def texts(found: list[Document]) -> list[str]:
    return [section.text for document in found for section in document.marked.sections]


def test_every_kind_is_read_and_others_are_named(tmp_path: Path) -> None:
    files = {"a.md": "# A", "b.TXT": "b", "c.html": "<p>c", "d.rst": "d", "e.jsonl": '{"text": "e"}'}
    written(
        tmp_path, files | {"f.pdf": "%PDF", "g.txt": " \n", "h.txt": "a\0b", ".i.txt": "x", ".git/j.md": "x"}
    )

    found, reading = read(tmp_path)

    assert texts(found) == ["# A", "b", "c", "d", "e"]
    assert [(told.path, told.reason[:11]) for told in reading.skipped] == [
        ("f.pdf", "is of no ki"),
        ("g.txt", "is empty"),
        ("h.txt", "holds zero "),
    ]


def test_a_file_id_is_of_the_path_and_the_text(tmp_path: Path) -> None:
    one, _ = read(written(tmp_path / "1", {"a/b.txt": "same"}))
    same, _ = read(written(tmp_path / "2", {"a/b.txt": "same"}))
    moved, _ = read(written(tmp_path / "3", {"b.txt": "same"}))
    edited, _ = read(written(tmp_path / "4", {"a/b.txt": "other"}))

    assert one[0].file_id == same[0].file_id
    assert len({one[0].file_id, moved[0].file_id, edited[0].file_id}) == 3
    assert one[0].filename == "b.txt"
    assert dict(one[0].attributes) == {"path": "a/b.txt", "title": "b.txt"}


def test_links_are_followed_within_the_folder_only(tmp_path: Path) -> None:
    """As Kubernetes mounts a ConfigMap: links to links within; a link out of it is named and left."""
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    folder = written(tmp_path / "docs", {"..data/a.txt": "inside"})
    (folder / "a.txt").symlink_to("..data/a.txt")
    (folder / "out.txt").symlink_to(secret)
    (folder / "elsewhere").symlink_to(tmp_path)
    (folder / "gone.txt").symlink_to("nowhere")

    found, reading = read(folder)

    assert texts(found) == ["inside"]
    assert [told.path for told in reading.skipped] == ["gone.txt", "out.txt"]


def test_what_is_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")

    found, reading = read(tmp_path)

    assert found == []
    assert reading.skipped == [Told("pipe.txt", "is no regular file")]


def test_bytes_that_are_no_text_are_told(tmp_path: Path) -> None:
    found, reading = read(written(tmp_path, {"a.txt": b"caf\xe9", "b.txt": b"\xef\xbb\xbfbom\r\nline"}))

    assert texts(found) == ["caf�", "bom\nline"]
    assert reading.warnings == [Told("a.txt", "is not UTF-8 at byte 3; such bytes were replaced")]


def test_a_name_that_is_no_text_is_read_all_the_same(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt")).write_text("coffee")

    found, _ = read(tmp_path)

    assert found[0].filename == "caf�.txt"


def test_a_file_may_have_so_many_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "FILE_BYTES_MAX", 5)

    assert texts(read(written(tmp_path / "fits", {"a.txt": "12345"}))[0]) == ["12345"]
    with pytest.raises(Invalid, match=r"a\.txt: is larger than"):
        read(written(tmp_path / "large", {"a.txt": "123456"}))


def test_a_line_of_json_says_what_it_is(tmp_path: Path) -> None:
    line = {"text": "t", "file_id": "file-7", "filename": "f.pdf", "attributes": {"page": 3, "title": "T"}}

    (found,), _ = read(written(tmp_path, rows(line)))

    assert (found.file_id, found.filename) == ("file-7", "f.pdf")
    assert dict(found.attributes) == {"path": "rows.jsonl", "title": "T", "page": 3}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "rows.jsonl:2"),
        ("[]", "rows.jsonl:2"),
        ('{"texts": "a"}', "unknown field `texts`"),
        ('{"file_id": "a"}', "missing required field `text`"),
        ('{"text": "a", "attributes": {"a": null}}', "attributes"),
        ('{"text": "a", "attributes": {"a": [1]}}', "attributes"),
        ('{"text": "a", "attributes": {"a": 9223372036854775808}}', "more than 64 bits"),
        ('{"text": "\\ud800"}', "rows.jsonl:2"),
        ('{"text": " "}', "rows.jsonl:2: text: is blank"),
        ('{"text": "a", "file_id": ""}', "file_id"),
        ('{"text": "a", "attributes": {"": 1}}', "found a name of 0"),
        (f'{{"text": "a", "attributes": {{"a": "{"v" * 513}"}}}}', "has 513 characters, expected 512"),
        (f'{{"text": "a", "attributes": {{{",".join(f""""k{n}":1""" for n in range(17))}}}}}', "found 17"),
        ("[" * 100_000, "rows.jsonl:2"),
    ],
)
def test_a_line_that_is_wrong_is_named(tmp_path: Path, line: str, message: str) -> None:
    written(tmp_path, {"rows.jsonl": '{"text": "good"}\n' + line})

    with pytest.raises(Invalid) as caught:
        read(tmp_path)

    assert message in str(caught.value)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="is not a folder"):
        read(tmp_path / "nowhere")

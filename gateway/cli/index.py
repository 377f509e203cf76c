"""The verb for embedded indexes: build one, list them, search one. Needs no server; knows files, not flags."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flags.errors import FlagError, Invalid, Refused
from gateway.cli.options import AS_JSON, DATA_DIR, show
from gateway.cli.problem import FAILED, REFUSED, CommandError
from gateway.settings import default_data_dir

if TYPE_CHECKING:
    from gateway.index.building import Built
    from gateway.index.format import Manifest
    from gateway.index.passage import Passage
    from gateway.index.shelf import Shelf

# Characters of a passage that a person is shown.
SHOWN_CHARACTERS = 300
# Files that a person is named of those that were left out; the JSON has all.
SHOWN_FILES = 20


@click.group
def index() -> None:
    """Make small collections of texts searchable without another server, for a retriever of kind `embedded`."""


@index.command
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--name", metavar="N", help="The index's name; the folder's, where you do not say.")
@DATA_DIR
@click.option("--embed", is_flag=True, help="Also search by meaning; needs the extra `retrieval`.")
@click.option(
    "--passage-characters",
    type=click.IntRange(100, 20_000),
    default=1_200,
    show_default=True,
    metavar="N",
    help="The longest passage.",
)
@AS_JSON
def build(
    folder: Path, name: str | None, data_dir: str | None, embed: bool, passage_characters: int, as_json: bool
) -> None:
    """Make an index of the texts in DIR: Markdown, HTML, reStructuredText, plain text, JSONL.

    An index never changes: where its name is taken by other texts, nothing is done (exit 3).
    """
    from gateway.index.building import build as make  # noqa: PLC0415  # heavy: only here
    from gateway.index.embedder import MiniLM  # noqa: PLC0415

    with _told():
        out = _shelf(data_dir).path(name or folder.resolve().name)
        embedder = MiniLM.load(threads=os.cpu_count() or 1) if embed else None
        if embed and not as_json:
            click.echo("embedding takes a minute for each thousand or two of passages …", err=True)
        built = make(
            folder, out, now=datetime.now(UTC), embedder=embedder, passage_characters=passage_characters
        )
    if not as_json:
        _tell_left_out(built)
    show(_built(built, out), _summary(built, out), as_json=as_json)


@index.command("list")
@DATA_DIR
@AS_JSON
def list_(data_dir: str | None, as_json: bool) -> None:
    """Show the indexes that were built here."""
    with _told():
        shelf = _shelf(data_dir)
        found = shelf.listed()
    broken = [{"message": error.message, "mend": error.mend} for error in found.unreadable]
    document = {
        "folder": str(shelf.folder),
        "indexes": [_manifest(m) for m in found.indexes],
        "unreadable": broken,
    }
    lines = [_line(manifest) for manifest in found.indexes] or [f"no index in {shelf.folder}"]
    lines += [f"unreadable: {error.message}" for error in found.unreadable]
    show(document, "\n".join(lines), as_json=as_json)


@index.command
@click.argument("name")
@click.argument("query")
@DATA_DIR
@click.option(
    "--top-k", type=click.IntRange(1, 1000), default=5, show_default=True, metavar="K", help="Passages."
)
@click.option(
    "--mode",
    type=click.Choice(["text", "vector", "hybrid"]),
    help="By words, meaning or both; where you do not say, both if the index has embeddings.",
)
@AS_JSON
def search(name: str, query: str, data_dir: str | None, top_k: int, mode: str | None, as_json: bool) -> None:
    """Show what an index finds for QUERY, as a retriever would."""
    from gateway.index.embedded import Mode, Search  # noqa: PLC0415  # heavy: only here

    with _told():
        found = _shelf(data_dir).search(name, Search(query, top_k, Mode(mode) if mode else None))
    document = {"index": name, "query": query, "passages": [_passage(each) for each in found]}
    text = "\n\n".join(_shown(rank, each) for rank, each in enumerate(found, 1))
    show(document, text or "nothing found", as_json=as_json)


def _shelf(data_dir: str | None) -> Shelf:
    from gateway.index.shelf import Shelf  # noqa: PLC0415  # heavy: only here

    return Shelf(Path(data_dir).expanduser() if data_dir else default_data_dir(os.environ))


@contextmanager
def _told() -> Iterator[None]:
    """What goes wrong inside as a problem with its exit code: 3 where a rule says no, else 1."""
    try:
        yield
    except FlagError as error:
        path = error.path if isinstance(error, Invalid) else None
        code, number = ("failed", FAILED) if path is None else ("invalid", FAILED)
        if isinstance(error, Refused):
            code, number = error.rule, REFUSED
        problem = {"code": code, "message": error.message, "path": path, "mend": error.mend}
        raise CommandError(number, {key: value for key, value in problem.items() if value}) from None
    except OSError as error:
        problem = {"code": "failed", "message": f"{error.filename}: {error.strerror}"}
        raise CommandError(FAILED, problem) from None


def _built(built: Built, out: Path) -> dict[str, object]:
    return {
        "changed": built.changed,
        "file": str(out),
        **_manifest(built.manifest),
        "skipped": [{"path": told.path, "reason": told.reason} for told in built.skipped],
        "warnings": [{"path": told.path, "reason": told.reason} for told in built.warnings],
    }


def _summary(built: Built, out: Path) -> str:
    if not built.changed:
        return f"{out} is unchanged: {_line(built.manifest)}"
    return f"{out} written: {_line(built.manifest)}"


def _tell_left_out(built: Built) -> None:
    for kind, files in (("skipped", built.skipped), ("warning", built.warnings)):
        for told in files[:SHOWN_FILES]:
            click.echo(f"{kind}: {told.path} {told.reason}", err=True)
        if len(files) > SHOWN_FILES:
            click.echo(f"{kind}: {len(files) - SHOWN_FILES} more; --json names them", err=True)


def _manifest(manifest: Manifest) -> dict[str, object]:
    return {name: getattr(manifest, name) for name in manifest.__struct_fields__}


def _line(manifest: Manifest) -> str:
    model = f", embedded by {manifest.embedding_model}" if manifest.embedding_model else ""
    counts = f"{manifest.documents} documents, {manifest.passages} passages"
    return f"{manifest.name}: {counts}{model}, built {manifest.built_at}"


def _passage(passage: Passage) -> dict[str, object]:
    return {name: getattr(passage, name) for name in passage.__struct_fields__}


def _shown(rank: int, passage: Passage) -> str:
    heading = passage.attributes.get("heading")
    where = f"{passage.attributes.get('path', passage.filename)}{f' › {heading}' if heading else ''}"
    text = " ".join(passage.text.split())
    cut = text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
    return f"{rank}. {passage.score:.3f}  {where}  ({passage.file_id})\n   {cut}"

"""The copy on disk: what was offered last comes back, or nothing does."""

# ruff: noqa: ASYNC230, ASYNC240 - a test may touch a file while nothing else runs on its loop

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
from pathlib import Path

import pytest

from flags import disk
from flags.canonical import digest
from flags.disk import DiskCopy
from flags.model import Position, StoredObject
from flags.snapshot import Snapshot
from tests.flags.stores import CHAT, document


def snapshot(revision: int, serve: str = "v1", mark: str = "a") -> Snapshot:
    objects = {CHAT: StoredObject(CHAT, document(serve), revision)}
    contents = {digest(value): value for value in ("one", "two")}
    return Snapshot.build("default", Position(revision, mark * 64), revision, objects, contents)


async def written(path: Path, *offers: Snapshot, replace: bool = False) -> None:
    """As one process would: offer, and close."""
    copy = DiskCopy(path, "default")
    for offer in offers:
        copy.offer(offer, replace=replace)
    await copy.aclose()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "snapshot.json"


async def test_a_copy_comes_back_as_it_was(path: Path) -> None:
    offered = snapshot(3, "v2")
    await written(path, offered)

    loaded = DiskCopy(path, "default").load()

    assert loaded is not None
    assert (loaded.position, loaded.revision) == (offered.position, offered.revision)
    assert loaded.objects == dict(offered.objects)
    assert loaded.contents == dict(offered.contents)


async def test_only_its_owner_may_read_it_and_no_draft_is_left(path: Path) -> None:
    await written(path, snapshot(3))

    assert path.stat().st_mode & 0o777 == 0o600
    assert {file.name for file in path.parent.iterdir()} == {"snapshot.json", "snapshot.lock"}


async def test_of_many_offers_the_last_is_written(path: Path) -> None:
    await written(path, *(snapshot(revision) for revision in range(1, 50)))

    assert _revision(path) == 49


async def test_an_older_one_never_replaces_a_newer_one_unless_history_changed(path: Path) -> None:
    await written(path, snapshot(5))

    await written(path, snapshot(4, mark="b"))
    assert _revision(path) == 5

    await written(path, snapshot(4, mark="b"), replace=True)
    assert _revision(path) == 4


async def test_the_same_revision_of_another_history_replaces_it(path: Path) -> None:
    await written(path, snapshot(5, mark="a"))

    await written(path, snapshot(5, mark="b"))

    loaded = DiskCopy(path, "default").load()
    assert loaded is not None
    assert loaded.position.hash == "b" * 64


async def test_it_is_written_while_the_loop_goes_on(path: Path) -> None:
    copy = DiskCopy(path, "default")
    copy.offer(snapshot(1))

    async with asyncio.timeout(10):
        while not path.exists():
            await asyncio.sleep(0.01)

    await copy.aclose()


@pytest.mark.parametrize("damage", ["cut", "flip", "header", "empty", "binary"])
async def test_a_damaged_copy_is_none(path: Path, damage: str) -> None:
    await written(path, snapshot(3))
    text = path.read_bytes()
    path.write_bytes(
        {
            "cut": text[:-10],
            "flip": text.replace(b'"serve":"v1"', b'"serve":"v2"'),
            "header": text[5:],
            "empty": b"",
            "binary": bytes(range(256)),
        }[damage]
    )

    assert DiskCopy(path, "default").load() is None


async def test_no_copy_and_that_of_another_namespace_are_none(path: Path) -> None:
    assert DiskCopy(path, "default").load() is None
    await written(path, snapshot(3))

    assert DiskCopy(path, "other").load() is None


async def test_a_place_that_cannot_be_written_is_logged_and_no_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no directory")

    await written(tmp_path / "file" / "snapshot.json", snapshot(1))

    assert "cannot be written" in caplog.text


def _revision(path: Path) -> int:
    loaded = DiskCopy(path, "default").load()
    assert loaded is not None
    return loaded.position.revision


async def test_a_content_that_does_not_meet_its_hash_is_not_served(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Even where somebody wrote the checksum anew."""
    await written(path, snapshot(3))
    head, _, body = path.read_bytes().partition(b"\n")
    edited = body.replace(b'"value":"two"', b'"value":"evil"')
    assert edited != body
    header = {**json.loads(head), "sha256": hashlib.sha256(edited).hexdigest()}
    path.write_bytes(json.dumps(header).encode() + b"\n" + edited)

    loaded = DiskCopy(path, "default").load()

    assert loaded is not None
    assert loaded.contents == {digest("one"): "one"}
    assert f"the content {digest('two')} in the copy on disk does not meet its hash" in caplog.text


async def test_a_process_forked_while_a_copy_is_written_does_not_keep_the_lock(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inherited: list[int] = []

    def forked_at_once(name: str, flags: int) -> int:
        opened = os.open(name, flags, 0o600)
        inherited.append(os.dup(opened))  # what a fork does to every descriptor
        return opened

    with monkeypatch.context() as patch:
        patch.setattr(disk, "_private", forked_at_once)
        await written(path, snapshot(1))
    await written(path, snapshot(2))
    for descriptor in inherited:
        os.close(descriptor)

    assert _revision(path) == 2


async def test_a_lock_that_is_never_given_back_costs_a_warning(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(disk, "LOCK_TRIES", 2)
    await written(path, snapshot(1))

    with open(path.with_suffix(".lock"), "ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        await written(path, snapshot(2))

    assert _revision(path) == 1
    assert "another process holds" in caplog.text

"""Following a flagd file on a real store: edits, renames, half-written and missing files, and Redis away."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flags.change import Draft, View
from flags.codec import document_of
from flags.ledger import Author
from flags.model import Flag, Kind, ObjectKey
from flags.store import Store
from gateway.config.loading import declaration_from
from gateway.declaring.plan import Options, plan
from gateway.following.follower import AWAY_LOOKS, Follower
from policies import verbs
from tests.flags.stores import opened
from tests.gateway.following.making import a_flag, text_of
from tests.redis_server import RedisServer


@pytest.fixture
async def store(redis_url: str, tmp_path: Path) -> AsyncIterator[Store]:
    async with opened(redis_url, tmp_path.name[:100]) as store:
        yield store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "flags.json"


def write(path: Path, text: str) -> None:
    path.write_text(text)


def read(path: Path) -> str:
    return path.read_text()


async def no_sleep(_: float) -> None:
    raise AssertionError("a look does not sleep")


def follower(store: Store, path: Path) -> Follower:
    """One for which every file is young, so that two edits in one tick are seen."""
    return Follower(store, path, sleep=no_sleep, now=lambda: 0.0)


async def served(store: Store) -> dict[str, str | None]:
    loaded = await store.load()
    view = View(loaded.position, "", loaded.objects)
    return {key.name: view.flag(key.name).served for key in loaded.objects if key.kind is Kind.FLAG}


async def revision(store: Store) -> int:
    return (await store.head()).position.revision


async def reasons(store: Store) -> list[str]:
    return [f"{entry.actor}: {entry.action} {entry.object}" for entry in await store.read_log(0, 100)]


async def test_a_file_is_taken_and_its_edits_are_followed(store: Store, path: Path) -> None:
    one = follower(store, path)
    write(path, text_of(f=a_flag(), g=a_flag()))
    await one.look()
    first = await served(store)
    write(path, text_of(f=a_flag("on"), h=a_flag()))
    await one.look()

    assert first == {"f": "off", "g": "off"}
    assert await served(store) == {"f": "on", "h": "off"}
    assert await reasons(store) == [
        "flagd/flags.json: declare flag/f",
        "flagd/flags.json: declare flag/g",
        "flagd/flags.json: declare flag/f",
        "flagd/flags.json: declare flag/h",
        "flagd/flags.json: delete flag/g",
    ]


async def test_unchanged_text_writes_nothing_nor_does_a_restart(store: Store, path: Path) -> None:
    write(path, text_of(f=a_flag()))
    await follower(store, path).look()
    before = await revision(store)
    again = follower(store, path)
    await again.look()
    write(path, text_of(f=a_flag()) + "\n")
    await again.look()

    assert await revision(store) == before


async def test_a_restart_undoes_no_rollback(
    store: Store, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(path, text_of(f=a_flag()))
    one = follower(store, path)
    await one.look()
    write(path, text_of(f=a_flag("on")))
    await one.look()
    await store.change(
        Author("ann", "it is bad"), None, lambda view: [drafted(verbs.rollback(view.flag("f")).flag)]
    )
    await follower(store, path).look()
    write(path, text_of(f=a_flag("on", metadata={"a": 1})))
    with caplog.at_level(logging.WARNING):
        await follower(store, path).look()

    assert await served(store) == {"f": "off"}
    assert "which is withdrawn here" in caplog.text


def drafted(flag: Flag) -> Draft:
    return Draft("rollback", ObjectKey(Kind.FLAG, flag.key), document_of(flag))


@pytest.fixture
async def good(store: Store, path: Path) -> Follower:
    """One that has taken a good file."""
    write(path, text_of(f=a_flag()))
    one = follower(store, path)
    await one.look()
    return one


async def test_an_invalid_file_keeps_the_last_good_one_is_told_once_and_recovers(
    good: Follower, store: Store, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(path, text_of(f=a_flag("on"), g=a_flag("maybe")))
    with caplog.at_level(logging.ERROR):
        for _ in range(5):
            await good.look()
    kept = await served(store)
    problem = good.problem
    write(path, text_of(f=a_flag("on"), g=a_flag("on")))
    await good.look()

    assert kept == {"f": "off"}
    assert problem.startswith(f"{path}:1: flags.g.defaultVariant: variant 'maybe' is not defined")
    assert len([record for record in caplog.records if "not taken" in record.message]) == 1
    assert (await served(store), good.problem) == ({"f": "on", "g": "on"}, "")
    assert "flagd/flags.json: refused ledger/flagd" in await reasons(store)


async def test_an_invalid_file_that_goes_back_to_what_it_was_writes_nothing(
    good: Follower, store: Store, path: Path
) -> None:
    text = read(path)
    write(path, "{")
    await good.look()
    await good.look()
    write(path, text)
    await good.look()

    assert (await served(store), good.problem) == ({"f": "off"}, "")


async def test_a_half_written_file_is_not_told(
    good: Follower, store: Store, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = text_of(f=a_flag("on"))
    with caplog.at_level(logging.ERROR):
        write(path, whole[:40])
        await good.look()
        write(path, whole)
        await good.look()

    assert await served(store) == {"f": "on"}
    assert caplog.text == ""


async def test_a_half_written_yaml_file_removes_no_flag(store: Store, tmp_path: Path) -> None:
    """Cut off, it may still be YAML, with fewer flags."""
    path = tmp_path / "flags.yaml"
    flags = "".join(f"  {key}: {{state: ENABLED, variants: {{a: 1}}, defaultVariant: a}}\n" for key in "fg")
    write(path, f"flags:\n{flags}")
    one = follower(store, path)
    await one.look()
    write(path, f"flags:\n{flags}"[:-60])
    await one.look()
    half = await served(store)
    write(path, f"flags:\n{flags.replace('ENABLED', 'DISABLED')}")
    await one.look()
    await one.look()

    assert half == {"f": "a", "g": "a"}
    assert await served(store) == {"f": "a", "g": "a"}
    loaded = await store.load()
    assert {stored.document.get("enabled") for stored in loaded.objects.values()} == {False}


async def test_a_rename_and_a_swapped_link_are_seen(store: Store, tmp_path: Path) -> None:
    """As editors write, and as ConfigMaps are mounted: a link to a folder that is a link itself."""
    for name, serve in (("one", "off"), ("two", "on")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "flags.json").write_text(text_of(f=a_flag(serve)))
    (tmp_path / "data").symlink_to("one")
    (tmp_path / "flags.json").symlink_to("data/flags.json")
    one = follower(store, tmp_path / "flags.json")
    await one.look()
    (tmp_path / "new").symlink_to("two")
    (tmp_path / "new").replace(tmp_path / "data")
    await one.look()
    linked = await served(store)
    (tmp_path / "next").write_text(text_of(f=a_flag("off")))
    (tmp_path / "next").replace(tmp_path / "two" / "flags.json")
    await one.look()

    assert linked == {"f": "on"}
    assert await served(store) == {"f": "off"}


async def test_an_unchanged_file_is_not_read_again(good: Follower, path: Path) -> None:
    """For one that is not young any more its stamp is enough."""
    good._now = lambda: path.stat().st_mtime + 10  # type: ignore[method-assign]
    await good.look()
    stamp = os.stat(path)
    write(path, read(path).replace("off", "xff"))
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))

    # Even so it has another change time.
    assert good._changed() is not None
    assert good._changed() is None


async def test_a_file_that_is_gone_keeps_its_flags_is_told_once_and_comes_back(
    good: Follower, store: Store, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    os.unlink(path)
    with caplog.at_level(logging.ERROR):
        for _ in range(6):
            await good.look()
    kept, problem = await served(store), good.problem
    write(path, text_of(f=a_flag("on")))
    await good.look()

    assert (kept, problem) == ({"f": "off"}, f"{path}: cannot be read: No such file or directory")
    assert len(caplog.records) == 1
    assert (await served(store), good.problem) == ({"f": "on"}, "")


async def test_a_folder_in_its_place_is_told(good: Follower, path: Path) -> None:
    os.unlink(path)
    os.mkdir(path)
    await good.look()
    await good.look()

    assert good.problem == f"{path}: cannot be read: this is no file"


async def test_a_file_that_is_invalid_from_the_start_is_told_and_followed(store: Store, path: Path) -> None:
    write(path, "{")
    one = follower(store, path)
    await one.look()
    problem = one.problem
    write(path, text_of(f=a_flag()))
    await one.look()

    assert f"{path}:1: not JSON" in problem
    assert await served(store) == {"f": "off"}


async def test_with_redis_away_it_is_tried_again(redis_server: RedisServer, path: Path) -> None:
    async with opened(redis_server.url, "away") as store:
        redis_server.stop()
        write(path, text_of(f=a_flag()))
        one = follower(store, path)
        await one.look()
        redis_server.start()
        for _ in range(AWAY_LOOKS + 1):
            await one.look()

        assert await served(store) == {"f": "off"}


async def test_a_flag_that_the_config_declares_too_is_refused_and_told(
    store: Store, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    declaration = declaration_from({"flags": {"f": {"variants": {"a": 1}}}})
    await store.change(Author("ann", "x"), None, lambda view: plan(declaration, view, Options("ann")).drafts)
    write(path, text_of(f=a_flag(), g=a_flag()))
    with caplog.at_level(logging.WARNING):
        await follower(store, path).look()

    assert await served(store) == {"f": "a", "g": "off"}
    assert "flag 'f': it comes from another declaration" in caplog.text


async def test_a_flag_of_the_file_is_not_declared_by_a_config_nor_pruned(
    good: Follower, store: Store
) -> None:
    loaded = await store.load()
    view = View(loaded.position, "", loaded.objects)
    other = declaration_from(
        {"flags": {"f": {"variants": {"on": True, "off": False}, "serve": "on", "metadata": {"a": 1}}}}
    )
    lenient = plan(other, view, Options("ann", lenient=True))
    pruned = plan(
        declaration_from({"metrics": {"m": {"type": "boolean", "better": "higher"}}}),
        view,
        Options("ann", prune=True),
    )

    assert lenient.drafts == ()
    assert lenient.warnings == ("flag 'f' follows flagd/flags.json (it stays as that file has it)",)
    assert [str(draft.key) for draft in pruned.drafts] == ["metric/m"]


async def test_the_loop_looks_again_after_what_nobody_foresaw(
    store: Store, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    naps = iter(range(3))

    async def nap(_: float) -> None:
        if next(naps, None) is None:
            raise StopAsyncIteration

    one = Follower(store, path, sleep=nap, now=lambda: 1 / 0)
    write(path, text_of(f=a_flag()))

    with pytest.raises(StopAsyncIteration), caplog.at_level(logging.ERROR):
        await one.run()

    assert len(caplog.records) == 3

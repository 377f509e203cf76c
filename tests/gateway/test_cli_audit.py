"""`pointsman audit`: anchor, export, archive and verify, over a real server, and in files alone."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from flags.anchor import anchor
from flags.audit import verify
from flags.ledger import entry_from
from flags.model import Kind, ObjectKey
from gateway import archiving
from gateway.auth import Role
from gateway.cli.audit import report_text
from gateway.figures.rollbacks import Rollbacks
from gateway.http import ledger_desk
from gateway.http.events import EventStream
from policies.governance.record import Record, document_of
from tests.flags.test_archive import resealed
from tests.gateway.office import Office, by
from tests.gateway.test_cli import PROMPT, Result, Shell

NEVER, ALWAYS = "2001-01-01", "2901-01-01T00:00:00Z"


@pytest.fixture
def shell(served: str, tmp_path: Path) -> Shell:
    """A shell that knows the office's server."""
    return Shell(tmp_path, POINTSMAN_URL=served, POINTSMAN_ACTOR="alice")


@pytest.fixture
async def busy(office: Office, monkeypatch: pytest.MonkeyPatch) -> Office:
    """An office with 23 entries, of which the newest five must stay."""
    monkeypatch.setattr(archiving, "KEPT_ENTRIES", 5)
    for turn in range(20):
        await office.operations.switch(by(reason=f"turn {turn}"), PROMPT, ("v7", "v6")[turn % 2])
    return office


async def lines_of(office: Office) -> list[bytes]:
    return await office.store.read_log_bytes(0, 1_000)


async def archive(shell: Shell, file: Path, before: str = ALWAYS, *more: str) -> Result:
    return await shell("audit", "archive", str(file), "--before", before, "--reason", "too old", *more)


class TestAnchor:
    async def test_it_prints_what_a_verification_finds(self, busy: Office, shell: Shell) -> None:
        printed = await shell("audit", "anchor")
        as_json = await shell("audit", "anchor", "--json")

        found = str(verify(await lines_of(busy)).anchor)
        assert (printed.code, printed.out.strip()) == (0, found)
        assert as_json.document["anchor"] == found
        assert (await shell("audit", "verify", "--anchor", found)).code == 0

    async def test_a_ledger_that_does_not_go_on_is_told(self, busy: Office, shell: Shell) -> None:
        await shell("audit", "anchor")
        await busy.operations.switch(by(), PROMPT, "v7")
        await busy.operations.switch(by(), PROMPT, "v6")
        await busy.store.calls.run(lambda redis: redis.xdel(busy.store.keys.ledger, "24-0"))

        told = await shell("audit", "anchor")

        assert told.code == 1
        assert "the ledger is broken: found revision 25 after revision 23" in told.err


class TestExport:
    async def test_stdout_gets_the_ledger_to_the_byte_and_stderr_its_anchor(
        self, busy: Office, shell: Shell
    ) -> None:
        done = await shell("audit", "export")

        lines = await lines_of(busy)
        assert done.out.encode() == b"".join(line + b"\n" for line in lines)
        assert done.err.strip() == str(verify(lines).anchor)

    async def test_a_file_is_gone_on_with_also_over_a_line_that_was_cut_off(
        self, busy: Office, shell: Shell, tmp_path: Path
    ) -> None:
        file = tmp_path / "ledger.jsonl"
        first = await shell("audit", "export", str(file), "--json")
        whole = file.read_bytes()
        file.write_bytes(whole[:-20])
        await busy.operations.switch(by(), PROMPT, "v7")
        second = await shell("audit", "export", str(file), "--json")
        third = await shell("audit", "export", str(file))

        lines = await lines_of(busy)
        assert file.read_bytes() == b"".join(line + b"\n" for line in lines)
        assert (first.document["new"], second.document["new"]) == (23, 2)
        assert second.document["anchor"] == str(verify(lines).anchor) == third.err.strip()

    async def test_a_file_of_another_ledger_is_refused_and_left_alone(
        self, busy: Office, shell: Shell, tmp_path: Path
    ) -> None:
        file = tmp_path / "ledger.jsonl"
        await shell("audit", "export", str(file))
        edited = file.read_bytes().replace(b"turn 3", b"turn X")
        file.write_bytes(edited)

        told = await shell("audit", "export", str(file))

        assert told.code == 1
        assert "was edited" in told.err
        assert file.read_bytes() == edited

    async def test_an_export_without_a_server_leaves_no_file(self, shell: Shell, tmp_path: Path) -> None:
        done = await shell("audit", "export", str(tmp_path / "ledger.jsonl"), "--url", "http://127.0.0.1:9")

        assert done.code == 1
        assert not (tmp_path / "ledger.jsonl").exists()

    async def test_one_export_goes_on_over_an_archive(
        self, busy: Office, shell: Shell, tmp_path: Path
    ) -> None:
        file = tmp_path / "ledger.jsonl"
        await shell("audit", "export", str(file))
        await archive(shell, tmp_path / "old.jsonl")
        await busy.operations.switch(by(), PROMPT, "v7")
        done = await shell("audit", "export", str(file), "--json")
        checked = await shell("audit", "verify", str(file), "--json")

        assert done.document["new"] == 2
        assert checked.document["ok"]
        assert checked.document["entries"] == 25


class TestArchive:
    async def test_old_entries_lie_in_a_file_and_no_longer_in_the_ledger(
        self, busy: Office, shell: Shell, tmp_path: Path
    ) -> None:
        before, old, tail = await lines_of(busy), tmp_path / "old.jsonl", tmp_path / "tail.jsonl"
        done = await archive(shell, old, ALWAYS, "--json", "--link", "https://tickets.example/1")
        left = await lines_of(busy)
        await shell("audit", "export", str(tail))
        live = await shell("audit", "verify", "--json")
        offline = await shell("audit", "verify", str(old), str(tail), "--json")
        log = await shell("log", "--json")

        assert "note: revisions 1 to 18 are in archives" in log.err
        assert (done.document["first"], done.document["last"]) == (1, 18)
        assert old.read_bytes() == b"".join(line + b"\n" for line in before[:18])
        assert left[:-1] == before[18:]
        told = entry_from(left[-1])
        assert (told.action, told.actor, told.reason) == ("archive", "alice", "too old")
        assert told.link == "https://tickets.example/1"
        assert told.evidence is not None
        assert told.evidence["file"] == "old.jsonl"
        assert live.document["ok"], live.out
        assert (live.document["archived"], live.document["entries"]) == (18, 24)
        assert offline.document["ok"], offline.out
        assert offline.document["root"] == live.document["root"]
        assert [each["entries"] for each in offline.document["files"]] == [18, 6]
        assert [json.loads(line)["revision"] for line in log.out.splitlines()] == list(range(19, 25))

    async def test_a_second_archive_takes_what_follows(
        self, busy: Office, shell: Shell, tmp_path: Path
    ) -> None:
        files = [tmp_path / "1.jsonl", tmp_path / "2.jsonl", tmp_path / "tail.jsonl"]
        await archive(shell, files[0])
        for turn in range(6):
            await busy.operations.switch(by(), PROMPT, ("v7", "v6")[turn % 2])
        second = await archive(shell, files[1], ALWAYS, "--json")
        await shell("audit", "export", str(files[2]))
        checked = await shell("audit", "verify", *map(str, files))

        assert (second.document["first"], second.document["last"]) == (19, 25)
        assert checked.code == 0, checked.out
        assert "2 entries tell of archives" in checked.out
        assert (await shell("audit", "verify")).code == 0

    async def test_what_is_not_old_enough_makes_no_file(
        self, busy: Office, shell: Shell, tmp_path: Path
    ) -> None:
        done = await archive(shell, tmp_path / "old.jsonl", NEVER)

        assert (done.code, done.out.strip()[:18]) == (0, "nothing to archive")
        assert not (tmp_path / "old.jsonl").exists()
        assert len(await lines_of(busy)) == 23

    async def test_open_rollbacks_and_notices_keep_what_they_need(
        self, busy: Office, shell: Shell, tmp_path: Path
    ) -> None:
        store = busy.store
        await store.calls.run(lambda redis: redis.hset(store.keys.notices_cursor, "revision", 7))
        by_notices = await archive(shell, tmp_path / "a.jsonl", ALWAYS, "--json")
        await store.calls.run(lambda redis: redis.delete(store.keys.notices_cursor))
        record = Record(PROMPT, "v7", "v6", "h", "l", "r", "alice", "t")
        await busy.put(ObjectKey(Kind.ROLLBACK, "c1"), document_of(record))
        await asyncio.sleep(0.3)
        by_rollback = await archive(shell, tmp_path / "b.jsonl", ALWAYS, "--json")

        assert by_notices.document["last"] == 7
        assert by_rollback.document["archived"] == 0

    async def test_a_file_is_never_written_over(self, busy: Office, shell: Shell, tmp_path: Path) -> None:
        file = tmp_path / "old.jsonl"
        file.write_text("mine")

        told = await archive(shell, file)

        assert told.code == 1
        assert "never written over" in told.err
        assert file.read_text() == "mine"
        assert len(await lines_of(busy)) == 23

    def test_only_admins_archive(self) -> None:
        (endpoint,) = [each for each in ledger_desk.ENDPOINTS if each.path == "/audit/trim"]

        assert endpoint.needs is Role.ADMIN

    @pytest.mark.parametrize(
        "wrong",
        [
            ("--keep", "999", "--reason", "r"),
            ("--keep", "1000", "--before", "2026-01-01", "--reason", "r"),
            ("--reason", "r"),
            ("--before", "soon", "--reason", "r"),
            ("--keep", "1000"),
        ],
    )
    async def test_usage_is_told_before_anything_is_asked(
        self, shell: Shell, tmp_path: Path, wrong: tuple[str, ...]
    ) -> None:
        told = await shell("audit", "archive", str(tmp_path / "f"), *wrong)

        assert told.code == 2

    async def test_a_revert_into_an_archive_is_refused_with_where_it_is(
        self, busy: Office, shell: Shell, tmp_path: Path
    ) -> None:
        await archive(shell, tmp_path / "old.jsonl")
        key = f"flag/{PROMPT}"
        refused = await shell("revert", key, "--to-revision", "5", "--reason", "r", "--json")
        kept = await shell("revert", key, "--to-revision", "20", "--reason", "r", "--json")

        assert refused.code == 3
        assert refused.error["rule"] == "archived"
        assert "into old.jsonl" in refused.error["message"]
        assert kept.code == 0, kept.err

    async def test_rollbacks_are_counted_over_an_archive(
        self, busy: Office, shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(archiving, "open_steps", lambda _record: ())
        await busy.operations.switch(by(), PROMPT, "v7")
        await busy.operations.rollback(by("bob"), PROMPT)
        await busy.operations.restore(by(), PROMPT, "v7")
        for turn in range(8):
            await busy.operations.switch(by(), PROMPT, ("v7", "v6")[turn % 2])
        before = await Rollbacks(busy.store).counted()
        done = await archive(shell, tmp_path / "old.jsonl", ALWAYS, "--json")

        assert done.document["last"] > 25
        assert before == {(PROMPT, "bob"): 1}
        assert await Rollbacks(busy.store).counted() == before

    async def test_a_worker_that_starts_and_an_event_stream_go_on(
        self, busy: Office, shell: Shell, tmp_path: Path
    ) -> None:
        await archive(shell, tmp_path / "old.jsonl")
        worker = await busy.hire("w9")
        stream = EventStream(busy, 24, 3)
        sent: list[bytes] = []

        async def send(message: Any) -> None:
            sent.append(message.get("body", b""))
            busy.stopped = len(sent) > 7

        await stream({"method": "GET"}, asyncio.Event().wait, send)  # type: ignore[arg-type]

        assert worker.snapshot is not None
        assert worker.snapshot.position.revision == 24
        events = b"".join(sent).decode()
        assert events.startswith('event: archived\nid: 18\ndata: {"revision":18}')
        assert "id: 24" in events


class TestVerify:
    async def test_it_says_what_each_check_found(self, busy: Office, shell: Shell, tmp_path: Path) -> None:
        await archive(shell, tmp_path / "old.jsonl")
        told = (await shell("audit", "verify")).out

        for words in (
            "ok      seals: 6 entries meet their hashes",
            "ok      chain: whole from revision 19 to 24",
            "ok      archive: 18 entries before are vouched for by a checkpoint",
            "ok      head: ",
            "ok      objects: ",
            "ok      contents: every content meets its hash",
        ):
            assert words in told

    async def test_an_edited_frontier_of_the_kept_anchor_is_found(self, busy: Office, shell: Shell) -> None:
        await anchor(busy.store)
        keys = busy.store.keys
        await busy.store.calls.run(
            lambda redis: redis.hset(keys.anchor, "frontier", " ".join(["0" * 64] * 4))
        )

        told = await shell("audit", "verify", "--json")

        assert told.code == 1
        assert "the anchor kept in Redis was taken from" in told.document["problems"][0]

    @pytest.mark.parametrize("key", ["anchor", "checkpoint"])
    async def test_one_that_is_none_is_found(
        self, busy: Office, shell: Shell, tmp_path: Path, key: str
    ) -> None:
        await archive(shell, tmp_path / "old.jsonl")
        name = getattr(busy.store.keys, key)
        field = {"anchor": "frontier", "checkpoint": "document"}[key]
        await busy.store.calls.run(lambda redis: redis.hset(name, field, "what"))

        told = await shell("audit", "verify", "--json")

        assert told.code == 1
        assert any(f"{key} " in problem and "is none" in problem for problem in told.document["problems"])

    async def test_a_history_sealed_anew_is_found_by_the_anchor(
        self, busy: Office, shell: Shell, tmp_path: Path
    ) -> None:
        """As in a notice: noted before, compared later, offline."""
        noted = (await shell("audit", "anchor")).out.strip()
        lines = await lines_of(busy)
        begin = entry_from(lines[9]).position
        forged = [*lines[:10], *resealed(lines[10:], begin)]
        (tmp_path / "forged.jsonl").write_bytes(b"\n".join(forged))

        silent = await shell("audit", "verify", str(tmp_path / "forged.jsonl"))
        told = await shell("audit", "verify", str(tmp_path / "forged.jsonl"), "--anchor", noted)

        assert silent.code == 0
        assert told.code == 1
        assert "BROKEN  anchor: 1 problem" in told.out

    async def test_entries_beyond_the_head_are_told_and_not_hidden_by_an_error(
        self, busy: Office, shell: Shell
    ) -> None:
        last = (await lines_of(busy))[-1]
        await busy.store.calls.run(lambda redis: redis.xadd(busy.store.keys.ledger, {"e": last}, id="24-0"))

        told = await shell("audit", "verify", "--json")

        assert told.code == 1
        assert any("cannot be read together with the ledger" in each for each in told.document["problems"])


def test_a_report_without_problems_ends_with_the_anchor() -> None:
    report = {"ok": True, "entries": 2, "root": "ab", "problems": [], "checks": []}

    assert report_text(report) == "2 entries hold together; anchor 2:ab"

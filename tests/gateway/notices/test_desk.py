"""The operators' endpoints and the command line for notices, over a real store."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from flags.model import Kind, ObjectKey
from gateway.auth import keyring
from gateway.cli import notices as cli_notices
from policies.notices.delivery import Result, Room
from policies.notices.outbox import Addressed
from tests.gateway.office import Office
from tests.gateway.test_cli import Shell
from tests.policies.notices.outboxes import event
from tests.redis_server import RedisServer


class NoticeOffice(Office):
    """The office, with a way to what is dead."""

    async def dead(self, name: str) -> None:
        """A notice that could not be told."""
        outbox = self.notices.outbox
        await outbox.add(Addressed(event(name, object=f"flag/{name}"), ["team"]))
        (delivery,) = (await outbox.claim([Room("team", 1, 40.0)])).deliveries
        await outbox.settle(delivery, Result.DEAD, "answered 500")


@pytest.fixture
async def office(redis_server: RedisServer) -> AsyncIterator[NoticeOffice]:
    made = NoticeOffice(redis_server.url)
    await made.start()
    await made.put(ObjectKey(Kind.NOTIFY, "team"), {"spec": {"kind": "stdout"}})
    yield made
    await made.aclose()


@pytest.fixture
def shell(served: str, tmp_path: Path) -> Shell:
    """A shell that knows the office's server."""
    return Shell(tmp_path, POINTSMAN_URL=served, POINTSMAN_ACTOR="alice")


async def test_the_board_lists_what_is_due_told_and_dead(office: NoticeOffice) -> None:
    await office.dead("e1")
    await office.notices.outbox.add(Addressed(event("e2"), ["team"]))
    async with office.client() as client:
        found = (await client.get("/notices")).json()
        one = (await client.get("/notices/e1")).json()

    assert (found["waiting"], found["dead_letters"]) == (1, 1)
    assert [(each["id"], each["found"], each["due_at"]) for each in found["dead"]] == [
        ("e1", "answered 500", None)
    ]
    assert found["due"][0]["due_at"] is not None
    assert (one["settled"], one["receipts"][0]["state"]) == (True, "dead")


async def test_dead_notices_are_sent_again_one_or_all_or_dropped(office: NoticeOffice) -> None:
    for name in ("e1", "e2", "e3", "e4"):
        await office.dead(name)
    async with office.client() as client:
        one = await client.post("/notices/e1/resend", json={})
        dropped = await client.post("/notices/e2/drop", json={})
        rest = await client.post("/notices/resend", json={})
        again = await client.post("/notices/e1/resend", json={})
        unknown = await client.post("/notices/nobody/resend", json={})

    assert [each.json() for each in (one, dropped, rest)] == [{"changed": 1}, {"changed": 1}, {"changed": 2}]
    assert (again.status_code, again.json()["error"]["rule"]) == (422, "not_dead")
    assert unknown.status_code == 404


async def test_a_test_goes_out_by_one_channel(
    office: NoticeOffice, capsys: pytest.CaptureFixture[str]
) -> None:
    async with office.client() as client:
        sent = (await client.post("/notices/test", json={"channel": "team"})).json()
        await office.notices.sender.round()
        await asyncio.wait(office.notices.sender._sending)
        told = (await client.get(f"/notices/{sent['id']}")).json()
        missing = await client.post("/notices/test", json={"channel": "nobody"})

    assert told["receipts"][0]["state"] == "told"
    assert sent["id"] in capsys.readouterr().out
    assert (missing.status_code, "channels: team" in missing.json()["error"]["message"]) == (404, True)


async def test_a_viewer_may_look_and_not_send(redis_server: RedisServer) -> None:
    keys = keyring({}, {"operators": [{"name": "vera", "token": "vera-token-1", "role": "viewer"}]})
    office = NoticeOffice(redis_server.url, keys=keys)
    await office.start()
    async with office.client(authorization="Bearer vera-token-1") as client:
        answers = [
            (await client.get("/notices")).status_code,
            (await client.post("/notices/test", json={"channel": "team"})).status_code,
            (await client.post("/notices/resend", json={})).status_code,
        ]
    await office.aclose()

    assert answers == [200, 403, 403]


def test_the_command_wants_one_event_or_all() -> None:
    runner = CliRunner()

    assert runner.invoke(cli_notices.notices, ["resend"]).exit_code == 2
    assert runner.invoke(cli_notices.notices, ["resend", "e1", "--all"]).exit_code == 2


def test_the_table_tells_why_something_is_dead() -> None:
    row = {"state": "dead", "at": "now", "channel": "team", "kind": "drift", "attempts": 7, "id": "e1"}
    text = cli_notices.table_text(
        {"waiting": 0, "dead_letters": 1}, [{**row, "title": "t", "more": 2, "found": "answered 500"}]
    )

    assert "t (and 2 more): answered 500" in text
    assert text.endswith("0 waiting, 1 dead")


async def test_the_commands_list_show_send_again_drop_and_try(office: NoticeOffice, shell: Shell) -> None:
    for name in ("e1", "e2", "e3"):
        await office.dead(name)
    listed = await shell("notices", "list")
    alone = await shell("notices")
    as_json = await shell("notices", "--json")
    dead = await shell("notices", "dead", "--json")
    shown = await shell("notices", "show", "e1")
    resent = await shell("notices", "resend", "e1")
    dropped = await shell("notices", "drop", "e2")
    rest = await shell("notices", "resend", "--all")
    office.notices.start()
    tried = await shell("notices", "test", "team")
    missing = await shell("notices", "test", "nobody")

    assert (listed.code, listed.out.splitlines()[-1]) == (0, "0 waiting, 3 dead")
    assert alone.out == listed.out
    assert json.loads(as_json.out)["dead_letters"] == 3
    assert {each["id"] for each in json.loads(dead.out)} == {"e1", "e2", "e3"}
    assert "answered 500" in shown.out
    assert [each.out.strip() for each in (resent, dropped, rest)] == [
        "1 to be tried again",
        "1 dropped",
        "1 to be tried again",
    ]
    assert (tried.code, tried.out.strip().splitlines()[-1]) == (0, "team: written")
    assert (missing.code, "channels: team" in missing.err) == (1, True)

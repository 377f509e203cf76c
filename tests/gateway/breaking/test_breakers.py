"""The process's breakers: which target may be asked for a route, what operators and the fleet say of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flags.errors import Refused, StoreUnavailable
from flags.model import Kind, ObjectKey, Position
from gateway.breaking.board import BreakerBoard, BreakerShelf
from gateway.breaking.breakers import Breakers, Guarded, retry_after, targets_of
from gateway.breaking.forced import Force
from gateway.breaking.forcing import force
from gateway.compiling import compile_serving
from gateway.decision import Serving
from policies.breaker import Permit, Standing, State
from tests.gateway.builders import MODEL, serving
from tests.gateway.office import Office, by
from tests.gateway.test_cli import Shell

NOW = 1000.0
ROUTE = "support-bot"
A, B = "mock/gpt-4.1", "spare/small"
BOTH = {**MODEL, "fallbacks": [{"upstream": "spare", "model": "small"}]}
UNIX = 1_800_000_000.0  # Fri, 15 Jan 2027 08:00:00 GMT


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def table(clock: Clock | None = None, **options: Any) -> Breakers:
    return Breakers(clock=clock or Clock(), draw=lambda: 0.5, **options)


def asked(breakers: Breakers, target: str = A, now: float = NOW, route: str = ROUTE) -> Permit:
    permit = breakers.permit(route, target, now)
    assert permit is not None
    return permit


def fail(breakers: Breakers, target: str = A, times: int = 5, now: float = NOW) -> None:
    for _ in range(times):
        asked(breakers, target, now).failed(now)


def standings(breakers: Breakers) -> list[tuple[Guarded, Standing]]:
    """Every breaker as it is now."""
    return [(guarded, breaker.standing(breakers.clock())) for guarded, breaker in breakers.all()]


def states(breakers: Breakers) -> dict[str, State]:
    return {str(guarded): standing.state for guarded, standing in standings(breakers)}


def forced(served: Serving, targets: Mapping[str, str], *, revision: int = 8) -> Serving:
    """`served` after an operator's Change of its route; without `targets`, freed again."""
    key = ObjectKey(Kind.ROUTE, ROUTE)
    stored = served.snapshot.objects[key]
    document = {name: value for name, value in stored.document.items() if name != "forced"}
    after = replace(stored, document=document | ({"forced": dict(targets)} if targets else {}))
    snapshot = served.snapshot.changed(Position(revision, "h"), revision, {key: after}, {})
    return compile_serving(snapshot, served, {key})


CHANGED = frozenset({ObjectKey(Kind.ROUTE, ROUTE)})


# The table


def test_one_routes_breaker_is_not_anothers() -> None:
    breakers = table()
    fail(breakers)

    assert breakers.permit(ROUTE, A, NOW) is None
    assert breakers.permit("other", A, NOW) is not None


def test_full_it_drops_what_was_longest_out_of_use() -> None:
    breakers = table(most=2)
    for now, target in ((NOW, "a"), (NOW + 1, "b"), (NOW + 2, "a"), (NOW + 3, "c")):
        asked(breakers, target, now)

    assert list(states(breakers)) == [f"{ROUTE}|a", f"{ROUTE}|c"]


def test_targets_that_no_version_has_any_more_vanish() -> None:
    breakers, before = table(), serving(models={"gpt-4.1": BOTH})
    breakers.follow(before)
    asked(breakers, A)
    asked(breakers, B)
    breakers.follow(serving(models={"gpt-4.1": MODEL}))

    assert list(states(breakers)) == [f"{ROUTE}|{A}"]


def test_a_route_that_is_gone_takes_its_breakers_along() -> None:
    breakers, served = table(), serving()
    asked(breakers)
    breakers.follow(Serving(served.snapshot, {}))

    assert states(breakers) == {}


def test_the_targets_of_a_route_are_those_of_all_its_versions() -> None:
    other = {**MODEL, "model": "gpt-4o", "retries": 2}
    route = serving(models={"gpt-4.1": BOTH, "gpt-4o": other}).routes[ROUTE]

    assert targets_of(route) == (A, B, "mock/gpt-4o")


# Never all at once


def test_with_all_open_the_one_that_failed_longest_ago_is_asked() -> None:
    breakers = table()
    fail(breakers, B, now=NOW)
    fail(breakers, A, now=NOW + 1)
    found = breakers.ask_anyway(ROUTE, [A, A, B], NOW + 2)

    assert found is not None
    assert found[0] == B
    assert (breakers.asked_anyway, breakers.refused) == (1, 0)


def test_with_all_limited_nobody_is_asked_and_the_earliest_time_is_told() -> None:
    breakers = table()
    asked(breakers, A).limited(NOW, 30.0)
    asked(breakers, B).limited(NOW, 12.0)

    assert breakers.ask_anyway(ROUTE, [A, B], NOW + 2) is None
    assert breakers.retry_after(ROUTE, [A, B], NOW + 2) == 10
    assert breakers.refused == 1


def test_with_one_open_and_one_forced_open_the_open_one_is_asked() -> None:
    breakers, served = table(), serving(models={"gpt-4.1": BOTH})
    breakers.follow(forced(served, {A: "open"}))
    fail(breakers, B)
    found = breakers.ask_anyway(ROUTE, [A, B], NOW)

    assert found is not None
    assert found[0] == B


def test_with_all_forced_open_nobody_can_say_when() -> None:
    breakers = table()
    breakers.follow(forced(serving(), {A: "open"}))

    assert breakers.ask_anyway(ROUTE, [A], NOW) is None
    assert breakers.retry_after(ROUTE, [A], NOW) is None


# Operators


def test_forced_open_in_the_snapshot_holds_from_the_first_request_on() -> None:
    """So it survives a restart: it is in what a worker starts from."""
    breakers = table()
    breakers.follow(forced(serving(), {A: "open"}))

    assert breakers.permit(ROUTE, A, NOW) is None
    assert breakers.forced_open(ROUTE, A)
    assert states(breakers) == {f"{ROUTE}|{A}": State.FORCED_OPEN}


def test_it_reaches_breakers_that_are_in_use_and_leaves_them_again() -> None:
    breakers, served = table(), serving()
    breakers.follow(served)
    asked(breakers)
    shut = forced(served, {A: "open"})
    breakers.follow(shut, CHANGED)
    during = breakers.permit(ROUTE, A, NOW)
    breakers.follow(forced(shut, {}, revision=9), CHANGED)

    assert during is None
    assert breakers.permit(ROUTE, A, NOW) is not None
    assert not breakers.forced_open(ROUTE, A)


def test_off_lets_everybody_through() -> None:
    breakers = table()
    breakers.follow(forced(serving(), {A: "off"}))
    fail(breakers, times=50)

    assert states(breakers) == {f"{ROUTE}|{A}": State.OFF}


def test_a_change_of_another_object_touches_no_breaker() -> None:
    breakers, served = table(), serving()
    breakers.follow(forced(served, {A: "open"}))
    breakers.follow(forced(served, {A: "open"}), frozenset({ObjectKey(Kind.FLAG, "x")}))

    assert breakers.forced_open(ROUTE, A)
    assert breakers.permit(ROUTE, A, NOW) is None


def test_words_that_only_a_later_version_knows_force_nothing() -> None:
    breakers = table()
    breakers.follow(forced(serving(), {A: "throttled"}))

    assert breakers.permit(ROUTE, A, NOW) is not None


# The fleet


def test_gains_are_what_came_since_they_were_last_taken() -> None:
    breakers = table()
    asked(breakers, A).ok(NOW, 0.1)
    fail(breakers, B, 2)
    first = breakers.gains()
    fail(breakers, B, 1)

    assert first == {f"{ROUTE}|{A}": (1, 0), f"{ROUTE}|{B}": (2, 2)}
    assert breakers.gains() == {f"{ROUTE}|{B}": (1, 1)}
    assert breakers.gains() == {}


def test_a_cut_answer_is_gained_though_it_is_no_new_call() -> None:
    breakers = table()
    permit = asked(breakers)
    permit.ok(NOW, 0.1)
    breakers.gains()
    permit.cut(NOW + 1)

    assert breakers.gains() == {f"{ROUTE}|{A}": (0, 1)}


def test_the_fleets_counts_open_one_here_only_after_a_failure_here() -> None:
    breakers = table()
    asked(breakers, A).ok(NOW, 0.1)
    breakers.heard(f"{ROUTE}|{A}", 100, 100, 3)
    before = states(breakers)
    fail(breakers, times=1)
    breakers.heard(f"{ROUTE}|{A}", 100, 100, 3)

    assert before == {f"{ROUTE}|{A}": State.CLOSED}
    assert states(breakers) == {f"{ROUTE}|{A}": State.OPEN}


def test_a_model_may_have_a_bar_in_its_name() -> None:
    breakers = table()
    fail(breakers, "mock/a|b", times=1)
    (name,) = breakers.gains()
    breakers.heard(name, 100, 100, 3)

    assert states(breakers) == {f"{ROUTE}|mock/a|b": State.OPEN}


def test_what_is_heard_of_a_target_that_is_not_asked_here_is_let_go() -> None:
    breakers = table()
    breakers.heard("nobody|x/y", 100, 100, 3)

    assert states(breakers) == {}


# Retry-After


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([(b"retry-after", b"7")], 7.0),
        ([(b"retry-after", b"0")], 0.0),
        ([(b"retry-after", b"1.5")], 1.5),
        ([(b"retry-after-ms", b"250"), (b"retry-after", b"1")], 0.25),
        ([(b"retry-after", b"Fri, 15 Jan 2027 08:00:30 GMT")], 30.0),
        (
            [
                (b"date", b"Fri, 15 Jan 2027 09:00:00 GMT"),
                (b"retry-after", b"Fri, 15 Jan 2027 09:00:20 GMT"),
            ],
            20.0,
        ),
        ([(b"retry-after", b"Fri, 15 Jan 2027 07:00:00 GMT")], 0.0),
        ([(b"retry-after", b"-3")], None),
        ([(b"retry-after", b"inf")], None),
        ([(b"retry-after", b"nan")], None),
        ([(b"retry-after", b"soon")], None),
        ([(b"retry-after", b"\xff")], None),
        ([], None),
    ],
)
def test_retry_after_is_read_in_seconds_or_as_a_date(
    headers: Sequence[tuple[bytes, bytes]], seconds: float | None
) -> None:
    assert retry_after(headers, UNIX) == seconds


# Telling the fleet


class Shelf:
    """What workers told, in this process; away, nobody can be told anything."""

    def __init__(self) -> None:
        self.rows: dict[str, bytes] = {}
        self.told = 0
        self.away = False

    async def put(self, worker: str, rows: bytes) -> None:
        self._answer()
        self.told += 1
        self.rows[worker] = rows

    async def others(self, worker: str) -> list[bytes]:
        self._answer()
        return [rows for name, rows in self.rows.items() if name != worker]

    def _answer(self) -> None:
        if self.away:
            raise StoreUnavailable("away")


async def test_a_worker_shows_its_own_and_what_the_others_told() -> None:
    shelf, here, there = Shelf(), table(), table()
    fail(here)
    asked(there, B)
    await BreakerBoard(there, "w2", shelf).tell()
    shelf.rows["w3"] = b"{what a later version writes"
    found = await BreakerBoard(here, "w1", shelf).all()

    assert not found.degraded
    assert [(row.target, row.state, row.worker) for row in found.breakers] == [
        (A, "open", "w1"),
        (B, "closed", "w2"),
    ]
    assert found.breakers[0].retry_in_seconds == 5


async def test_what_has_not_changed_is_told_again_only_before_it_ends_by_itself() -> None:
    shelf, clock = Shelf(), Clock()
    breakers = table(clock)
    board = BreakerBoard(breakers, "w1", shelf)
    await board.tell()
    await board.tell()
    quiet = shelf.told
    fail(breakers, times=1)
    await board.tell()
    changed = shelf.told
    clock.now += 1800
    await board.tell()

    assert (quiet, changed, shelf.told) == (1, 2, 3)


async def test_with_the_store_away_one_worker_shows_its_own_and_says_so() -> None:
    shelf, breakers = Shelf(), table()
    fail(breakers)
    shelf.away = True
    found = await BreakerBoard(breakers, "w1", shelf).all()

    assert found.degraded
    assert [row.worker for row in found.breakers] == ["w1"]


async def test_who_is_woken_tells_at_once() -> None:
    shelf, breakers = Shelf(), table()
    board = BreakerBoard(breakers, "w1", shelf)
    board.start()
    while not shelf.told:
        await asyncio.sleep(0)
    fail(breakers, times=1)
    board.wake()
    # Well under the second that it would take otherwise.
    async with asyncio.timeout(0.5):
        while shelf.told < 2:
            await asyncio.sleep(0)
    await board.aclose()

    assert shelf.told == 2


async def test_ten_thousand_breakers_are_shown_in_slices_between_which_requests_are_served() -> None:
    breakers, turns = table(), 0
    for number in range(10_000):
        breakers.permit(f"r{number}", "mock/m", 0.0)
    board = BreakerBoard(breakers, "w1", Shelf())
    showing = asyncio.create_task(board.all(away=True))
    while not showing.done():
        turns += 1
        await asyncio.sleep(0)

    assert len((await showing).breakers) == 10_000
    assert turns > 10


async def test_a_task_tells_and_can_be_closed_twice() -> None:
    shelf = Shelf()
    board = BreakerBoard(table(), "w1", shelf)
    board.start()
    while not shelf.told:
        await asyncio.sleep(0)
    await board.aclose()
    await board.aclose()

    assert shelf.told == 1


async def test_on_the_shelf_in_redis_only_the_living_are_read(office: Office) -> None:
    shelf, there = BreakerShelf(office.store), table()
    fail(there)
    await BreakerBoard(there, "w2", shelf).tell()
    await BreakerBoard(there, "dead", shelf).tell()
    found = await BreakerBoard(table(), "w1", shelf).all()

    assert [(row.target, row.state, row.worker) for row in found.breakers] == [(A, "open", "w2")]


# Forcing


def route_document(office: Office) -> Mapping[str, Any]:
    return office.snapshot().objects[ObjectKey(Kind.ROUTE, ROUTE)].document


async def test_forcing_is_a_change_of_the_route_that_every_worker_follows(office: Office) -> None:
    done = await force(office.operations, by(), ROUTE, A, Force.OPEN)
    (entry,) = [each for each in await office.store.read_log(0, 100) if each.action == "breaker.force"]

    assert (done.flag, done.origin, done.to, done.changed, done.missing) == (
        f"route/{ROUTE}",
        "auto",
        "open",
        True,
        [],
    )
    assert route_document(office) == {"spec": {}, "forced": {A: "open"}}
    assert (entry.actor, entry.reason) == ("alice", "because")


async def test_said_again_it_changes_nothing(office: Office) -> None:
    await force(office.operations, by(), ROUTE, A, Force.OFF)
    done = await force(office.operations, by(), ROUTE, A, Force.OFF)

    assert (done.changed, done.origin, done.to) == (False, "off", "off")


async def test_auto_leaves_no_trace_in_the_route(office: Office) -> None:
    await force(office.operations, by(), ROUTE, A, Force.OPEN)
    await force(office.operations, by(), ROUTE, A, Force.AUTO)

    assert route_document(office) == {"spec": {}}


async def test_an_unknown_target_is_refused_with_those_that_there_are(office: Office) -> None:
    before = office.snapshot().position
    with pytest.raises(Refused, match=r"targets: mock/gpt-4\.1, mock/gpt-4o") as refused:
        await force(office.operations, by(), ROUTE, "mock/gpt-5", Force.OPEN)

    assert refused.value.rule == "unknown_target"
    assert (await office.store.head()).position == before


async def test_an_unknown_route_is_refused_with_those_that_there_are(office: Office) -> None:
    with pytest.raises(Refused, match=f"routes: {ROUTE}") as refused:
        await force(office.operations, by(), "suport-bot", A, Force.OPEN)

    assert refused.value.rule == "unknown_route"


# The desk and the command line


@pytest.fixture
def shell(served: str, tmp_path: Path) -> Shell:
    """A shell that knows the office's server."""
    return Shell(tmp_path, POINTSMAN_URL=served, POINTSMAN_ACTOR="alice")


async def test_the_desk_shows_and_forces_and_refuses(office: Office) -> None:
    fail(office.breakers)
    async with office.client() as client:
        body = {"target": A, "state": "open", "reason": "keys leaked"}
        done = await client.post(f"/routes/{ROUTE}/breakers", json=body)
        wrong = await client.post(f"/routes/{ROUTE}/breakers", json={**body, "target": "x/y"})
        silent = await client.post(f"/routes/{ROUTE}/breakers", json={"target": A, "state": "open"})
        shown = (await client.get("/breakers")).json()

    assert (done.status_code, done.json()["to"], done.json()["acknowledged"]) == (200, "open", 2)
    assert (wrong.status_code, wrong.json()["error"]["rule"]) == (422, "unknown_target")
    assert silent.status_code == 422
    assert not shown["degraded"]
    assert [(row["target"], row["state"], row["failures"]) for row in shown["breakers"]] == [(A, "open", 0)]


async def test_the_command_shows_a_table_and_forces(office: Office, shell: Shell) -> None:
    fail(office.breakers, times=3, now=time.monotonic())
    shown = await shell("breakers")
    one = await shell("breakers", ROUTE, "--json")
    done = await shell("breakers", "force", ROUTE, A, "open", "--reason", "keys leaked")
    again = await shell("breakers", "force", ROUTE, A, "open", "--reason", "keys leaked", "--json")

    assert (shown.code, shown.err) == (0, "")
    assert shown.out.splitlines()[1].split() == [ROUTE, A, "closed", "3/3", "w1"]
    assert [row["target"] for row in one.document["breakers"]] == [A]
    assert done.code == 0
    assert done.out.startswith(f"route/{ROUTE}: breaker of {A}: auto → open, all 2 workers switched in ")
    assert (again.code, again.document["changed"]) == (0, False)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("breakers", "nobody"), 1),
        (("breakers", "force", ROUTE, "x/y", "open", "--reason", "r"), 3),
        (("breakers", "force", "nobody", A, "open", "--reason", "r"), 3),
        (("breakers", "force", ROUTE, A, "open"), 2),
        (("breakers", "force", ROUTE, A, "ajar", "--reason", "r"), 2),
        (("breakers", "--help"), 0),
    ],
)
async def test_the_commands_exit_codes(shell: Shell, arguments: Sequence[str], code: int) -> None:
    result = await shell(*arguments)

    assert result.code == code
    assert "Traceback" not in result.err


async def test_a_file_that_is_applied_again_leaves_what_operators_forced(office: Office) -> None:
    await force(office.operations, by(), ROUTE, A, Force.OPEN)
    async with office.client() as client:
        exported = (await client.get("/export")).json()
        declaration = {**exported, "routes": {ROUTE: {"sticky": "api_key"}}}
        declaration["upstreams"] = {"mock": {"kind": "simulated"}}
        applied = await client.post("/apply", json={"declaration": declaration, "reset_state": True})
        differs = await client.post("/diff", json={"declaration": declaration})

    assert applied.status_code == 200, applied.text
    assert exported["routes"] == {ROUTE: {}}
    assert route_document(office)["spec"] == {"sticky": "api_key"}
    assert route_document(office)["forced"] == {A: "open"}
    assert differs.json()["differences"] == []

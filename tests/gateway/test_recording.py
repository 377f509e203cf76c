"""What a worker measured, appended to a file that `policies test --replay` reads."""

from __future__ import annotations

import asyncio
import logging
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from flags.model import Kind, Layer, ObjectKey
from gateway import recording
from gateway.recording import Recording, create, state_of
from policies.outcome import Score
from policies.record import Recorded, read_lines
from tests.gateway.builders import flag
from tests.gateway.measured import V6, outcome
from tests.gateway.office import Office


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "recorded.jsonl"


def pen(
    file: Path, *, limit: int = recording.LIMIT_BYTES, now: Callable[[], float] = lambda: 1.5
) -> Recording:
    return Recording(str(file), now=now, limit=limit)


def mode(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


def lines(file: Path) -> list[Recorded]:
    found = list(read_lines(file.read_bytes().splitlines()))
    assert all(isinstance(line, Recorded) for line in found), found
    return [line for line in found if isinstance(line, Recorded)]


async def test_outcomes_and_scores_are_read_back_as_they_were(file: Path) -> None:
    made = outcome(V6)
    score = Score("req-1/accuracy", "support-bot", (V6,), "c", "user-1", "accuracy", 0.5, 1)
    written = pen(file)

    written.note([made])
    written.note([score])
    await written.aclose()

    assert [line.what for line in lines(file)] == [made, score]
    assert [line.time for line in lines(file)] == [1.5, 1.5]


def test_the_file_is_its_owners_alone_also_when_it_was_there_before(file: Path) -> None:
    file.write_text("before\n")
    file.chmod(0o644)

    create(str(file))

    assert (mode(file), file.read_text()) == (0o600, "before\n")


async def test_a_file_that_was_moved_away_is_begun_anew_and_private(file: Path) -> None:
    written = pen(file)

    written.note([outcome()])
    await written.aclose()

    assert mode(file) == 0o600


async def test_two_workers_write_whole_lines_to_one_file(file: Path) -> None:
    pens = [pen(file), pen(file)]

    for _ in range(20):
        for each in pens:
            each.note([outcome() for _ in range(50)])
        await asyncio.sleep(0)
    for each in pens:
        await each.aclose()

    assert len(lines(file)) == 2_000


async def test_a_recording_ends_at_its_limit_and_says_so(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    written = pen(file, limit=2_000)

    for _ in range(50):
        written.note([outcome()])
        await written.aclose()

    assert 3 < len(lines(file)) < 8
    assert written.ended
    assert [record.getMessage() for record in caplog.records] == [
        f"nothing is recorded any more: {file} has its 2000 bytes"
    ]


async def test_a_file_that_cannot_be_written_ends_the_recording_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    written = pen(tmp_path / "missing" / "file")

    written.note([outcome()])
    await written.aclose()
    written.note([outcome()])

    assert written.ended
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


async def test_a_disk_that_hangs_costs_lines_and_not_memory(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    written = pen(file)
    many = [outcome()] * 1_000

    # Nothing is written before the loop has its turn.
    for _ in range(30):
        written.note(many)
    await written.aclose()

    assert len(lines(file)) == recording.MOST_WAITING
    assert len(caplog.records) == 1


@pytest.mark.parametrize("place", ["/dev/null", "/proc/nothing"])
def test_a_place_that_is_no_file_is_refused(place: str) -> None:
    with pytest.raises(OSError, match=r"."):
        create(place)


async def test_the_state_is_that_of_the_layers_flags_and_then_only_what_changed(office: Office) -> None:
    await office.declare(flag("greeting", None, {"on": True}))
    snapshot = office.snapshot()

    whole = state_of(snapshot, None)
    change = state_of(snapshot, frozenset({ObjectKey(Kind.FLAG, "support-bot.prompt")}))

    assert set(whole.flags) == {"support-bot.prompt", "support-bot.model"}
    assert set(whole.routes) == {"support-bot"}
    assert (set(change.flags), change.routes) == ({"support-bot.prompt"}, {})


async def test_the_state_tells_which_layers_a_pipeline_pins(office: Office) -> None:
    pins = {"v4": {"pins": {}}, "v5": {"pins": {"prompt": "v7"}}}
    await office.declare(flag("support-bot.pipeline", Layer.PIPELINE, pins, serve="v5", safe="v4"))

    state = state_of(office.snapshot(), None)

    assert state.pins == {"support-bot.pipeline": {"v4": [], "v5": [Layer.PROMPT]}}

"""`rollback show` and `rollback tick` as a shell sees them."""

from __future__ import annotations

import pytest

from gateway.cli.rollbacks import record_text
from tests.gateway.http.test_rollback_desk import LINK, PROMPT, rolled_back
from tests.gateway.office import Office, by
from tests.gateway.test_cli import Shell, alone, shell

__all__ = ["alone", "shell"]


class TestShow:
    async def test_it_is_a_checklist(self, office: Office, shell: Shell) -> None:
        change_id = await rolled_back(office)

        told = await shell("rollback", "show", change_id)

        lines = told.out.splitlines()
        assert told.code == 0
        assert lines[0] == f"rollback {change_id}"
        assert lines[1] == "support-bot.prompt: v7 → v6  [v6.0.0-rollback]"
        steps = [line.split()[:2] for line in lines if line.startswith(("✓", "✗", "…"))]
        assert steps[:3] == [["✓", "locate"], ["✓", "restore"], ["…", "acknowledge"]]
        assert lines[-1] == "2 of 8 ticked, 6 still to be done"

    async def test_json_is_the_record(self, office: Office, shell: Shell) -> None:
        change_id = await rolled_back(office)

        told = await shell("rollback", "show", change_id, "--json")

        assert (told.document["id"], told.document["from"], told.document["to"]) == (change_id, "v7", "v6")
        assert {"name", "done", "time"} <= told.document["steps"][0].keys()

    async def test_without_an_id_or_with_a_flag_it_is_the_newest(self, office: Office, shell: Shell) -> None:
        await rolled_back(office)
        newest = await rolled_back(office, "v5")

        plain, of_flag = (
            await shell("rollback", "show", "--json"),
            await shell("rollback", "show", PROMPT, "--json"),
        )

        assert [plain.document["id"], of_flag.document["id"]] == [newest, newest]

    async def test_none_yet_and_an_unknown_one(self, office: Office, shell: Shell) -> None:
        none, unknown = await shell("rollback", "show"), await shell("rollback", "show", "no such id")

        assert (none.code, unknown.code) == (1, 1)
        assert "no rollback was recorded yet" in none.err
        assert "there is no record of a rollback" in unknown.err


class TestTick:
    async def test_ci_is_ticked(self, office: Office, shell: Shell) -> None:
        change_id = await rolled_back(office)

        told = await shell("rollback", "tick", change_id, "ci", "--link", LINK)

        assert told.code == 0
        assert f"ticked by alice: rollback tick {change_id} ci  {LINK}" in told.out

    async def test_twice_is_no_error_and_says_so(self, office: Office, shell: Shell) -> None:
        change_id = await rolled_back(office)
        await shell("rollback", "tick", change_id, "ci", "--link", LINK)

        told = await shell("rollback", "tick", change_id, "ci", "--link", LINK)

        assert told.code == 0
        assert told.out.startswith("ci was ticked before; nothing was written\n")

    @pytest.mark.parametrize(
        "words",
        [("r1", "ci"), ("r1", "ci", "--link", "nowhere"), ("r1",), ("r1", "ci", "--link", "http://a b")],
    )
    async def test_usage_comes_first(self, alone: Shell, words: tuple[str, ...]) -> None:
        told = await alone("rollback", "tick", *words)

        assert told.code == 2

    async def test_an_unknown_record_is_exit_1(self, shell: Shell) -> None:
        told = await shell("rollback", "tick", "nope", "ci", "--link", LINK, "--json")

        assert (told.code, told.error["code"]) == (1, "not_found")


class TestTheVerbItself:
    async def test_it_still_rolls_back_and_its_help_names_the_words(
        self, office: Office, shell: Shell
    ) -> None:
        await office.operations.switch(by(), PROMPT, "v7")

        done, told = await shell("rollback", PROMPT, "--reason", "x"), await shell("rollback", "--help")

        assert (done.code, told.code) == (0, 0)
        assert "rollback show [ID|FLAG]" in told.out
        assert "rollback tick ID STEP --link URL" in told.out

    @pytest.mark.parametrize("name", ["show", "tick"])
    @pytest.mark.parametrize(
        "words", [("--reason", "x", "{}"), ("{}", "--reason", "x"), ("{}", "--reason=x")]
    )
    async def test_a_flag_called_like_a_word_is_rolled_back_like_any_other(
        self, shell: Shell, name: str, words: tuple[str, ...]
    ) -> None:
        told = await shell("rollback", *(word.format(name) for word in words))

        assert f'flag "{name}" does not exist' in told.err

    async def test_the_words_have_help_of_their_own(self, alone: Shell) -> None:
        told = await alone("rollback", "tick", "--help")

        assert "Usage: pointsman rollback tick [OPTIONS] ID STEP" in told.out


def test_ticks_marks_times_and_links_line_up() -> None:
    step = {"state": "done", "done": True}
    record = {
        "id": "r1", "flag": "bot.prompt", "from": None, "to": None, "label": "", "hash": "f" * 64,
        "time": "2026-01-02T03:04:05.000Z", "actor": "policy/brake", "reason": "errors", "routes": [],
        "ungoverned": ["approved: nobody"], "closed": "2026-01-02T05:04:05.000Z", "link": "https://x.example/1",
        "steps": [
            {**step, "name": "locate", "time": "2026-01-02T03:04:05.000Z", "detail": "v6"},
            {**step, "name": "notify", "time": "2026-01-02T03:04:05.400Z", "detail": "told: slack 0.4 s"},
            {**step, "name": "evaluate", "time": "2026-01-02T03:08:05.000Z", "detail": "passed", "link": "/r"},
            {"state": "failed", "done": False, "name": "helped", "time": "2026-01-02T05:04:05.000Z"},
        ],
    }  # fmt: skip

    assert record_text(record).splitlines() == [
        "rollback r1",
        "bot.prompt: nothing → the caller's own default",
        "2026-01-02T03:04:05.000Z  by policy/brake: errors",
        "see https://x.example/1",
        "serves " + "f" * 64,
        "UNGOVERNED: approved: nobody",
        "",
        "✓  locate    +0.0 s  v6",
        "✓  notify    +0.4 s  told: slack 0.4 s",
        "✓  evaluate  +4 min  passed  /r",
        "✗  helped    +2.0 h",
        "",
        "3 of 4 ticked, 1 failed; closed",
    ]

"""`pointsman changelog`: YAML that loads back, Markdown that stays where it is, JSON that is the API's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.cli.changelog import changelog_md
from gateway.cli.history import entry_text
from gateway.cli.markdown import code, link, table, value
from gateway.http import ledger_desk
from tests.gateway.office import Office, by
from tests.gateway.test_cli import PROMPT, Shell

NASTY = 'say "no": *yes* | <b>`x`</b>\n# head\x1b[31m @team [a](http://b) \u202egnp'


@pytest.fixture
def shell(served: str, tmp_path: Path) -> Shell:
    """A shell that knows the office's server."""
    return Shell(tmp_path, POINTSMAN_URL=served, POINTSMAN_ACTOR="alice")


class TestChangelog:
    async def test_it_tells_what_changed_and_why(self, office: Office, shell: Shell) -> None:
        await office.operations.switch(by("bob", "looks better"), PROMPT, "v7")
        await office.operations.rollback(by("carol", "wrong answers"), PROMPT)

        entries = (await shell("changelog", PROMPT, "--json")).document

        declared, switched, back = entries
        assert declared["version"] == "v6"
        assert (switched["flag"], switched["version"], switched["author"]) == (PROMPT, "v7", "bob")
        assert switched["rationale"] == "looks better"
        assert {"field": "serve", "old_value": "v6", "new_value": "v7"} in switched["changes"]
        assert (back["version"], back["action"]) == ("v6", "rollback")
        assert {"field": "withdrawn", "old_value": [], "new_value": ["v7"]} in back["changes"]

    async def test_the_yaml_loads_back_to_the_same(self, office: Office, shell: Shell) -> None:
        await office.operations.switch(by("no", NASTY), PROMPT, "v7")

        told = await shell("changelog", PROMPT)
        entries = (await shell("changelog", PROMPT, "--json")).document

        assert yaml.safe_load(told.out) == entries
        assert entries[-1]["rationale"] == NASTY
        assert "\x1b" not in told.out

    async def test_markdown_shows_a_table_for_each_entry(self, office: Office, shell: Shell) -> None:
        await office.operations.switch(by("bob", NASTY), PROMPT, "v7")

        told = (await shell("changelog", PROMPT, "--format", "md")).out

        assert told.startswith("# Change log of `support-bot.prompt`")
        assert "| `serve` | `v6` | `v7` |" in told
        assert "\x1b" not in told
        assert "\u202e" not in told
        assert not any(line.startswith("# head") for line in told.splitlines())

    async def test_pages_give_the_same_as_one(
        self, office: Office, shell: Shell, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for turn in range(9):
            await office.operations.switch(by(), PROMPT, ("v7", "v6")[turn % 2])
        whole = (await shell("changelog", PROMPT, "--json")).document
        monkeypatch.setattr(ledger_desk, "PAGE", 2)
        monkeypatch.setattr(ledger_desk, "LOOKS", 3)
        paged = (await shell("changelog", PROMPT, "--json")).document
        found: list[Any] = []
        after: int | None = 0
        async with office.client() as client:
            while after is not None:
                answer = await client.get(f"/flags/{PROMPT}/changelog", params={"after": after, "limit": 2})
                found, after = [*found, *answer.json()["entries"]], answer.json()["next"]

        assert len(whole) == 10
        assert paged == found == whole

    async def test_a_flag_that_never_was_is_told(self, shell: Shell) -> None:
        told = await shell("changelog", "absent", "--json")

        assert told.code == 1
        assert told.error["code"] == "not_found"


def test_a_code_span_holds_whatever_it_is_given() -> None:
    assert code("plain") == "`plain`"
    assert code("a`b``c") == "```a`b``c```"
    assert code("`") == "`` ` ``"
    assert code("a|b\nc") == "`a\\|b c`"
    assert code(" \n ") == ""
    assert code("x" * 300) == f"`{'x' * 199}…`"


def test_values_are_texts_as_they_are_and_others_as_json() -> None:
    assert [value(each) for each in (None, "v7", ["v7"], True, 1.5)] == [
        "",
        "`v7`",
        '`["v7"]`',
        "`true`",
        "`1.5`",
    ]


@pytest.mark.parametrize(
    "url", [None, "javascript:x", "https://a b", "https://a>", "https://a|b", "https://a\n"]
)
def test_what_is_no_plain_url_is_no_link(url: str | None) -> None:
    assert link(url) == ""
    assert link("https://ci.example/7") == " <https://ci.example/7>"


def test_a_table_has_a_line_for_each_row() -> None:
    assert table(("a", "b"), [("1", "2")]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


def test_an_entry_after_which_nothing_is_served_says_so() -> None:
    entry: dict[str, Any] = {
        "version": None,
        "timestamp": "t",
        "author": "a",
        "changes": [],
        "rationale": "r",
        "revision": 3,
        "action": "delete",
        "link": None,
    }

    assert "## `nothing`, t" in changelog_md("f", [entry])


def test_an_entry_is_one_harmless_line_whatever_was_written_as_a_reason() -> None:
    entry = {
        "revision": 7,
        "time": "2030-01-01T00:00:00Z",
        "actor": "policy/sig",
        "action": "alert",
        "object": "route/bot",
        "reason": "\x1b[31mRED\x1b]0;x\x07\u202e\r\n     8  forged",
        "link": None,
    }

    text = entry_text(entry)

    assert text.isprintable()
    assert text.endswith("route/bot:  [31mRED ]0;x   8 forged")

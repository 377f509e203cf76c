"""A plan tells, object by object and field by field, what `apply` would write: in words, as Markdown, as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.cli.plans import MAX_FIELDS, plan_of, plan_text
from tests.gateway.office import Office
from tests.gateway.test_cli import Shell

CONFIG = """
upstreams:
  mock: {kind: simulated}
flags:
  shop-bot.model:
    layer: model
    serve: small
    variants:
      small: {upstream: mock, model: small}
      large: {upstream: mock, model: large}
routes:
  shop-bot: {}
"""


@pytest.fixture
def shell(served: str, tmp_path: Path) -> Shell:
    """A shell that knows the office's server."""
    return Shell(tmp_path, POINTSMAN_URL=served, POINTSMAN_ACTOR="alice")


def answer(*writes: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"writes": list(writes), "warnings": [], "notes": [], "revision": 7, **more}


UPDATE = {
    "object": "upstream/mock",
    "action": "update",
    "before": {"spec": {"kind": "simulated", "limits": {"calls": 1}}, "declared": "x"},
    "after": {"spec": {"kind": "simulated", "limits": {"calls": 2}, "name": "|`@team`"}, "declared": "y"},
}


def test_an_object_is_told_field_by_field() -> None:
    (write,) = plan_of(answer(UPDATE))["writes"]

    assert write["changes"] == [
        {"field": "limits.calls", "old_value": 1, "new_value": 2},
        {"field": "name", "old_value": None, "new_value": "|`@team`"},
    ]


def test_words_have_a_line_for_each_object_and_each_field() -> None:
    assert plan_text(plan_of(answer(UPDATE)), "text").splitlines() == [
        "update  upstream/mock",
        "          limits.calls: 1 → 2",
        '          name: (nothing) → "|`@team`"',
        "1 to update (as of revision 7); nothing is written yet",
    ]


def test_markdown_keeps_values_in_their_cells() -> None:
    told = plan_text(plan_of(answer(UPDATE, warnings=["mind <b>this</b>"], notes=["kept"])), "md")

    assert "| `limits.calls` | `1` | `2` |" in told
    assert "| `name` |  | ``\\|`@team` `` |" in told or "\\|`@team`" in told
    assert "- warning: `mind <b>this</b>`" in told
    assert "- note: `kept`" in told


def test_a_delete_tells_what_goes_and_nothing_to_do_says_so() -> None:
    gone = {**UPDATE, "action": "delete", "after": None}

    assert "1 to delete" in plan_text(plan_of(answer(gone)), "md")
    assert "limits.calls: 1 → (nothing)" in plan_text(plan_of(answer(gone)), "text")
    assert plan_text(plan_of(answer()), "text") == "nothing to change (revision 7)"


def test_a_plan_of_thousands_is_cut_and_says_so() -> None:
    many = {**UPDATE, "after": {"spec": {f"f{at}": at for at in range(100)}}, "before": None}

    for form in ("text", "md"):
        assert f"{100 - MAX_FIELDS} more fields" in plan_text(plan_of(answer(many)), form)
    assert len(plan_of(answer(many))["writes"][0]["changes"]) == 100


async def test_a_dry_run_prints_the_plan_and_writes_nothing(
    office: Office, shell: Shell, tmp_path: Path
) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text(CONFIG)
    before = await office.store.head()

    words = await shell("apply", "-f", str(file), "--dry-run")
    markdown = await shell("apply", "-f", str(file), "--dry-run", "--format", "md")
    as_json = await shell("apply", "-f", str(file), "--dry-run", "--json")
    wrong = await shell("apply", "-f", str(file), "--format", "md")

    assert "create  flag/shop-bot.model" in words.out
    assert 'serve: (nothing) → "small"' in words.out
    assert "3 to create" in markdown.out
    assert {each["object"] for each in as_json.document["writes"]} >= {
        "flag/shop-bot.model",
        "route/shop-bot",
    }
    assert all("changes" in each for each in as_json.document["writes"])
    assert wrong.code == 2
    assert await office.store.head() == before

"""Flags over OFREP in a Node server, by OpenFeature's own provider for servers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet import Fleet
from tests.journey.interop import scene, tools
from tests.journey.interop.remote import Remote
from tests.journey.interop.scene import ANN_KEY, SHOP_KEY

pytestmark = [
    pytest.mark.full,
    pytest.mark.timeout(300),
    pytest.mark.skipif(bool(tools.missing("node", "npm")), reason=tools.missing("node", "npm")),
]
ANN = {"targetingKey": "ann"}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Two workers that ask for keys."""
    with scene.fleet(tmp_path_factory.mktemp("fleet"), workers=2, keys=True) as running:
        yield running


@pytest.fixture
def node(server_packages: Path, tmp_path: Path) -> Iterator[Remote]:
    """A Node server without a provider yet."""
    with Remote(tools.in_node, server_packages, tmp_path / "node.log") as running:
        yield running


def test_each_type_comes_back_as_what_it_is(fleet: Fleet, node: Remote) -> None:
    node.start("server", fleet.url, key=ANN_KEY)

    greeting = node.ask("boolean", "new-greeting", False, ANN)
    colour = node.ask("string", "colour", "", {**ANN, "plan": "gold"})
    limit = node.ask("number", "limit", 0, ANN)
    ratio = node.ask("number", "ratio", 0, ANN)
    theme = node.ask("object", "theme", {}, ANN)
    prompt = node.ask("object", "support-bot.prompt", {}, ANN)

    assert (greeting["value"], greeting["variant"], greeting["reason"]) == (True, "on", "STATIC")
    assert (colour["value"], colour["variant"], colour["reason"]) == ("#fc0", "gold", "TARGETING_MATCH")
    assert colour["flagMetadata"].items() >= {"team": "design", "weight": 2, "flagSetId": "default"}.items()
    assert (limit["value"], ratio["value"]) == (10, 1)
    assert theme["value"] == {"bg": "#000", "sizes": [1, 2.5], "on": True}
    assert prompt["variant"] == "v7"


@pytest.mark.parametrize(
    ("kind", "flag", "fallback", "code"),
    [
        ("string", "no-such-flag", "mine", "FLAG_NOT_FOUND"),
        ("string", "a/b", "mine", "FLAG_NOT_FOUND"),
        ("boolean", "colour", True, "TYPE_MISMATCH"),
        ("boolean", "broken", True, "GENERAL"),
    ],
)
def test_an_error_gives_the_callers_value_and_its_code(  # what a row of the table says
    fleet: Fleet, node: Remote, kind: str, flag: str, fallback: object, code: str
) -> None:
    node.start("server", fleet.url, key=ANN_KEY)

    found = node.ask(kind, flag, fallback, {**ANN, "pick": "nope"})

    assert (found["value"], found["errorCode"]) == (fallback, code)
    assert found["errorMessage"]


@pytest.mark.parametrize("flag", ["sleeping", "undecided"])
def test_a_flag_that_decides_nothing_leaves_the_value_to_the_caller(
    fleet: Fleet, node: Remote, flag: str
) -> None:
    """This version of the provider calls an answer without a value unexpected; the value is the caller's all the same."""
    node.start("server", fleet.url, key=ANN_KEY)

    values = [node.ask("boolean", flag, fallback, ANN)["value"] for fallback in (True, False)]

    assert values == [True, False]
    assert {made["status"] for made in node.requests()} == {200}


def test_a_rollback_is_seen_by_the_next_evaluation(fleet: Fleet, node: Remote) -> None:
    node.start("server", fleet.url, key=ANN_KEY)
    before = node.ask("boolean", "new-greeting", False, ANN)

    fleet.json("rollback", "new-greeting", "--reason", "nobody smiles", "--token", scene.BOSS_TOKEN)
    after = node.ask("boolean", "new-greeting", True, ANN)

    assert (before["value"], after["value"], after["variant"]) == (True, False, "off")


def test_a_key_shows_what_it_may_see(fleet: Fleet, node: Remote) -> None:
    node.start("server", fleet.url, key=SHOP_KEY)

    foreign = node.ask("object", "support-bot.prompt", {}, ANN)
    own = node.ask("object", "shop.model", {}, ANN)
    inner = node.ask("string", "inner", "", {**ANN, "key": {"tier": "inner"}, "__proto__": {"tier": "inner"}})

    assert foreign["errorCode"] == "FLAG_NOT_FOUND"
    assert own["variant"] == "m"
    assert inner["value"] == "out"


def test_without_a_key_nothing_is_told(fleet: Fleet, node: Remote) -> None:
    node.start("server", fleet.url)

    found = node.ask("boolean", "new-greeting", True, ANN)

    assert (found["value"], found["reason"]) == (True, "ERROR")
    assert [made["status"] for made in node.requests()] == [401]

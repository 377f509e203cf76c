"""Flags in a web application, by OpenFeature's own provider for it: in Node, and in a page of somebody else's site."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from tests.fleet import Fleet
from tests.journey.interop import scene, tools
from tests.journey.interop.remote import Failed, Remote
from tests.journey.interop.scene import ANN_KEY, BOSS_TOKEN, SHOP_KEY
from tests.journey.traffic import until
from tests.redis_server import free_port

PLACES = {
    "node": tools.no_event_source(),
    "page": tools.missing("npm", "chromium"),
}
pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]
ANN = {"targetingKey": "ann"}
# Enough for a slow pair of workers to give a stale answer once, if ever they did.
SWITCHES = 20


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Two workers that ask for keys, and let every site's pages ask."""
    folder = tmp_path_factory.mktemp("fleet")
    with scene.fleet(folder, workers=2, keys=True, ofrep={"cors": ["*"]}) as running:
        yield running


@pytest.fixture(
    params=[
        pytest.param(place, marks=pytest.mark.skipif(bool(lack), reason=lack))
        for place, lack in PLACES.items()
    ]
)
def web(request: pytest.FixtureRequest, web_packages: Path, tmp_path: Path) -> Iterator[Remote]:
    """A web application without a provider yet."""
    in_page = tools.in_browser(tmp_path / "profile", tools.FOREIGN_HOST)
    launch = tools.in_node if request.param == "node" else in_page
    with Remote(launch, web_packages, tmp_path / "web.log") as running:
        yield running


def asked(web: Remote) -> list[dict[str, Any]]:
    """The requests that the application itself caused: not those that the stream told it to make."""
    return [made for made in web.requests() if not made["query"]]


def operate(fleet: Fleet, *words: str) -> Any:
    """Run one command as an operator who may."""
    return fleet.json(*words, "--token", BOSS_TOKEN)


def committed_at(fleet: Fleet, revision: int) -> float:
    """When the Change with this revision was committed, by the store's clock, in Unix milliseconds."""
    entries = fleet.command("log", "--json", "--token", BOSS_TOKEN).stdout.splitlines()
    times = {entry["revision"]: entry["time"] for entry in map(json.loads, entries)}
    return datetime.fromisoformat(times[revision]).timestamp() * 1000


def test_all_flags_come_with_one_request_each_as_what_it_is(fleet: Fleet, web: Remote) -> None:
    web.start("web", fleet.url, key=ANN_KEY, context={**ANN, "plan": "gold"})

    greeting = web.ask("boolean", "new-greeting", False)
    colour = web.ask("string", "colour", "")
    limit = web.ask("number", "limit", 0)
    ratio = web.ask("number", "ratio", 0)
    theme = web.ask("object", "theme", {})
    inner = web.ask("string", "inner", "")
    prompt = web.ask("object", "support-bot.prompt", {})

    assert (greeting["value"], greeting["variant"]) == (True, "on")
    assert (colour["value"], colour["variant"], colour["reason"]) == ("#fc0", "gold", "TARGETING_MATCH")
    assert colour["flagMetadata"].items() >= {"team": "design", "weight": 2, "flagSetId": "default"}.items()
    assert (limit["value"], ratio["value"]) == (10, 1)
    assert theme["value"] == {"bg": "#000", "sizes": [1, 2.5], "on": True}
    assert inner["value"] == "in"
    assert prompt["value"]["messages"][0]["role"] == "system"
    assert [made["status"] for made in asked(web)] == [200]


def test_what_decides_nothing_and_what_fails_leave_the_value_to_the_page(fleet: Fleet, web: Remote) -> None:
    web.start("web", fleet.url, key=ANN_KEY, context={**ANN, "pick": "nope"})

    asleep = [web.ask("boolean", "sleeping", fallback)["value"] for fallback in (True, False)]
    undecided = [web.ask("boolean", "undecided", fallback)["value"] for fallback in (True, False)]
    broken = web.ask("boolean", "broken", True)
    unknown = web.ask("string", "no-such-flag", "mine")

    assert asleep == undecided == [True, False]
    assert (broken["value"], broken["errorCode"]) == (True, "GENERAL")
    assert (unknown["value"], unknown["errorCode"]) == ("mine", "FLAG_NOT_FOUND")


def test_the_same_question_is_answered_by_304_and_another_context_is_not(fleet: Fleet, web: Remote) -> None:
    web.start("web", fleet.url, key=ANN_KEY, context=ANN, cacheMode="disabled")
    before = web.ask("string", "colour", "")["value"]

    web.do("context", context=ANN)
    web.do("context", context={**ANN, "plan": "gold"})
    after = web.ask("string", "colour", "")["value"]

    first, same, other = asked(web)
    assert (before, after) == ("#f00", "#fc0")
    assert (first["status"], first["match"]) == (200, None)
    assert (same["status"], same["match"]) == (304, first["etag"])
    assert (other["status"], other["match"]) == (200, first["etag"])
    assert other["etag"] != first["etag"]


def test_a_rollback_is_seen_without_asking(fleet: Fleet, web: Remote) -> None:
    """The page does not poll: nothing is asked but one request after the stream's word."""
    web.start("web", fleet.url, key=ANN_KEY, context=ANN)
    before = web.ask("object", "support-bot.prompt", {})["variant"]
    until(lambda: len(web.requests()) > 1, "the stream is open, whose first word is to look again")
    before_it = len(web.requests())

    done = operate(fleet, "rollback", "support-bot.prompt", "--reason", "it forgets")
    told = web.changed("support-bot.prompt")
    after = web.ask("object", "support-bot.prompt", {})

    assert (before, after["variant"]) == ("v7", "v6")
    assert len(web.requests()) == before_it + 1
    assert web.requests()[-1]["query"].startswith("?flagConfigEtag=")
    print(
        f"rollback → seen: {told.at - committed_at(fleet, done['revision']):.0f} ms, of which 50 the client waits"
    )
    operate(fleet, "restore", "support-bot.prompt", "v7", "--reason", "for the next test")
    operate(fleet, "switch", "support-bot.prompt", "v7")


def test_each_of_many_changes_is_seen_with_its_own_value(fleet: Fleet, web: Remote) -> None:
    """Whichever worker streams and whichever answers: a refetch never brings what was before the change."""
    web.start("web", fleet.url, key=ANN_KEY, context=ANN)
    took = []

    for number in range(SWITCHES):
        seen, wanted = len(web.changes()), ("high", "low")[number % 2]
        done = operate(fleet, "switch", "limit", wanted)
        told = web.changed("limit", after=seen)
        took.append(told.at - committed_at(fleet, done["revision"]))
        assert web.ask("number", "limit", 0)["variant"] == wanted

    print(f"{SWITCHES} changes → seen: median {median(took):.0f} ms, max {max(took):.0f} ms")


def test_a_key_shows_what_it_may_see(fleet: Fleet, web: Remote) -> None:
    web.start("web", fleet.url, key=SHOP_KEY, context={**ANN, "key": {"tier": "inner"}})

    assert web.ask("object", "support-bot.prompt", {})["errorCode"] == "FLAG_NOT_FOUND"
    assert web.ask("object", "shop.model", {})["variant"] == "m"
    assert web.ask("string", "inner", "")["value"] != "in"


def test_without_a_key_the_provider_gives_up_at_once(fleet: Fleet, web: Remote) -> None:
    with pytest.raises(Failed, match="Initialization failed"):
        web.start("web", fleet.url, context=ANN)

    assert web.do("status") == "FATAL"


def test_a_client_comes_back_after_a_restart_and_misses_nothing(web: Remote, tmp_path: Path) -> None:
    """The change falls where nobody streams: the server is just back, and its client not yet. None came before it, so
    that all the client knows is what the stream's first words told.

    Node's own EventSource gives up for ever, silently, where one attempt is refused; the provider begins anew after its
    30 s of grace, and tells no event of what it finds then. So it is the value that is awaited.
    """
    port = ("--port", str(free_port()))
    with scene.fleet(tmp_path / "own", workers=2, options=port, ofrep={"cors": ["*"]}) as fleet:
        web.start("web", fleet.url, context=ANN)
        before = web.ask("boolean", "new-greeting", False)["value"]

        fleet.stop()
        fleet.start()
        fleet.json("rollback", "new-greeting", "--reason", "nobody smiles")
        until(lambda: web.ask("boolean", "new-greeting", True)["value"] is False, "the client is back", 60)

        assert before is True
        assert "PROVIDER_STALE" in {told.event for told in web.events}

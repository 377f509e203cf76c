"""Which versions would meet, who is asked before a verb, and what an operator is told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from flags.errors import Refused
from flags.model import Flag, Layer, Rollout
from gateway.declaring.plan import Options
from gateway.index.shelf import Shelf
from gateway.operations import Operations
from gateway.patience import Patience
from gateway.retrieval.fitting import Fitting, meetings, newly, pointed_at
from gateway.retrieval.preflight import Preflight
from gateway.spec import Reply, Rule, UpstreamSpec
from gateway.upstream.simulated import Simulated
from gateway.upstreams import Upstreams
from tests.gateway.builders import flag, rollout
from tests.gateway.index.library import a_build
from tests.gateway.office import Office, by, key_of, model
from tests.gateway.reading_room import RETRIEVER, snapshot

EMBEDDED = {"kind": "embedded", "top_k": 3, "timeout_seconds": 2, "on_error": "fail"}
INDEXES = {name: {"store": name} for name in ("old", "docs", "gone")}
INDEX = "support-bot.index"


def a_flag(**state: Any) -> Flag:
    made, _ = flag(INDEX, Layer.INDEX, INDEXES, **state)
    return made


@pytest.mark.parametrize(
    ("before", "after", "names"),
    [
        ({"serve": "old"}, {"serve": "docs", "safe": "old"}, {"docs"}),
        ({"serve": "old"}, {"serve": "old"}, set()),
        ({"serve": "old"}, {"serve": "old", **rollout("docs", 10)}, {"docs"}),
        ({"serve": "old", **rollout("docs", 10)}, {"serve": "docs", "safe": "old"}, {"docs"}),
        ({"serve": "docs", "safe": "old"}, {"serve": "docs", "safe": "old", "withdrawn": frozenset({"docs"})}, {"old"}),
        ({"serve": "old", **rollout("docs", 10)}, {"serve": "old", "withdrawn": frozenset({"docs"})}, set()),
        ({"serve": "old"}, {"serve": "old", "safe": "docs"}, {"docs"}),
        (None, {"serve": "docs", "safe": "old"}, {"docs", "old"}),
    ],
)  # fmt: skip
def test_asked_about_is_what_users_would_newly_get(
    before: Mapping[str, Any] | None, after: Mapping[str, Any], names: set[str]
) -> None:
    was = None if before is None else a_flag(**before)

    assert newly(was, a_flag(**after)) == names


def test_a_flag_points_to_what_is_served_its_candidate_and_safe() -> None:
    found = pointed_at(a_flag(serve="docs", safe="old", rollout=Rollout("gone", 1.0)))

    assert found == {"docs", "old", "gone"}


def test_an_index_meets_every_retriever_that_users_may_get_and_the_other_way_round() -> None:
    retrievers = {f"r{k}": {**EMBEDDED, "top_k": k} for k in (1, 2, 3)}
    made = snapshot(retrievers, INDEXES, retriever_state={"serve": "r1", "safe": "r1", **rollout("r2", 5)})

    (meeting,) = meetings(made, INDEX, "docs")
    (other,) = meetings(made, "support-bot.retriever", "r3")

    assert (meeting.index.store, [each.top_k for each in meeting.retrievers]) == ("docs", [1, 2])
    assert (other.index.store, [each.top_k for each in other.retrievers]) == ("old", [3])


@pytest.mark.parametrize(
    ("pins", "met"),
    [
        ({"index": "docs", "retriever": "r2"}, [("docs", [2])]),
        ({"index": "docs"}, [("docs", [1])]),
        ({"retriever": "r2"}, [("old", [2])]),
        ({"model": "gpt-4.1"}, []),
    ],
)
def test_a_pipeline_brings_together_what_it_pins(pins: dict[str, str], met: list[Any]) -> None:
    retrievers = {f"r{k}": {**EMBEDDED, "top_k": k} for k in (1, 2)}
    made = snapshot(retrievers, INDEXES, pipelines={"p1": {"pins": pins}})

    found = meetings(made, "support-bot.pipeline", "p1")

    assert [(each.index.store, [r.top_k for r in each.retrievers]) for each in found] == met


def test_other_flags_bring_nothing_together() -> None:
    made = snapshot()

    assert not [*meetings(made, "support-bot.model", "gpt-4.1"), *meetings(made, "nobody", "v1")]


@pytest.fixture
async def office(redis_url: str, tmp_path: Path) -> AsyncIterator[Office]:
    """An office whose index flag serves `old`, and knows `docs`, which is there, and `gone`, which is not."""
    for name in ("old", "docs"):
        a_build(tmp_path, name=name)
    shelf = Shelf(tmp_path)
    made = await Office(redis_url).start()
    made.operations = Operations(
        made.store, made.snapshot, time.monotonic, fitting=Fitting(Preflight({}, shelf, clock=time.monotonic))
    )
    retriever = flag(
        "support-bot.retriever", Layer.RETRIEVER, {"r1": EMBEDDED, "r2": {**RETRIEVER, "upstream": "new"}}
    )
    await made.declare(model(), retriever, flag(INDEX, Layer.INDEX, INDEXES), routes=["support-bot"])
    yield made
    await made.aclose()
    await shelf.aclose()


@pytest.mark.parametrize("verb", ["switch", "rollout"])
async def test_an_index_that_is_not_there_is_refused_with_those_that_are(office: Office, verb: str) -> None:
    head = (await office.store.head()).position.revision
    with pytest.raises(Refused, match="no index gone") as refused:
        await (
            office.operations.switch(by(), INDEX, "gone")
            if verb == "switch"
            else office.operations.rollout(by(), INDEX, "gone", 10.0)
        )

    assert refused.value.rule == "index_unfit"
    assert "these versions fit: old, docs" in str(refused.value.mend)
    assert (await office.store.head()).position.revision == head


async def test_an_index_that_fits_is_switched_to_without_a_word(office: Office) -> None:
    done = await office.operations.switch(by(), INDEX, "docs")

    assert (done.changed, done.warnings) == (True, [])


async def test_where_nobody_can_tell_it_goes_ahead_and_says_so(office: Office) -> None:
    done = await office.operations.switch(by(), "support-bot.retriever", "r2")

    assert done.changed
    assert done.warnings == ['not checked: flag "support-bot.retriever": r2: upstream new: not defined']


async def test_a_rollback_onto_an_index_that_vanished_is_refused_unless_anyway(
    office: Office, tmp_path: Path
) -> None:
    await office.operations.switch(by(), INDEX, "docs")
    (tmp_path / "indexes" / "old.sqlite").unlink()
    with pytest.raises(Refused, match="no index old") as refused:
        await office.operations.rollback(by(), INDEX)
    with pytest.raises(Refused):
        await office.operations.rollback_route(by(), "support-bot")
    with pytest.raises(Refused):
        await office.operations.withdraw(by(), INDEX, "docs")

    done = await office.operations.rollback(by(), INDEX, anyway=True)

    assert refused.value.rule == "index_unfit"
    assert "--anyway" in str(refused.value.mend)
    assert (done.to, done.changed) == ("old", True)
    assert "does not fit" in done.warnings[0]


async def test_a_rollback_that_serves_what_is_served_already_asks_nobody(
    office: Office, tmp_path: Path
) -> None:
    await office.operations.rollout(by(), INDEX, "docs", 10.0)
    (tmp_path / "indexes" / "old.sqlite").unlink()

    done = await office.operations.rollback(by(), INDEX)

    assert (done.to, done.changed, done.warnings) == ("old", True, [])


async def test_a_promotion_looks_again(office: Office, tmp_path: Path) -> None:
    await office.operations.rollout(by(), INDEX, "docs", 10.0)
    (tmp_path / "indexes" / "docs.sqlite").unlink()

    with pytest.raises(Refused, match="no index docs"):
        await office.operations.steer(by(), INDEX, "promote")
    assert (await office.operations.steer(by(), INDEX, "abort")).changed


async def test_a_version_that_is_restored_to_service_is_looked_at(office: Office, tmp_path: Path) -> None:
    await office.operations.switch(by(), INDEX, "docs")
    await office.operations.rollback(by(), INDEX)
    (tmp_path / "indexes" / "docs.sqlite").unlink()

    with pytest.raises(Refused, match="no index docs"):
        await office.operations.restore(by(), INDEX, "docs")


async def test_a_revert_to_an_index_that_vanished_is_refused(office: Office, tmp_path: Path) -> None:
    done = await office.operations.switch(by(), INDEX, "docs")
    (tmp_path / "indexes" / "old.sqlite").unlink()

    with pytest.raises(Refused, match="no index old"):
        await office.operations.revert(by(), key_of(INDEX), done.revision - 1)


DECLARED: dict[str, Any] = {
    "upstreams": {"mock": {"kind": "simulated"}},
    "flags": {
        "kb.index": {"layer": "index", "serve": "i1", "variants": {"i1": {"store": "docs"}}},
        "help.model": {"layer": "model", "variants": {"m": {"upstream": "mock", "model": "m"}}},
        "help.retriever": {"layer": "retriever", "variants": {"r1": EMBEDDED}},
    },
    "routes": {"help": {"index": "kb.index"}},
}


def declaring(store: str) -> dict[str, Any]:
    index = {"layer": "index", "serve": "i1", "variants": {"i1": {"store": store}}}
    return {**DECLARED, "flags": {**DECLARED["flags"], "kb.index": index}}


@pytest.mark.parametrize("dry_run", [False, True])
async def test_a_declaration_of_an_index_that_is_not_there_writes_nothing(
    office: Office, dry_run: bool
) -> None:
    head = (await office.store.head()).position.revision

    with pytest.raises(Refused, match="no index gone") as refused:
        await office.operations.apply(by(), declaring("gone"), Options("alice"), dry_run=dry_run)
    assert refused.value.rule == "index_unfit"
    assert (await office.store.head()).position.revision == head


async def test_a_declaration_that_fits_is_written(office: Office) -> None:
    applied = await office.operations.apply(by(), declaring("docs"), Options("alice"))

    assert (applied.changed, applied.warnings) == (True, [])


async def test_a_route_that_brings_an_old_index_to_another_retriever_is_looked_at(office: Office) -> None:
    declared = {
        **DECLARED,
        "upstreams": {"mock": {"kind": "simulated"}, "later": {"kind": "simulated"}},
        "flags": {
            "help.model": DECLARED["flags"]["help.model"],
            "help.retriever": {"layer": "retriever", "variants": {"r1": {**RETRIEVER, "upstream": "later"}}},
        },
        "routes": {"help": {"index": INDEX}},
    }
    applied = await office.operations.apply(by(), declared, Options("alice"))

    assert applied.changed
    assert "upstream later: not defined" in applied.warnings[-1]


@pytest.mark.parametrize(("status", "changed"), [(200, True), (404, False)])
async def test_a_store_that_the_same_declaration_brings_is_looked_at(
    office: Office, status: int, changed: bool
) -> None:
    loop = asyncio.get_running_loop()
    patience = Patience(loop)
    upstreams = Upstreams(lambda spec: Simulated(spec, patience=patience, loop=loop))
    fitting = Fitting(Preflight(upstreams, None, clock=time.monotonic), upstreams)
    office.operations = Operations(office.store, office.snapshot, time.monotonic, fitting=fitting)
    store = {"kind": "simulated", "reply": {"status": status}}
    declared = declaring("vs_1")
    declared["upstreams"] = {**declared["upstreams"], "later": store}
    declared["flags"]["help.retriever"] = {
        "layer": "retriever",
        "variants": {"r1": {**RETRIEVER, "upstream": "later"}},
    }

    try:
        applied = await office.operations.apply(by(), declared, Options("alice"))
        found = (applied.changed, applied.warnings)
    except Refused as refused:
        found = (False, [str(refused)])

    assert found[0] is changed
    assert changed != any("upstream later has no vector store vs_1" in line for line in found[1])
    assert not upstreams
    patience.aclose()


async def test_what_is_served_and_does_not_fit_is_told_at_the_start(office: Office, tmp_path: Path) -> None:
    fitting = Fitting(Preflight({}, Shelf(tmp_path), clock=time.monotonic))
    assert await fitting.in_service(office.snapshot()) == []
    (tmp_path / "indexes" / "old.sqlite").unlink()

    (line,) = await fitting.in_service(office.snapshot())

    assert line.startswith(f"flag {INDEX}: what it serves does not fit: embedded index old")


async def test_stores_that_hang_hold_an_operator_no_longer_than_the_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.retrieval.preflight.PREFLIGHT_SECONDS", 0.05)
    loop = asyncio.get_running_loop()
    patience = Patience(loop, tick_seconds=0.005)
    spec = UpstreamSpec(kind="simulated", rules=[Rule(Reply(fault="hang"))])
    upstreams = {"store": Simulated(spec, patience=patience, loop=loop)}
    fitting = Fitting(Preflight(upstreams, None, clock=loop.time))
    made = snapshot({"r1": RETRIEVER}, INDEXES)
    after = a_flag(serve="docs", safe="old")

    (warning,) = await fitting.passes(made, INDEX, after, a_flag(serve="old"), brake=False)

    assert warning.startswith("not checked")
    patience.aclose()

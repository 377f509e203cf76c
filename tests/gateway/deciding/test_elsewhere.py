from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from openfeature import api

from flags.model import Context, Layer, Reason
from gateway.deciding.elsewhere import Elsewhere
from gateway.decision import EVERY_LAYER, Asked, Given, Serving
from gateway.route import decide
from policies.outcome import How
from tests.gateway.builders import PROMPT, rollout, serving
from tests.gateway.deciding.providers import FLAG

PROVIDERS = "tests.gateway.deciding.providers"
V7 = f"{PROVIDERS}:always_v7"
PROMPTS = {"v6": PROMPT, "v7": {"messages": [{"role": "system", "content": "You are v7."}]}}


@pytest.fixture
async def elsewhere() -> AsyncIterator[Elsewhere]:
    made = Elsewhere()
    yield made
    made.close()
    api.clear_providers()


def elsewhere_serving(reference: str = V7, *, state: Any = None, **decisions: Any) -> Serving:
    return serving(PROMPTS, prompt_state=state, decisions={"openfeature": reference, **decisions})


async def decided(elsewhere: Elsewhere, served: Serving, pin: str | None = None) -> Any:
    route = served.routes["support-bot"]
    asked = Asked(Context("user-1"), {} if pin is None else {FLAG: pin}, 0, EVERY_LAYER)
    asked = await elsewhere.asked(route, asked)
    decision = decide(served, route, asked)
    elsewhere.note(decision, asked.given, "unit")
    return next(chosen for chosen in decision.layers if chosen.layer is Layer.PROMPT)


async def test_the_provider_chooses_the_version_and_our_content_answers(elsewhere: Elsewhere) -> None:
    served = elsewhere_serving()
    elsewhere.follow(served.snapshot)
    await elsewhere.trust([V7])

    chosen = await decided(elsewhere, served)

    assert (chosen.version.release.variant, chosen.resolution.value) == ("v7", PROMPTS["v7"])
    assert (chosen.resolution.reason, chosen.how) == (Reason.STATIC, How.PLAIN)
    assert [kind.variant for kind in elsewhere.tally.take()] == ["v7"]


async def test_what_is_withdrawn_here_is_diverted_whatever_the_provider_says(elsewhere: Elsewhere) -> None:
    served = elsewhere_serving(state={"withdrawn": frozenset({"v7"})})
    elsewhere.follow(served.snapshot)
    await elsewhere.trust([V7])

    chosen = await decided(elsewhere, served)

    assert (chosen.version.release.variant, chosen.resolution.wanted) == ("v6", "v7")
    # Noted is what it gave: what that comes to hangs on the flag as it is when somebody looks.
    assert [kind.variant for kind in elsewhere.tally.take()] == ["v7"]


async def test_a_pin_goes_before_the_provider_and_is_not_noted(elsewhere: Elsewhere) -> None:
    served = elsewhere_serving()
    elsewhere.follow(served.snapshot)
    await elsewhere.trust([V7])

    chosen = await decided(elsewhere, served, pin="v6")

    assert (chosen.version.release.variant, chosen.how) == ("v6", How.PINNED)
    assert elsewhere.tally.take() == {}


async def test_a_disabled_flag_leaves_its_layer_out(elsewhere: Elsewhere) -> None:
    served = elsewhere_serving(state={"enabled": False})
    elsewhere.follow(served.snapshot)
    await elsewhere.trust([V7])
    route = served.routes["support-bot"]

    asked = await elsewhere.asked(route, Asked(Context("u"), {}, 0, EVERY_LAYER))

    assert Layer.PROMPT not in {chosen.layer for chosen in decide(served, route, asked).layers}
    assert FLAG not in asked.given


@pytest.mark.parametrize("factory", ["raising", "hanging"])
async def test_without_an_answer_what_the_store_serves_answers_and_no_coin_of_ours_is_tossed(
    elsewhere: Elsewhere, factory: str
) -> None:
    reference = f"{PROVIDERS}:{factory}"
    served = elsewhere_serving(reference, state=rollout("v7", 99.0), blocking=True, timeout_seconds=0.02)
    elsewhere.follow(served.snapshot)
    await elsewhere.trust([reference])

    chosen = await decided(elsewhere, served)

    assert (chosen.version.release.variant, chosen.resolution.reason) == ("v6", Reason.ERROR)
    assert chosen.how is How.PLAIN
    assert elsewhere.failures == 2  # the prompt and the model
    assert elsewhere.tally.take() == {}


async def test_trouble_is_told_once_in_a_while(
    elsewhere: Elsewhere, caplog: pytest.LogCaptureFixture
) -> None:
    reference = f"{PROVIDERS}:raising"
    served = elsewhere_serving(reference)
    elsewhere.follow(served.snapshot)
    await elsewhere.trust([reference])

    with caplog.at_level(logging.WARNING):
        for _ in range(20):
            await decided(elsewhere, served)

    assert sum(f"no decision on {FLAG}" in each.message for each in caplog.records) == 1
    assert not any(each.name == "openfeature" for each in caplog.records)


async def test_a_blocking_provider_is_asked_in_time(elsewhere: Elsewhere) -> None:
    served = elsewhere_serving(blocking=True)
    elsewhere.follow(served.snapshot)
    await elsewhere.trust([V7])

    assert (await decided(elsewhere, served)).version.release.variant == "v7"


async def test_a_factory_that_only_the_store_names_is_never_imported(
    elsewhere: Elsewhere, caplog: pytest.LogCaptureFixture
) -> None:
    served = elsewhere_serving("gateway.evil:factory", state=rollout("v7", 100.0))
    with caplog.at_level(logging.WARNING):
        await elsewhere.trust([])
        elsewhere.follow(served.snapshot)
        elsewhere.follow(served.snapshot)

    chosen = await decided(elsewhere, served)

    assert chosen.version.release.variant == "v7"  # the store's own rollout
    assert (elsewhere.followed, list(elsewhere.refused)) == ({}, ["support-bot"])
    assert sum("does not name gateway.evil:factory" in each.message for each in caplog.records) == 1


@pytest.mark.parametrize(
    ("factory", "why"),
    [
        ("broken", "OSError: no such service"),
        ("nothing", "returned object; expected an OpenFeature provider"),
        ("absent", "AttributeError"),
    ],
)
async def test_a_factory_that_makes_no_provider_is_told_and_the_store_decides(
    elsewhere: Elsewhere, factory: str, why: str
) -> None:
    reference = f"{PROVIDERS}:{factory}"
    served = elsewhere_serving(reference)
    elsewhere.follow(served.snapshot)

    await elsewhere.trust([reference])

    assert why in elsewhere.refused["support-bot"]
    assert (await decided(elsewhere, served)).version.release.variant == "v6"


async def test_a_flag_that_the_store_decides_for_another_route_is_no_likeness(elsewhere: Elsewhere) -> None:
    from flags.model import Kind, ObjectKey, StoredObject  # noqa: PLC0415  # only here
    from flags.snapshot import Snapshot  # noqa: PLC0415

    one = elsewhere_serving().snapshot
    key = ObjectKey(Kind.ROUTE, "other")
    both = Snapshot.build(
        "default",
        one.position,
        8,
        {**one.objects, key: StoredObject(key, {"spec": {"prompt": FLAG}}, 8)},
        one.contents,
    )
    await elsewhere.trust([V7])

    elsewhere.follow(one)
    alone = dict(elsewhere.followed)
    elsewhere.follow(both, {key})

    assert alone == {FLAG: V7, "support-bot.model": V7}
    assert elsewhere.followed == {"support-bot.model": V7}


async def test_a_factory_that_the_file_names_no_more_is_closed(elsewhere: Elsewhere) -> None:
    served = elsewhere_serving()
    elsewhere.follow(served.snapshot)
    await elsewhere.trust([V7])

    await elsewhere.trust([])

    assert (elsewhere.deciders, elsewhere.followed) == ({}, {})


async def test_a_late_thread_changes_no_decision() -> None:
    given = {FLAG: Given("v7")}
    served = elsewhere_serving()

    decision = decide(
        served, served.routes["support-bot"], Asked(Context("u"), {}, 0, EVERY_LAYER, given=given)
    )

    assert "prompt=v7" in decision.versions


async def test_layers_that_the_store_decides_are_not_asked(elsewhere: Elsewhere) -> None:
    from gateway.deciding.elsewhere import gather  # noqa: PLC0415  # for this alone

    served = elsewhere_serving(layers=["model"])
    route = served.routes["support-bot"]
    found: dict[str, Given] = {}

    gather(route, Asked(Context("u"), {}, 0, EVERY_LAYER), lambda flag: Given(None), found)

    assert list(found) == ["support-bot.model"]


async def test_a_provider_that_decides_some_layers_is_followed_for_those_alone(elsewhere: Elsewhere) -> None:
    served = elsewhere_serving(layers=["prompt"])
    await elsewhere.trust([V7])

    elsewhere.follow(served.snapshot)

    assert elsewhere.followed == {FLAG: V7}


async def test_who_decides_a_route_is_told_and_why_a_worker_does_not_ask_it(elsewhere: Elsewhere) -> None:
    served = elsewhere_serving()
    elsewhere.follow(served.snapshot)
    before = elsewhere.by_route()
    await elsewhere.trust([])
    untrusted = elsewhere.by_route()
    await elsewhere.trust([V7])

    assert before == {"support-bot": (V7, "it is not loaded yet")}
    assert untrusted["support-bot"].why.startswith("this worker's config file does not name")
    assert elsewhere.by_route() == {"support-bot": (V7, "")}


async def test_a_provider_that_held_its_worker_once_is_asked_beside_the_loop_from_then_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nobody is to find out about `blocking` by an outage: it still answers, in a thread and in time."""
    seconds = iter(range(1000))
    elsewhere = Elsewhere(clock=lambda: float(next(seconds)))
    served = elsewhere_serving()
    elsewhere.follow(served.snapshot)
    await elsewhere.trust([V7])

    versions = [(await decided(elsewhere, served)).version.release.variant for _ in range(3)]

    assert versions == ["v7"] * 3
    assert elsewhere.deciders[V7].waits
    assert sum("held this worker for 1.00 s" in each.message for each in caplog.records) == 1
    elsewhere.close()
    api.clear_providers()

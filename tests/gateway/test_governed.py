"""The operators' verbs under promotion rules, against a real store: what is refused, what is let through and shouted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from flags.codec import document_of
from flags.errors import Refused
from flags.ledger import Author
from flags.model import Flag, Kind, ObjectKey, Promotion
from gateway.order import Order
from policies.governance.card import approved, card_key, card_of, deprecated, written
from policies.governance.record import StepName, record_from
from tests.gateway.office import Office, by, prompt
from tests.policies.governance.making import mark
from tests.redis_server import RedisServer

PROMPT = "support-bot.prompt"
RULES = Promotion(approvals=1)


@pytest.fixture
async def office(redis_server: RedisServer) -> AsyncIterator[Office]:
    office = await Office(redis_server.url).start()
    made, contents = prompt(promotion=RULES, serve="v7", safe="v6")
    await office.declare((declared(made), contents), routes=["support-bot"])
    yield office
    await office.aclose()


def declared(flag: Flag) -> Flag:
    """As a config file declared it: somebody did, some day."""
    dated = {
        name: replace(each, created_by="ann", created_at=f"2030-01-0{number}T00:00:00Z")
        for number, (name, each) in enumerate(flag.variants.items(), start=1)
    }
    return replace(flag, variants=dated)


async def approve(office: Office, name: str) -> None:
    """Somebody else than its author approves a version."""
    flag = await office.flag()
    card = approved(card_of(PROMPT, flag.variants[name], None), mark("bob"))
    committed = await office.store.change(
        Author("bob", "read it"), [card_key(PROMPT, name)], lambda _: [written("approve", card)]
    )
    await office.store.acknowledged(committed.position, 5.0, committed.workers)


async def newest(office: Office, action: str) -> Any:
    entries = [each for each in await office.store.read_log(0, 100) if each.action == action]
    return entries[-1]


async def test_safe_is_not_moved_to_a_version_that_nobody_approved(office: Office) -> None:
    with pytest.raises(Refused, match="v5 may not be safe: approved") as refused:
        await office.operations.switch(by(), PROMPT, "v5", safe="v5")

    assert refused.value.rule == "approved"
    assert (await office.flag()).safe == "v6"


async def test_an_approved_version_becomes_safe(office: Office) -> None:
    await approve(office, "v5")

    done = await office.operations.switch(by(), PROMPT, "v5", safe="v5")

    assert (done.changed, done.ungoverned) == (True, [])


async def test_a_switch_without_papers_is_let_through_and_told(office: Office) -> None:
    done = await office.operations.switch(by(), PROMPT, "v5")

    assert done.changed
    assert done.ungoverned[0].startswith("v5: approved")
    assert "ungoverned" in (await newest(office, "switch")).evidence


async def test_a_promotion_without_papers_is_refused_unless_an_admin_overrides(office: Office) -> None:
    await office.operations.rollout(by(), PROMPT, "v5", 10)
    with pytest.raises(Refused, match="v5 may not be promoted"):
        await office.operations.steer(by(), PROMPT, "promote")

    done = await office.operations.steer(Order(by().author, override=True), PROMPT, "promote")

    assert done.changed
    assert "override" in (await newest(office, "rollout.promote")).evidence


async def test_a_rollback_lands_on_safe_ungoverned_where_nothing_is_in_order(office: Office) -> None:
    done = await office.operations.rollback(by(reason="wrong answers"), PROMPT)

    assert (done.to, done.served) == ("v6", "v6")
    assert done.ungoverned[0].startswith("approved: ")
    assert "what it would take" in done.ungoverned[-1]


async def test_a_rollback_moves_safe_to_the_last_known_good_in_the_same_change(office: Office) -> None:
    await approve(office, "v5")

    done = await office.operations.rollback(by(), PROMPT)

    flag = await office.flag()
    assert (done.to, flag.safe, flag.served, done.ungoverned) == ("v5", "v5", "v5", [])
    # v6 was neither served nor tried: it is not taken out, only passed over.
    assert flag.withdrawn == frozenset({"v7"})


async def test_a_rollback_opens_its_record_with_the_very_change(office: Office) -> None:
    done = await office.operations.rollback(by(reason="wrong answers"), PROMPT)

    assert done.id is not None
    stored = office.snapshot().objects[ObjectKey(Kind.ROLLBACK, done.id)]
    record = record_from(stored.document)
    assert (record.flag, record.origin, record.to, record.routes) == (PROMPT, "v7", "v6", ["support-bot"])
    assert record.steps.keys() == {StepName.LOCATE, StepName.RESTORE}
    assert record.ungoverned == done.ungoverned
    assert (await newest(office, "rollback")).id == done.id
    assert office.snapshot().revision == done.revision


async def test_a_route_goes_back_from_a_safe_version_that_lost_its_papers(office: Office) -> None:
    await approve(office, "v5")
    await office.operations.rollback(by(), PROMPT, to="v5")
    card = deprecated(card_of(PROMPT, (await office.flag()).variants["v5"], None), mark("bob"))
    put = await office.store.change(
        Author("bob", "it leaks"), [card.key], lambda _: [written("deprecate", card)], insist=True
    )
    await office.store.acknowledged(put.position, 5.0, put.workers)
    await approve(office, "v6")

    done = await office.operations.rollback_route(by(), "support-bot")

    assert (done.flag, done.origin, done.to, done.ungoverned) == (PROMPT, "v5", "v6", [])


async def test_a_second_pull_opens_no_second_record(office: Office) -> None:
    await office.operations.rollback(by(), PROMPT)

    again = await office.operations.rollback(by(), PROMPT)

    assert (again.changed, again.ungoverned) == (False, [])
    assert len(office.snapshot().of_kind(Kind.ROLLBACK)) == 1


async def test_a_revert_is_held_to_the_rules_and_records_are_not_reverted(office: Office) -> None:
    before = (await office.store.head()).position.revision
    await approve(office, "v5")
    await office.operations.switch(by(), PROMPT, "v5", safe="v5")

    with pytest.raises(Refused, match="v6 may not be safe"):
        await office.operations.revert(by(), ObjectKey(Kind.FLAG, PROMPT), before)
    with pytest.raises(Refused, match="no revert unmakes"):
        await office.operations.revert(by(), card_key(PROMPT, "v5"), before)


@pytest.mark.parametrize("deleted", [False, True])
async def test_a_revert_to_before_the_rules_leaves_the_rules_standing(office: Office, deleted: bool) -> None:
    key, flag = ObjectKey(Kind.FLAG, PROMPT), await office.flag()
    await office.put(key, document_of(replace(flag, promotion=None)))
    before = (await office.store.head()).position.revision
    await office.put(key, document_of(replace(flag, promotion=RULES)))
    if deleted:
        await office.put(key, None)

    await office.operations.revert(by(), key, before)

    assert (await office.flag()).promotion == RULES


async def test_who_overrides_the_rules_reverts_them_too(office: Office) -> None:
    key, flag = ObjectKey(Kind.FLAG, PROMPT), await office.flag()
    await office.put(key, document_of(replace(flag, promotion=None)))
    before = (await office.store.head()).position.revision
    await office.put(key, document_of(replace(flag, promotion=RULES)))

    await office.operations.revert(replace(by(), override=True), key, before)

    assert (await office.flag()).promotion is None


async def test_a_revert_brings_nothing_back_as_safe_that_was_pruned_and_never_approved(
    office: Office,
) -> None:
    before = (await office.store.head()).position.revision
    await approve(office, "v5")
    await office.operations.switch(by(), PROMPT, "v5", safe="v5")
    flag = await office.flag()
    left = {name: each for name, each in flag.variants.items() if name != "v6"}
    await office.put(ObjectKey(Kind.FLAG, PROMPT), document_of(replace(flag, variants=left)))

    with pytest.raises(Refused, match="v6 may not be safe"):
        await office.operations.revert(by(), ObjectKey(Kind.FLAG, PROMPT), before)

    assert "v6" not in (await office.flag()).variants


async def test_a_withdrawal_and_a_quarantine_tell_that_what_users_get_instead_is_ungoverned(
    office: Office,
) -> None:
    withdrawn = await office.operations.withdraw(by(), PROMPT, "v7")
    await office.operations.restore(by(), PROMPT, "v7")
    held = await office.operations.quarantine(by(reason="the audit asked"), PROMPT, "v7")

    for done, action in ((withdrawn, "withdraw"), (held, "quarantine")):
        assert (done.changed, done.served) == (True, "v6")
        assert done.ungoverned[0].startswith("v6: approved")
        assert "ungoverned" in (await newest(office, action)).evidence


async def test_a_content_goes_into_quarantine_once_and_stays_withdrawn_when_it_is_let_out(
    office: Office,
) -> None:
    await office.operations.quarantine(by(reason="the audit asked"), PROMPT, "v7")

    again = await office.operations.quarantine(by(reason="the audit asked"), PROMPT, "v7")
    out = await office.operations.release(by(reason="it was nothing"), PROMPT, "v7")

    flag = await office.flag()
    assert (again.changed, again.id, again.revision) == (False, None, out.revision - 1)
    assert (out.changed, out.released) == (True, True)
    assert (flag.quarantined, flag.withdrawn, flag.served) == (frozenset(), {"v7"}, "v6")


async def test_a_flag_without_rules_knows_none_of_this(office: Office) -> None:
    await office.declare(prompt("other.prompt"))
    done = await office.operations.switch(by(), "other.prompt", "v5", safe="v5")

    assert (done.changed, done.ungoverned) == (True, [])

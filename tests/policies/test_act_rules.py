"""What automation writes under promotion rules: where its rollback lands, the record it opens, what it may promote."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flags.change import View
from flags.codec import flag_from
from flags.model import Flag, Promotion, Rollout, Soak, StoredObject
from policies import verbs
from policies.act import advanced, deed, hindered, settled
from policies.governance.card import approved, card_key, card_keys, card_of, document_of
from policies.governance.record import PROCEDURE, StepName, record_from, record_key
from policies.schedule import Schedule
from tests.policies import test_act
from tests.policies.governance.making import mark
from tests.policies.test_act import BEFORE, TIME, breach
from tests.policies.working import PROMPT, a_flag

MADE = {name: replace(each, created_at=BEFORE) for name, each in a_flag().variants.items()}
RULED = a_flag(variants=MADE, promotion=Promotion(approvals=1), rollout=Rollout("v7", 10), changed_at=BEFORE)


def view(flag: Flag, *in_order: str) -> View:
    """The store with the flag, and the approvals of these versions."""
    bare = test_act.view(flag)
    cards = {
        card_key(PROMPT, name): document_of(approved(card_of(PROMPT, flag.variants[name], None), mark("bob")))
        for name in in_order
    }
    stored = {key: StoredObject(key, document, 3) for key, document in cards.items()}
    return replace(bare, objects={**bare.objects, **stored})


def test_it_lands_on_the_last_known_good_where_safe_is_in_order_no_more() -> None:
    opened, rollback = deed(replace(breach(RULED), id="c1"), view(RULED, "v5"))

    assert rollback.after is not None
    flag = flag_from(PROMPT, rollback.after, 4)
    assert (flag.safe, flag.withdrawn, flag.braked_at) == ("v5", {"v7"}, TIME)
    # Nobody but the candidate's users moves: what is served to the others is no worse than it was.
    assert (flag.served, rollback.id) == ("v6", "c1")
    assert rollback.evidence is not None
    assert "pointsman approve bot.prompt v6" in str(rollback.evidence["ungoverned"])
    assert (opened.key, opened.actor, opened.affects) == (record_key("c1"), PROCEDURE, False)


def test_it_lands_on_safe_all_the_same_where_nothing_is_in_order_and_shouts() -> None:
    opened, rollback = deed(replace(breach(RULED), id="c1"), view(RULED))

    assert rollback.evidence is not None
    assert rollback.evidence["n"] == 6
    assert "approved: " in str(rollback.evidence["ungoverned"])
    assert opened.after is not None
    record = record_from(opened.after)
    assert (record.flag, record.origin, record.to, record.routes) == (PROMPT, "v7", "v6", ["bot"])
    assert (record.cause.policy, record.cause.metric) == ("errors", "error_rate")
    assert record.ungoverned == rollback.evidence["ungoverned"]
    assert record.steps.keys() == {StepName.LOCATE, StepName.RESTORE}


def test_what_it_decides_by_is_among_what_it_reads() -> None:
    found = replace(breach(RULED), id="c1")

    assert {*card_keys(RULED), record_key("c1")} <= {*found.reads(RULED)}


@pytest.mark.parametrize("in_order", [(), ("v7",)])
def test_it_promotes_only_what_satisfies_the_rules(in_order: tuple[str, ...]) -> None:
    schedule = Schedule([10, 100], hold_seconds=0, min_requests=0)
    flag = replace(verbs.start(replace(RULED, rollout=None), "v7", schedule).flag, changed_at=BEFORE)

    drafts = advanced(flag, view(flag, *in_order))

    assert [draft.action for draft in drafts] == (["rollout.promote"] if in_order else [])
    assert bool(hindered(flag, view(flag, *in_order))) == (not in_order)


def test_a_step_that_promotes_nobody_asks_for_no_papers() -> None:
    schedule = Schedule([10, 50, 100], hold_seconds=0, min_requests=0)
    flag = replace(verbs.start(replace(RULED, rollout=None), "v7", schedule).flag, changed_at=BEFORE)

    assert [draft.action for draft in advanced(flag, view(flag))] == ["rollout.step"]
    assert hindered(flag, view(flag)) == ()


@pytest.mark.parametrize("in_order", [(), ("v7",)])
def test_it_makes_safe_only_what_satisfies_the_rules(in_order: tuple[str, ...]) -> None:
    flag = replace(RULED, rollout=None, serve="v7", soak=Soak(60, 0))

    drafts = settled(flag, view(flag, *in_order))

    assert [draft.action for draft in drafts] == (["safe"] if in_order else [])

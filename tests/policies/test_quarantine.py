"""A content taken out of service by a person, and let out again."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flags.errors import NotFound, Refused
from flags.model import Promotion, Rollout, Shadow, Variant
from policies import quarantine
from policies.governance.card import Card, Mark, approved
from policies.verbs import restore, switch
from tests.policies.working import PROMPT, a_flag

NOBODY = {name: Card(PROMPT, name, a_flag().variants[name].hash) for name in ("v5", "v6", "v7")}
BOB = Mark("bob", "2030-01-01T00:00:00.000Z", "good", "approver")


def test_what_is_put_into_quarantine_is_withdrawn_and_its_content_served_under_no_name() -> None:
    flag = a_flag(serve="v7")
    again = Variant("v8", flag.variants["v7"].hash)
    flag = replace(flag, variants={**flag.variants, "v8": again})

    step = quarantine.add(flag, "v7", NOBODY)

    assert (step.changed, step.left, step.reached, step.flag.served) == (True, "v7", "v6", "v6")
    assert step.flag.withdrawn == {"v7", "v8"}
    with pytest.raises(Refused) as refused:
        switch(step.flag, "v8")
    assert refused.value.rule == "quarantined"


def test_a_rollout_and_a_shadow_of_it_end() -> None:
    flag = a_flag(rollout=Rollout("v7", 10), shadow=Shadow("v7", 5))

    after = quarantine.add(flag, "v7", NOBODY).flag

    assert (after.rollout, after.shadow, after.served) == (None, None, "v6")


def test_where_it_is_safe_and_nothing_is_known_to_be_good_a_person_must_name_another() -> None:
    with pytest.raises(Refused) as refused:
        quarantine.add(a_flag(), "v6", NOBODY)

    assert refused.value.rule == "variant_is_safe"
    assert (
        refused.value.mend
        == f"name another safe version first: pointsman rollback {PROMPT} --to v7 --reason …"
    )


def test_where_it_is_safe_the_last_known_good_version_becomes_it() -> None:
    made = "2030-01-01T00:00:00.000Z"
    flag = a_flag(promotion=Promotion(approvals=1))
    flag = replace(flag, variants={name: replace(v, created_at=made) for name, v in flag.variants.items()})
    cards = {**NOBODY, "v5": approved(NOBODY["v5"], BOB), "v6": approved(NOBODY["v6"], BOB)}

    step = quarantine.add(flag, "v6", cards)

    assert (step.flag.safe, step.flag.served, step.flag.withdrawn) == ("v5", "v5", {"v6"})


def test_release_lifts_the_quarantine_and_serves_nothing() -> None:
    held = quarantine.add(a_flag(serve="v7"), "v7", NOBODY).flag

    step = quarantine.release(held, "v7")

    assert (step.changed, step.released) == (True, True)
    assert (step.flag.quarantined, step.flag.withdrawn, step.flag.served) == (frozenset(), {"v7"}, "v6")
    assert restore(step.flag, "v7").flag.served == "v7"


def test_twice_is_once() -> None:
    held = quarantine.add(a_flag(serve="v7"), "v7", NOBODY).flag

    assert not quarantine.add(held, "v7", NOBODY).changed
    assert not quarantine.release(a_flag(), "v7").changed


def test_an_unknown_variant_is_told_with_those_that_are() -> None:
    for verb in (lambda: quarantine.add(a_flag(), "v9", NOBODY), lambda: quarantine.release(a_flag(), "v9")):
        with pytest.raises(NotFound, match="variants: v5, v6, v7"):
            verb()


@given(
    serve=st.sampled_from(["v5", "v6", "v7"]),
    safe=st.sampled_from(["v5", "v6", "v7"]),
    out=st.sampled_from(["v5", "v6", "v7"]),
)
def test_what_is_safe_is_never_withdrawn(serve: str, safe: str, out: str) -> None:
    flag = a_flag(serve=serve, safe=safe)
    try:
        after = quarantine.add(flag, out, NOBODY).flag
    except Refused:
        assert out == safe
        return

    assert after.safe not in after.withdrawn
    assert after.served != out

"""Keys stay under one hash tag, whatever the namespace is called."""

from __future__ import annotations

import pytest
from redis.crc import key_slot

from flags.errors import Invalid
from flags.keys import Keys


def test_all_keys_of_a_namespace_lie_in_one_slot_of_a_cluster() -> None:
    keys = Keys("team-a.prod")
    names = [keys.head, keys.ledger, keys.objects, keys.contents, keys.workers, keys.secrets]

    assert {name.partition(":")[2].partition("}")[0] for name in names} == {"team-a.prod"}
    assert len({key_slot(name.encode()) for name in names}) == 1
    assert len(set(names)) == len(names)
    assert keys.head == "{pointsman:team-a.prod}:head"


@pytest.mark.parametrize("name", ["", "a}b", "a:b", "-a", "a b", "ä", "x" * 65, "a\n"])
def test_a_name_that_could_leave_its_tag_is_refused(name: str) -> None:
    with pytest.raises(Invalid, match="is no namespace"):
        Keys(name)


def test_all_keys_of_measurements_share_the_tag() -> None:
    keys = Keys("shop")
    named = [keys.totals, keys.requests, keys.request_order, keys.decisions, keys.breaking, keys.batch("w1")]
    of_cases = [keys.evidence("a/b/1"), keys.seconds("a/b/1", "p@1"), keys.alarm("x")]

    assert all(key.startswith(keys.prefix) for key in [*named, *of_cases])
    assert keys.prefix == "{pointsman:shop}:"
    assert len({*named, *of_cases}) == 9

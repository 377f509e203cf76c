"""Switches that nobody has written: flags that answer, and that the first write stores."""

from __future__ import annotations

import pytest

from flags.canonical import digest
from flags.change import View
from flags.errors import NotFound
from flags.model import START, Context, Flag
from flags.resolve import resolve
from gateway.switches.shipped import contents_for, flag_in, with_switches
from gateway.switches.table import KEYS, SWITCHES
from tests.gateway.switches.boards import snapshot

NOTHING = View(START, "2030-01-01T00:00:00Z", {})


def test_every_switch_answers_as_it_usually_stands() -> None:
    stood = with_switches(snapshot({}))

    for switch in SWITCHES:
        answer = resolve(stood.flags[switch.key], Context(None), 0)
        assert answer.value is switch.usual
        assert answer.variant == ("on" if switch.usual else "off")
    assert not stood.objects, "nothing is stored"


def test_what_is_stored_stands_and_the_snapshot_itself_stays() -> None:
    stored = snapshot({"gateway.cache": {"serve": "off"}, "other": {}})

    stood = with_switches(stored)

    assert stood.flags["gateway.cache"] is stored.flags["gateway.cache"]
    assert set(stood.flags) == KEYS | {"other"}
    assert set(stored.flags) == {"gateway.cache", "other"}
    assert with_switches(stood) is stood


def test_a_verb_meets_a_switch_that_is_not_stored_and_takes_its_contents_along() -> None:
    found = flag_in(NOTHING, "gateway.cache")

    assert (found.serve, found.safe, found.revision, [*found.variants]) == ("on", "on", 0, ["on", "off"])
    assert contents_for(NOTHING, "gateway.cache") == {digest(value): value for value in (True, False)}


def test_of_other_flags_and_stored_switches_nothing_is_made_up() -> None:
    stored = snapshot({"gateway.cache": {"serve": "off", "safe": "on"}})
    view = View(stored.position, "2030-01-01T00:00:00Z", stored.objects)

    found: Flag = flag_in(view, "gateway.cache")

    assert found.serve == "off"
    assert not contents_for(view, "gateway.cache")
    with pytest.raises(NotFound):
        flag_in(view, "gateway.kitchen")

"""Which flags a caller may see."""

from __future__ import annotations

from gateway.auth import KEYLESS, Caller
from gateway.http.ofrep.listing import MOST_LISTINGS, Listings, listing_of, sees
from tests.gateway.builders import flag
from tests.gateway.http.ofrep.standing import FLAGS, LATE, serving_of

BOT = Caller("bot", may_pin=False, routes=frozenset({"support-bot"}))
PAGE = Caller("page", may_pin=False, routes=frozenset())


def test_a_caller_with_all_routes_sees_all_sorted_but_the_gateway_s_switches() -> None:
    listed = list(listing_of(serving_of(), KEYLESS).flags)

    assert listed == sorted({each.key for each, _ in FLAGS} - {"gateway.cache"})


def test_a_caller_with_some_routes_sees_their_layers_and_what_has_none_but_not_the_gateway_s_own() -> None:
    listing = listing_of(serving_of(), BOT)

    assert list(listing.flags) == ["greeting", "price", "support-bot.model", "support-bot.prompt"]


def test_a_caller_without_any_route_sees_no_layer_at_all() -> None:
    assert list(listing_of(serving_of(), PAGE).flags) == ["greeting", "price"]


def test_a_route_that_is_not_there_shows_nothing() -> None:
    caller = Caller("bot", may_pin=False, routes=frozenset({"gone"}))

    assert list(listing_of(serving_of(), caller).flags) == ["greeting", "price"]


def test_seeing_one_and_seeing_all_agree_but_that_a_switch_is_seen_alone() -> None:
    serving = serving_of()

    for caller, alone in ((KEYLESS, {"gateway.cache"}), (BOT, set()), (PAGE, set())):
        seen = {key for key, each in serving.snapshot.flags.items() if sees(serving, caller, each)}

        assert seen == {*listing_of(serving, caller).flags} | alone


def test_flags_that_time_can_change_are_named_apart() -> None:
    serving = serving_of([*FLAGS, flag("late", None, {"off": False, "on": True}, targeting=LATE)])

    assert [each.flag.key for each in listing_of(serving, KEYLESS).timed] == ["late"]


def test_views_have_names_by_what_they_show() -> None:
    serving = serving_of()

    assert len({listing_of(serving, each).name for each in (KEYLESS, BOT, PAGE)}) == 3


class TestViews:
    def test_callers_with_the_same_routes_share_one_until_something_else_is_served(self) -> None:
        listings, serving = Listings(), serving_of()

        first = listings.of(serving, BOT)
        twin = Caller("twin", may_pin=True, routes=frozenset({"support-bot"}))

        assert listings.of(serving, twin) is first
        assert listings.of(serving_of(revision=8), BOT) is not first

    def test_only_so_many_are_kept(self) -> None:
        listings, serving = Listings(), serving_of()

        for number in range(MOST_LISTINGS + 1):
            listings.of(serving, Caller("a", may_pin=False, routes=frozenset({f"r{number}"})))

        assert repr(listings) == "<Listings: 1 listed>"


def test_callers_with_other_routes_share_the_answers_that_are_kept() -> None:
    """Else each set of routes would keep as much as all of them together."""
    listings, serving = Listings(), serving_of()

    assert listings.of(serving, BOT).encoded is listings.of(serving, KEYLESS).encoded
    assert listings.of(serving_of(), BOT).encoded is not listings.of(serving, BOT).encoded

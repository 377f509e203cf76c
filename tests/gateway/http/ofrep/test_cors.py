"""What browsers are told of other pages."""

from __future__ import annotations

import pytest

from gateway.http.ofrep.cors import allows, leave, leave_ahead

APP = b"https://app.example"


@pytest.mark.parametrize(
    ("configured", "origin", "allowed"),
    [
        ([], APP, False),
        (["https://app.example"], APP, True),
        (["https://app.example"], b"https://app.example.evil", False),
        (["https://app.example"], b"http://app.example", False),
        (["https://app.example"], None, False),
        (["*"], APP, True),
        (["*"], b"null", True),
        (["*"], None, False),
    ],
)
def test_a_page_may_ask_where_its_origin_is_named(
    configured: list[str], origin: bytes | None, allowed: bool
) -> None:
    assert allows(configured, origin) is allowed


def test_nothing_is_said_where_nothing_is_configured() -> None:
    assert leave([], APP) == leave_ahead([], APP) == []


def test_an_answer_names_the_page_and_what_it_may_read() -> None:
    said = dict(leave(["https://app.example"], APP))

    assert (said[b"access-control-allow-origin"], said[b"vary"]) == (APP, b"Origin")
    assert b"ETag" in said[b"access-control-expose-headers"]


def test_to_another_page_only_that_it_depends_on_the_page() -> None:
    configured = ["https://app.example"]

    assert leave(configured, b"https://evil.example") == [(b"vary", b"Origin")]
    assert leave_ahead(configured, b"https://evil.example") == []


def test_no_cookie_is_ever_asked_for() -> None:
    said = [*leave(["*"], APP), *leave_ahead(["*"], APP)]

    assert b"access-control-allow-credentials" not in dict(said)

"""Keys as the store has them, put beside those of the environment and the key file."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from flags.errors import Invalid
from flags.model import Kind, ObjectKey, StoredObject
from gateway.auth import NO_KEYS, Role, keyring
from gateway.errors import Unauthorized
from gateway.keys.stored import key_from, with_stored

KEY, OLD = "pm-app-0123456789", "pm-app-old-secret"
NOW = 1_893_456_000.0  # 2030-01-01T00:00:00Z
BEFORE, AFTER = "2029-12-31T23:59:59.000Z", "2030-01-01T00:00:01.000Z"


def secret(text: str = KEY, **until: str) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(text.encode()).hexdigest(), **until}


def stored(**fields: Any) -> dict[str, StoredObject]:
    document = {"kind": "app", "secrets": [secret()], "created_by": "ann", "created_at": BEFORE, **fields}
    return {"ci": StoredObject(ObjectKey(Kind.KEY, "ci"), document, 3)}


def ring(**fields: Any) -> Any:
    found = with_stored(NO_KEYS, stored(**fields))
    return type(found)(found.apps, found.operators, now=lambda: NOW)


def test_an_apps_key_opens_what_it_was_made_for() -> None:
    caller = ring(routes=["support-bot"], pin=True).caller(KEY.encode())

    assert (caller.name, caller.may_pin, caller.routes) == ("ci", True, {"support-bot"})


def test_an_operators_token_has_its_role() -> None:
    operator = ring(kind="operator", role="approver").operator(KEY.encode(), claimed="mallory")

    assert (operator.name, operator.role) == ("ci", Role.APPROVER)


def test_once_a_key_is_there_calls_without_one_are_refused() -> None:
    for key in (None, b"another"):
        with pytest.raises(Unauthorized):
            ring().caller(key)
    assert ring().operator(None).role is Role.ADMIN


@pytest.mark.parametrize(
    "fields",
    [{"expires_at": BEFORE}, {"secrets": [secret(until=BEFORE)]}, {"expires_at": "2030-01-01T00:00:00.000Z"}],
)
def test_one_whose_time_is_over_opens_nothing_and_opens_no_door_to_others(fields: dict[str, Any]) -> None:
    with pytest.raises(Unauthorized, match="has expired"):
        ring(**fields).caller(KEY.encode())
    with pytest.raises(Unauthorized):
        ring(**fields).caller(None)


def test_a_rotated_key_holds_with_both_secrets_until_the_grace_is_over() -> None:
    held = ring(secrets=[secret(), secret(OLD, until=AFTER)], expires_at=AFTER)

    assert held.caller(KEY.encode()) == held.caller(OLD.encode())


def test_what_the_environment_says_of_a_key_stands() -> None:
    own = keyring({"POINTSMAN_APP_KEYS": f"shop:{KEY}"})

    assert with_stored(own, stored(pin=True)).caller(KEY.encode()).name == "shop"


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"kind": "king"},
        {"secrets": [{"sha256": "zz"}]},
        {"expires_at": "soon"},
        {"secrets": None},
        {"extra": 1},
    ],
)
def test_what_cannot_be_read_opens_nothing(document: dict[str, Any]) -> None:
    broken = stored(**document) if document else {"ci": StoredObject(ObjectKey(Kind.KEY, "ci"), {}, 3)}

    assert with_stored(NO_KEYS, broken) == NO_KEYS


def test_a_document_that_is_no_key_is_told() -> None:
    with pytest.raises(Invalid, match="this is no key"):
        key_from({"kind": "app"})

"""Keys and tokens: who is let in, who is not, and that nothing secret is kept or told."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flags.errors import Invalid
from gateway.auth import ANYBODY, KEYLESS, NO_KEYS, Caller, Role, guard_bind, is_loopback, keyring, token_of
from gateway.errors import Forbidden, Unauthorized

KEY = "0123456789abcdef"
APPS = {"POINTSMAN_APP_KEYS": f"shop:{KEY}, chat:fedcba9876543210"}
TOKENS = {"POINTSMAN_OPERATOR_TOKENS": f"alice:{KEY}"}


class TestCaller:
    def test_is_found_by_key(self) -> None:
        assert keyring(APPS).caller(KEY.encode()) == Caller("shop", may_pin=False)
        assert keyring(APPS).caller(b"fedcba9876543210").name == "chat"

    @pytest.mark.parametrize(
        "key", [None, b"", b"wrong", KEY.encode() + b"0", KEY[:-1].encode(), b"\xff" * 16]
    )
    def test_is_refused_without_the_key(self, key: bytes | None) -> None:
        with pytest.raises(Unauthorized):
            keyring(APPS).caller(key)

    def test_is_trusted_where_no_key_is_configured(self) -> None:
        assert NO_KEYS.caller(None) is KEYLESS
        assert NO_KEYS.caller(b"anything") is KEYLESS
        assert KEYLESS.may_pin

    def test_has_what_the_key_file_says(self) -> None:
        digest = hashlib.sha256(b"chat-key-chat-key").hexdigest()
        document = {
            "apps": [
                {"name": "shop", "key": KEY, "pin": True, "routes": ["a"], "attributes": {"plan": {"n": 1}}},
                {"name": "chat", "sha256": digest.upper()},
            ]
        }

        ring = keyring({}, document)

        shop = ring.caller(KEY.encode())
        assert (shop.name, shop.may_pin, shop.attributes) == ("shop", True, {"plan": {"n": 1}})
        assert (shop.may_use("a"), shop.may_use("b")) == (True, False)
        chat = ring.caller(b"chat-key-chat-key")
        assert (chat.name, chat.may_pin, chat.may_use("b")) == ("chat", False, True)


class TestOperator:
    def test_is_the_owner_of_the_token(self) -> None:
        assert keyring(TOKENS).operator(KEY.encode(), claimed="mallory").name == "alice"

    def test_is_refused_without_a_token(self) -> None:
        for token in (None, b"wrong"):
            with pytest.raises(Unauthorized):
                keyring(TOKENS).operator(token, claimed="alice")

    def test_is_whom_the_caller_claims_where_no_token_is_configured(self) -> None:
        assert NO_KEYS.operator(None, claimed="alice@example.org").name == "alice@example.org"
        assert NO_KEYS.operator(None, claimed="Ren%C3%A9e").name == "Renée"
        assert NO_KEYS.operator(None).name == "operator@local"

    @pytest.mark.parametrize("claimed", [" Ann  Lee ", "%20Ann%20Lee", "Ann Le%EF%BD%85"])
    def test_is_one_name_however_it_is_spaced_and_encoded(self, claimed: str) -> None:
        assert NO_KEYS.operator(None, claimed=claimed).name == "Ann Lee"

    @pytest.mark.parametrize(
        "claimed", ["", "  ", "a\nb", "a%0Ab", "\x1b[31m", "x" * 129, "automation/soak", "Policy/p"]
    )
    def test_cannot_claim_what_is_no_name(self, claimed: str) -> None:
        with pytest.raises(Invalid):
            NO_KEYS.operator(None, claimed=claimed)

    def test_has_the_role_of_the_key_file(self) -> None:
        ring = keyring({}, {"operators": [{"name": "vera", "token": KEY, "role": "viewer"}]})

        assert ring.operator(KEY.encode()).role is Role.VIEWER

    def test_an_app_key_opens_no_operators_door(self) -> None:
        with pytest.raises(Unauthorized):
            keyring(APPS | {"POINTSMAN_OPERATOR_TOKENS": "alice:another-token"}).operator(KEY.encode())


READERS: Any = {
    "apps": [{"name": "shop", "key": "shop-key-1"}, {"name": "page", "key": "page-key-1", "routes": []}],
    "operators": [{"name": "vera", "token": "vera-token", "role": "viewer"}],
}


class TestReader:
    def test_an_app_and_an_operator_both_read_flags(self) -> None:
        keys = keyring({}, READERS)

        assert keys.reader(b"shop-key-1").caller.name == "shop"
        assert keys.reader(b"vera-token").caller.name == "operator/vera"
        assert keys.reader(b"vera-token").caller.routes is None

    def test_a_key_without_routes_is_for_flags_alone(self) -> None:
        keys = keyring({}, READERS)

        assert keys.reader(b"page-key-1").caller.routes == frozenset()
        assert not keys.reader(b"page-key-1").caller.may_use("support-bot")

    @pytest.mark.parametrize("secret", [None, b"", b"wrong-key"])
    def test_nobody_else_does_once_apps_have_keys(self, secret: bytes | None) -> None:
        with pytest.raises(Unauthorized):
            keyring({}, READERS).reader(secret)

    def test_without_app_keys_everybody_does_whatever_is_sent(self) -> None:
        keys = keyring({}, {"operators": READERS["operators"]})

        assert keys.reader(None) == keys.reader(b"anything") == ANYBODY

    def test_a_reader_holds_as_long_as_the_key(self) -> None:
        keys, shop = keyring({}, READERS), keyring({}, READERS).reader(b"shop-key-1")
        ended = replace(
            keys,
            apps={each: replace(entry, until=10.0) for each, entry in keys.apps.items()},
            now=lambda: 10.0,
        )

        assert keys.holds(shop)
        assert not keys.holds(ANYBODY)
        assert not NO_KEYS.holds(shop)
        assert NO_KEYS.holds(ANYBODY)
        assert not ended.holds(shop)

    def test_readers_are_found_by_name_while_their_keys_hold(self) -> None:
        keys = keyring({}, READERS)
        ended = replace(
            keys,
            apps={each: replace(entry, until=10.0) for each, entry in keys.apps.items()},
            now=lambda: 10.0,
        )

        assert [each.caller.name for each in keys.readers("shop")] == ["shop"]
        assert list(keys.readers("operator/vera")) == [keys.reader(b"vera-token")]
        assert (
            list(keys.readers("vera"))
            == list(keys.readers(KEYLESS.name))
            == list(ended.readers("shop"))
            == []
        )
        assert list(NO_KEYS.readers(KEYLESS.name)) == [ANYBODY]


class TestReading:
    @pytest.mark.parametrize(
        ("document", "path"),
        [
            ({"apps": [{"name": "a"}]}, "apps[0]"),
            ({"apps": [{"name": "a", "key": KEY, "sha256": "0" * 64}]}, "apps[0]"),
            ({"apps": [{"name": "a", "key": "short"}]}, "apps[0].key"),
            ({"apps": [{"name": "a", "sha256": "zz"}]}, "apps[0].sha256"),
            ({"apps": [{"name": "../a", "key": KEY}]}, "apps[0].name"),
            ({"apps": [{"name": "a", "key": KEY}, {"name": "b", "key": KEY}]}, "apps"),
            ({"operators": [{"name": "a", "token": KEY, "role": "king"}]}, "operators[0].role"),
            ({"operators": [{"name": "a", "token": KEY, "pin": True}]}, "operators[0]"),
            ({"people": []}, ""),
            ([], ""),
        ],
    )
    def test_names_the_place_of_what_is_wrong(self, document: object, path: str) -> None:
        with pytest.raises(Invalid) as invalid:
            keyring({}, document)
        assert invalid.value.path == path

    @pytest.mark.parametrize(
        "text", ["no-colon-here", "a:short", ":0123456789abcdef", "a b:0123456789abcdef"]
    )
    def test_never_tells_the_text_of_a_variable_that_may_hold_a_secret(self, text: str) -> None:
        with pytest.raises(Invalid) as invalid:
            keyring({"POINTSMAN_APP_KEYS": text})
        assert "0123456789abcdef" not in f"{invalid.value} {invalid.value.mend}"

    def test_keeps_no_key_in_plain(self) -> None:
        ring = keyring(APPS | TOKENS)

        assert KEY not in repr(ring)
        assert KEY.encode() not in b"".join([*ring.apps, *ring.operators])


class TestToken:
    @pytest.mark.parametrize(
        ("headers", "token"),
        [
            ([(b"authorization", b"Bearer abc")], b"abc"),
            ([(b"authorization", b"bearer  abc ")], b"abc"),
            ([(b"x-api-key", b"abc")], b"abc"),
            ([(b"api-key", b"abc")], b"abc"),
            ([(b"api-key", b"third"), (b"x-api-key", b"second")], b"second"),
            ([(b"x-api-key", b"second"), (b"authorization", b"Bearer first")], b"first"),
            ([(b"authorization", b"Basic abc")], None),
            ([], None),
        ],
    )
    def test_is_taken_from_the_first_of_three_headers(
        self, headers: list[tuple[bytes, bytes]], token: bytes | None
    ) -> None:
        assert token_of(headers) == token

    @given(st.binary(max_size=64))
    def test_any_bytes_are_only_ever_refused(self, value: bytes) -> None:
        token = token_of([(b"authorization", value)])

        with pytest.raises(Unauthorized):
            keyring(APPS).caller(token)


class TestBind:
    @pytest.mark.parametrize(
        "host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost", "unix:/x", "/run/x"]
    )
    def test_loopback_needs_no_keys(self, host: str) -> None:
        guard_bind(host, NO_KEYS)

    @pytest.mark.parametrize(
        "host", ["0.0.0.0", "::", "10.0.0.1", "example.org", "", "127.0.0.1.example.org"]
    )
    def test_any_other_address_needs_both_kinds_of_keys(self, host: str) -> None:
        assert not is_loopback(host)
        for keys in (NO_KEYS, keyring(APPS), keyring(TOKENS)):
            with pytest.raises(Forbidden, match="127\\.0\\.0\\.1"):
                guard_bind(host, keys)
        guard_bind(host, keyring(APPS | TOKENS))

    def test_the_refusal_says_exactly_what_is_missing(self) -> None:
        with pytest.raises(Forbidden) as refused:
            guard_bind("0.0.0.0", keyring(APPS))

        assert 'POINTSMAN_OPERATOR_TOKENS="me:$(openssl rand -hex 24)"' in str(refused.value)
        assert "POINTSMAN_APP_KEYS" not in str(refused.value)

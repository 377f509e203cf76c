"""Who may send signals: three ways to prove it, and what none of them lets through."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Unauthorized
from gateway.signals.proof import prove

SECRET, BODY, NOW = "a-shared-secret", b'{"alerts": []}', 1_800_000_000


def signed(body: bytes = BODY, secret: str = SECRET) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def stamped(at: int = NOW, body: bytes = BODY) -> dict[str, str]:
    stamp = str(at)
    return {"x-pointsman-timestamp": stamp, "x-pointsman-signature": signed(stamp.encode() + b"." + body)}


def standard(at: int = NOW, key: bytes = SECRET.encode(), body: bytes = BODY) -> dict[str, str]:
    text = f"msg_1.{at}.".encode() + body
    mac = base64.b64encode(hmac.digest(key, text, "sha256")).decode()
    return {"webhook-id": "msg_1", "webhook-timestamp": str(at), "webhook-signature": f"v1,bm8= v1,{mac}"}


@pytest.mark.parametrize(
    "headers",
    [
        {"x-pointsman-signature": signed()},
        {"x-pointsman-signature": signed().removeprefix("sha256=").upper()},
        stamped(),
        stamped(NOW - 300),
        stamped(NOW + 300),
        standard(),
        {"authorization": f"Bearer {SECRET}"},
        {"authorization": f"bearer  {SECRET} "},
    ],
)
def test_who_knows_the_secret_is_let_in(headers: dict[str, str]) -> None:
    prove(SECRET, headers, BODY, now=NOW)


def test_a_secret_in_the_form_of_standard_webhooks_is_base64() -> None:
    key = b"thirty-two bytes of randomness.."
    secret = "whsec_" + base64.b64encode(key).decode()

    prove(secret, standard(key=key), BODY, now=NOW)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-pointsman-signature": ""},
        {"x-pointsman-signature": signed(secret="another")},
        {"x-pointsman-signature": signed(b"another body")},
        {"x-pointsman-signature": "sha256=é"},
        stamped(NOW - 301),
        stamped(NOW + 301),
        {**stamped(), "x-pointsman-timestamp": str(NOW + 1)},
        {**stamped(), "x-pointsman-timestamp": "²"},
        {**stamped(), "x-pointsman-timestamp": ""},
        standard(NOW - 301),
        standard(key=b"another"),
        {**standard(), "webhook-id": "msg_2"},
        {**standard(), "webhook-signature": "v1,é"},
        {"authorization": "Bearer another"},
        {"authorization": "Bearer é"},
        {"authorization": f"Basic {SECRET}"},
        # A signature that is wrong is not made good by a bearer token beside it.
        {"x-pointsman-signature": "sha256=00", "authorization": f"Bearer {SECRET}"},
    ],
)
def test_everybody_else_is_not(headers: dict[str, str]) -> None:
    with pytest.raises(Unauthorized):
        prove(SECRET, headers, BODY, now=NOW)


@given(
    st.dictionaries(
        st.sampled_from([*stamped(), *standard(), "authorization"]), st.text(st.characters(max_codepoint=255))
    )
)
def test_nothing_that_is_sent_is_more_than_refused(headers: dict[str, str]) -> None:
    with pytest.raises(Unauthorized):
        prove(SECRET, headers, BODY, now=NOW)

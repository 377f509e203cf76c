"""Answers that are encoded once for all who get the same."""

from __future__ import annotations

import msgspec

from flags.compiled import compile_flag, failed
from flags.model import Context, ErrorCode, Resolution
from flags.resolve import resolve
from gateway.http.ofrep.encoded import Encoded
from tests.gateway.builders import NOW, flag

STAMP = {"version": "7", "flagSetId": "default"}
FLAG = compile_flag(*flag("greeting", None, {"a": "hello", "b": "hi"}))


def resolution() -> Resolution:
    return resolve(FLAG, Context("user-7"), NOW)


def test_the_same_answer_is_encoded_once() -> None:
    encoded = Encoded(STAMP)

    _, first, second = [encoded.of(FLAG, resolution()) for _ in range(3)]

    assert first is second
    assert repr(encoded).startswith("<Encoded: 1 answers")


def test_it_is_the_answer_as_a_client_reads_it() -> None:
    found = msgspec.json.decode(Encoded(STAMP).of(FLAG, resolution()))

    assert (found["key"], found["variant"], found["value"], found["metadata"]) == (
        "greeting",
        "a",
        "hello",
        STAMP,
    )


def test_what_finds_no_room_is_made_each_time() -> None:
    encoded = Encoded(STAMP, room=10)

    made = encoded.of(FLAG, resolution())

    assert msgspec.json.decode(made)["value"] == "hello"
    assert repr(encoded) == "<Encoded: 0 answers, room for 10 bytes>"


def test_an_error_is_not_kept() -> None:
    """It is another object for each request: they would pile up, and its words are of one context."""
    encoded = Encoded(STAMP)

    made = encoded.of(FLAG, failed("greeting", ErrorCode.PARSE_ERROR, "the targeting rule failed"))

    assert msgspec.json.decode(made)["errorCode"] == "PARSE_ERROR"
    assert repr(encoded).startswith("<Encoded: 0 answers")

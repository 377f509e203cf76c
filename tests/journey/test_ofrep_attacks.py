"""Hostile clients of the flags' doors: each is answered in OFREP's own shape, or hung up on; nothing breaks or leaks."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests import plain
from tests.fleet import Fleet
from tests.journey.interop import scene
from tests.journey.interop.scene import ANN_KEY, SHOP_KEY

SINGLE, BULK = "/ofrep/v1/evaluate/flags/colour", "/ofrep/v1/evaluate/flags"
DEEP = 100_000
# One past the limit that the server tells of.
TOO_LARGE = 1024 * 1024 + 1


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """One worker without keys; its ledger must hold at the end too, and it must not have failed inside."""
    with scene.fleet(tmp_path_factory.mktemp("open")) as running:
        yield running
        running.json("audit", "verify")
        assert "Traceback" not in running.log


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """One worker that asks for keys."""
    with scene.fleet(tmp_path_factory.mktemp("keyed"), keys=True) as running:
        yield running
        assert "Traceback" not in running.log


@pytest.fixture(autouse=True)
def alive(fleet: Fleet) -> Iterator[None]:
    """Afterwards others are served as before."""
    yield
    assert plain.post(f"{fleet.url}{SINGLE}", json={}).json()["value"] == "#f00"


def nested(levels: int) -> bytes:
    return b'{"context":{"a":' + b"[" * levels + b"]" * levels + b"}}"


def context(**attributes: Any) -> bytes:
    return json.dumps({"context": attributes}).encode()


def refusal(answer: httpx.Response, *, single: bool) -> dict[str, Any]:
    """A refusal in OFREP's shape, marked as every answer is."""
    told = answer.json()
    assert answer.headers["x-request-id"]
    assert answer.headers["x-pointsman-revision"]
    assert told["errorDetails"]
    assert ("key" in told) == single
    return dict(told)


@pytest.mark.parametrize("path", [SINGLE, BULK, f"{BULK}/"])
@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "PARSE_ERROR"),
        (b"\xff\xfe{\x00}\x00", 400, "PARSE_ERROR"),
        (b'{"context":{"a":"\xed\xa0\x80"}}', 400, "PARSE_ERROR"),
        (b'{"context":{"a":NaN}}', 400, "PARSE_ERROR"),
        (b'{"context":{"a":-Infinity}}', 400, "PARSE_ERROR"),
        (b'{"context":{}} trailing', 400, "PARSE_ERROR"),
        (b"[]", 400, None),
        (b'"context"', 400, None),
        (b"7", 400, None),
        (b'{"context":[]}', 400, "INVALID_CONTEXT"),
        (b'{"context":"ann"}', 400, "INVALID_CONTEXT"),
        (b'{"context":{"targetingKey":7}}', 400, "INVALID_CONTEXT"),
        (b'{"context":{"targetingKey":["ann"]}}', 400, "INVALID_CONTEXT"),
        (b'{"context":{"a":1e999}}', 400, None),
        (nested(DEEP), 400, None),
        (nested(70), 400, "INVALID_CONTEXT"),
        (b'{"context":{"a":"' + b"x" * TOO_LARGE + b'"}}', 413, None),
    ],
)
def test_a_body_that_holds_no_context_is_refused(
    fleet: Fleet, path: str, body: bytes, status: int, code: str | None
) -> None:
    answer = plain.post(f"{fleet.url}{path}", content=body)

    told = refusal(answer, single=path == SINGLE)
    assert answer.status_code == status
    assert told["errorCode"] in ({code} if code else {"PARSE_ERROR", "INVALID_CONTEXT", "GENERAL"})


@pytest.mark.parametrize("path", [SINGLE, BULK])
@pytest.mark.parametrize("body", [b"", b"{}", b'{"context":null}', b'{"context":{}}', b'{"else":1}'])
def test_no_context_is_an_empty_one(fleet: Fleet, path: str, body: bytes) -> None:
    assert plain.post(f"{fleet.url}{path}", content=body).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        context(a=10**400),
        context(a="\ud800"),
        context(targetingKey="\ud800"),
        context(targetingKey="\x00" * 10_000),
        context(targetingKey="x" * 500_000),
        context(**{"": "", " ": {}, "a.b.c": 1, "\x00": None}),
        b'{"context":{"plan":"gold","plan":"tin"}}',
        context(plan={"plan": {"plan": "gold"}}),
        context(**{str(number): number for number in range(1000)}),
        context(**{str(number): number for number in range(50_000)}),
        context(a=10**30, plan=-(10**30)),
    ],
)
def test_an_odd_context_is_answered_or_refused_and_never_fails(fleet: Fleet, body: bytes) -> None:
    one = {
        flag: plain.post(f"{fleet.url}{BULK}/{flag}", content=body) for flag in ("colour", "coin", "broken")
    }
    every = plain.post(f"{fleet.url}{BULK}", content=body)

    assert {answer.status_code for answer in (*one.values(), every)} <= {200, 400}
    assert [answer.json()["key"] for answer in one.values()] == [*one]
    assert every.json().keys() & {"flags", "errorCode"}


@pytest.mark.parametrize(
    "attributes",
    [
        {"__proto__": {"plan": "gold", "tier": "inner"}},
        {"constructor": {"prototype": {"plan": "gold", "tier": "inner"}}},
        {"__class__": {"plan": "gold"}, "__dict__": {"plan": "gold"}},
        {"$flagd": {"timestamp": 0, "flagKey": "inner"}},
        {"$flagd.timestamp": 0},
        {"key": {"tier": "inner"}},
        {"key.tier": "inner"},
        {"key": None},
        {"key": [{"tier": "inner"}]},
        {"targetingKey": "ann", "": {"key": {"tier": "inner"}}},
    ],
)
def test_no_name_in_a_context_reaches_further_than_itself(keyed: Fleet, attributes: dict[str, Any]) -> None:
    """Neither the clock, nor the key's own attributes, nor what other names stand for in other languages."""
    with httpx.Client(base_url=keyed.url, headers={"x-api-key": SHOP_KEY}, verify=False) as shop:
        one = {
            flag: shop.post(f"{BULK}/{flag}", json={"context": attributes})
            for flag in ("inner", "clock", "colour")
        }
        every = shop.post(BULK, json={"context": attributes}).json()["flags"]

    found = {told["key"]: told.get("value") for told in every}
    assert {flag: answer.json().get("value") for flag, answer in one.items()} == {
        "inner": "out", "clock": "now", "colour": "#f00",
    }  # fmt: skip
    assert (found["inner"], found["clock"], found["colour"]) == ("out", "now", "#f00")


@pytest.mark.parametrize(
    "key",
    ["%2e%2e%2fadmin", "..%2f..%2fadmin%2fv1%2fflags", "__proto__", "constructor", "%00", "%ff%fe", "x" * 5000,
     "{{7*7}}", "colour%0d%0aSet-Cookie:%20a=b", "route%2fsupport-bot", "flag%2fcolour"],
)  # fmt: skip
def test_a_name_that_is_no_flags_is_not_found(fleet: Fleet, key: str) -> None:
    answer = plain.post(f"{fleet.url}{BULK}/{key}", json={})

    assert answer.status_code == 404
    assert refusal(answer, single=True)["errorCode"] == "FLAG_NOT_FOUND"
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("path", [SINGLE, BULK, "/ofrep/v1/events"])
@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
def test_another_method_is_not_allowed(fleet: Fleet, path: str, method: str) -> None:
    """A preflight too, where no site is named: it is told of no origin."""
    answer = httpx.request(
        method, f"{fleet.url}{path}", verify=False, headers={"Origin": "http://localhost:1"}
    )

    assert answer.status_code in {403, 405}
    assert not [name for name in answer.headers if name.startswith("access-control-")]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1.evil.example"},
        {"Origin": "http://localhost:x@evil.example"},
    ],
)
@pytest.mark.parametrize(("method", "path"), [("POST", SINGLE), ("POST", BULK), ("GET", "/ofrep/v1/events")])
def test_a_web_page_of_somebody_else_learns_nothing(
    fleet: Fleet, method: str, path: str, headers: dict[str, str]
) -> None:
    """Where nobody needs a key, a page must not read flags of its visitor's machine: not by a simple request either."""
    sent = {"Content-Type": "text/plain", **headers}

    with plain.stream(
        method, f"{fleet.url}{path}", headers=sent, content=b"" if method == "GET" else b"{}"
    ) as answer:
        assert answer.status_code == 403
        assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_a_name_that_came_to_mean_this_machine_opens_no_stream(fleet: Fleet) -> None:
    """Of a page that only reads, a browser tells no origin; its own name shows in `Host`."""
    with plain.stream("GET", f"{fleet.url}/ofrep/v1/events", headers={"Host": "evil.example"}) as answer:
        assert answer.status_code == 403


def raw(fleet: Fleet, sent: bytes) -> list[bytes]:
    """The status lines of what the server answers to these bytes, until it hangs up or falls silent."""
    address = urlsplit(fleet.url)
    with socket.create_connection((str(address.hostname), int(address.port or 0)), timeout=3) as connection:
        connection.sendall(sent)
        found = b""
        try:
            while piece := connection.recv(65536):
                found += piece
        except TimeoutError:
            pass
    return [line for line in found.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]


def smuggled(*headers: bytes) -> bytes:
    """A request that means to hide another one in its body."""
    hidden = b"0\r\n\r\nPOST /admin/v1/flags/colour/switch HTTP/1.1\r\nHost: localhost\r\nContent-Length: 18\r\n\r\n"
    hidden += b'{"variant":"gold"}'
    head = [b"POST " + SINGLE.encode() + b" HTTP/1.1", b"Host: localhost", *headers]
    return b"\r\n".join([*head, b"", hidden])


@pytest.mark.parametrize(
    "headers",
    [
        [b"Content-Length: 5", b"Transfer-Encoding: chunked"],
        [b"Transfer-Encoding: chunked", b"Content-Length: 5"],
        [b"Content-Length: 5", b"Content-Length: 500"],
        [b"Content-Length: +5"],
        [b"Content-Length: 5", b"Transfer-Encoding: xchunked"],
        [b"Transfer-Encoding : chunked"],
    ],
)
def test_a_request_with_two_ends_changes_nothing(fleet: Fleet, headers: Sequence[bytes]) -> None:
    before = fleet.read("/audit")

    statuses = raw(fleet, smuggled(*headers))

    assert fleet.read("/audit") == before
    assert not any(status.startswith(b"HTTP/1.1 5") for status in statuses)


def test_a_body_without_end_is_cut_at_the_limit(fleet: Fleet) -> None:
    """Chunked, so that its head tells no size."""
    piece = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    head = f"POST {BULK} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".encode()

    statuses = raw(fleet, head + piece * 17)

    assert statuses[0].startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    "match", ["*", '"', "x" * 8000, '"a", "b", ' * 500 + '"c"', '"0-0-0"', 'W/""', ",,,"]
)
def test_a_tag_that_we_never_gave_is_no_match(fleet: Fleet, match: str) -> None:
    """`*` is any answer that there is: 304 (RFC 9110, 13.1.2)."""
    answer = plain.post(f"{fleet.url}{BULK}", json={}, headers={"If-None-Match": match})

    assert answer.status_code == (304 if match == "*" else 200)


def test_a_tag_of_another_callers_answer_is_no_match(keyed: Fleet) -> None:
    """The same context and revision, but other eyes."""
    ann = plain.post(f"{keyed.url}{BULK}", json={}, headers={"x-api-key": ANN_KEY})

    shop = plain.post(
        f"{keyed.url}{BULK}", json={}, headers={"x-api-key": SHOP_KEY, "If-None-Match": ann.headers["etag"]}
    )

    assert shop.status_code == 200
    assert not {told["key"] for told in shop.json()["flags"]} & {"support-bot.prompt", "support-bot.model"}


@pytest.mark.parametrize(
    "tag", ["", '"', '"999999-x-y"', '"1e308-"', "x" * 5000, '"99999999999999999999999-0-0"', "%00"]
)
def test_a_refetch_for_a_revision_that_never_comes_is_answered_all_the_same(fleet: Fleet, tag: str) -> None:
    answer = plain.post(f"{fleet.url}{BULK}", params={"flagConfigEtag": tag}, json={}, timeout=10)

    assert answer.status_code == 200


def stream_of(fleet: Fleet, key: str | None = None) -> str:
    """The address of the event stream that a bulk answer names."""
    answer = plain.post(f"{fleet.url}{BULK}", json={}, headers={"x-api-key": key} if key else {}).json()
    return f"{fleet.url}{answer['eventStreams'][0]['endpoint']['requestUri']}"


@pytest.mark.parametrize("last", ["abc", "-1", "9" * 40, "1.5", "0", "999999", "1\t2"])
def test_a_last_event_that_never_was_is_answered_by_one_that_is(fleet: Fleet, last: str) -> None:
    """Whoever stands elsewhere than we, ahead of us too, is told to ask again."""
    with plain.stream("GET", stream_of(fleet), headers={"Last-Event-ID": last}, timeout=10) as answer:
        assert answer.status_code == 200
        told = next(line for line in answer.iter_lines() if line.startswith("data:"))

    assert json.loads(told[5:])["type"] == "refetchEvaluation"


def test_a_streams_address_that_was_tampered_with_opens_nothing(keyed: Fleet) -> None:
    address = stream_of(keyed, SHOP_KEY)
    bare, _, query = address.partition("?")
    turned = [
        bare, f"{bare}?", f"{address[:-2]}", f"{address}x", f"{bare}?{query.swapcase()}", f"{bare}?{query[::-1]}",
    ]  # fmt: skip

    statuses = [plain.get(each, timeout=5).status_code for each in turned]

    assert statuses == [401] * len(turned)
    assert SHOP_KEY not in address


def test_a_streams_address_opens_the_stream_alone(keyed: Fleet) -> None:
    """It may stand in a proxy's log: who finds it there reads no flag by it."""
    _, _, query = stream_of(keyed, ANN_KEY).partition("?")

    answers = [plain.post(f"{keyed.url}{path}?{query}", json={}) for path in (SINGLE, BULK)]
    token = query.partition("=")[2]
    answers += [plain.post(f"{keyed.url}{BULK}", json={}, headers={"Authorization": f"Bearer {token}"})]

    assert [answer.status_code for answer in answers] == [401] * 3

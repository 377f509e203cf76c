"""OFREP's one door: what leads where, who comes in, and that every answer is in OFREP's shape."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.http.ofrep.door import OfrepDoor
from gateway.http.ofrep.hub import Hub
from gateway.spec_flags import OfrepSpec
from tests.gateway.builders import NOW
from tests.gateway.http.ofrep.standing import Listener, Standing, client_of, doors, turn

FLAGS = "/ofrep/v1/evaluate/flags"
EVENTS = "/ofrep/v1/events"
USER: Any = {"context": {"targetingKey": "user-7", "plan": "gold"}}
APP = "https://app.example"
SHOP = {"authorization": "Bearer shop-key-1"}


@pytest.fixture
def house() -> Standing:
    return Standing()


@pytest.fixture
async def made(house: Standing) -> tuple[OfrepDoor, Hub]:
    return doors(house)


@pytest.fixture
async def client(made: tuple[OfrepDoor, Hub]) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(made[0]) as connected:
        yield connected


def in_shape(answer: httpx.Response) -> bool:
    document = answer.json()
    return bool(document["errorCode"]) and bool(document["errorDetails"])


async def stream_of(door: OfrepDoor, **sent: Any) -> tuple[Listener, asyncio.Task[None]]:
    listener = Listener(**sent)
    task = asyncio.ensure_future(door(listener.scope, listener.receive, listener.send))
    await turn()
    return listener, task


async def left(listener: Listener, task: asyncio.Task[None]) -> None:
    listener.leave()
    await task


class TestPaths:
    async def test_one_flag(self, client: httpx.AsyncClient) -> None:
        answer = await client.post(f"{FLAGS}/greeting", json=USER)

        assert (answer.status_code, answer.json()["value"]) == (200, True)
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == "no-store"

    @pytest.mark.parametrize("path", [FLAGS, f"{FLAGS}/"])
    async def test_all_flags_with_and_without_a_stroke(self, client: httpx.AsyncClient, path: str) -> None:
        answer = await client.post(path, json=USER)

        assert (answer.status_code, len(answer.json()["flags"])) == (200, 5)
        assert answer.headers["etag"]

    async def test_every_answer_tells_its_id_and_revision_once(self, client: httpx.AsyncClient) -> None:
        for answer in (
            await client.post(f"{FLAGS}/greeting", json=USER),
            await client.post(FLAGS, json=USER),
            await client.post(f"{FLAGS}/nope", json=USER),
            await client.get(EVENTS, headers={"host": "evil.example"}),
            await client.post("/ofrep/v2", json=USER),
        ):
            assert answer.headers["x-request-id"].startswith("req-")
            assert answer.headers.get_list("x-pointsman-revision") == ["7"]

    @pytest.mark.parametrize(
        "path", ["/ofrep/", "/ofrep/v2/evaluate/flags", "/ofrep/v1/evaluate", "/ofrep/v1/eventsx"]
    )
    async def test_elsewhere_is_nothing(self, client: httpx.AsyncClient, path: str) -> None:
        answer = await client.post(path, json=USER)

        assert answer.status_code == 404
        assert in_shape(answer)

    @pytest.mark.parametrize(
        ("method", "path", "allowed"),
        [
            ("GET", FLAGS, "POST"),
            ("PUT", f"{FLAGS}/a", "POST"),
            ("POST", EVENTS, "GET"),
            ("OPTIONS", FLAGS, "POST"),
        ],
    )
    async def test_another_method_is_told_which_to_use(
        self, client: httpx.AsyncClient, method: str, path: str, allowed: str
    ) -> None:
        answer = await client.request(method, path)

        assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
        assert in_shape(answer)

    @pytest.mark.parametrize(
        "key", ["a%2Fb", "%00", "%ff%fe", "..%2f..", "a b", "ü", "x" * 5000, "%25", "$flagd", "__proto__"]
    )
    async def test_a_key_that_is_none_is_a_flag_that_is_not_there(
        self, client: httpx.AsyncClient, key: str
    ) -> None:
        answer = await client.post(f"{FLAGS}/{key}", json=USER)

        assert (answer.status_code, answer.json()["errorCode"]) == (404, "FLAG_NOT_FOUND")


class TestBodies:
    @pytest.mark.parametrize(
        ("body", "status"),
        [
            (b"", 200),
            (b"{}", 200),
            (b"{", 400),
            (b'{"context": 1}', 400),
            (b"[" * 10_000, 400),
            (b"\xff", 400),
        ],
    )
    @pytest.mark.parametrize("path", [FLAGS, f"{FLAGS}/price"])
    async def test_a_bad_body_is_400_in_shape(
        self, client: httpx.AsyncClient, path: str, body: bytes, status: int
    ) -> None:
        answer = await client.post(path, content=body)

        assert answer.status_code == status
        assert status == 200 or in_shape(answer)
        assert status == 200 or answer.json().get("key") == (None if path == FLAGS else "price")

    async def test_a_body_is_taken_to_the_limit(self, client: httpx.AsyncClient) -> None:
        most = b'{"context": {"a": "%s"}}' % (b"x" * (1024 * 1024 - 22))

        fits, too_large = [await client.post(f"{FLAGS}/price", content=each) for each in (most, most + b" ")]

        assert (fits.status_code, too_large.status_code) == (200, 413)
        assert in_shape(too_large)

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    @given(st.binary(max_size=40) | st.text(max_size=40).map(str.encode), st.sampled_from(["", "/price"]))
    async def test_nothing_that_is_sent_is_our_fault(self, body: bytes, key: str) -> None:
        async with client_of(doors(Standing())[0]) as client:
            answer = await client.post(FLAGS + key, content=body)

        assert answer.status_code in {200, 400}

    async def test_a_bug_of_ours_tells_nothing_of_itself(
        self, house: Standing, client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
    ) -> None:
        house.serving = SimpleNamespace()  # type: ignore[assignment]  # as broken as can be
        house.marks = list  # type: ignore[method-assign]

        answer = await client.post(f"{FLAGS}/price", json=USER)

        assert (answer.status_code, answer.json()["errorDetails"]) == (
            500,
            "this is our fault; the log says more",
        )
        assert "POST" in caplog.text


class TestBulk:
    async def test_who_has_it_gets_304(self, client: httpx.AsyncClient) -> None:
        first = await client.post(FLAGS, json=USER)

        again = await client.post(
            FLAGS, json=USER, headers={"if-none-match": f'"x", W/{first.headers["etag"]}'}
        )

        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]

    async def test_the_same_tag_in_another_context_is_answered(self, client: httpx.AsyncClient) -> None:
        first = await client.post(FLAGS, json=USER)
        other = {"context": {"targetingKey": "user-8"}}

        again = await client.post(FLAGS, json=other, headers={"if-none-match": first.headers["etag"]})

        assert again.status_code == 200

    async def test_a_revision_that_an_event_told_of_is_waited_for(
        self, house: Standing, client: httpx.AsyncClient, made: tuple[OfrepDoor, Hub]
    ) -> None:
        asked = asyncio.ensure_future(client.post(FLAGS, params={"flagConfigEtag": '"8-ab"'}, json=USER))
        await turn(20)
        assert not asked.done()

        house.serve(8)
        made[1].poke()
        answer = await asked

        assert answer.headers["x-pointsman-revision"] == "8"
        assert answer.json()["metadata"]["version"] == "8"

    async def test_but_not_where_the_store_is_away(self, house: Standing, client: httpx.AsyncClient) -> None:
        house.away = True

        answer = await client.post(FLAGS, params={"flagConfigEtag": '"999-ab"'}, json=USER)

        assert answer.headers["x-pointsman-revision"] == "7"

    @pytest.mark.parametrize("tag", ["", "x", '"7-ab"', '"-1"', "9" * 50])
    async def test_any_other_tag_waits_for_nothing(self, client: httpx.AsyncClient, tag: str) -> None:
        assert (await client.post(FLAGS, params={"flagConfigEtag": tag}, json=USER)).status_code == 200

    async def test_a_query_of_too_many_names_is_refused(self, client: httpx.AsyncClient) -> None:
        answer = await client.post(f"{FLAGS}?{'&'.join(['a=1'] * 50)}", json=USER)

        assert answer.status_code == 400
        assert in_shape(answer)


class TestStanding:
    async def test_before_the_first_snapshot_one_is_asked_to_come_again(
        self, house: Standing, client: httpx.AsyncClient
    ) -> None:
        house.serving = None

        for answer in (await client.post(FLAGS, json=USER), await client.get(EVENTS)):
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            assert answer.json()["errorCode"] == "PROVIDER_NOT_READY"

    async def test_a_process_that_stops_answers_and_sends_clients_elsewhere(
        self, house: Standing, client: httpx.AsyncClient
    ) -> None:
        house.stopped = True

        answer = await client.post(FLAGS, json=USER)
        stream = await client.get(EVENTS)

        assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        assert (stream.status_code, stream.headers["connection"]) == (503, "close")

    async def test_a_process_without_its_store_answers_as_before(
        self, house: Standing, client: httpx.AsyncClient
    ) -> None:
        house.away = True

        assert (await client.post(f"{FLAGS}/greeting", json=USER)).json()["value"] is True


class TestKeys:
    async def test_where_apps_have_keys_one_is_needed(
        self, house: Standing, client: httpx.AsyncClient
    ) -> None:
        house.locked()

        answer = await client.post(f"{FLAGS}/price", json=USER)

        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert in_shape(answer)

    @pytest.mark.parametrize(
        ("headers", "seen"),
        [
            (SHOP, 5),
            ({"x-api-key": "bot-key-12"}, 4),
            ({"x-api-key": "page-key-1"}, 2),
            ({"authorization": "Bearer vera-token"}, 5),
        ],
    )
    async def test_each_sees_its_own(
        self, house: Standing, client: httpx.AsyncClient, headers: dict[str, str], seen: int
    ) -> None:
        house.locked()

        answer = await client.post(FLAGS, json=USER, headers=headers)

        assert len(answer.json()["flags"]) == seen

    async def test_the_key_s_attributes_are_in_the_context_and_nobody_else_s(
        self, house: Standing, client: httpx.AsyncClient
    ) -> None:
        house.locked()
        forged = {"context": {"key": {"plan": "gold"}}}

        tags = {
            (await client.post(FLAGS, json=each, headers=SHOP)).headers["etag"]
            for each in (forged, {"context": {}})
        }

        assert len(tags) == 1

    async def test_without_keys_a_page_of_somebody_else_is_refused(self, client: httpx.AsyncClient) -> None:
        answer = await client.post(FLAGS, json=USER, headers={"origin": APP})

        assert answer.status_code == 403
        assert in_shape(answer)

    async def test_and_let_in_where_the_config_names_it(
        self, house: Standing, client: httpx.AsyncClient
    ) -> None:
        house.ofrep = OfrepSpec(cors=[APP])

        named, other = [
            await client.post(FLAGS, json=USER, headers={"origin": each})
            for each in (APP, "https://evil.example")
        ]

        assert (named.status_code, other.status_code) == (200, 403)
        assert named.headers["access-control-allow-origin"] == APP
        assert "access-control-allow-origin" not in other.headers

    async def test_but_without_a_key_it_sees_no_prompt(
        self, house: Standing, client: httpx.AsyncClient
    ) -> None:
        house.ofrep = OfrepSpec(cors=["*"])

        listed = await client.post(FLAGS, json=USER, headers={"origin": APP})
        prompt = await client.post(f"{FLAGS}/support-bot.prompt", json=USER, headers={"origin": APP})

        assert [each["key"] for each in listed.json()["flags"]] == ["greeting", "price"]
        assert prompt.status_code == 404


class TestCors:
    async def test_a_browser_that_asks_first_is_told_what_it_may_send(
        self, house: Standing, client: httpx.AsyncClient
    ) -> None:
        house.ofrep = OfrepSpec(cors=[APP])
        house.locked()

        answer = await client.options(FLAGS, headers={"origin": APP, "access-control-request-method": "POST"})

        assert (answer.status_code, answer.content) == (204, b"")
        assert answer.headers["access-control-allow-origin"] == APP
        assert "X-API-Key" in answer.headers["access-control-allow-headers"]
        assert int(answer.headers["access-control-max-age"]) > 0

    async def test_errors_may_be_read_too(self, house: Standing, client: httpx.AsyncClient) -> None:
        house.ofrep = OfrepSpec(cors=["*"])
        house.locked()

        answer = await client.post(FLAGS, json=USER, headers={"origin": APP})

        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (401, APP)


class TestAllowance:
    async def test_who_asks_too_often_is_told_when_to_come_again(
        self, house: Standing, client: httpx.AsyncClient
    ) -> None:
        house.ofrep = OfrepSpec(requests_per_second=1)
        house.locked()

        first, second = [await client.post(FLAGS, json=USER, headers=SHOP) for _ in range(2)]
        other = await client.post(FLAGS, json=USER, headers={"x-api-key": "bot-key-12"})
        house.time += 1
        later = await client.post(FLAGS, json=USER, headers=SHOP)

        assert [each.status_code for each in (first, second, other, later)] == [200, 429, 200, 200]
        assert second.headers["retry-after"] == "1"
        assert in_shape(second)

    async def test_without_keys_it_counts_by_address(
        self, house: Standing, client: httpx.AsyncClient
    ) -> None:
        house.ofrep = OfrepSpec(requests_per_second=1)

        statuses = [(await client.post(f"{FLAGS}/price", json=USER)).status_code for _ in range(2)]

        assert statuses == [200, 429]


class TestStreams:
    async def test_the_address_admits_without_any_header(
        self, house: Standing, client: httpx.AsyncClient, made: tuple[OfrepDoor, Hub]
    ) -> None:
        house.locked()
        told = (await client.post(FLAGS, json=USER, headers={"x-api-key": "page-key-1"})).json()[
            "eventStreams"
        ]
        uri = told[0]["endpoint"]["requestUri"]

        path, _, query = uri.partition("?")
        listener, task = await stream_of(made[0], query=query)

        assert (path, told[0]["type"], told[0]["inactivityDelaySec"]) == (EVENTS, "sse", 120)
        assert (listener.status, len(listener.events)) == (200, 1)
        assert b"x-request-id" in listener.headers
        await left(listener, task)

    async def test_the_address_stays_the_same(self, house: Standing, client: httpx.AsyncClient) -> None:
        """Or a browser's provider would connect anew after each change."""
        first = (await client.post(FLAGS, json=USER)).json()["eventStreams"]

        house.serve(8)
        house.time = NOW + 3600
        second = (await client.post(FLAGS, json={"context": {"targetingKey": "b"}})).json()["eventStreams"]

        assert first == second

    async def test_behind_a_path_the_whole_address_is_told(self, house: Standing) -> None:
        door, _ = doors(house, base="https://flags.example/pointsman/")

        async with client_of(door) as client:
            told = (await client.post(FLAGS, json=USER)).json()["eventStreams"][0]

        assert told["url"].startswith("https://flags.example/pointsman/ofrep/v1/events?ticket=")
        assert "endpoint" not in told

    @pytest.mark.parametrize("streams", [0, 10])
    async def test_without_a_signer_or_room_none_is_told(
        self, house: Standing, client: httpx.AsyncClient, streams: int
    ) -> None:
        house.ofrep = OfrepSpec(streams=streams)
        house.signing.signer = house.signing.signer if streams == 0 else None

        assert "eventStreams" not in (await client.post(FLAGS, json=USER)).json()

    @pytest.mark.parametrize("query", ["ticket=x", "ticket=1~shop~x", "ticket=%00", "", "lastEventId=7"])
    async def test_without_a_good_address_or_key_nobody_comes_in(
        self, house: Standing, client: httpx.AsyncClient, query: str
    ) -> None:
        house.locked()

        answer = await client.get(f"{EVENTS}?{query}")

        assert answer.status_code == 401
        assert in_shape(answer)

    async def test_a_key_in_a_header_admits_too(self, house: Standing, made: tuple[OfrepDoor, Hub]) -> None:
        house.locked()

        listener, task = await stream_of(made[0], x_api_key="shop-key-1")

        assert listener.status == 200
        await left(listener, task)

    @pytest.mark.parametrize("sent", [{"last_event_id": "7"}, {"query": "lastEventId=7"}])
    async def test_who_comes_back_says_what_it_had_last(
        self, made: tuple[OfrepDoor, Hub], sent: dict[str, str]
    ) -> None:
        listener, task = await stream_of(made[0], **sent)

        assert (listener.status, listener.events) == (200, [])
        await left(listener, task)

    async def test_there_are_only_so_many(
        self, house: Standing, client: httpx.AsyncClient, made: tuple[OfrepDoor, Hub]
    ) -> None:
        house.ofrep = OfrepSpec(streams=1)
        first = await stream_of(made[0])

        refused = await client.get(EVENTS)

        assert (refused.status_code, int(refused.headers["retry-after"]) >= 1) == (429, True)
        assert in_shape(refused)
        await left(*first)

    async def test_one_key_holds_only_its_share_and_others_come_in(
        self, house: Standing, made: tuple[OfrepDoor, Hub]
    ) -> None:
        house.locked().ofrep = OfrepSpec(streams=10, streams_per_key=2)
        held = [await stream_of(made[0], **SHOP) for _ in range(2)]

        refused = Listener(**SHOP)
        await made[0](refused.scope, refused.receive, refused.send)
        other = await stream_of(made[0], x_api_key="bot-key-12")

        assert (refused.status, int(refused.headers[b"retry-after"]) >= 1) == (429, True)
        assert b"2 event streams are open for this key" in refused.parts[0]
        assert other[0].status == 200
        await left(*held.pop())
        again = await stream_of(made[0], **SHOP)
        assert again[0].status == 200
        for one in (*held, other, again):
            await left(*one)
        assert len(made[1]) == made[1].held("shop") == 0

    async def test_without_keys_one_address_holds_only_its_share(
        self, house: Standing, made: tuple[OfrepDoor, Hub]
    ) -> None:
        house.ofrep = OfrepSpec(streams=10, streams_per_key=1)
        held = await stream_of(made[0])
        refused, other = Listener(), Listener()
        other.scope["client"] = ("127.0.0.2", 5)

        await made[0](refused.scope, refused.receive, refused.send)
        task = asyncio.create_task(made[0](other.scope, other.receive, other.send))
        await turn()

        assert (refused.status, other.status) == (429, 200)
        await left(*held)
        await left(other, task)

    async def test_a_page_that_is_named_may_listen(
        self, house: Standing, made: tuple[OfrepDoor, Hub]
    ) -> None:
        house.ofrep = OfrepSpec(cors=[APP])

        listener, task = await stream_of(made[0], origin=APP)

        assert listener.headers[b"access-control-allow-origin"] == APP.encode()
        await left(listener, task)

"""Answers for one context, and the tag by which a client learns that it has them already."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flags.model import Context
from flags.ofrep import EventStream
from gateway.auth import KEYLESS, Caller
from gateway.decision import Serving
from gateway.http.ofrep import evaluation
from gateway.http.ofrep.evaluation import Asking, bulk, single
from gateway.http.ofrep.listing import listing_of
from gateway.http.ofrep.place import State, state_of
from gateway.http.ofrep.reply import Reply
from tests.gateway.builders import NOW, flag
from tests.gateway.http.ofrep.standing import FLAGS, LATE, Standing, serving_of

GOLDEN = Context("user-7", {"plan": "gold", "key": {}})
BOT = Caller("bot", may_pin=False, routes=frozenset({"support-bot"}))


def asking(
    serving: Serving | None = None, context: Context = GOLDEN, caller: Caller = KEYLESS, now: int = NOW
) -> Asking:
    return Asking(serving or serving_of(), caller, context, now)


async def all_of(
    asked: Asking, *, local: str = "", streams: Sequence[EventStream] = (), having: str = ""
) -> Reply:
    state = state_of(Standing(asked.serving), asked.serving)._replace(local=local)
    return await bulk(asked, listing_of(asked.serving, asked.caller), state, streams, having)


async def tag_of(asked: Asking, **more: Any) -> str:
    return dict((await all_of(asked, **more)).headers)[b"etag"].decode()


def document(reply: Reply) -> Any:
    return msgspec.json.decode(reply.body)


class TestSingle:
    def test_a_flag_is_answered_with_its_value(self) -> None:
        reply = single(asking(), "greeting")

        assert reply.status == 200
        assert (document(reply)["value"], document(reply)["reason"]) == (True, "TARGETING_MATCH")

    @pytest.mark.parametrize("key", ["nope", "", "a/b", "\0"])
    def test_a_flag_that_is_not_there_is_404(self, key: str) -> None:
        reply = single(asking(), key)

        assert (reply.status, document(reply)["errorCode"]) == (404, "FLAG_NOT_FOUND")

    def test_a_flag_that_the_caller_may_not_see_is_not_there(self) -> None:
        hidden, missing = (single(asking(caller=BOT), key) for key in ("other.model", "missing.xyz"))

        assert hidden.status == 404
        assert hidden.body.replace(b"other.model", b"missing.xyz") == missing.body

    def test_a_rule_that_fails_is_400_and_names_the_flag(self) -> None:
        bad = flag("bad", None, {"off": False, "on": True}, targeting={"/": [1, 0]})
        reply = single(asking(serving_of([bad])), "bad")

        assert (reply.status, document(reply)["key"], document(reply)["errorCode"]) == (
            400,
            "bad",
            "PARSE_ERROR",
        )


class TestBulk:
    async def test_all_that_the_caller_sees_is_answered(self) -> None:
        answer = document(await all_of(asking(caller=BOT)))

        assert [each["key"] for each in answer["flags"]] == [
            "greeting",
            "price",
            "support-bot.model",
            "support-bot.prompt",
        ]
        assert answer["metadata"] == {"version": "7", "flagSetId": "default"}
        assert "eventStreams" not in answer

    async def test_one_that_fails_is_an_entry_among_the_others(self) -> None:
        bad = flag("bad", None, {"off": False, "on": True}, targeting={"/": [1, 0]})
        reply = await all_of(asking(serving_of([*FLAGS, bad])))

        found = {each["key"]: each for each in document(reply)["flags"]}
        assert reply.status == 200
        assert found["bad"]["errorCode"] == "PARSE_ERROR"
        assert found["greeting"]["value"] is True

    async def test_a_stream_is_told_by_one_of_two_kinds_of_address(self) -> None:
        reply = await all_of(asking(), streams=[EventStream("sse", 120, url="https://x/y")])

        assert document(reply)["eventStreams"] == [
            {"type": "sse", "inactivityDelaySec": 120, "url": "https://x/y"}
        ]

    async def test_who_has_it_gets_304_without_a_body(self) -> None:
        asked = asking()

        reply = await all_of(asked, having=await tag_of(asked))

        assert (reply.status, reply.body) == (304, b"")
        assert dict(reply.headers)[b"etag"].decode() == await tag_of(asked)

    async def test_others_have_a_turn_between_two_flags_where_a_slice_is_over(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One rule over a context that means ill may take as long as a thousand others."""
        monkeypatch.setattr(evaluation, "SLICE_SECONDS", 0.0)
        turns: list[int] = []

        async def count() -> None:
            while True:
                turns.append(1)
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        answer = document(await all_of(asking()))
        counting.cancel()

        assert len(turns) >= len(answer["flags"])

    async def test_the_answer_tells_the_revision_that_it_was_made_at(self) -> None:
        assert dict((await all_of(asking())).headers)[b"x-pointsman-revision"] == b"7"


class TestTag:
    async def test_it_hangs_on_all_that_the_answer_does(self) -> None:
        """And so a client that changes its context, its key or its worker never has a 304 for what it has not."""
        other = Caller("other", may_pin=False)
        tags = [
            await tag_of(asking()),
            await tag_of(asking(context=Context("user-8", GOLDEN.attributes))),
            await tag_of(asking(context=Context("user-7", {"plan": "free", "key": {}}))),
            await tag_of(asking(context=Context("user-7", {"plan": "gold", "key": {"team": "web"}}))),
            await tag_of(asking(caller=other)),
            await tag_of(asking(caller=BOT)),
            await tag_of(asking(serving_of(revision=8))),
            await tag_of(asking(serving_of(FLAGS[1:]))),
            await tag_of(asking(serving_of(namespace="another"))),
            await tag_of(asking(), local="support-bot.prompt=v7"),
            await tag_of(asking(), streams=[EventStream("sse", 120, url="https://x/y")]),
        ]

        assert len(set(tags)) == len(tags)

    async def test_two_histories_of_one_revision_never_share_one(self) -> None:
        first = serving_of([flag("a", None, {"x": "1", "y": "2"})])
        second = serving_of([flag("a", None, {"x": "1", "y": "2"}, serve="y")])

        assert first.snapshot.revision == second.snapshot.revision
        assert await tag_of(asking(first)) != await tag_of(asking(second))

    async def test_the_order_of_attributes_is_nothing(self) -> None:
        first, second = Context("u", {"a": 1, "b": 2}), Context("u", {"b": 2, "a": 1})

        assert await tag_of(asking(context=first)) == await tag_of(asking(context=second))

    async def test_it_is_the_same_in_every_process_that_serves_the_same(self) -> None:
        assert await tag_of(asking(serving_of())) == await tag_of(asking(serving_of(FLAGS[::-1])))

    async def test_time_alone_changes_it_where_a_rule_reads_the_time(self) -> None:
        late = serving_of([flag("late", None, {"off": False, "on": True}, targeting=LATE)])

        before, still = await tag_of(asking(late)), await tag_of(asking(late, now=NOW + 9))
        after = await tag_of(asking(late, now=NOW + 10))

        assert before == still != after
        assert await tag_of(asking()) == await tag_of(asking(now=NOW + 10))

    @given(
        st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5) | st.booleans(), max_size=3),
        st.data(),
    )
    async def test_equal_tags_are_equal_answers(
        self, attributes: dict[str, Any], data: st.DataObject
    ) -> None:
        other = data.draw(st.just(attributes) | st.just({**attributes, "plan": "gold"}))
        first, second = (asking(context=Context("u", each)) for each in (attributes, other))

        if await tag_of(first) == await tag_of(second):
            assert (await all_of(first)).body == (await all_of(second)).body


def test_a_state_s_id_begins_with_the_revision_and_tells_histories_apart() -> None:
    states = [State(7, "aa", ""), State(7, "ab", ""), State(7, "aa", "f=v7")]

    assert {each.id.split("-")[0] for each in states} == {"7"}
    assert len({each.id for each in states}) == 3
    assert State(8, "aa", "").mark == states[0].mark

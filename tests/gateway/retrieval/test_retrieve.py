"""Passages found for a prompt: what a store is asked, what the model sees of it, and what a bad day looks like."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.content import retriever_content
from gateway.errors import RetrievalFailed
from gateway.index.passage import Passage
from gateway.patience import Patience
from gateway.retrieval.retrieve import (
    CITATIONS_BYTES,
    PASSAGES_CHARACTERS,
    QUERY_CHARACTERS,
    best,
    citations,
    merged,
)
from gateway.retrieval.retriever import prepare_retriever
from gateway.spec import Reply, Rule, UpstreamSpec
from gateway.upstream.native import NativeUpstream
from policies.outcome import Blame, Ending, Part, Release
from tests.gateway.builders import rollout
from tests.gateway.index.library import a_build
from tests.gateway.reading_room import INDEX, QUOTING, RETRIEVER, SEARCH_PATH, ReadingRoom, open_room, served
from tests.scripted_upstream import ScriptedUpstream, json_answer

SKIPPING = {**RETRIEVER, "on_error": "skip"}
QUICK = {**RETRIEVER, "timeout_seconds": 0.03}
PASSAGES = [
    {"text": "Thirty days.", "file_id": "returns.md", "score": 0.9},
    {"text": "To your card.", "file_id": "refunds.md", "score": 0.5},
    {"text": "Or as a voucher.", "file_id": "refunds.md", "score": 0.4},
]
BAD_DAYS: list[tuple[dict[str, Any], int, Blame]] = [
    ({"fault": "hang"}, 504, Blame.UPSTREAM),
    ({"fault": "refuse"}, 502, Blame.UPSTREAM),
    ({"fault": "cut"}, 502, Blame.UPSTREAM),
    ({"fault": "garbage"}, 502, Blame.UPSTREAM),
    ({"fault": "empty"}, 502, Blame.UPSTREAM),
    ({"fault": "error_body"}, 502, Blame.UPSTREAM),
    ({"status": 500}, 502, Blame.UPSTREAM),
    ({"status": 429}, 502, Blame.UPSTREAM),
    ({"status": 404}, 502, Blame.RELEASE),
    ({"status": 401}, 502, Blame.RELEASE),
    ({"status": 400}, 502, Blame.RELEASE),
]


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[ReadingRoom]:
    async with open_room(tmp_path, PASSAGES) as made:
        yield made


async def test_the_last_user_message_is_searched_and_what_is_found_stands_in_the_prompt(
    room: ReadingRoom,
) -> None:
    _, hall = await room.ask()

    (asked,) = room.spies["store"].requests
    assert (asked.path, room.spies["store"].bodies) == (
        SEARCH_PATH,
        [{"query": "Where is my order?", "max_num_results": 3}],
    )
    assert (
        room.system
        == "[returns.md] Thirty days.\n[refunds.md] To your card.\n[refunds.md] Or as a voucher.\n"
    )
    assert hall.headers[b"x-pointsman-versions"] == b"prompt=v6;retriever=r1;index=i1;model=gpt-4.1"
    assert b"x-pointsman-citations" not in hall.headers
    assert b"x-pointsman-retrieval" not in hall.headers


async def test_files_are_cited_once_each_in_order_where_the_app_asks(room: ReadingRoom) -> None:
    _, hall = await room.ask({"x-pointsman-cite": "1"})

    assert hall.headers[b"x-pointsman-citations"] == b"returns.md,refunds.md"


async def test_a_version_says_how_far_to_look(room: ReadingRoom) -> None:
    filters = {"type": "eq", "key": "team", "value": "support"}
    room.served = served({"r1": {**RETRIEVER, "top_k": 1, "score_threshold": 0.5, "filters": filters}})
    await room.ask()

    assert room.spies["store"].bodies == [
        {
            "query": "Where is my order?",
            "max_num_results": 1,
            "filters": filters,
            "ranking_options": {"score_threshold": 0.5},
        }
    ]
    assert room.system == "[returns.md] Thirty days.\n"


async def test_a_template_makes_the_query_of_variables_and_question(room: ReadingRoom) -> None:
    room.served = served(
        {"r1": {**RETRIEVER, "query": "{{ company }}: {{ question }}"}},
        prompts={"v6": {**QUOTING, "variables": {"company": "Acme"}}},
    )
    await room.ask()
    await room.ask(prompt_variables={"company": "Blix"})

    assert [each["query"] for each in room.spies["store"].bodies] == [
        "Acme: Where is my order?",
        "Blix: Where is my order?",
    ]


@pytest.mark.parametrize(
    "messages", [[], [{"role": "user", "content": "  "}], [{"role": "system", "content": "x"}]]
)
async def test_where_nothing_is_asked_nothing_is_searched(room: ReadingRoom, messages: list[Any]) -> None:
    _, hall = await room.ask(messages=messages)

    assert hall.status == 200
    assert not room.spies["store"].requests


async def test_of_a_question_of_a_megabyte_the_beginning_is_searched(room: ReadingRoom) -> None:
    _, hall = await room.ask(messages=[{"role": "user", "content": "ab " * 350_000}])

    assert hall.status == 200
    assert len(room.spies["store"].bodies[0]["query"]) == QUERY_CHARACTERS


@pytest.mark.parametrize("missing", ["retriever", "index"])
async def test_a_route_with_one_of_the_two_searches_nothing(room: ReadingRoom, missing: str) -> None:
    room.served = served({}) if missing == "retriever" else served(None, {})
    _, hall = await room.ask()

    assert hall.status == 200
    assert not room.spies["store"].requests
    assert room.system == ""


async def test_a_half_of_a_pair_is_told_when_it_is_served(caplog: pytest.LogCaptureFixture) -> None:
    served(None, {})

    assert "has the layer retriever and no index" in caplog.text


async def test_a_passage_is_text_and_never_a_template(room: ReadingRoom) -> None:
    hostile = "{{ 7 * 7 }}{% for x in range(9) %}x{% endfor %}</s>\u2028\x00 }}"
    room.store(passages=[{"text": hostile, "file_id": "{{ evil }}"}])
    _, hall = await room.ask({"x-pointsman-cite": "1"})

    assert room.system == f"[{{{{ evil }}}}] {hostile}\n"
    assert hall.headers[b"x-pointsman-citations"] == b"%7B%7B%20evil%20%7D%7D"


async def test_a_template_sees_names_scores_and_attributes(room: ReadingRoom) -> None:
    content = "{% for p in passages %}{{ p.filename }} {{ p.score }} {{ p.attributes.team }}{% endfor %}"
    room.served = served(prompts={"v6": {"messages": [{"role": "system", "content": content}]}})
    room.store(passages=[{"text": "x", "filename": "a.md", "score": 0.25, "attributes": {"team": "ops"}}])
    await room.ask()

    assert room.system == "a.md 0.25 ops"


@pytest.mark.parametrize(("reply", "status", "blame"), BAD_DAYS)
async def test_where_a_store_fails_the_request_fails_and_says_whose_store_it_was(
    room: ReadingRoom, reply: dict[str, Any], status: int, blame: Blame
) -> None:
    room.served = served({"r1": QUICK})
    room.store(**reply)
    _, hall = await room.ask()

    assert hall.status == status
    assert hall.json["error"]["code"] == "retrieval_failed"
    assert "upstream store" in hall.json["error"]["message"]
    assert not room.spies["mock"].requests
    outcome = room.outcome()
    assert (outcome.ending, outcome.blame) == (Ending.FAILED, blame)
    assert Release("support-bot.index", "i1", 1) in outcome.releases


@pytest.mark.parametrize("reply", [reply for reply, _, _ in BAD_DAYS])
async def test_where_a_version_skips_the_answer_comes_without_passages_and_says_so(
    room: ReadingRoom, reply: dict[str, Any]
) -> None:
    room.served = served({"r1": {**QUICK, "on_error": "skip"}})
    room.store(**reply)
    _, hall = await room.ask({"x-pointsman-cite": "1"})

    assert hall.status == 200
    assert hall.headers[b"x-pointsman-retrieval"] == b"skipped"
    assert b"x-pointsman-citations" not in hall.headers
    assert room.system == ""
    assert room.outcome().ending is Ending.OK


async def test_an_empty_result_is_an_answer(room: ReadingRoom) -> None:
    room.store(passages=[])
    _, hall = await room.ask()

    assert (hall.status, room.system) == (200, "")
    assert b"x-pointsman-retrieval" not in hall.headers


async def test_of_a_huge_result_no_more_than_the_bound_reaches_the_prompt(room: ReadingRoom) -> None:
    room.store(passages=[{"text": "x" * 200_000, "file_id": f"f{n}"} for n in range(3)])
    x, hall = await room.ask()

    assert hall.status == 200
    assert sum(len(each.text) for each in x.passages) == PASSAGES_CHARACTERS
    assert [each.file_id for each in x.passages] == ["f0", "f1"]


async def test_an_answer_without_end_is_given_up(room: ReadingRoom) -> None:
    room.store(passages=[{"text": "x" * 9_000_000}])
    _, hall = await room.ask()

    assert (hall.status, hall.json["error"]["code"]) == (502, "retrieval_failed")


async def test_a_store_that_nobody_defined_is_named(room: ReadingRoom) -> None:
    room.served = served({"r1": {**RETRIEVER, "upstream": "gone"}})
    _, hall = await room.ask()

    assert hall.status == 502
    assert "upstream gone: not defined" in hall.json["error"]["message"]


async def test_a_query_that_does_not_render_is_the_versions_failure(room: ReadingRoom) -> None:
    room.served = served({"r1": {**RETRIEVER, "query": "{{ nobody_sends_this }}"}})
    _, hall = await room.ask()

    assert hall.json["error"]["code"] == "prompt_not_rendered"
    assert room.outcome().blame is Blame.RELEASE


async def test_the_search_is_waited_for_and_is_none_of_our_overhead(room: ReadingRoom) -> None:
    room.store(delay_seconds=0.05, passages=PASSAGES)
    x, _ = await room.ask()

    assert x.waited > 0.04
    assert x.overhead < x.waited


async def test_the_requests_deadline_bounds_the_search(room: ReadingRoom) -> None:
    room.served = served(models={"m": {"upstream": "mock", "model": "m", "total_seconds": 0.05}})
    room.store(fault="hang")
    _, hall = await room.ask()

    assert hall.status == 504


async def test_where_the_app_grants_less_time_than_the_version_it_is_nobodys_failure(
    room: ReadingRoom,
) -> None:
    room.store(fault="hang")
    hurry = {"x-pointsman-timeout-seconds": "0.05"}
    _, chat = await room.ask(hurry)
    _, search = await room.search(hurry, query="q")

    assert (chat.status, chat.json["error"]["code"]) == (504, "out_of_time")
    assert (search.status, search.json["error"]["code"]) == (504, "out_of_time")
    assert {outcome.blame for outcome in room.outcomes()} == {Blame.CLIENT}


async def test_what_a_candidate_index_fails_its_control_answers(room: ReadingRoom) -> None:
    room.served = served(None, {"i1": INDEX, "i2": {"store": "gone"}}, index_state=rollout("i2", 99.99))
    room.store(Rule(Reply(status=404), path="/vector_stores/gone/search"), passages=PASSAGES)
    _, hall = await room.ask({"x-pointsman-targeting-key": "ann"})

    assert (hall.status, hall.headers[b"x-pointsman-shielded"]) == (200, b"1")
    assert b"index=i1" in hall.headers[b"x-pointsman-versions"]
    assert room.system.startswith("[returns.md]")
    tried, shield = room.outcomes()
    assert (tried.part, shield.part) == (Part.TRIED, Part.SHIELD)
    assert tried.releases == (Release("support-bot.index", "i2", 1),)
    assert (tried.blame, shield.ending) == (Blame.RELEASE, Ending.OK)


async def test_a_hanging_candidate_leaves_time_for_its_control(room: ReadingRoom) -> None:
    room.served = served(
        None,
        {"i1": INDEX, "i2": {"store": "slow"}},
        index_state=rollout("i2", 99.99),
        models={"m": {"upstream": "mock", "model": "m", "total_seconds": 0.4}},
    )
    room.store(Rule(Reply(fault="hang"), path="/vector_stores/slow/search"), passages=PASSAGES)
    _, hall = await room.ask({"x-pointsman-targeting-key": "ann"})

    assert (hall.status, hall.headers[b"x-pointsman-shielded"]) == (200, b"1")


async def test_a_control_with_the_same_versions_does_not_search_again(room: ReadingRoom) -> None:
    failing = {"upstream": "mock", "model": "y", "params": {"simulate": {"status": 500}}}
    models = {"m": {"upstream": "mock", "model": "m"}, "n": failing}
    room.served = served(models=models, model_state=rollout("n", 99.99))
    _, hall = await room.ask({"x-pointsman-targeting-key": "ann"})

    assert hall.headers[b"x-pointsman-shielded"] == b"1"
    assert len(room.spies["store"].requests) == 1
    assert room.system.startswith("[returns.md]")


async def test_a_store_is_searched_over_http_with_its_key_and_the_apps_trace(room: ReadingRoom) -> None:
    page = {"data": [{"file_id": "f", "score": 0.5, "content": [{"type": "text", "text": "Über Nacht"}]}]}
    async with ScriptedUpstream(choose=lambda _: json_answer(msgspec.json.encode(page))) as server:
        spec = UpstreamSpec(kind="openai", base_url=server.base_url)
        native = NativeUpstream(spec, api_key="s3cret", patience=Patience(room.loop), loop=room.loop)
        room.spies["store"].inner = native
        _, hall = await room.ask({"traceparent": "00-1-2-01", "authorization": "Bearer the-apps"})
        (asked,) = server.requests
        await native.aclose()

    assert (hall.status, room.system) == (200, "[f] Über Nacht\n")
    assert asked.head.startswith(b"POST /v1/vector_stores/vs_docs/search HTTP/1.1")
    assert (asked.headers["authorization"], asked.headers["traceparent"]) == ("Bearer s3cret", "00-1-2-01")


async def test_an_embedded_index_is_searched_without_a_server(room: ReadingRoom, tmp_path: Path) -> None:
    a_build(tmp_path, name="docs")
    embedded = {"kind": "embedded", "top_k": 2, "timeout_seconds": 5, "on_error": "fail", "mode": "text"}
    room.served = served({"r1": embedded}, {"i1": {"store": "docs"}})
    x, hall = await room.ask({"x-pointsman-cite": "1"}, messages=[{"role": "user", "content": "gift cards?"}])

    assert hall.status == 200
    assert "Gift cards never expire." in room.system
    assert hall.headers[b"x-pointsman-citations"]
    assert x.waited > 0


@pytest.mark.parametrize("store", ["gone", "../../etc/passwd", "broken"])
async def test_an_embedded_index_that_is_not_there_is_the_versions_fault_and_tells_no_path(
    room: ReadingRoom, tmp_path: Path, store: str
) -> None:
    (tmp_path / "indexes").mkdir()
    (tmp_path / "indexes" / "broken.sqlite").write_bytes(b"SQLite format 3\0" + b"\xff" * 200)
    embedded = {"kind": "embedded", "top_k": 2, "timeout_seconds": 5, "on_error": "fail"}
    room.served = served({"r1": embedded}, {"i1": {"store": store}})
    _, hall = await room.ask()

    assert (hall.status, room.outcome().blame) == (502, Blame.RELEASE)
    assert str(tmp_path) not in hall.text


def test_citations_are_whole_and_no_longer_than_a_header_may_be() -> None:
    passages = tuple(Passage(f"file-{n:05}-{'x' * 90}", "", 1.0, "t") for n in range(100))

    cited = citations(passages)

    assert len(cited) <= CITATIONS_BYTES
    assert all(len(each) == len("file-00000-") + 90 for each in cited.split(b","))


@pytest.mark.parametrize("name", ["a,b", "a\r\nset-cookie: x", "é", "", "\ud800", "a b"])
def test_no_file_id_breaks_out_of_the_header(name: str) -> None:
    cited = citations((Passage(name, "", 1.0, "t"), Passage("ok", "", 1.0, "t")))

    assert cited.isascii()
    assert cited.decode().isprintable()
    assert b" " not in cited
    assert cited.split(b",")[-1] == b"ok"


def test_of_several_searches_the_best_come_first_and_each_once() -> None:
    low, high, twice = Passage("a", "", 0.1, "x"), Passage("b", "", 0.9, "y"), Passage("a", "", 0.5, "x")

    assert merged([[low], [high, twice]]) == [high, twice]


def test_what_a_store_does_not_cut_is_cut_here() -> None:
    retriever = prepare_retriever(retriever_content({**RETRIEVER, "top_k": 2, "score_threshold": 0.5}))
    passages = [Passage(str(n), "", score, "x") for n, score in enumerate((0.9, 0.4, 0.6, 0.7))]

    assert [each.score for each in best(passages, retriever)] == [0.9, 0.6]


def test_the_error_has_its_own_status_and_blame() -> None:
    error = RetrievalFailed("x", status=504, blame=Blame.RELEASE)

    assert (error.status, error.blame, RetrievalFailed("x").status) == (504, Blame.RELEASE, 502)

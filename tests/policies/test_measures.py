"""The flush script and what reads its keys, on real servers. policies.tally is the script's twin and its oracle."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from itertools import count, pairwise

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policies import evidence
from policies.answered import Answered, answered_from
from policies.counts import CaseCounts, CaseGain, EventGain, PolicyGain, ScoreGain, Second
from policies.measures import Broken
from policies.outcome import Release
from policies.tally import Tally
from tests.policies.measuring import CASE, ERRORS, V6, batch, gain, measuring, set_clock
from tests.redis_server import RedisServer

NAMESPACES = count()
NOON = 1_800_000_000

# The twin

parts = st.integers(0, 8).map(lambda eighths: eighths / 8)
names = st.sampled_from(["ann", "bob", "cyd", "dan", "eve"])


@st.composite
def listed(draw: st.DrawFn) -> list[str | float]:
    units = draw(st.lists(names, unique=True, max_size=4))
    return [each for unit in units for each in (unit, draw(parts))]


events = st.builds(
    EventGain,
    parts,
    st.integers(0, 40).map(float),
    parts,
    parts,
    candidate_units=listed(),
    control_units=listed(),
)
trials = st.builds(
    PolicyGain,
    policy=st.sampled_from(["errors@1", "cost@2"]),
    kind=st.just("trial"),
    n=st.integers(0, 150),
    bad=parts,
    bets=st.lists(parts, max_size=3),
    events=st.lists(events, max_size=2),
)
watches = st.builds(
    PolicyGain,
    policy=st.just("watch@3"),
    kind=st.just("watch"),
    n=st.integers(1, 9),
    bad=st.integers(0, 3).map(float),
    odds=st.just([1.5, -0.25, 2.5, -0.5]),
)
bettings = st.builds(
    PolicyGain,
    policy=st.just("dear@4"),
    kind=st.just("watch"),
    n=st.integers(1, 9),
    bets=st.lists(st.floats(-1, 1), min_size=7, max_size=7),
)
plain = st.builds(
    PolicyGain,
    policy=st.just("plain@5"),
    kind=st.just("threshold"),
    n=st.integers(0, 9),
    bad=parts,
    control_n=st.integers(0, 9),
    control_bad=parts,
)
gains = st.builds(
    CaseGain,
    case=st.just(CASE),
    weight=st.sampled_from([1000, 1000, 1000, 2500]),
    candidate=st.integers(0, 9),
    control=st.integers(0, 9),
    met_plain=st.integers(0, 2),
    met=st.lists(names, unique=True),
    policies=st.lists(
        st.one_of(trials, watches, bettings, plain), max_size=4, unique_by=lambda each: each.policy
    ),
)
# A clock that stands, goes on, and jumps back.
clock = st.lists(st.sampled_from([0, 0, 1, 1, 7, -5]), min_size=1, max_size=8)


async def compared(url: str, told: Sequence[CaseGain], steps: Sequence[int]) -> None:
    """Send each gain as a batch of its own; the answer equals the twin's counts, and so do the seconds."""
    tally, second = Tally(CASE), NOON
    async with measuring(url, f"ns{next(NAMESPACES)}") as measures:
        for number, each in enumerate(told, 1):
            second += steps[number % len(steps)]
            set_clock(measures, second)
            flushed = await measures.flush(batch(number, each))
            tally.add(each, second * 1000)

            assert alike(flushed.counts[CASE], tally.counts)
        for policy, counts in tally.counts.policies.items():
            assert await measures.seconds(CASE, policy) == counts.seconds
        assert alike((await measures.counts([CASE]))[CASE], tally.counts)


def alike(found: CaseCounts, expected: CaseCounts) -> bool:
    """Equal to the bit, but for detectors (Lua has no log1p) and a watch's seconds (which are asked for apart)."""
    for policy, counts in expected.policies.items():
        assert found.policies[policy].detector == pytest.approx(counts.detector, rel=1e-9)
    assert bare(found) == bare(expected)
    return True


def bare(counts: CaseCounts) -> CaseCounts:
    thresholds = {"plain@5"}
    return replace(
        counts,
        policies={
            policy: replace(each, detector=(), seconds=each.seconds if policy in thresholds else ())
            for policy, each in counts.policies.items()
        },
    )


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(told=st.lists(gains, min_size=1, max_size=12), steps=clock)
def test_redis_adds_as_the_tally_does(any_redis: RedisServer, told: list[CaseGain], steps: list[int]) -> None:
    asyncio.run(compared(any_redis.url, told, steps))


async def test_segments_close_as_the_tally_closes_them(any_redis: RedisServer) -> None:
    """Long segments, control mass, and a change of weight each begin another."""
    event = EventGain(candidate=1, control=30)
    long = [
        CaseGain(CASE, weight, 60, 540, policies=[PolicyGain("e@1", "trial", 60, 1, events=[event])])
        for weight in [1000] * 30 + [2500] * 30
    ]

    await compared(any_redis.url, long, [1])


async def test_many_cases_are_read_in_few_trips(redis_server: RedisServer) -> None:
    names = [f"{CASE}{number}" for number in range(45)]
    plain = PolicyGain("plain@5", "threshold", 3, 1.0, 7, 2.0)
    told = [CaseGain(name, 1000, 2, 5, policies=[plain]) for name in names]
    async with measuring(redis_server.url) as measures:
        flushed = await measures.flush(batch(1, *told))
        with redis_server.client() as client:
            before = client.info("commandstats")["cmdstat_evalsha"]["calls"]
            found = await measures.counts([*names, "nobody"])
            after = client.info("commandstats")["cmdstat_evalsha"]["calls"]

        assert found == flushed.counts
        assert after - before <= 4


async def test_a_clock_that_jumps_back_finishes_the_running_second(any_redis: RedisServer) -> None:
    watch = CaseGain(CASE, 0, 3, policies=[PolicyGain("w@1", "watch", 3, 1.0, odds=[1.0, -0.1])])
    async with measuring(any_redis.url) as measures:
        for number, second in enumerate((NOON, NOON - 100, NOON - 100, NOON + 50), 1):
            set_clock(measures, second)
            await measures.flush(batch(number, watch))

        assert await measures.seconds(CASE, "w@1") == (Second(NOON, 3, 1.0), Second(NOON - 100, 6, 2.0))


# Once


async def test_a_batch_counts_once_however_often_it_is_sent(any_redis: RedisServer) -> None:
    async with measuring(any_redis.url) as measures:
        first = await measures.flush(batch(1, gain(units=("ann",))))
        again = await measures.flush(batch(1, gain(units=("ann",))))

        assert (first.new, again.new) == (True, False)
        assert again.counts == first.counts
        assert (await measures.totals()).route("bot").requests == 1


async def test_a_batch_that_arrives_after_its_successor_adds_nothing(redis_server: RedisServer) -> None:
    async with measuring(redis_server.url) as measures:
        await measures.flush(batch(1, gain()))
        await measures.flush(batch(2, gain()))
        late = await measures.flush(batch(1, gain()))

        assert not late.new
        assert late.counts[CASE].judged == 2


async def test_the_batches_of_two_workers_add_up(any_redis: RedisServer) -> None:
    async with measuring(any_redis.url) as measures:
        await measures.flush(batch(1, gain(2, n=10, units=("ann", "bob")), worker="w1"))
        flushed = await measures.flush(batch(1, gain(1, n=5, units=("bob",)), worker="w2"))

        (segment,) = flushed.counts[CASE].policies[ERRORS.id].segments
        assert (segment.n, segment.bad, segment.events[0].candidate_units) == (15, 3, 2)
        assert (flushed.counts[CASE].units, flushed.counts[CASE].judged) == (2, 15)
        assert (await measures.totals()).route("bot").requests == 2


async def test_a_score_counts_once_whatever_batch_it_comes_in(any_redis: RedisServer) -> None:
    score = ScoreGain("req1 accuracy", {"r|bot": {"sn:accuracy": 1, "ss:accuracy": 0.5}}, [gain()])
    async with measuring(any_redis.url) as measures:
        twice = await measures.flush(msgspec.structs.replace(batch(1), scores=[score, score]))
        later = await measures.flush(msgspec.structs.replace(batch(1, worker="w2"), scores=[score]))
        accuracy = (await measures.totals()).route("bot").scores["accuracy"]

        assert (twice.duplicates, later.duplicates) == (1, 1)
        assert (accuracy.count, accuracy.sum) == (1, 0.5)
        assert later.counts[CASE].judged == 1


async def test_a_score_is_known_for_eight_days(redis_server: RedisServer) -> None:
    score = [ScoreGain("key", {})]
    async with measuring(redis_server.url) as measures:
        known = []
        for number, day in enumerate((0, 7, 8), 1):
            set_clock(measures, NOON + day * 86_400)
            known.append(
                (await measures.flush(msgspec.structs.replace(batch(number), scores=score))).duplicates
            )

        assert known == [0, 1, 0]


# Bounds


async def test_evidence_expires_and_totals_do_not(any_redis: RedisServer) -> None:
    watch = CaseGain(CASE, 0, 1, policies=[PolicyGain("w@1", "watch", 1, odds=[1.0, -0.1])])
    full = msgspec.structs.replace(
        batch(1, gain(units=("ann",)), watch),
        scores=[ScoreGain("s", {})], breakers={"bot|gpt": (3, 1)}, requests=[("{}", "id1/0/")],
    )  # fmt: skip
    async with measuring(any_redis.url) as measures:
        set_clock(measures, NOON)
        await measures.flush(full)
        set_clock(measures, NOON + 1)
        await measures.flush(msgspec.structs.replace(full, number=2))
        await measures.fix_thresholds("other/v1/1", "p@1", [1.0])
        await measures.alarm("ring", 600)
    with any_redis.client() as client:
        lasting = {
            key.decode().partition(":")[2].partition(":")[2]
            for key in client.keys("*")
            if client.ttl(key) < 0
        }
        weeks = {client.ttl(key) for name in ("evidence", "seconds") for key in client.keys(f"*:{name}:*")}

        assert lasting == {"totals", "requests", "request_order", "decisions"}
        assert weeks <= {604_800, 604_799, 604_798}


async def test_a_case_that_remembers_fifty_thousand_units_forgets_them_and_is_blind_to_nobody(
    redis_server: RedisServer,
) -> None:
    many = [f"u{i}" for i in range(30_000)]
    async with measuring(redis_server.url) as measures:
        await measures.flush(batch(1, gain(1, units=tuple(many))))
        await measures.flush(batch(2, gain(1, units=tuple(f"v{unit}" for unit in many))))
        flushed = await measures.flush(batch(3, gain(1, units=("u0",))))
        old, new = flushed.counts[CASE].policies[ERRORS.id].segments

        assert (old.events[0].candidate_units, new.events[0].candidate_units) == (60_000, 1)
        with redis_server.client() as client:
            (units,) = client.keys("*:units:*")
            assert client.scard(units) == 2


async def test_where_many_were_met_a_unit_counts_once_an_hour_whichever_way_the_clock_jumps(
    any_redis: RedisServer,
) -> None:
    many, tally = tuple(f"u{i}" for i in range(1_000)), Tally(CASE)
    async with measuring(any_redis.url) as measures:
        for number, clock in enumerate((NOON, NOON + 3_599, NOON + 3_600, NOON, NOON - 1), 1):
            set_clock(measures, clock)
            flushed = await measures.flush(batch(number, gain(units=many)))
            tally.add(gain(units=many), clock * 1000)

            assert flushed.counts[CASE] == tally.counts
        segments = tally.counts.policies[ERRORS.id].segments
        assert [each.events[0].candidate_units for each in segments] == [1_000, 1_000, 1_000]


async def test_a_memory_of_units_that_was_lost_is_not_taken_for_an_empty_one(
    redis_server: RedisServer,
) -> None:
    async with measuring(redis_server.url) as measures:
        await measures.flush(batch(1, gain(units=("ann",))))
        with redis_server.client() as client:
            client.delete(*client.keys("*:units:*"))
        flushed = await measures.flush(batch(2, gain(units=("ann",))))

        assert [each.memory for each in flushed.counts[CASE].policies[ERRORS.id].segments] == [1, 2]


async def test_of_many_segments_the_last_are_kept_as_the_tally_keeps_them(any_redis: RedisServer) -> None:
    storm = [gain(weight=1_000 + number % 3) for number in range(evidence.SEGMENTS_KEPT + 9)]

    await compared(any_redis.url, storm, [1])


@pytest.mark.parametrize(
    "odd",
    [
        b"", b"\xc1", b"\x01", msgspec.msgpack.encode([]), msgspec.msgpack.encode({"a": 1}),
        msgspec.msgpack.encode(["w1", 1, [1], 7, "x", {"a": 1}, [[1]]]),
        msgspec.msgpack.encode(["w1", 1, {"r|x": 1, "r|y": {"e": "x", "f": float("nan"), "g": float("inf")}}]),
        msgspec.msgpack.encode(["w1", 1, {}, [7, [], [None, None], ["c", "x", {}, [], "y", 3, 4]]]),
        msgspec.msgpack.encode(["w1", 1, {}, [["c", 1, 1, 1, 1, [1], [7, [], ["p", "dance"], ["p", "trial"]]]]]),
        msgspec.msgpack.encode(["w1", 1, {}, [["c", 1, 1, 1, 1, [], [["p", "trial", 1, 1, 0, 0, 3, [3, ["x"]]]]]]]),
        msgspec.msgpack.encode(["w1", 1, {}, [["c", 1, 1, 1, 1, [], [["p", "watch", 1, 1, 0, 0, 3, [], [1, 2, 3]]]]]]),
        msgspec.msgpack.encode(["w1", 1, {}, [], [["text"], ["text", "  "], [1, 2], 3], [[], 3, [1, 2, 3]], {"a": 3}]),
    ],
)  # fmt: skip
async def test_odd_input_is_passed_over(any_redis: RedisServer, odd: bytes) -> None:
    """An error would come back with every flush, and nothing would ever be measured again."""
    async with measuring(any_redis.url) as measures:
        keys = measures._keys
        names = [
            keys.totals,
            keys.batch("w1"),
            keys.requests,
            keys.request_order,
            keys.decisions,
            keys.breaking,
        ]
        answer = await measures._calls.script(measures._scripts["flush"], names, [keys.prefix, odd])
        after = await measures.flush(batch(2, gain()))

        assert len(answer) == 5
        assert after.new
        assert after.counts[CASE].judged == 1


# The request index


def answered(release: Release) -> str:
    return Answered("bot", (release,), "c").text()


async def test_a_request_is_found_by_its_id_with_who_asked_and_when(any_redis: RedisServer) -> None:
    asked = msgspec.structs.replace(batch(1), requests=[(answered(V6), "id1/30/12ann id2/0/ odd")])
    async with measuring(any_redis.url) as measures:
        set_clock(measures, NOON)
        await measures.flush(asked)
        first, second, third = [await measures.decision_of(name) for name in ("id1", "id2", "odd")]

        assert first is not None
        assert second is not None
        assert answered_from(first) == Answered("bot", (V6,), "c", "12ann", NOON - 30)
        assert answered_from(second) == Answered("bot", (V6,), "c", "", NOON)
        assert third is None


async def test_the_last_hundred_thousand_requests_are_found_and_no_text_outlives_its_own(
    redis_server: RedisServer,
) -> None:
    async with measuring(redis_server.url) as measures:
        for number in range(12):
            text = answered(Release("bot.prompt", f"v{number // 2}", 1))
            words = " ".join(f"{number}-{i}/0/" for i in range(10_000))
            await measures.flush(msgspec.structs.replace(batch(number + 1), requests=[(text, words)]))
        gone, kept = await measures.decision_of("1-9999"), await measures.decision_of("2-0")
    with redis_server.client() as client:
        tag = "{pointsman:default}:"
        sizes = (
            client.hlen(tag + "requests"),
            client.llen(tag + "request_order"),
            client.hlen(tag + "decisions"),
        )

        assert gone is None
        assert kept is not None
        # Five texts with three fields each, and the last number.
        assert sizes == (100_000, 100_000, 16)


async def test_an_id_that_comes_again_is_what_answered_last(redis_server: RedisServer) -> None:
    other = Release("bot.prompt", "v9", 1)
    async with measuring(redis_server.url) as measures:
        await measures.flush(msgspec.structs.replace(batch(1), requests=[(answered(V6), "id1/0/ id1/0/")]))
        await measures.flush(msgspec.structs.replace(batch(2), requests=[(answered(other), "id1/0/")]))
        found = await measures.decision_of("id1")
    with redis_server.client() as client:
        texts = [name for name in client.hkeys("{pointsman:default}:decisions") if name.startswith(b"t")]

        assert found is not None
        assert answered_from(found).releases == (other,)
        assert len(texts) == 1


# The rest


async def test_thresholds_are_fixed_by_the_first(any_redis: RedisServer) -> None:
    async with measuring(any_redis.url) as measures:
        mine = await measures.fix_thresholds(CASE, ERRORS.id, (0.5, 1.25, 3.0))
        theirs = await measures.fix_thresholds(CASE, ERRORS.id, (9.0,))
        flushed = await measures.flush(batch(1, gain()))

        assert mine == theirs == (0.5, 1.25, 3.0)
        assert flushed.counts[CASE].policies[ERRORS.id].thresholds == mine


async def test_breakers_sums_are_of_the_last_thirty_seconds_and_tell_who_saw_failures(
    any_redis: RedisServer,
) -> None:
    told = []
    async with measuring(any_redis.url) as measures:
        for number, (second, worker, sums) in enumerate(
            [(0, "w1", (10, 2)), (10, "w2", (5, 0)), (19, "w3", (1, 1)), (30, "w1", (1, 0))], 1
        ):
            set_clock(measures, NOON + second)
            told.append(
                await measures.flush(
                    msgspec.structs.replace(batch(number, worker=worker), breakers={"b|t": sums})
                )
            )

        assert [each.breakers["b|t"] for each in told] == [
            Broken(10, 2, 1), Broken(15, 2, 1), Broken(16, 3, 2), Broken(7, 1, 1),
        ]  # fmt: skip


async def test_anybody_can_read_the_breakers_sums(any_redis: RedisServer) -> None:
    async with measuring(any_redis.url) as measures:
        await measures.flush(msgspec.structs.replace(batch(1), breakers={"b|t": (4, 1)}))

        assert await measures.breaking() == {"b|t": Broken(4, 1, 1)}


async def test_an_alarm_rings_once(any_redis: RedisServer) -> None:
    async with measuring(any_redis.url) as measures:
        assert await measures.alarm("nothing to go back to", 600)
        assert not await measures.alarm("nothing to go back to", 600)
        assert await measures.alarm("another", 600)


async def test_windows_are_minutes_of_redis_clock_newest_last(any_redis: RedisServer) -> None:
    async with measuring(any_redis.url) as measures:
        await measures.flush(batch(1))
        windows = await measures.windows(40)
        narrowed = await measures.windows(3, ["r|other"])

        assert len(windows) == 40
        assert [later.start - sooner.start for sooner, later in pairwise(windows)] == [60] * 39
        assert sum(window.route("bot").requests for window in windows[-2:]) == 1
        assert [window.routes for window in narrowed] == [{}, {}, {}]


async def test_a_window_holds_what_its_minute_saw(redis_server: RedisServer) -> None:
    async with measuring(redis_server.url) as measures:
        await measures.flush(batch(1))
        await measures.flush(batch(2))
        await measures.flush(batch(1, worker="w2"))

        assert sum(window.route("bot").requests for window in await measures.windows(2)) == 3

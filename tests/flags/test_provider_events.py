"""What a service sees on a real Redis: changes at once, STALE and READY on bad days, and no handler that stops it."""

from __future__ import annotations

import asyncio
import shutil
import threading
from functools import partial
from pathlib import Path

import pytest
from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from openfeature.event import EventDetails, ProviderEvent
from openfeature.exception import ErrorCode, ProviderFatalError, ProviderNotReadyError
from openfeature.provider import ProviderStatus

from flags.change import Draft
from flags.model import Kind, ObjectKey
from flags.provider import PointsmanProvider
from tests.flags.provided import Service, registered
from tests.flags.stores import ANN, CHAT, OTHER, always, opened, put
from tests.redis_server import RedisServer, free_port

ROOT = Path(__file__).parents[2]


async def shutdown(service: Service) -> None:
    await asyncio.to_thread(service.provider.shutdown)


def _serves(service: Service, text: str) -> bool:
    return service.served() == text


# Good days


async def test_a_service_of_five_lines_follows_each_change(any_redis: RedisServer) -> None:
    async with opened(any_redis.url) as store:
        await put(store, "v1")
        with registered(PointsmanProvider(any_redis.url)) as service:
            assert service.served() == "one"
            assert await service.client.get_string_value_async("chat.prompt", "none") == "one"

            await put(store, "v2")

            await service.until(lambda: service.served() == "two")
            await service.until(lambda: service.changed == [["chat.prompt"]])
            assert service.status is ProviderStatus.READY
            assert service.kinds == ["ready", "changed"]
            assert service.events[-1][1].metadata == {"version": "2", "flagSetId": "default"}


async def test_nobody_awaits_an_observer(redis_server: RedisServer) -> None:
    async with opened(redis_server.url) as store:
        with registered(PointsmanProvider(redis_server.url)) as service:
            committed = await put(store, "v2")

            await service.until(lambda: service.served() == "two")

            assert committed.workers == ()
            assert await store.workers() == []
            with redis_server.client() as client:
                assert client.exists(store.keys.workers) == 0


async def test_a_change_that_is_no_flags_is_no_event(redis_server: RedisServer) -> None:
    route = ObjectKey(Kind.ROUTE, "chat")
    async with opened(redis_server.url) as store:
        await put(store, "v1")
        with registered(PointsmanProvider(redis_server.url)) as service:
            await store.change(ANN, [route], always(Draft("create", route, {})))
            await store.change(ANN, [CHAT], always(Draft("approve", CHAT, None, affects=False)))
            await put(store, "v1", OTHER)

            await service.until(lambda: service.changed)

            assert service.changed == [["other.prompt"]]


async def test_a_redis_user_that_may_only_read_is_enough(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.execute_command(
            "ACL", "SETUSER", "reader", "on", ">sesame", "~{pointsman:*}:*", "+@read", "+@connection"
        )
    async with opened(redis_server.url) as store:
        await put(store, "v1")
        url = redis_server.url.replace("://", "://reader:sesame@")
        with registered(PointsmanProvider(url)) as service:
            service.provider.resolve_object_details("chat.prompt", {}, EvaluationContext("u"))
            service.client.track("thumbs_up", EvaluationContext("u"))
            await put(store, "v2")

            await service.until(lambda: service.served() == "two")

            assert service.status is ProviderStatus.READY


async def test_a_handler_that_raises_or_blocks_stops_nothing(redis_server: RedisServer) -> None:
    release = threading.Event()

    def blocking(_details: EventDetails) -> None:
        release.wait(20)

    def raising(_details: EventDetails) -> None:
        raise RuntimeError("a handler's own fault")

    async with opened(redis_server.url) as store:
        await put(store, "v1")
        with registered(PointsmanProvider(redis_server.url)) as service:
            changed = ProviderEvent.PROVIDER_CONFIGURATION_CHANGED
            api.add_handler(changed, blocking)
            api.add_handler(changed, raising)
            try:
                for serve, text in (("v2", "two"), ("v1", "one"), ("v2", "two")):
                    await put(store, serve)
                    await service.until(partial(_serves, service, text))
            finally:
                release.set()


async def test_shut_down_twice_and_initialised_again_it_follows_again(redis_server: RedisServer) -> None:
    async with opened(redis_server.url) as store:
        await put(store, "v1")
        provider = PointsmanProvider(redis_server.url)
        with registered(provider):
            await asyncio.to_thread(provider.shutdown)
            await asyncio.to_thread(provider.shutdown)
            await put(store, "v2")
        with registered(provider) as service:
            assert service.served() == "two"

            await put(store, "v1")

            await service.until(lambda: service.served() == "one")


async def test_two_namespaces_in_one_process_do_not_meet(redis_server: RedisServer) -> None:
    async with opened(redis_server.url) as store, opened(redis_server.url, "two") as second:
        await put(store, "v1")
        await put(second, "v2")
        other = PointsmanProvider(redis_server.url, namespace="two")
        with registered(PointsmanProvider(redis_server.url)) as service:
            api.set_provider_and_wait(other, "two")
            asked = api.get_client("two")
            before = service.served(), asked.get_string_value("chat.prompt", "none")

            await put(second, "v1")
            await service.until(lambda: asked.get_string_value("chat.prompt", "none") == "one")
            await put(store, "v2")
            await service.until(lambda: service.served() == "two")
            found = asked.get_string_details("chat.prompt", "none")
        other.shutdown()

    assert before == ("one", "two")
    assert (found.value, found.flag_metadata["flagSetId"]) == ("one", "two")


# Bad days


async def test_a_lost_redis_makes_it_stale_and_still_answering_and_its_return_ready(
    any_redis: RedisServer,
) -> None:
    async with opened(any_redis.url) as store:
        await put(store, "v1")
        with registered(PointsmanProvider(any_redis.url)) as service:
            any_redis.kill()
            await service.until(lambda: service.status is ProviderStatus.STALE)
            assert service.served() == "one"

            any_redis.start()
            await put(store, "v2")

            await service.until(lambda: service.served() == "two")
            await service.until(lambda: service.status is ProviderStatus.READY)
            await service.until(
                lambda: [kind for kind in service.kinds if kind != "changed"] == ["ready", "stale", "ready"]
            )


async def test_a_hanging_redis_is_noticed_and_holds_no_answer_up(redis_server: RedisServer) -> None:
    async with opened(redis_server.url) as store:
        await put(store, "v1")
        with registered(PointsmanProvider(redis_server.url)) as service:
            redis_server.pause()
            try:
                await service.until(lambda: service.status is ProviderStatus.STALE, 5)
                assert service.served() == "one"
                await shutdown(service)
            finally:
                redis_server.resume()


async def test_after_a_move_to_another_history_only_what_differs_is_named(redis_server: RedisServer) -> None:
    """A backup is restored in which one of two flags is older; the other's revision is not the same, its state is."""
    async with opened(redis_server.url) as store:
        await put(store, "v1")
        await put(store, "v1", OTHER)
        redis_server.stop()
        backup = redis_server.folder.with_name("backup")
        shutil.copytree(redis_server.folder, backup)
        redis_server.start()
        await put(store, "v2")
        await put(store, "v2", OTHER)
        await put(store, "v1", OTHER)
        with registered(PointsmanProvider(redis_server.url)) as service:
            redis_server.kill()
            shutil.rmtree(redis_server.folder)
            shutil.copytree(backup, redis_server.folder)
            redis_server.start()

            await service.until(lambda: service.served() == "one")
            await service.until(lambda: service.changed)

            assert service.changed == [["chat.prompt"]]


async def test_an_emptied_redis_makes_it_stale_and_takes_no_flag_away(redis_server: RedisServer) -> None:
    async with opened(redis_server.url) as store:
        await put(store, "v2")
        with registered(PointsmanProvider(redis_server.url)) as service:
            with redis_server.client() as client:
                client.flushall()

            await service.until(lambda: service.status is ProviderStatus.STALE)

            assert service.served() == "two"


async def test_without_redis_it_is_an_error_and_ready_when_one_comes(redis_server: RedisServer) -> None:
    redis_server.stop()
    with registered(PointsmanProvider(redis_server.url, wait_seconds=0.2), waiting=False) as service:
        await service.until(lambda: "error" in service.kinds)
        assert service.status is ProviderStatus.ERROR
        assert service.served() == "none"
        assert "no flags within 0.2 s: Redis cannot be reached" in (service.events[0][1].message or "")

        redis_server.start()
        async with opened(redis_server.url) as store:
            await put(store, "v2")

        await service.until(lambda: service.served() == "two")
        # The SDK's status is there before its handlers have heard of it.
        await service.until(lambda: "ready" in service.kinds)
        assert service.status is ProviderStatus.READY
        assert [kind for kind in service.kinds if kind != "changed"] == ["error", "ready"]


def test_who_waits_for_a_redis_that_is_not_there_is_told_why() -> None:
    url = f"redis://127.0.0.1:{free_port()}"

    with (
        pytest.raises(ProviderNotReadyError) as refused,
        registered(PointsmanProvider(url, wait_seconds=0.1)),
    ):
        pytest.fail("nothing to serve from")

    assert "no flags within 0.1 s: Redis cannot be reached" in (refused.value.error_message or "")


@pytest.mark.parametrize(
    ("url", "namespace", "told"),
    [
        ("http://127.0.0.1:1", "default", "the Redis URL (scheme http) cannot be used"),
        ("redis://127.0.0.1:1", "a:b", "'a:b' is no namespace"),
    ],
)
def test_what_can_never_work_is_fatal_and_repeats_no_password(url: str, namespace: str, told: str) -> None:
    with (
        pytest.raises(ProviderFatalError) as refused,
        registered(PointsmanProvider(url, namespace=namespace)),
    ):
        pytest.fail("nothing to serve from")

    assert refused.value.error_code is ErrorCode.PROVIDER_FATAL
    assert told in (refused.value.error_message or "")


async def test_a_wrong_password_is_an_error_that_says_so(tmp_path: Path, redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.execute_command("ACL", "SETUSER", "app", "on", ">right", "allkeys", "allcommands")
    url = redis_server.url.replace("://", "://app:wrong@")

    with registered(PointsmanProvider(url, wait_seconds=0.2), waiting=False) as service:
        await service.until(lambda: service.kinds == ["error"])

        assert "invalid username-password pair" in (service.events[0][1].message or "")


async def test_it_starts_from_its_copy_and_says_that_it_is_stale(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    copy = tmp_path / "app" / "flags.copy"
    async with opened(redis_server.url) as store:
        await put(store, "v2")
        with registered(PointsmanProvider(redis_server.url, copy=copy)) as service:
            await shutdown(service)
        redis_server.kill()
        with registered(PointsmanProvider(redis_server.url, copy=copy)) as service:
            assert service.served() == "two"
            await service.until(lambda: service.kinds == ["ready", "stale"])

            redis_server.start()
            await put(store, "v1")

            await service.until(lambda: service.served() == "one")
            await service.until(lambda: service.status is ProviderStatus.READY)

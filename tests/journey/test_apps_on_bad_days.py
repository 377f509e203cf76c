"""Bad days of apps that never pass through the proxy: a service with our provider, and a page that asks and listens."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from openfeature.provider import ProviderStatus

from flags.provider import PointsmanProvider
from tests import plain
from tests.flags.provided import Service, registered
from tests.fleet import CONFIG, Fleet
from tests.gateway.following.making import a_flag, text_of
from tests.journey.test_ofrep_stream import events, revision_in, stream_of
from tests.journey.traffic import PATIENT_APPS, Apps, until
from tests.redis_server import RedisServer

FLAG = "limit"
SWITCHED = CONFIG.replace("routes:", "  limit: {variants: {low: 10, high: 1000}, serve: low}\nroutes:")


class Page:
    """Listens until its stream ends, and asks for a flag when it likes."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self.revisions: list[int] = []
        self._listening = threading.Thread(target=self._listen, args=(stream_of(fleet),), daemon=True)
        self._listening.start()
        until(lambda: self.revisions, "its stream is open")

    def _listen(self, address: str) -> None:
        with plain.stream("GET", address, timeout=60) as answer:
            for event in events(answer):
                self.revisions.append(revision_in(event))

    @property
    def listens(self) -> bool:
        return self._listening.is_alive()

    def value(self) -> Any:
        return asked(self._fleet)


def asked(fleet: Fleet, flag: str = FLAG) -> Any:
    """What OFREP's door answers."""
    answer = plain.post(f"{fleet.url}/ofrep/v1/evaluate/flags/{flag}", json={}, timeout=10)
    return answer.raise_for_status().json()["value"]


def value(service: Service) -> int:
    return service.client.get_integer_value(FLAG, 0)


def both(service: Service, page: Page, expected: int) -> None:
    until(lambda: (value(service), page.value()) == (expected, expected), f"both have {expected}")


@contextmanager
def apps(tmp_path: Path, server: RedisServer) -> Iterator[tuple[Fleet, Service, Page]]:
    with Fleet(tmp_path / "fleet", SWITCHED, redis=server.url) as fleet:
        until(lambda: len(fleet.workers()) == 2, "two workers")
        with registered(PointsmanProvider(server.url)) as service:
            yield fleet, service, Page(fleet)
        assert "Traceback" not in fleet.log


def test_redis_killed_and_then_hanging_takes_no_answer_and_no_stream_away(
    tmp_path: Path, server: RedisServer
) -> None:
    with apps(tmp_path, server) as (fleet, service, page):
        for lose, mend, variant, number in (
            (server.kill, server.start, "high", 1000),
            (server.pause, server.resume, "low", 10),
        ):
            before = value(service)
            lose()
            until(lambda: service.status is ProviderStatus.STALE, "the service is told")
            assert (value(service), page.value()) == (before, before)
            mend()
            until(lambda v=variant: fleet.command("switch", FLAG, v).returncode == 0, "it is switched")
            both(service, page, number)
            until(lambda: service.status is ProviderStatus.READY, "the service is told again")
        last = fleet.read(f"/flags/{FLAG}")["revision"]

        until(lambda: page.revisions[-1] == last, "the stream told of the last")
        assert page.listens


def test_an_emptied_redis_takes_no_flag_away_and_an_older_backup_is_what_counts(
    tmp_path: Path, server: RedisServer
) -> None:
    with apps(tmp_path, server) as (fleet, service, page):
        server.stop()
        backup = server.folder.with_name("backup")
        shutil.copytree(server.folder, backup)
        server.start()
        until(lambda: fleet.command("switch", FLAG, "high").returncode == 0, "it is switched")
        both(service, page, 1000)
        heard = len(page.revisions)

        server.kill()
        shutil.rmtree(server.folder)
        server.start()
        until(lambda: service.status is ProviderStatus.STALE, "the service is told")
        assert (value(service), page.value()) == (1000, 1000)
        server.kill()
        shutil.rmtree(server.folder)
        shutil.copytree(backup, server.folder)
        server.start()

        both(service, page, 10)
        until(lambda: service.status is ProviderStatus.READY, "the service is told again")
        until(lambda: len(page.revisions) > heard, "the stream told of it")
        assert page.listens


def test_a_service_beside_an_embedded_store_follows_it_by_its_socket(tmp_path: Path) -> None:
    """Also when the gateway is restarted, and when all of it was killed."""
    fleet = Fleet(tmp_path / "fleet", SWITCHED, workers=1).start()
    try:
        with registered(PointsmanProvider(f"unix://{fleet.data_dir / 'valkey.sock'}")) as service:
            fleet.json("switch", FLAG, "high")
            until(lambda: value(service) == 1000, "it follows")
            for end, variant, number in ((fleet.stop, "low", 10), (fleet.kill, "high", 1000)):
                end()
                until(lambda: service.status is ProviderStatus.STALE, "it is told")
                held = value(service)
                fleet.start()
                # Who was killed is still awaited for some seconds.
                fleet.command("switch", FLAG, variant, "--wait", "0")
                until(lambda n=number: value(service) == n, "it follows again")
                assert held != number
    finally:
        fleet.stop()


def test_the_service_of_a_redis_user_that_reads_alone_and_a_gateway_of_one_serve_on(
    tmp_path: Path, server: RedisServer
) -> None:
    """Somebody took the gateway's rights away: it says that it is degraded, and follows those who may write."""
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "reader", "on", ">pw", "~*", "+@read", "+@connection")
    reading = server.url.replace("://", "://reader:pw@")
    with (
        Fleet(tmp_path / "writer", SWITCHED, workers=1, redis=server.url) as writer,
        Fleet(tmp_path / "reader", SWITCHED, workers=1, redis=reading) as reader,
        registered(PointsmanProvider(reading)) as service,
    ):
        refused = reader.command("switch", FLAG, "high")
        writer.json("switch", FLAG, "high")

        until(lambda: (value(service), asked(reader)) == (1000, 1000), "both follow")
        health = plain.get(f"{reader.url}/readyz").json()

    assert refused.returncode == 1
    assert health["degraded"] == ["redis"]
    assert "Traceback" not in reader.log


# Decisions from elsewhere

MOODY = """
import pathlib, time
from openfeature.flag_evaluation import FlagResolutionDetails, Reason
from openfeature.provider.in_memory_provider import InMemoryFlag, InMemoryProvider

def mood():
    return pathlib.Path(__file__).with_name("mood").read_text()

class Moody(InMemoryProvider):
    def initialize(self, evaluation_context):
        while mood() == "hang":
            time.sleep(0.02)

    def resolve_string_details(self, *asked, **named):
        while mood() == "hang":
            time.sleep(0.02)
        if mood() == "die":
            raise ConnectionError("gone")
        return super().resolve_string_details(*asked, **named)

def provider():
    return Moody({"support-bot.prompt": InMemoryFlag("v7", {"v7": "v7"})})
"""
DECIDED = CONFIG.replace(
    "support-bot: {}", 'support-bot: {decisions: {openfeature: "moody:provider", blocking: true}}'
)


def test_a_provider_of_decisions_hangs_dies_and_comes_back_and_no_request_fails(tmp_path: Path) -> None:
    """Meanwhile the store decides; a worker that is killed comes back though its provider hangs, and may be stopped."""
    folder = tmp_path / "fleet"
    folder.mkdir()
    (folder / "moody.py").write_text(MOODY)
    mood = folder / "mood"
    mood.write_text("well")
    with Fleet(folder, DECIDED, inside=True) as fleet:
        until(lambda: len(fleet.workers()) == 2, "two workers")
        users = Apps(fleet)
        got: dict[str, set[tuple[int, str]]] = {}

        def ask(when: str) -> None:
            answers = users.ask_many(2 * PATIENT_APPS, apps=PATIENT_APPS)
            got[when] = {(each.status, each.versions["prompt"]) for each in answers}

        # On a busy machine one of its first answers may come after the 0.25 s that it has.
        until(lambda: ask("well") or got["well"] == {(200, "v7")}, "it decides")
        mood.write_text("hang")
        ask("hangs")
        victim = fleet.workers()[0]["pid"]
        users.close()
        users = Apps(fleet)
        os.kill(victim, signal.SIGKILL)
        pids = until(lambda: _others(fleet, victim), "the worker is there again")
        ask("hangs, by a new worker")
        mood.write_text("die")
        until(lambda: ask("dies") or "v7" not in str(got["dies"]), "it fails")
        mood.write_text("well")
        until(lambda: ask("back") or got["back"] == {(200, "v7")}, "it decides again")
        users.close()
        mood.write_text("hang")
        ended = fleet.stop()

    assert len(pids) == 2
    assert {status for answers in got.values() for status, _ in answers} == {200}
    assert (got["well"], got["hangs"]) == ({(200, "v7")}, {(200, "v6")})
    assert ended == 0
    assert "no answer within 0.25 s" in fleet.log


def _others(fleet: Fleet, victim: int) -> list[int]:
    pids = [each["pid"] for each in fleet.workers() if each["pid"] != victim]
    return pids if len(pids) == 2 else []


# flagd files


@pytest.mark.full
def test_a_config_map_that_changes_while_redis_is_away_and_the_gateway_restarts_is_taken_in_the_end(
    tmp_path: Path, server: RedisServer
) -> None:
    """As Kubernetes mounts it: the file is a link into a folder that is itself a link, which is swapped."""
    mounted = tmp_path / "mounted"
    for number, serve in enumerate(("off", "on", "off")):
        (mounted / f"..{number}").mkdir(parents=True)
        (mounted / f"..{number}" / "flags.json").write_text(text_of(greeting=a_flag(serve)))
    (mounted / "..data").symlink_to("..0")
    file = mounted / "flags.json"
    file.symlink_to("..data/flags.json")
    fleet = Fleet(tmp_path / "fleet", CONFIG, workers=1, redis=server.url, options=("--flagd", str(file)))

    def swap(number: int) -> None:
        (mounted / "..new").symlink_to(f"..{number}")
        (mounted / "..new").rename(mounted / "..data")

    with fleet:
        until(lambda: asked(fleet, "greeting") is False, "the first is served")
        server.kill()
        swap(1)
        fleet.stop()
        fleet.start()
        kept = asked(fleet, "greeting")
        server.start()
        until(lambda: asked(fleet, "greeting") is True, "the second is served")
        file.unlink()
        until(lambda: "cannot be read" in fleet.log, "it is noticed")
        without = asked(fleet, "greeting")
        file.symlink_to("..data/flags.json")
        swap(2)
        until(lambda: asked(fleet, "greeting") is False, "the third is served")

    assert (kept, without) == (False, True)
    assert "Traceback" not in fleet.log

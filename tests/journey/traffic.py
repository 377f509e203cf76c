"""Apps that ask a fleet, many at once, and what they got. Knows HTTP, and no rule of the gateway."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import httpx

from tests import plain
from tests.fleet import Fleet

# Apps at work side by side.
APPS = 8
# So many, where each mostly waits: for a provider that is asked again and again, or that hangs.
PATIENT_APPS = 40
# Until something that must happen soon has happened; every wait ends earlier when it has.
SOON_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Got:
    """One answer."""

    status: int
    versions: dict[str, str]
    shielded: bool
    degraded: str
    decision: str
    request_id: str

    @classmethod
    def of(cls, answer: httpx.Response) -> Got:
        """What its head tells."""
        told = answer.headers.get("x-pointsman-versions", "")
        return cls(
            answer.status_code,
            dict(part.split("=", 1) for part in told.split(";") if "=" in part),
            "x-pointsman-shielded" in answer.headers,
            answer.headers.get("x-pointsman-degraded", ""),
            answer.headers.get("x-pointsman-decision", ""),
            answer.headers.get("x-request-id", ""),
        )


def until(happened: Callable[[], Any], what: str, seconds: float = SOON_SECONDS) -> Any:
    """Wait for something that must come true soon, and give back what it said."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = happened()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"still not: {what}")


class Apps:
    """Users of one fleet. Each request comes from another user, unless `user` is given."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._users = count(1)
        self._client = httpx.Client(timeout=30, limits=httpx.Limits(max_connections=PATIENT_APPS * 2))

    def ask(self, **fields: Any) -> Got:
        """One request."""
        asked = {"user": f"u{next(self._users)}", **fields}
        return Got.of(self._fleet.ask(self._client, **asked))

    def ask_many(self, requests: int, *, apps: int = APPS, **fields: Any) -> list[Got]:
        """So many requests, so many at a time."""
        with ThreadPoolExecutor(apps) as pool:
            return list(pool.map(lambda _: self.ask(**fields), range(requests)))

    @contextmanager
    def asking(self, pause: float = 0.02, *, forgiving: bool = False, **fields: Any) -> Iterator[list[Got]]:
        """Meanwhile a few apps ask without end; what they got so far. `forgiving` ones take it that a worker that is
        killed cuts its connections."""
        got: list[Got] = []
        over = threading.Event()

        def ask_on() -> None:
            while not over.wait(pause):
                with suppress(*((httpx.TransportError,) if forgiving else ())):
                    got.append(self.ask(**fields))

        threads = [threading.Thread(target=ask_on) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            yield got
        finally:
            over.set()
            for thread in threads:
                thread.join()

    def leave_many(self, requests: int, seconds: float, **fields: Any) -> None:
        """So many users at once who ask for a stream, and hang up after so long."""
        with ThreadPoolExecutor(requests) as pool:
            list(pool.map(lambda _: self._leave(seconds, **fields), range(requests)))

    def _leave(self, seconds: float, **fields: Any) -> None:
        body = {
            "model": "support-bot",
            "user": f"u{next(self._users)}",
            "stream": True,
            "messages": [{"role": "user", "content": "Where is my order?"}],
            **fields,
        }
        try:
            with plain.stream(
                "POST", f"{self._fleet.url}/v1/chat/completions", json=body, timeout=seconds
            ) as answer:
                answer.read()
        except httpx.TimeoutException:
            return

    def close(self) -> None:
        """Hang up."""
        self._client.close()


def log_of(fleet: Fleet, action: str) -> list[dict[str, Any]]:
    """The ledger's entries of one action, oldest first."""
    entries: list[dict[str, Any]] = []
    after: int | None = 0
    while after is not None:
        page = fleet.read(f"/log?limit=1000&after={after}")
        entries += page["entries"]
        after = page["next"]
    return [entry for entry in entries if entry["action"] == action]


def rolled_back(fleet: Fleet) -> list[dict[str, Any]]:
    """What the machine rolled back."""
    return [entry for entry in log_of(fleet, "rollback") if entry["actor"].startswith("policy/")]


def roll_out(fleet: Fleet, flag: str, variant: str, percent: int = 20) -> None:
    """Have so many percent of the users try a variant."""
    fleet.json("rollout", flag, variant, "--percent", str(percent))


def wait_for_rollback(fleet: Fleet, flag: str) -> dict[str, Any]:
    """The ledger's entry, as soon as the machine has rolled it back."""

    def happened() -> dict[str, Any] | None:
        entries = [entry for entry in rolled_back(fleet) if entry["object"] == f"flag/{flag}"]
        return entries[-1] if entries else None

    found: dict[str, Any] = until(happened, f"{flag} was rolled back")
    return found


@contextmanager
def fleet_with_apps(
    folder: Path, config: str, workers: int = 2, redis: str | None = None
) -> Iterator[tuple[Fleet, Apps]]:
    """A fleet that is up, and its users."""
    with Fleet(folder / "fleet", config, workers=workers, redis=redis) as fleet:
        until(lambda: len(fleet.workers()) == workers, "all workers alive")
        apps = Apps(fleet)
        try:
            yield fleet, apps
        finally:
            apps.close()

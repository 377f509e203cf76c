"""A provider registered with OpenFeature, and all that it told: for tests of what a service sees. Knows no assertion."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.event import EventDetails, ProviderEvent
from openfeature.provider import ProviderStatus

from flags.provider import PointsmanProvider
from tests.flags.stores import held

SHORT = {
    ProviderEvent.PROVIDER_READY: "ready",
    ProviderEvent.PROVIDER_STALE: "stale",
    ProviderEvent.PROVIDER_ERROR: "error",
    ProviderEvent.PROVIDER_CONFIGURATION_CHANGED: "changed",
}


@dataclass
class Service:
    """A service's view: its client, and the events in the order in which they came."""

    provider: PointsmanProvider
    client: OpenFeatureClient
    events: list[tuple[str, EventDetails]] = field(default_factory=list)

    @property
    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.events]

    @property
    def changed(self) -> list[list[str] | None]:
        return [details.flags_changed for kind, details in self.events if kind == "changed"]

    @property
    def status(self) -> ProviderStatus:
        return self.client.get_provider_status()

    def served(self, key: str = "chat.prompt") -> str:
        return self.client.get_string_value(key, "none")

    async def until(self, condition: Callable[[], object], seconds: float = 10.0) -> None:
        """Wait until `condition` holds; fails the test when it does not."""
        await held(condition, lambda: f"{self.status}, {self.events}", seconds)


@contextmanager
def registered(provider: PointsmanProvider, *, waiting: bool = True) -> Iterator[Service]:
    """`provider` under the default domain, its handlers in place before it is initialised."""
    service = Service(provider, api.get_client())
    for event, kind in SHORT.items():
        api.add_handler(event, _remembering(service.events, kind))
    service.events.clear()  # the SDK's no-op provider says READY at once
    try:
        api.set_provider_and_wait(provider) if waiting else api.set_provider(provider)
        yield service
    finally:
        api.clear_providers()
        provider.shutdown()


def _remembering(events: list[tuple[str, EventDetails]], kind: str) -> Callable[[EventDetails], None]:
    def remember(details: EventDetails) -> None:
        if details.provider_name == "pointsman":
            events.append((kind, details))

    return remember

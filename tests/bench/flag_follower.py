"""`python -m tests.bench.flag_follower URL`: a service with the OpenFeature provider, that notes when it saw which revision.

Says `ready` on a line; at the end of its input it writes what it saw as JSON, `[[revision, CLOCK_MONOTONIC seconds], …]`.
"""

from __future__ import annotations

import json
import sys
import time

from openfeature import api
from openfeature.event import EventDetails, ProviderEvent

from flags.provider import PointsmanProvider


def main(url: str) -> None:
    seen: list[tuple[int, float]] = []

    def note(details: EventDetails) -> None:
        now = time.monotonic()
        seen.append((int(str(details.metadata["version"])), now))

    api.set_provider_and_wait(PointsmanProvider(url))
    api.add_handler(ProviderEvent.PROVIDER_CONFIGURATION_CHANGED, note)
    print("ready", flush=True)
    sys.stdin.read()
    print(json.dumps(seen), flush=True)
    api.shutdown()


if __name__ == "__main__":
    main(sys.argv[1])

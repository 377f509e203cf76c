"""A service that takes its versions by OpenFeature, in a process of its own, and tracks what its users say.

Run as `python -m tests.journey.apps_with_flags URL`. It reads one order a line, JSON, and answers each with a line:
`{"ask": [user…]}` → who got which version; `{"say": {user: value}, "attributes": {…}}` → `{}`.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.evaluation_context import EvaluationContext
from openfeature.track import TrackingEventDetails

from flags.provider import PointsmanProvider

FLAG, METRIC = "support-bot.prompt", "helpful"


def main() -> None:
    """Serve orders until the input ends."""
    api.set_provider_and_wait(PointsmanProvider(sys.argv[1]))
    client = api.get_client()
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(client, json.loads(line))), flush=True)
    api.shutdown()


def answer(client: OpenFeatureClient, order: dict[str, Any]) -> dict[str, Any]:
    """Do one order."""
    versions = {user: version(client, user) for user in order.get("ask", ())}
    for user, value in order.get("say", {}).items():
        details = TrackingEventDetails(value, order.get("attributes"))
        client.track(order.get("metric", METRIC), EvaluationContext(user), details)
    return versions


def version(client: OpenFeatureClient, user: str) -> str | None:
    """Which version of the prompt a user gets."""
    return client.get_object_details(FLAG, {}, EvaluationContext(user)).variant


if __name__ == "__main__":
    main()

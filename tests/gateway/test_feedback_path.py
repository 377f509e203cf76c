"""A score's whole way over a real store: from the answer's headers back to the release that answered."""

from __future__ import annotations

import httpx

from gateway.house import House
from tests.gateway.test_app import CHAT, client, house

__all__ = ["client", "house"]


async def test_an_answer_is_judged_by_its_token_and_by_its_request_id(
    client: httpx.AsyncClient, house: House
) -> None:
    answer = await client.post("/v1/chat/completions", json={**CHAT, "user": "ann"})
    by_token = {"decision": answer.headers["x-pointsman-decision"], "metric": "accuracy", "value": 1}
    by_id = {"request_id": answer.headers["x-request-id"], "metric": "hallucination", "value": 0}
    taken = [await client.post("/v1/feedback", json=each) for each in (by_token, by_id)]

    assert [each.status_code for each in taken] == [202, 202]
    assert [each.json() for each in taken] == [{"status": "accepted"}] * 2
    assert taken[0].headers["x-pointsman-revision"] == answer.headers["x-pointsman-revision"]


async def test_a_request_id_of_nobody_is_404(client: httpx.AsyncClient) -> None:
    answer = await client.post("/feedback", json={"request_id": "req-0", "metric": "accuracy", "value": 1})

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_request")

"""What operators see of flags and routes."""

from __future__ import annotations

from tests.gateway.office import Office, model, prompt


async def test_what_is_disabled_serves_nothing(office: Office) -> None:
    made, contents = prompt("shop.prompt", enabled=False)
    await office.declare((made, contents), model("shop.model"), routes=["shop"])

    async with office.client() as client:
        flag = (await client.get("/flags/shop.prompt")).json()
        layers = (await client.get("/status")).json()["routes"]["shop"]

    assert (flag["enabled"], flag["serve"], flag["served"], flag["safe"]) == (False, "v6", None, "v6")
    assert (layers["prompt"]["served"], layers["model"]["served"]) == (None, "gpt-4.1")

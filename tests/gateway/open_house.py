"""A whole gateway of one worker on a free port, from a config in words, within the test's own loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn

from flags.change import Draft, View
from flags.ledger import Author
from gateway.app import build_app
from gateway.config.declaration import Known
from gateway.config.loading import load_file
from gateway.declaring.plan import Options, plan
from gateway.house import House
from gateway.settings import Settings
from gateway.supervisor import bind
from gateway.worker import uvicorn_config


async def declare(house: House, folder: Path, config: str) -> None:
    """Write what `config` declares, and wait until the house serves it."""
    (folder / "pointsman.yaml").write_text(config)
    declaration = load_file(folder / "pointsman.yaml", Known())

    def decide(view: View) -> tuple[Draft, ...]:
        return plan(declaration, view, Options("tester")).drafts

    committed = await house.store.change(Author("tester", "set up"), None, decide)
    await house.store.acknowledged(committed.position, 5, [house.worker.id])


@asynccontextmanager
async def open_house(
    redis: str, folder: Path, config: str, *, environ: Mapping[str, str] | None = None
) -> AsyncIterator[tuple[House, str]]:
    """The house and its URL (without `/v1`). Each has a namespace of its own."""
    settings = Settings(data_dir=str(folder), redis=redis, namespace=folder.name[:100], port=0)
    house = await House.open(settings, environ=environ or {})
    try:
        await declare(house, folder, config)
        listener = bind(settings.host, 0)
        server = uvicorn.Server(uvicorn_config(build_app(house)))
        task = asyncio.create_task(server.serve([listener]))
        while not server.started:
            await asyncio.sleep(0.005)
        yield house, f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        await task
        listener.close()
    finally:
        await house.aclose()

"""A door for apps: takes a request in, in the language of its wire, and hands it to the pipeline."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

from starlette.types import Receive, Scope, Send

from gateway.auth import Keyring, refuse_foreign_page, token_of
from gateway.errors import GatewayError, Stopping
from gateway.exchange import Door, Exchange
from gateway.http.asgi import AsgiDoor, Leaving, header_map, read_body
from gateway.patience import Patience
from gateway.pipeline import Pipeline
from gateway.relay import refuse
from gateway.wires.base import Wire


class WireFor(Protocol):
    """Which wire a request speaks: by its path alone, or for raw ones by what stands in it."""

    def __call__(self, scope: Scope, /) -> Wire:
        """The wire. Raises nothing: what is wrong is told when the body is read."""
        ...


class AppDoor:
    """One endpoint, as a plain ASGI callable (see gateway.http.asgi)."""

    def __init__(  # noqa: PLR0913  # what the house gives to a door
        self,
        pipeline: Pipeline,
        keys: Callable[[], Keyring],
        patience: Patience,
        *,
        wire: WireFor,
        arrive: Callable[[Mapping[bytes, bytes], Door, Wire], Exchange],
        stopping: Callable[[], bool],
        max_body_bytes: int,
    ) -> None:
        self._pipeline, self._keys, self._patience = pipeline, keys, patience
        self._wire, self._arrive, self._stopping, self._max_body_bytes = (
            wire,
            arrive,
            stopping,
            max_body_bytes,
        )
        self._loop = asyncio.get_running_loop()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; who is not let in, or sends too much, never reaches the pipeline."""
        headers = header_map(scope)
        door = AsgiDoor(send, scope)
        x = self._arrive(headers, door, self._wire(scope))
        try:
            if self._stopping():
                raise Stopping("this gateway is stopping; ask again, another will answer")
            keys = self._keys()
            if not keys.apps:
                refuse_foreign_page(headers)
            x.caller = keys.caller(token_of(scope["headers"]))
            x.body = await read_body(scope, receive, self._max_body_bytes)
        except GatewayError as error:
            closing = [(b"connection", b"close")] if isinstance(error, Stopping) else []
            await refuse(error, x, [*self._pipeline.headers(x), *closing])
            self._pipeline.record(x)
            return
        # With the loop named no process id is asked for (a system call each time in Python 3.11).
        task = asyncio.current_task(self._loop)
        assert task is not None
        leaving = Leaving(x, door, receive, self._patience, task)
        self._patience.watch(leaving)
        try:
            await self._pipeline.serve(x)
        finally:
            leaving.close()

"""A small SMTP server on loopback that does as it is told. Knows nothing of the code under test."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class Sink:
    """What came, and how it behaves: `hangs` at a command (or "greeting"), `refuses` one with 550, `offers` extensions."""

    mails: list[bytes] = field(default_factory=list)
    logins: list[bytes] = field(default_factory=list)
    hangs: str = ""
    refuses: str = ""
    greeting_drips: bool = False
    tls: ssl.SSLContext | None = None
    port: int = 0
    encrypted: bool = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the peer has gone, or the test is over
        finally:
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while self.greeting_drips:
            writer.write(b"2")
            await writer.drain()
            await asyncio.sleep(0.02)
        if self.hangs == "greeting":
            await reader.read()
            return
        writer.write(b"220 sink\r\n")
        while line := await reader.readline():
            verb = line.split()[0].upper().decode() if line.split() else ""
            if verb == self.hangs:
                await reader.read()
                return
            if verb == self.refuses:
                writer.write(b"550 not by me\r\n")
            elif verb == "EHLO":
                offers = b"" if self.encrypted or self.tls is None else b"250-STARTTLS\r\n"
                writer.write(b"250-sink\r\n" + offers + b"250 AUTH PLAIN\r\n")
            elif verb == "STARTTLS":
                writer.write(b"220 go\r\n")
                await writer.drain()
                assert self.tls is not None
                await writer.start_tls(self.tls)
                self.encrypted = True
            elif verb == "AUTH":
                self.logins.append(base64.b64decode(line.split()[2]))
                writer.write(b"235 in\r\n")
            elif verb == "DATA":
                writer.write(b"354 go on\r\n")
                await writer.drain()
                self.mails.append(await reader.readuntil(b"\r\n.\r\n"))
                writer.write(b"250 taken\r\n")
            elif verb == "QUIT":
                writer.write(b"221 bye\r\n")
                await writer.drain()
                return
            else:
                writer.write(b"250 ok\r\n")
            await writer.drain()


@asynccontextmanager
async def smtp_sink(sink: Sink, *, wrapped: bool = False) -> AsyncIterator[Sink]:
    """`sink`, listening on a free port; `wrapped`: in TLS from the first byte."""
    tasks: set[asyncio.Task[None]] = set()

    async def taken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        await sink.serve(reader, writer)

    server = await asyncio.start_server(taken, "127.0.0.1", 0, ssl=sink.tls if wrapped else None)
    sink.encrypted = wrapped
    sink.port = server.sockets[0].getsockname()[1]
    try:
        yield sink
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()

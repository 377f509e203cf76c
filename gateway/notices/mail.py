"""E-mail by SMTP: one message in a thread of its own, within a deadline. Knows no retry and no store.

TLS is verified. Nothing that anybody wrote into a reason reaches a header with a line break.
"""

from __future__ import annotations

import asyncio
import contextlib
import smtplib
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Literal

from gateway.notices.channel import SHOWN_CHARS, Notice, NotSent
from gateway.notices.words import Words
from policies.notices import wording
from policies.notices.wording import line

BEYOND_SECONDS = 2.0
PORTS = (("starttls", 587), ("tls", 465), ("none", 25))


@dataclass(frozen=True, slots=True)
class Relay:
    """The SMTP server and how one gets in; `password` is resolved when it is needed."""

    host: str
    port: int
    tls: Literal["starttls", "tls", "none"]
    user: str | None
    password: Callable[[], str] | None = field(repr=False)
    seconds: float
    # None: the system's authorities.
    ca_file: str | None = None


@dataclass(frozen=True, slots=True)
class MailChannel:
    """Mails to `to`. `now` counts Unix seconds."""

    relay: Relay
    sender: str
    to: tuple[str, ...]
    words: Words
    now: Callable[[], float]

    async def send(self, notice: Notice) -> str:
        """See Channel."""
        message = self.message(notice)
        password = self.relay.password() if self.relay.password is not None else None
        call = _Call(self.relay, password, message)
        thread = threading.Thread(target=call.run, args=(asyncio.get_running_loop(),), daemon=True)
        # A thread of its own, not the pool's: one that hangs in a name's resolution must not keep others waiting.
        thread.start()
        try:
            async with asyncio.timeout(self.relay.seconds):
                return await call.done
        except TimeoutError:
            raise NotSent(f"the mail server did not take it within {self.relay.seconds:g} s") from None
        finally:
            call.hang_up()

    def message(self, notice: Notice) -> EmailMessage:
        """The mail. Its id is the event's: sent twice, mail programs show it once."""
        event = notice.event
        message = EmailMessage(policy=SMTP)
        message["Subject"] = wording.subject(event, notice.more)
        message["From"] = self.sender
        message["To"] = ", ".join(self.to)
        message["Date"] = format_datetime(datetime.fromtimestamp(self.now(), tz=UTC))
        message["Message-ID"] = f"<{_local_part(event.id)}@pointsman.invalid>"
        message["Auto-Submitted"] = "auto-generated"
        text = self.words.own(notice) or wording.plain(event, notice.more)
        message.set_content(wording.printable(text))
        return message


class _Call:
    """One conversation with the server, in a thread. What changes here: the socket, and whether it was hung up."""

    def __init__(self, relay: Relay, password: str | None, message: EmailMessage) -> None:
        self._relay, self._password, self._message = relay, password, message
        # The socket's own limit comes after the caller's, who hangs up: it is for a thread that nobody could end.
        self._until = time.monotonic() + relay.seconds + BEYOND_SECONDS
        self._lock = threading.Lock()
        self._server: smtplib.SMTP | None = None
        self._over = False
        self.done: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def run(self, loop: asyncio.AbstractEventLoop) -> None:
        """Send it, and tell the loop."""
        try:
            found: str | NotSent = self._sent()
        except NotSent as error:
            found = error
        except (OSError, smtplib.SMTPException, ValueError) as error:
            found = NotSent(_why(error, self._password))
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(self._tell, found)

    def _tell(self, found: str | NotSent) -> None:
        if self.done.done():
            return
        if isinstance(found, NotSent):
            self.done.set_exception(found)
        else:
            self.done.set_result(found)

    def hang_up(self) -> None:
        """End the conversation, wherever it is, so that its thread ends."""
        with self._lock:
            self._over, server = True, self._server
        if server is not None and server.sock is not None:
            with contextlib.suppress(OSError):
                server.sock.shutdown(2)
        if not self.done.done():
            self.done.cancel()

    def _sent(self) -> str:
        relay, context = self._relay, self._context()
        server = self._connected(context)
        with self._lock:
            over = self._over
        try:
            if over:
                raise NotSent("given up")
            if relay.tls == "starttls":
                server.starttls(context=context)
            if relay.user is not None:
                server.login(relay.user, self._password or "")
            refused = server.send_message(self._message)
            with contextlib.suppress(OSError, smtplib.SMTPException):
                server.quit()
        finally:
            server.close()
        if refused:
            return f"taken, but not for {len(refused)} of the addresses"
        return "taken by the mail server"

    def _connected(self, context: ssl.SSLContext | None) -> smtplib.SMTP:
        """The server, after its greeting; noted before it, so that one that greets for ever can be hung up on."""
        relay, note = self._relay, self._note
        left = max(0.001, self._until - time.monotonic())

        class Plain(smtplib.SMTP):
            def connect(
                self, host: str = "localhost", port: int = 0, source_address: object = None
            ) -> tuple[int, bytes]:
                note(self)
                return super().connect(host, port)

        class Encrypted(smtplib.SMTP_SSL):
            def connect(
                self, host: str = "localhost", port: int = 0, source_address: object = None
            ) -> tuple[int, bytes]:
                note(self)
                return super().connect(host, port)

        if relay.tls == "tls":
            return Encrypted(relay.host, relay.port, timeout=left, context=context)
        return Plain(relay.host, relay.port, timeout=left)

    def _note(self, server: smtplib.SMTP) -> None:
        with self._lock:
            self._server = server

    def _context(self) -> ssl.SSLContext | None:
        if self._relay.tls == "none":
            return None
        context = ssl.create_default_context(cafile=self._relay.ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context


def _why(error: Exception, password: str | None) -> str:
    """What went wrong, without what a server may repeat of the password."""
    if isinstance(error, smtplib.SMTPResponseException):
        said = error.smtp_error
        text = f"answered {error.smtp_code}: {said.decode(errors='replace') if isinstance(said, bytes) else said}"
    elif isinstance(error, smtplib.SMTPRecipientsRefused):
        text = f"refused all {len(error.recipients)} addresses"
    else:
        text = f"cannot be reached: {error or type(error).__name__}"
    text = line(text)
    return (text.replace(password, "…") if password else text)[:SHOWN_CHARS]


def _local_part(event_id: str) -> str:
    return "".join(each if (each.isascii() and each.isalnum()) or each in "-." else "-" for each in event_id)[
        :120
    ]

"""Mail by SMTP against a real socket: TLS, login, hangs, refusals, and nothing smuggled into a header."""

from __future__ import annotations

import asyncio
import ssl
from email import message_from_bytes
from email.policy import default
from pathlib import Path

import pytest
import trustme

from gateway.notices.channel import Notice, NotSent
from gateway.notices.mail import MailChannel, Relay
from gateway.notices.words import OURS, words_of
from tests.gateway.notices.smtp_sink import Sink, smtp_sink
from tests.policies.notices.outboxes import NOON, event

EVENT = event("c0ffee", title="rolled back\r\nBcc: evil@example.org", reason="8 % errors\nX-Evil: 1")


def channel(sink: Sink, tls: str = "none", **fields: object) -> MailChannel:
    given = {"user": None, "password": None, "seconds": 5.0, **fields}
    relay = Relay(host="localhost" if tls != "none" else "127.0.0.1", port=sink.port, tls=tls, **given)  # type: ignore[arg-type]
    return MailChannel(
        relay, "gateway@example.org", ("ann@example.org", "bob@example.org"), OURS, lambda: NOON
    )


@pytest.fixture
def authority(tmp_path: Path) -> tuple[ssl.SSLContext, str]:
    """A server's context, and the file by which a client trusts it."""
    made = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.issue_cert("localhost").configure_cert(context)
    made.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return context, str(tmp_path / "ca.pem")


async def test_a_notice_arrives_as_a_mail_with_one_subject_and_no_smuggled_header() -> None:
    async with smtp_sink(Sink()) as sink:
        found = await channel(sink).send(Notice(EVENT, 3))

    (raw,) = sink.mails
    mail = message_from_bytes(raw, policy=default)
    assert found == "taken by the mail server"
    assert (mail["To"], mail["From"]) == ("ann@example.org, bob@example.org", "gateway@example.org")
    assert (mail["Bcc"], mail["X-Evil"], mail["Message-ID"]) == (None, None, "<c0ffee@pointsman.invalid>")
    assert mail["Subject"].startswith("[pointsman] critical: rolled back Bcc:")
    assert "Reason: 8 % errors X-Evil: 1" in mail.get_content()


async def test_it_can_be_told_in_the_users_own_words() -> None:
    async with smtp_sink(Sink()) as sink:
        made = channel(sink)
        own = MailChannel(
            made.relay, made.sender, made.to, words_of("{{ kind }}: {{ reason | upper }}"), made.now
        )
        await own.send(Notice(event(reason="too slow")))

    assert b"rollback: TOO SLOW" in sink.mails[0]


@pytest.mark.parametrize("tls", ["starttls", "tls"])
async def test_it_is_encrypted_before_anybody_logs_in(
    tls: str, authority: tuple[ssl.SSLContext, str]
) -> None:
    context, ca_file = authority
    async with smtp_sink(Sink(tls=context), wrapped=tls == "tls") as sink:
        await channel(sink, tls, user="me", password=lambda: "s3cret", ca_file=ca_file).send(Notice(EVENT))

    assert sink.encrypted
    assert sink.logins == [b"\0me\0s3cret"]


@pytest.mark.parametrize("tls", ["starttls", "tls"])
async def test_a_server_that_nobody_vouches_for_gets_nothing(
    tls: str, authority: tuple[ssl.SSLContext, str]
) -> None:
    async with smtp_sink(Sink(tls=authority[0]), wrapped=tls == "tls") as sink:
        with pytest.raises(NotSent, match="certificate"):
            await channel(sink, tls).send(Notice(EVENT))

    assert sink.mails == []


async def test_a_server_without_starttls_gets_nothing() -> None:
    async with smtp_sink(Sink()) as sink:
        with pytest.raises(NotSent, match="STARTTLS"):
            await channel(sink, "starttls").send(Notice(EVENT))

    assert sink.mails == []


@pytest.mark.parametrize("sink", [Sink(hangs="greeting"), Sink(hangs="DATA"), Sink(greeting_drips=True)])
async def test_a_server_that_hangs_or_trickles_is_given_up(sink: Sink) -> None:
    async with smtp_sink(sink):
        with pytest.raises(NotSent, match="did not take it within"):
            await channel(sink, seconds=0.2).send(Notice(EVENT))


async def test_a_refusal_says_so() -> None:
    async with smtp_sink(Sink(refuses="DATA")) as sink:
        with pytest.raises(NotSent, match="answered 550: not by me"):
            await channel(sink).send(Notice(EVENT))


async def test_a_server_that_is_not_there_says_so() -> None:
    async with smtp_sink(Sink()) as sink:
        pass

    with pytest.raises(NotSent, match="cannot be reached"):
        await channel(sink).send(Notice(EVENT))


async def test_who_waits_no_more_is_hung_up_on() -> None:
    async with smtp_sink(Sink(hangs="DATA")) as sink:
        sending = asyncio.create_task(channel(sink).send(Notice(EVENT)))
        await asyncio.sleep(0)
        sending.cancel()
        (ended,) = await asyncio.gather(sending, return_exceptions=True)

    assert isinstance(ended, asyncio.CancelledError)

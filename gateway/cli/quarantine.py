"""`pointsman quarantine`: take a content out of service for good, or let it out again. No rule is known here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import click

from gateway.cli.client import Client
from gateway.cli.options import LINK, REASON, WAIT, speaks_to_server
from gateway.cli.verbs import deed


@click.group
def quarantine() -> None:
    """Take a version's content out of service until a person lets it out, or let it out."""


@quarantine.command
@click.argument("flag")
@click.argument("variant")
@REASON
@LINK
@WAIT
@speaks_to_server
def add(client: Client, as_json: bool, flag: str, variant: str, **body: Any) -> int:
    """Take VARIANT's content out of service.

    It is withdrawn, and nobody serves its content, under any name, until it is released. Where VARIANT is the safe
    version, the last known good one becomes it, if there is another.
    """
    sent = {"variant": variant, "action": "add", **body}
    what = "{from} is in quarantine, {to} answers for it"
    return deed(client, _path(flag), sent, as_json=as_json, what=what)


@quarantine.command
@click.argument("flag")
@click.argument("variant")
@REASON
@LINK
@WAIT
@speaks_to_server
def release(client: Client, as_json: bool, flag: str, variant: str, **body: Any) -> int:
    """Let the content of VARIANT of FLAG out of quarantine. It stays withdrawn until `pointsman restore`."""
    sent = {"variant": variant, "action": "release", **body}
    return deed(client, _path(flag), sent, as_json=as_json, what=_released)


def _path(flag: str) -> str:
    return f"/flags/{quote(flag, safe='')}/quarantine"


def _released(done: Mapping[str, Any]) -> str:
    return (
        "{from} is out of quarantine and stays withdrawn; back into service: pointsman restore "
        f"{done['flag']} {done['from']} --reason …"
    )

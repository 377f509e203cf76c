"""What a config may say of channels."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config.declaration import Known
from gateway.config.loading import load_file
from tests.gateway.config_files import problems, write

MAIL = "kind: email, host: mail.example, sender: a@example.org, to: [b@example.org]"


@pytest.mark.parametrize(
    ("channel", "path", "word"),
    [
        ("{kind: slack}", "notify.n", "`url` is missing"),
        ("{kind: slack, url: 'https://hooks.example/T/B/x'}", "notify.n.url", "secret"),
        ("{kind: cloudevents}", "notify.n", "`url` is missing"),
        ("{kind: cloudevents, url: nowhere}", "notify.n.url", "http"),
        ("{kind: cloudevents, url: 'https://me:pw@x'}", "notify.n.url", "secret"),
        ("{kind: slack, url: os.environ/X, secret: os.environ/Y}", "notify.n.secret", "no `secret`"),
        ("{kind: stdout, url: os.environ/X}", "notify.n.url", "no `url`"),
        ("{kind: email, host: m, sender: a@example.org}", "notify.n", "`to` is missing"),
        (f"{{{MAIL}, url: os.environ/X}}", "notify.n.url", "no `url`"),
        (f"{{{MAIL}, user: me}}", "notify.n", "go together"),
        (f"{{{MAIL}, user: me, password: os.environ/P, tls: none}}", "notify.n.tls", "plain text"),
        (
            '{kind: email, host: m, sender: "a@x\\r\\nBcc: c@d", to: [b@c]}',
            "notify.n.sender",
            "no mail address",
        ),
        ("{kind: stdout, events: [rolback]}", "notify.n.events[0]", "not known"),
        ("{kind: stdout, routes: [nowhere]}", "notify.n.routes[0]", "not defined"),
        ("{kind: stdout, timeout_seconds: 61}", "notify.n.timeout_seconds", "60 seconds at most"),
        ("{kind: stdout, template: '{% for %}'}", "notify.n.template", "line 1"),
    ],
)
def test_a_channel_that_cannot_tell_anybody_is_refused(
    tmp_path: Path, channel: str, path: str, word: str
) -> None:
    found = problems(tmp_path, f"notify:\n  n: {channel}\n")

    assert [each.path for each in found] == [path]
    assert word in f"{found[0].message} {found[0].mend}"


@pytest.mark.parametrize(
    "channel",
    [
        "{kind: slack, url: os.environ/X, events: [rollback, drift], template: '{{ title }}'}",
        "{kind: cloudevents, url: 'http://10.0.0.8/hook', secret: os.environ/Y}",
        f"{{{MAIL}, user: me, password: file:/run/pw, tls: tls}}",
        "{kind: stdout}",
    ],
)
def test_a_channel_that_can_is_taken_without_a_warning(tmp_path: Path, channel: str) -> None:
    declaration = load_file(write(tmp_path, f"notify:\n  n: {channel}\n"), Known())

    assert declaration.warnings == ()

"""What a config file may say of signals, and of policies about what happens elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from flags.model import Kind, ObjectKey
from gateway.config.declaration import ConfigInvalid, Known
from gateway.config.loading import load_file

BASE = """
upstreams: {mock: {kind: simulated}}
flags:
  bot.model: {layer: model, variants: {m: {upstream: mock, model: m}}}
routes: {bot: {}}
"""
SOUND = """
signals: {prom: {secret: os.environ/PROM, route: bot}, guard: {secret: "file:/run/guard", flag: bot.model}}
policies:
  stop: {metric: signal, source: prom, named: "High*", action: rollback, layer: model, routes: [bot], cooldown_seconds: 60}
  any: {metric: signal, action: alert, dry_run: true}
  drifted: {metric: drift, action: pause}
  unhappy: {metric: complaint, limit: 5, window_seconds: 2h, action: rollback}
  unhappy-too: {metric: complaint, action: alert}
"""


def load(folder: Path, text: str) -> object:
    file = folder / "pointsman.yaml"
    file.write_text(BASE + text)
    return load_file(file, Known())


def test_what_is_sound_is_taken(tmp_path: Path) -> None:
    declared = load(tmp_path, SOUND)

    assert {ObjectKey(Kind.SIGNAL, "prom"), ObjectKey(Kind.POLICY, "unhappy")} <= declared.others.keys()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ("signals: {prom: {secret: plain}}", "signals.prom.secret", "os.environ/NAME"),
        ("signals: {prom: {}}", "signals.prom", "secret"),
        ("signals: {prom: {secret: os.environ/S, route: x}}", "signals.prom.route", "routes: bot"),
        ("signals: {prom: {secret: os.environ/S, flag: x}}", "signals.prom.flag", "flags: bot.model"),
        ("policies: {p: {metric: signal, source: x}}", "policies.p.source", "signals: none"),
        ('policies: {p: {metric: signal, named: " "}}', "policies.p.named", "expected a signal's name"),
        ("policies: {p: {metric: signal, limit: 1}}", "policies.p.limit", "told from outside"),
        ("policies: {p: {metric: drift, times_safe: 2}}", "policies.p.times_safe", "told from outside"),
        ("policies: {p: {metric: signal, method: threshold}}", "policies.p", "no method"),
        ("policies: {p: {metric: drift, source: prom}}", "policies.p.source", "goes with metric: signal"),
        (
            "policies: {p: {metric: complaint, named: x}}",
            "policies.p.named",
            "goes with metric: signal or drift",
        ),
        ("policies: {p: {metric: complaint, limit: 0}}", "policies.p.limit", "1 to 10,000, found 0"),
        ("policies: {p: {metric: complaint, limit: 2.5}}", "policies.p.limit", "found 2.5"),
        ("policies: {p: {metric: complaint, limit: .inf}}", "policies.p.limit", ""),
        (
            "policies: {p: {metric: complaint, window_seconds: 30d}}",
            "policies.p.window_seconds",
            "86400",
        ),
        ("policies: {p: {metric: error_rate, limit: 0.1, source: prom}}", "policies.p.source", "goes with"),
        ("policies: {p: {metric: signal, routes: [x]}}", "policies.p.routes[0]", "routes: bot"),
        ("metrics: {complaint: {type: boolean, better: lower}}", "metrics.complaint", "is built in"),
        ("metrics: {signal: {type: boolean, better: lower}}", "metrics.signal", "is built in"),
    ],
)
def test_each_mistake_has_its_path(tmp_path: Path, text: str, path: str, message: str) -> None:
    with pytest.raises(ConfigInvalid) as invalid:
        load(tmp_path, text)

    told = {each.path: str(each) for each in invalid.value.problems}
    assert path in told, told
    assert message in told[path]

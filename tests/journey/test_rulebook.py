"""The README's rulebook, as it stands there: its config, its suite and its commands, against a real fleet."""

from __future__ import annotations

import functools
import hashlib
import hmac
import json
import os
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import plain
from tests.fleet import COMMAND, Fleet
from tests.gateway.evals.test_promptfoo import CONFIG as PROMPTFOO
from tests.gateway.evals.test_promptfoo import out, row
from tests.journey.readme import README, RULEBOOK, blocks, commands, merged
from tests.journey.traffic import until
from tests.journey.webhook import Receiver
from tests.scripted_upstream import Received, Script, completion, json_answer, scripted_upstream_in_thread

FLAG = "support-bot.prompt"
SECRET = "a secret of both sides"
# What the README's list of steps shows, and the tick that its next line adds.
STEPS = ["locate", "restore", "acknowledge", "evaluate", "log", "changelog", "notify", "helped"]
# Steps wait for leases and figures, on a machine that does other things as well.
PATIENCE_SECONDS = 40.0


def answers(received: Received) -> Script:
    """A provider that answers well, and as a judge is content."""
    asked = " ".join(message["content"] for message in received.json["messages"])
    verdict = '{"pass": true, "score": 1, "reason": "it asks for the number"}'
    judges = "asks for the order's number" in asked
    return json_answer(completion(verdict if judges else "Yes, to Norway too. What is your order's number?"))


@dataclass(frozen=True, slots=True)
class Reader:
    """Who types what the README says, in the folder of the config."""

    fleet: Fleet

    def types(self, line: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """One command line, without the program's name."""
        return subprocess.run(
            [*COMMAND, *shlex.split(line)],
            capture_output=True,
            text=True,
            env={**self.fleet.environ, **environ},
            cwd=self.fleet.folder,
            timeout=60,
            check=False,
        )

    def does(self, line: str, **environ: str) -> str:
        """One that must succeed; what it prints."""
        done = self.types(line, **environ)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout

    def reads(self, line: str) -> Any:
        """The document that one prints with `--json`."""
        return json.loads(self.does(f"{line} --json"))

    def follows(self, title: str, *verbs: str) -> list[str]:
        """What each command of a section printed, in its order; these verbs' are all that stand there."""
        lines = commands(title)
        assert [line.split(" -")[0].split(" support-bot")[0] for line in lines] == list(verbs), title
        return [self.does(line) for line in lines]


def written(provider: str, receiver: str) -> dict[str, Any]:
    """The README's config with all that the rulebook adds; provider and receivers are those of the test."""
    sections = [part for part in README.split("\n## ") if part.split("\n")[0] in ("First use", *RULEBOOK)]
    own = [text for text in blocks("yaml") if any(text in part for part in sections)]
    whole = functools.reduce(merged, (yaml.safe_load(text) for text in own))
    whole["upstreams"]["openai"]["base_url"] = provider
    whole["notify"]["audit"]["url"] = receiver
    # Mail needs a host of the reader's own.
    del whole["notify"]["mail"]
    return whole


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver().listening() as listening:
        yield listening


@pytest.fixture
def reader(tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    """Two workers of the README's config, its suite, and a promptfoo that has a result ready."""
    folder, programs = tmp_path / "fleet", tmp_path / "bin"
    (folder / "suites").mkdir(parents=True)
    (folder / "suites" / "support.yaml").write_text(blocks("yml")[0])
    (folder / "promptfooconfig.yaml").write_text(PROMPTFOO)
    programs.mkdir()
    (programs / "result.json").write_bytes(out(row()))
    copies = f'for each in "$@"; do [ "$last" = -o ] && cp {programs}/result.json "$each"; last=$each; done'
    (programs / "promptfoo").write_text(f"#!/bin/sh\n{copies}\n")
    (programs / "promptfoo").chmod(0o755)
    for name, value in {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "NO_PROXY": "127.0.0.1",
        "OPENAI_API_KEY": "sk-scripted",
        "SLACK_URL": receiver.url,
        "HOOK_SECRET": SECRET,
        "SIGNAL_SECRET": SECRET,
    }.items():
        monkeypatch.setenv(name, value)
    with ExitStack() as opened:
        provider = opened.enter_context(scripted_upstream_in_thread(answers))
        config = yaml.safe_dump(written(provider.base_url, receiver.url), sort_keys=False)
        fleet = opened.enter_context(Fleet(folder, config, inside=True))
        until(lambda: len(fleet.workers()) == 2, "two workers")
        yield Reader(fleet)


def governed(reader: Reader) -> None:
    """Versions with a life, and evals: v7 is approved by somebody else, and so is what a rollback will land on."""
    lines = commands("Versions with a life")
    approve = next(line for line in lines if line.startswith("approve"))
    own = reader.types(approve)
    told = [reader.does(line, **({"POINTSMAN_ACTOR": "ann"} if line == approve else {})) for line in lines]

    assert (own.returncode, "nobody approves their own version" in own.stderr) == (3, True)
    assert "draft" in told[0]
    assert "+You answer for {{ company }}, warmly and in two sentences." in told[1]
    assert "support.yaml: passed" in told[2]
    assert "✓ approved: ann (approver)" in told[4]
    assert "last known good: the newest version" in told[4]
    evals = reader.follows("Evals", "eval run", "eval promptfoo promptfooconfig.yaml")
    assert all("passed" in each for each in evals)
    assert "<testsuite" in (reader.fleet.folder / "evals.xml").read_text()
    reader.does(f"eval run {FLAG} v6")
    reader.does(f"approve {FLAG} v6", POINTSMAN_ACTOR="ann")


def rolled_back(reader: Reader) -> None:
    """The rollback of the section before, its record until every step is done, a tick, and the change log."""
    reader.does(f"switch {FLAG} v7")
    reader.does(f'rollback {FLAG} --reason "complaints since v7"')
    shows, ticks, tells = commands("A rollback that an auditor would sign")

    def closed() -> Any:
        assert reader.fleet.ask().status_code == 200
        record = reader.fleet.read("/rollbacks?limit=1")["items"][0]
        return record if record["closed"] else None

    record = until(closed, "every step is done", seconds=PATIENCE_SECONDS)

    shown = reader.does(shows)
    ticked = reader.does(ticks.replace("36d6f2ad05694048bdbdf5e892377a57", record["id"]))
    log = reader.does(tells)

    assert [each["name"] for each in record["steps"]] == STEPS
    assert [each["done"] for each in record["steps"]] == [True] * len(STEPS), record["steps"]
    assert "v6: the safe version, which satisfies every promotion rule" in shown
    assert "8 of 8 ticked; closed" in shown
    assert "https://ci.example/run/7" in ticked
    assert "complaints since v7" in log
    assert "✓  locate" in README


def told(reader: Reader, receiver: Receiver) -> None:
    """Telling people: the rollback came once by each channel, and a test of one comes as well."""
    tried, dead, again = reader.follows(
        "Telling people", "notices test team", "notices dead", "notices resend"
    )
    listed = reader.reads("notices list")
    rollbacks = [each for each in receiver.taken if "rolled back from v7 to v6" in json.dumps(each)]

    assert (tried, dead, again) == ("team: 200\n", "0 waiting, 0 dead\n", "0 to be tried again\n")
    assert {each["state"] for each in listed["told"]} == {"told"}
    assert sorted("specversion" in each for each in rollbacks) == [False, True]
    # A webhook's URL is a secret.
    assert receiver.url not in reader.fleet.log


def signalled(reader: Reader) -> None:
    """A signed event that flags a version for an audit, and an Alertmanager's alert with the bearer token."""
    url = f"{reader.fleet.url}/admin/v1/signals"
    event = {
        "specversion": "1.0",
        "id": "1",
        "source": "/audits",
        "type": "com.acme.review",
        "data": {"flag": FLAG, "variant": "v7", "audit": "flagged"},
    }
    body = json.dumps(event).encode()
    signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    media = {"content-type": "application/cloudevents+json"}
    alert = {"status": "firing", "labels": {"alertname": "LLMDown"}, "startsAt": "2030-01-01T00:00:00Z"}

    forged = plain.post(url, content=body, headers={**media, "x-pointsman-signature": f"sha256={'0' * 64}"})
    flagged = plain.post(url, content=body, headers={**media, "x-pointsman-signature": f"sha256={signature}"})
    alerted = plain.post(
        url, json={"version": "4", "alerts": [alert]}, headers={"authorization": f"Bearer {SECRET}"}
    )

    assert (forged.status_code, flagged.status_code, alerted.status_code) == (401, 202, 202)
    assert [each["did"] for each in flagged.json()["signals"][0]["responses"]] == ["quarantine"]
    assert [each["policy"] for each in alerted.json()["signals"][0]["responses"]] == ["upstream-incident"]
    reader.does(f"quarantine release {FLAG} v7 --reason looked")


def recorded(reader: Reader) -> None:
    """Records, and CI: the ledger holds, file and state differ by what was rolled back, and the patch mends that."""
    lines = commands("Records, and CI")
    done = [reader.types(line) for line in lines]
    anchor, patch = done[1].stdout.strip(), done[-1].stdout

    # An archive of so short a ledger is none; a difference has an exit code of its own.
    assert [each.returncode for each in done] == [0, 0, 0, 0, 0, 4, 0], [each.stderr for each in done]
    assert "entries hold together" in done[0].stdout
    assert "nothing to archive" in done[3].stdout
    assert done[4].stdout.startswith("### Pointsman: the plan")
    assert f"flag/{FLAG} withdrawn" in done[5].stdout
    assert reader.reads(f"audit verify --anchor {anchor}")["ok"]
    assert reader.reads(f"audit verify ledger.jsonl --anchor {anchor}")["ok"]
    subprocess.run(["git", "apply", "-p0"], input=patch, text=True, cwd=reader.fleet.folder, check=True)
    reader.does(lines[5])


def locked(reader: Reader) -> None:
    """Who may: the first token closes the operators' door, the first app's key the apps'."""
    admin, app = commands("Who may")
    token = reader.does(admin).strip()
    outside = reader.types("status")
    key = reader.does(app, POINTSMAN_TOKEN=token).strip()
    ask = {"model": "support-bot", "messages": [{"role": "user", "content": "Hello?"}]}
    keys = [{}, {"authorization": f"Bearer {key}"}]

    asked = [
        plain.post(f"{reader.fleet.url}/v1/chat/completions", json=ask, headers=each, timeout=30)
        for each in keys
    ]
    judge = plain.post(
        f"{reader.fleet.url}/v1/chat/completions", json={**ask, "model": "judge"}, headers=keys[1]
    )

    assert (outside.returncode, "POINTSMAN_TOKEN" in outside.stderr) == (1, True)
    assert "ann" in reader.does("keys list", POINTSMAN_TOKEN=token)
    assert [each.status_code for each in asked] == [401, 200]
    # A route that a key may not use is none, as far as it is told.
    assert judge.status_code == 404


def test_the_rulebook_from_the_first_version_to_the_keys(reader: Reader, receiver: Receiver) -> None:
    """Section by section, the commands as the README prints them; the keys last, since they lock the door."""
    governed(reader)
    rolled_back(reader)
    told(reader, receiver)
    signalled(reader)
    recorded(reader)
    locked(reader)

    assert {title for title in RULEBOOK if commands(title)} == {*RULEBOOK} - {"Signals, complaints and drift"}

"""The README's first use, as it stands there: serve, the SDK, the first rollback, a restart, the end."""

from __future__ import annotations

import os
import shlex
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from openai import DefaultHttpxClient, OpenAI

from tests.fleet import START_SECONDS, Fleet
from tests.journey.leftovers import left
from tests.journey.readme import blocks, commands, merged
from tests.scripted_upstream import (
    Received,
    Script,
    ScriptedUpstream,
    completion,
    events,
    json_answer,
    scripted_upstream_in_thread,
    stream_answer,
)

CONFIG = blocks("yaml")[0]
V6 = "You answer for Acme, in two sentences."
V7 = "You answer for Acme, warmly and in two sentences."


def says_its_prompt(received: Received) -> Script:
    """A provider whose answer is the prompt that it was given."""
    prompt = received.json["messages"][0]["content"]
    if received.json.get("stream"):
        return stream_answer(*events(*(f"{word} " for word in prompt.split())))
    return json_answer(completion(prompt))


@pytest.fixture
def provider() -> Iterator[ScriptedUpstream]:
    with scripted_upstream_in_thread(says_its_prompt) as upstream:
        yield upstream


@pytest.fixture
def fleet(tmp_path: Path, provider: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    """Two workers with the README's config, and a provider of our own."""
    config = CONFIG
    assert "https://api.openai.com/v1" in config
    monkeypatch.setenv("OPENAI_API_KEY", "sk-scripted")
    monkeypatch.setenv("TESTED_IN", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Fleet(tmp_path, config.replace("https://api.openai.com/v1", provider.base_url)) as started:
        until_all_serve(started)
        yield started


def until_all_serve(fleet: Fleet) -> None:
    """A server's note is there before its last worker is."""
    deadline = time.monotonic() + START_SECONDS
    while len(fleet.workers()) < 2:
        assert time.monotonic() < deadline, fleet.log
        time.sleep(0.02)


def app(fleet: Fleet) -> OpenAI:
    """An app's client on connections of its own."""
    direct = DefaultHttpxClient(trust_env=False)
    return OpenAI(base_url=f"{fleet.url}/v1", api_key="none", max_retries=0, timeout=20, http_client=direct)


def asked(fleet: Fleet, user: str = "user-7") -> str:
    """What a user is told, on a new connection."""
    with app(fleet) as client:
        answer = client.chat.completions.create(
            model="support-bot", messages=[{"role": "user", "content": "Hello?"}], user=user
        )
    return answer.choices[0].message.content or ""


def streamed(fleet: Fleet) -> str:
    """The same by a stream."""
    with app(fleet) as client:
        stream = client.chat.completions.create(
            model="support-bot", messages=[{"role": "user", "content": "Hello?"}], stream=True
        )
        return "".join(chunk.choices[0].delta.content or "" for chunk in stream).strip()


def from_each_worker(fleet: Fleet) -> list[str]:
    """What each worker answers: the others are paused meanwhile, shorter than they may be silent."""
    answers = []
    workers = [worker["pid"] for worker in fleet.workers()]
    for chosen in workers:
        others = [pid for pid in workers if pid != chosen]
        for pid in others:
            os.kill(pid, signal.SIGSTOP)
        try:
            answers += [asked(fleet), streamed(fleet)]
        finally:
            for pid in others:
                os.kill(pid, signal.SIGCONT)
    return answers


def add_what_later_sections_do(fleet: Fleet) -> None:
    """The files that its commands name: outcomes, a folder of texts, retrieval in the config, a config to import."""
    (fleet.folder / "outcomes.jsonl").write_text(
        '{"time": 1, "route": "support-bot", "releases": ["support-bot.prompt:v6:1"], "ending": "ok", "seconds": 1}\n'
    )
    (fleet.folder / "handbook").mkdir()
    (fleet.folder / "handbook" / "shipping.md").write_text("# Shipping\n\nWe ship to Norway.\n")
    (retrieval,) = (text for text in blocks("yaml") if "handbook-4" in text)
    config = merged(yaml.safe_load(fleet.config.read_text()), yaml.safe_load(retrieval))
    fleet.config.write_text(yaml.safe_dump(config))
    (fleet.folder / "config.yaml").write_text(
        "model_list: [{model_name: small, litellm_params: {model: openai/gpt-4.1-mini}}]\n"
    )


def in_folder(fleet: Fleet, word: str) -> str:
    """A file's name as its path."""
    names = ("pointsman.yaml", "outcomes.jsonl", "handbook", "config.yaml", "imported.yaml")
    return str(fleet.folder / word) if word in names else word


def test_the_readme_from_serve_to_audit(
    fleet: Fleet, provider: ScriptedUpstream, capsys: pytest.CaptureFixture
) -> None:
    """The app's snippets and the operator's commands work as the README prints them, in that order."""
    snippets = "".join(blocks("python", "First use", "Feedback")).replace("http://127.0.0.1:4000", fleet.url)
    exec(compile(snippets, "README.md", "exec"), {})
    add_what_later_sections_do(fleet)
    lines = commands()
    outputs = [fleet.command(*(in_folder(fleet, word) for word in shlex.split(line))) for line in lines]

    assert capsys.readouterr().out == f"{V6}\n"
    assert provider.requests[0].headers["authorization"] == "Bearer sk-scripted"
    assert [line.split()[0] for line in lines] == [
        "rollout", "status", "explain", "rollback", "restore", "log", "audit",
        "audit", "rollout", "rollout", "rollout", "shadow", "breakers", "breakers", "breakers", "policies",
        "index", "index", "apply", "rollout", "import",
    ]  # fmt: skip
    assert [done.returncode for done in outputs] == [0] * len(lines), [done.stderr for done in outputs]
    assert "v7 at 10 %" in outputs[1].stdout
    assert "all 2 workers switched" in outputs[3].stdout
    assert "v7 gets 1 % (then 5, 25, 100 %), the others v6" in outputs[8].stdout
    assert "nothing would have been done" in outputs[15].stdout
    assert "We ship to Norway" in outputs[17].stdout
    assert "create  flag/support-bot.retriever" in outputs[18].stdout
    assert "v8 gets 10 %" in outputs[19].stdout
    assert "serve -c" in outputs[20].stderr
    assert (fleet.folder / "imported.yaml").exists()


def test_rollback_holds_on_every_worker_and_over_a_restart(fleet: Fleet) -> None:
    """After the command's return every worker answers by the safe version, and a restart undoes nothing."""
    assert fleet.command("switch", "support-bot.prompt", "v7").returncode == 0
    assert from_each_worker(fleet) == [V7] * 4

    rollback = fleet.command("rollback", "support-bot.prompt", "--reason", "errors since v7")

    assert (rollback.returncode, rollback.stderr) == (0, "")
    assert "v7 → v6, all 2 workers switched" in rollback.stdout
    assert from_each_worker(fleet) == [V6] * 4
    assert fleet.stop() == 0
    fleet.start()
    until_all_serve(fleet)
    assert from_each_worker(fleet) == [V6] * 4


def test_a_rollback_right_after_a_restart_waits_for_nobody_who_left(fleet: Fleet) -> None:
    """Workers that stopped in order are off the list: the command is done as soon as the new ones have switched."""
    assert fleet.command("switch", "support-bot.prompt", "v7").returncode == 0
    assert fleet.stop() == 0
    fleet.start()
    until_all_serve(fleet)

    rollback = fleet.command("rollback", "support-bot.prompt", "--reason", "errors since v7")

    assert (rollback.returncode, rollback.stderr) == (0, "")
    assert "all 2 workers switched" in rollback.stdout


def test_sigterm_ends_all_with_exit_code_0(fleet: Fleet, tmp_path: Path) -> None:
    """No worker, no store and no note of the server is left; a command says how to start one."""
    asked(fleet)

    code = fleet.stop()

    assert code == 0, fleet.log
    assert left(f"TESTED_IN={tmp_path}") == []
    assert not (fleet.data_dir / "server.json").exists()
    lost = fleet.command("status")
    assert lost.returncode == 1
    assert "pointsman serve" in lost.stderr


def test_a_running_stream_ends_in_order_when_the_server_stops(
    fleet: Fleet, provider: ScriptedUpstream
) -> None:
    """A stop waits for streams under way; their users notice nothing."""
    first, *rest = events("one ", "two ", "three")
    provider.will(stream_answer(first, rest[0], 0.5, rest[1], 0.5, *rest[2:]))
    codes: list[int] = []
    with app(fleet) as client:
        stream = iter(
            client.chat.completions.create(
                model="support-bot", messages=[{"role": "user", "content": "Hello?"}], stream=True
            )
        )
        texts = [next(stream).choices[0].delta.content, next(stream).choices[0].delta.content]
        stopping = threading.Thread(target=lambda: codes.append(fleet.stop()))
        stopping.start()
        texts += [chunk.choices[0].delta.content for chunk in stream]
    stopping.join()

    assert "".join(text or "" for text in texts) == "one two three"
    assert codes == [0], fleet.log

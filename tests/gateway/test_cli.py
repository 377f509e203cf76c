"""The command line as a shell sees it: what it prints where, and with which exit code it ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from flags.model import Flag, Kind, ObjectKey
from tests.gateway.builders import flag
from tests.gateway.office import Office, by, model, prompt
from tests.gateway.test_patching import patched

ROOT = Path(__file__).parents[2]
PROMPT = "support-bot.prompt"
GREETING = "new-greeting"
COMMAND = "import sys; from gateway.cli import main; main(sys.argv[1:])"


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        """The error, as JSON on stderr."""
        return json.loads(self.err)["error"]


def environment(tmp: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("POINTSMAN_")}
    return {**kept, "PYTHONPATH": str(ROOT), "POINTSMAN_DATA_DIR": str(tmp / "data"), **more}


class Shell:
    """Runs `pointsman …` in a process of its own."""

    def __init__(self, tmp: Path, **more: str) -> None:
        self.env = environment(tmp, **more)

    async def __call__(self, *arguments: str, stdin: bytes = b"") -> Result:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", COMMAND, *arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.env,
        )
        out, err = await asyncio.wait_for(process.communicate(stdin), 30)
        return Result(process.returncode or 0, out.decode(), err.decode())


def general() -> tuple[Flag, Mapping[str, Any]]:
    """A flag without a layer, that is off."""
    return flag(GREETING, None, {"off": False, "on": True})


@pytest.fixture
def shell(served: str, tmp_path: Path) -> Shell:
    """A shell that knows the office's server."""
    return Shell(tmp_path, POINTSMAN_URL=served, POINTSMAN_ACTOR="alice")


@pytest.fixture
def alone(tmp_path: Path) -> Shell:
    """A shell where no server runs."""
    return Shell(tmp_path)


class TestVerbs:
    async def test_rollback_says_what_it_did_in_one_line(self, office: Office, shell: Shell) -> None:
        await office.operations.switch(by(), PROMPT, "v7")

        told = await shell("rollback", PROMPT, "--reason", "wrong answers", "--link", "https://x.example/1")

        assert told.code == 0
        assert told.out.startswith("support-bot.prompt: v7 → v6, all 2 workers switched in ")
        entry = (await office.store.read_log(4, 10))[-1]
        assert (entry.actor, entry.reason, entry.link) == ("alice", "wrong answers", "https://x.example/1")

    async def test_rollback_takes_a_route_too(self, office: Office, shell: Shell) -> None:
        await office.operations.switch(by(), "support-bot.model", "gpt-4o")

        told = await shell("rollback", "support-bot", "--reason", "slow", "--json")

        assert (told.code, told.err) == (0, "")
        assert (told.document["flag"], told.document["from"], told.document["to"]) == (
            "support-bot.model",
            "gpt-4o",
            "gpt-4.1",
        )

    async def test_a_rule_that_refuses_is_exit_3_with_the_mend(self, shell: Shell) -> None:
        words = await shell("rollback", PROMPT, "--reason", "x")
        as_json = await shell("rollback", PROMPT, "--reason", "x", "--json")

        assert (words.code, words.out) == (3, "")
        assert "v6 is the safe version; name one with --to (v7, v5)" in words.err
        assert (as_json.code, as_json.out, as_json.error["rule"]) == (3, "", "already_safe")

    async def test_an_unknown_name_is_exit_1_and_says_what_exists(self, shell: Shell) -> None:
        told = await shell("rollback", "nope", "--reason", "x")

        assert told.code == 1
        assert 'flag "nope" does not exist' in told.err
        assert "routes: support-bot" in told.err

    async def test_a_rollout_in_steps_says_what_comes(self, office: Office, shell: Shell) -> None:
        told = await shell(
            "rollout", PROMPT, "v7", "--steps", "1,25", "--hold", "10m", "--min-requests", "50"
        )

        assert told.code == 0
        assert "v7 gets 1 % (then 25, 100 %), the others v6" in told.out
        rollout = (await office.flag()).rollout
        assert rollout is not None
        assert (rollout.hold_seconds, rollout.min_requests) == (600, 50)

    async def test_a_shadow_from_start_to_end(self, office: Office, shell: Shell) -> None:
        begun = await shell("shadow", PROMPT, "v7", "--percent", "2.5")
        shown = await shell("status", PROMPT)
        at_a_glance = await shell("status")
        ended = await shell("shadow", PROMPT, "--off")

        assert (begun.code, ended.code) == (0, 0)
        assert "v7 is sent a copy of 2.5 % of the requests" in begun.out
        assert "v7 shadows 2.5 %" in shown.out
        assert "v7 shadows 2.5 %" in at_a_glance.out
        assert "no copies are sent any more" in ended.out
        assert (await office.flag()).shadow is None

    @pytest.mark.parametrize(
        "arguments", [("v7",), ("--percent", "5"), ("v7", "--off"), (), ("v7", "--percent", "5", "--off")]
    )
    async def test_a_shadow_is_of_a_version_with_a_share_or_off(
        self, shell: Shell, arguments: tuple[str, ...]
    ) -> None:
        told = await shell("shadow", PROMPT, *arguments)

        assert (told.code, told.out) == (2, "")

    async def test_a_rollout_from_start_to_end(self, office: Office, shell: Shell) -> None:
        started = await shell("rollout", PROMPT, "v7", "--percent", "12.5")
        paused = await shell("rollout", "pause", PROMPT)
        resumed = await shell("rollout", "resume", PROMPT, "--json")
        promoted = await shell("rollout", "promote", PROMPT)
        over = await shell("rollout", "abort", PROMPT)

        assert "v7 gets 12.5 %, the others v6" in started.out
        assert "paused" in paused.out
        assert resumed.document["changed"] is True
        assert "v7 is served to all" in promoted.out
        assert (over.code, (await office.flag()).serve) == (3, "v7")

    async def test_the_other_verbs_in_a_row(self, office: Office, shell: Shell) -> None:
        switched = await shell("switch", PROMPT, "v7", "--safe", "v5", "--json")
        withdrawn = await shell("withdraw", PROMPT, "v6", "--reason", "old")
        restored = await shell("restore", PROMPT, "v6", "--reason", "not so old")
        revision = str(switched.document["revision"])
        reverted = await shell(
            "revert", f"flag/{PROMPT}", "--to-revision", revision, "--reason", "x", "--json"
        )

        assert [r.code for r in (switched, withdrawn, restored, reverted)] == [0, 0, 0, 0]
        assert "v6 is withdrawn, v5 answers for it" in withdrawn.out
        assert "v6 is restored" in restored.out
        assert (await office.flag()).safe == "v5"

    async def test_a_restored_version_that_everybody_gets_again_is_told(
        self, office: Office, shell: Shell
    ) -> None:
        await office.operations.switch(by(), PROMPT, "v7")
        await office.operations.rollback(by(), PROMPT)
        await office.operations.withdraw(by(), PROMPT, "v5")

        other = await shell("restore", PROMPT, "v5", "--reason", "good after all")
        restored = await shell("restore", PROMPT, "v7", "--reason", "good after all")

        assert "v5 is restored, all 2 workers" in other.out
        assert "v7 is restored and is served again to all, all 2 workers" in restored.out

    async def test_a_rollback_tells_what_the_targeting_rule_may_still_serve(
        self, office: Office, shell: Shell
    ) -> None:
        rule = {"if": [{"==": [{"var": "plan"}, "pro"]}, "v7", None]}
        await office.declare(prompt("greeting", serve="v5", targeting=rule))

        first = await shell("rollback", "greeting", "--reason", "x")
        second = await shell("rollback", "greeting", "--reason", "x", "--json")
        third = await shell("rollback", "greeting", "--reason", "x")

        for told in (first, third):
            assert told.out.endswith(
                "the targeting rule may still serve v7\n  → pointsman withdraw greeting v7 --reason …\n"
            )
        assert (second.document["changed"], second.document["targeted"]) == (False, ["v7"])

    async def test_a_worker_that_did_not_follow_is_exit_1_though_the_change_stands(
        self, office: Office, shell: Shell
    ) -> None:
        deaf = await office.hire("deaf")
        tasks, deaf._tasks = deaf._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

        told = await shell("switch", PROMPT, "v7", "--wait", "0.1", "--json")

        assert told.code == 1
        assert (told.document["committed"], told.document["missing"]) == (True, ["deaf"])
        assert told.error["code"] == "not_acknowledged"


class TestLooking:
    async def test_status_for_people_names_what_is_served(self, office: Office, shell: Shell) -> None:
        await office.operations.rollout(by(), PROMPT, "v7", 10)

        everything = await shell("status")
        flag = await shell("status", PROMPT)
        nothing = await shell("status", "nope")

        assert "2 workers alive" in everything.out
        assert f"prompt  {PROMPT}  serves v6       safe v6       v7 at 10 %" in everything.out
        assert "v7  candidate     generation 2" in flag.out
        assert (nothing.code, "support-bot" in nothing.err) == (1, True)

    async def test_status_for_people_names_what_is_disabled(self, office: Office, shell: Shell) -> None:
        made, contents = prompt("shop.prompt", enabled=False)
        await office.declare((made, contents), model("shop.model"), routes=["shop"])

        assert "shop.prompt (prompt): disabled, safe v6" in (await shell("status", "shop.prompt")).out
        (line,) = [each for each in (await shell("status", "shop")).out.splitlines() if "shop.prompt" in each]
        assert line.split() == ["prompt", "shop.prompt", "disabled", "safe", "v6"]

    async def test_status_as_json_is_what_the_api_says(self, shell: Shell) -> None:
        everything = (await shell("status", "--json")).document
        route = (await shell("status", "support-bot", "--json")).document
        flag = (await shell("status", PROMPT, "--json")).document

        assert everything["routes"] == route["routes"]
        assert flag["served"] == "v6"

    async def test_explain_takes_a_context(self, office: Office, shell: Shell) -> None:
        await office.operations.rollout(by(), PROMPT, "v7", 100)

        told = await shell(
            "explain", "support-bot", "--key", "u1", "-c", "plan=pro", "-c", "age=30", "--json"
        )
        pinned = await shell("explain", "support-bot", "--pin", f"{PROMPT}=v5")

        assert told.document["attributes"] == {"plan": "pro", "age": 30}
        assert told.document["layers"]["prompt"]["variant"] == "v7"
        assert "the caller's pin chose it" in pinned.out

    async def test_explain_takes_a_flag(self, office: Office, shell: Shell) -> None:
        await office.declare(general())
        await office.operations.rollout(by(), GREETING, "on", 100)

        told = await shell("explain", GREETING, "--key", "u1")
        found = await shell("explain", GREETING, "--key", "u1", "--pin", f"{GREETING}=off", "--json")
        layered = await shell("explain", PROMPT, "--key", "u1", "--json")

        assert [line.split(None, 1) for line in told.out.splitlines()[1:4]] == [
            ["value", "true"], ["variant", "on"], ["reason", "SPLIT"],
        ]  # fmt: skip
        assert (found.document["value"], found.document["pinned"]) == (False, True)
        assert layered.document["variant"] == "v6"

    async def test_explain_of_a_flag_knows_the_route_of_all_names(self, office: Office, shell: Shell) -> None:
        await office.declare(general())
        await office.put(ObjectKey(Kind.ROUTE, "*"), {"spec": {"model": "support-bot.model"}})

        flag = await shell("explain", GREETING, "--json")
        other = await shell("explain", "vendor/gpt-9", "--json")

        assert flag.document["flag"] == GREETING
        assert other.document["route"] == "*"

    async def test_explain_of_a_name_that_is_nothing_says_so(self, office: Office, shell: Shell) -> None:
        await office.declare(general())

        nothing = await shell("explain", "absent")
        pinned = await shell("explain", GREETING, "--pin", f"{PROMPT}=v5")

        assert nothing.code == 1
        assert 'there is no flag and no route "absent" (routes: support-bot)' in nothing.err
        assert pinned.code == 2
        assert f"{PROMPT} is another flag than {GREETING}" in pinned.err

    async def test_status_of_a_flag_without_a_layer_shows_its_values(
        self, office: Office, shell: Shell
    ) -> None:
        await office.declare(general())

        told = await shell("status", GREETING)
        found = await shell("status", GREETING, "--json")
        layered = await shell("status", PROMPT, "--json")

        assert [line.split()[:2] for line in told.out.splitlines()[2:]] == [["off", "false"], ["on", "true"]]
        assert found.document["variants"]["on"]["value"] is True
        assert "value" not in layered.document["variants"]["v6"]

    async def test_status_lists_the_flags_that_no_route_uses(self, office: Office, shell: Shell) -> None:
        await office.declare(general(), flag("nothing", None, {"a": 1}, serve=None, safe=None))
        await office.operations.rollout(by(), GREETING, "on", 10)

        everything = await shell("status")
        route = await shell("status", "support-bot")
        found = await shell("status", "--json")

        assert everything.out.splitlines()[-3:] == [
            "flags that no route uses",
            "  new-greeting  serves off                       safe off  on at 10 %",
            "  nothing       serves the caller's own default",
        ]
        assert "new-greeting" not in route.out
        assert found.document["flags"].keys() == {GREETING, "nothing"}

    async def test_status_says_of_a_flag_that_is_disabled_that_it_is(
        self, office: Office, shell: Shell
    ) -> None:
        greeting, contents = general()
        await office.declare((replace(greeting, enabled=False), contents))

        told = await shell("status")
        one = await shell("status", GREETING)

        assert told.out.splitlines()[-1].split() == [GREETING, "disabled", "safe", "off"]
        assert one.out.startswith(f"{GREETING}: disabled, safe off")

    async def test_steps_of_a_flag_without_a_layer_wait_for_no_requests(
        self, office: Office, shell: Shell
    ) -> None:
        await office.declare(general())

        refused = await shell("rollout", GREETING, "on", "--steps", "5,50", "--min-requests", "9")
        done = await shell("rollout", GREETING, "on", "--steps", "5,50")

        assert refused.code == 1
        assert "its steps wait for their hold alone" in refused.err
        assert done.code == 0
        assert "requests" not in (await shell("status", GREETING)).out

    async def test_workers_are_listed(self, shell: Shell) -> None:
        assert (await shell("workers")).out.count("alive") == 2
        assert len((await shell("workers", "--json")).document["workers"]) == 2


class TestHistory:
    async def test_the_log_is_one_entry_a_line_oldest_first(self, office: Office, shell: Shell) -> None:
        await office.operations.switch(by("bob", "why not"), PROMPT, "v7")

        words = await shell("log", "--last", "1")
        lines = (await shell("log", "--json")).out.splitlines()
        only = (await shell("log", "--flag", PROMPT, "--json")).out.splitlines()

        assert "bob  switch  flag/support-bot.prompt: why not" in words.out
        assert [json.loads(line)["revision"] for line in lines] == [1, 2, 3, 4]
        assert [json.loads(line)["revision"] for line in only] == [1, 4]

    async def test_audit_verifies_the_ledger_and_its_export(self, office: Office, shell: Shell) -> None:
        exported = (await shell("log", "--json")).out
        live = (await shell("audit", "verify", "--json")).document
        await office.operations.switch(by(), PROMPT, "v7")
        anchor = f"{live['entries']}:{live['root']}"

        good = await shell("audit", "verify", "-", "--anchor", anchor, stdin=exported.encode())
        later = await shell("audit", "verify", "--anchor", anchor)
        edited = exported.replace("config", "nobody", 1)
        bad = await shell("audit", "verify", "-", "--json", stdin=edited.encode())
        wrong = await shell("audit", "verify", "--anchor", "nonsense")

        assert (live["ok"], live["entries"], live["problems"]) == (True, 3, [])
        assert live["head"] == json.loads(exported.splitlines()[-1])["hash"]
        assert [r.code for r in (good, later, bad, wrong)] == [0, 0, 1, 2]
        assert "revision 1 was edited" in bad.document["problems"][0]

    async def test_audit_finds_an_object_that_was_edited_beside_the_ledger(
        self, office: Office, shell: Shell
    ) -> None:
        flag = f"flag/{PROMPT}"
        text = await office.store._calls.run(lambda redis: redis.hget(office.store.keys.objects, flag))
        forged = text.replace(b'"serve":"v6"', b'"serve":"v7"')
        await office.store._calls.run(lambda redis: redis.hset(office.store.keys.objects, flag, forged))

        told = await shell("audit", "verify")

        assert told.code == 1
        assert "flag/support-bot.prompt is stored otherwise" in told.out

    async def test_following_prints_each_change_and_ends_quietly_with_ctrl_c(
        self, office: Office, shell: Shell
    ) -> None:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", COMMAND, "log", "--follow", "--json"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=shell.env,
        )
        assert process.stdout is not None
        seen = [json.loads(await process.stdout.readline())["revision"] for _ in range(3)]
        await office.operations.switch(by(), PROMPT, "v7")
        seen.append(json.loads(await asyncio.wait_for(process.stdout.readline(), 10))["revision"])
        process.send_signal(signal.SIGINT)
        _, err = await asyncio.wait_for(process.communicate(), 10)

        assert seen == [1, 2, 3, 4]
        assert (process.returncode, err) == (130, b"")

    async def test_a_reader_that_leaves_ends_it_quietly(self, shell: Shell) -> None:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", COMMAND, "log", "--json"),
            stdout=(pipe := os.pipe())[1],
            stderr=subprocess.PIPE,
            env=shell.env,
        )
        for end in pipe:
            os.close(end)
        _, err = await asyncio.wait_for(process.communicate(), 10)

        assert (process.returncode, err) == (141, b"")


CONFIG = """\
upstreams: {mock: {kind: simulated}}
routes: {shop-bot: {}}
flags:
  shop-bot.model:
    layer: model
    serve: small  # comment
    variants: {small: {upstream: mock, model: small}, large: {upstream: mock, model: large}}
"""


class TestConfigFiles:
    async def test_init_writes_a_file_that_check_passes_and_overwrites_none(
        self, alone: Shell, tmp_path: Path
    ) -> None:
        file = str(tmp_path / "pointsman.yaml")

        assert (await alone("init", file)).code == 0
        assert (await alone("check", file)).code == 0
        again = await alone("init", file)
        assert (again.code, "exists" in again.err) == (1, True)

    async def test_check_names_file_line_and_path(self, alone: Shell, tmp_path: Path) -> None:
        file = tmp_path / "bad.yaml"
        file.write_text(CONFIG.replace("serve: small", "serve: smal"))

        words = await alone("check", str(file))
        as_json = await alone("check", str(file), "--json")
        absent = await alone("check", str(tmp_path / "absent.yaml"))

        assert (words.code, as_json.code, absent.code) == (1, 1, 1)
        assert "bad.yaml:6: flags.shop-bot.model.serve" in words.err
        (problem,) = as_json.error["problems"]
        assert (problem["line"], problem["path"]) == (6, "flags.shop-bot.model.serve")

    async def test_check_warns_of_decisions_from_a_module_that_is_not_here_and_imports_none(
        self, alone: Shell, tmp_path: Path
    ) -> None:
        (tmp_path / "ours").mkdir()
        (tmp_path / "ours" / "__init__.py").write_text("raise SystemExit('imported')\n")
        file = tmp_path / "decided.yaml"
        text = CONFIG.replace("{shop-bot: {}}", "{shop-bot: {decisions: {openfeature: 'ours.flags:make'}}}")
        file.write_text(text.replace("ours.", "nowhere_1."))
        alone.env["PYTHONPATH"] += os.pathsep + str(tmp_path)

        absent = await alone("check", str(file))
        as_json = await alone("check", str(file), "--json")
        file.write_text(text)
        found = await alone("check", str(file))

        assert (absent.code, found.code, found.err) == (0, 0, "")
        assert "warning: decisions of nowhere_1.flags:make: this Python finds no module" in absent.err
        assert len(as_json.document["warnings"]) == 1

    async def test_check_reads_the_key_file_too(self, alone: Shell, tmp_path: Path) -> None:
        file = tmp_path / "keyed.yaml"
        file.write_text(CONFIG + "keys: {file: keys.yaml}\n")
        (tmp_path / "keys.yaml").write_text("apps: [{name: a}]\n")

        told = await alone("check", str(file))

        assert (told.code, "expected exactly one of `key` and `sha256`" in told.err) == (1, True)

    async def test_schema_is_a_json_schema(self, alone: Shell) -> None:
        assert "$schema" in (await alone("check", "--schema")).document

    async def test_apply_writes_what_is_declared_and_leaves_what_is_operated(
        self, office: Office, shell: Shell, tmp_path: Path
    ) -> None:
        file = tmp_path / "shop.yaml"
        file.write_text(CONFIG)

        planned = await shell("apply", "-f", str(file), "--dry-run", "--json")
        applied = await shell("apply", "-f", str(file), "--json")
        again = await shell("apply", "-f", str(file))
        await office.operations.switch(by(), "shop-bot.model", "large")
        after = await shell("apply", "-f", str(file))
        reset = await shell("apply", "-f", str(file), "--reset-state", "--json")

        assert (planned.document["changed"], planned.document["committed"]) == (True, False)
        assert (applied.document["committed"], applied.document["acknowledged"]) == (True, 2)
        assert {w["object"] for w in applied.document["writes"]} == {
            "upstream/mock",
            "flag/shop-bot.model",
            "route/shop-bot",
        }
        assert "nothing to change" in again.out
        assert (after.code, "not touched" in after.err) == (0, True)
        assert reset.document["changed"] is True
        assert (await office.flag("shop-bot.model")).serve == "small"

    async def test_an_edited_variant_is_refused_and_nothing_is_written(
        self, office: Office, shell: Shell, tmp_path: Path
    ) -> None:
        file = tmp_path / "shop.yaml"
        file.write_text(CONFIG)
        await shell("apply", "-f", str(file))
        before = await office.store.head()
        file.write_text(CONFIG.replace("model: large", "model: huge"))

        told = await shell("apply", "-f", str(file))

        assert told.code == 3
        assert "immutable" in told.err
        assert await office.store.head() == before

    async def test_diff_tells_what_differs_and_export_brings_it_home(
        self, office: Office, shell: Shell, tmp_path: Path
    ) -> None:
        file = tmp_path / "shop.yaml"
        await office.put(ObjectKey(Kind.UPSTREAM, "mock"), {"spec": {"kind": "simulated"}})
        exported = (await shell("export")).out
        file.write_text(exported)
        same = await shell("diff", "-f", str(file), "--exit-code")
        await office.operations.switch(by(), PROMPT, "v7")

        other = await shell("diff", "-f", str(file), "--exit-code")
        patch = await shell("export", "--patch", "-f", str(file))
        flagd = await shell("export", "--format", "flagd", "--json")

        assert (same.code, other.code) == (0, 4), same.out + same.err
        assert f"flag/{PROMPT} serve" in other.out
        assert "+    serve: v7\n+    safe: v6" in patch.out
        assert flagd.document["flags"][PROMPT]["defaultVariant"] == "v7"


async def test_a_patched_file_has_no_differences(office: Office, shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text(CONFIG)
    await shell("apply", "-f", str(file))
    for verb in (("switch", "shop-bot.model", "large"), ("rollback", "shop-bot.model", "--reason", "x")):
        assert (await shell(*verb)).code == 0
        made = await shell("export", "--patch", "-f", str(file))
        file.write_text(patched(file.read_text(), made.out))
        told = await shell("diff", "-f", str(file), "--json")

        of_flag = [each for each in told.document["differences"] if each["object"] == "flag/shop-bot.model"]
        assert of_flag == []
        assert (await shell("check", str(file))).code == 0


def imported_by(*arguments: str) -> set[str]:
    """The modules that a command imports."""
    code = f"import sys; from gateway.cli import run; run({list(arguments)!r}); print(*sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, timeout=30
    )
    return set(found.stdout.split())


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("status", "--url", "http://127.0.0.1:1"),
        ("rollback", "x", "--reason", "y", "--url", "http://127.0.0.1:1"),
        ("apply", "-f", "x.yaml", "--url", "http://127.0.0.1:1"),
        ("check", "absent.yaml"),
        ("audit", "verify", "--url", "http://127.0.0.1:1"),
    ],
)
def test_a_command_imports_nothing_that_it_does_not_need(arguments: tuple[str, ...]) -> None:
    heavy = {"litellm", "starlette", "redis", "httpx", "uvicorn", "openai", "rich", "opentelemetry"}

    assert imported_by(*arguments) & heavy == set()


async def test_what_is_no_pointsman_is_told(tmp_path: Path, alone: Shell) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 2\r\n\r\nhi")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        told = await alone("status", "--url", f"http://127.0.0.1:{port}")

    assert (told.code, "is no Pointsman" in told.err) == (1, True)

"""`pointsman keys` and `pointsman quarantine`, as a shell sees them."""

from __future__ import annotations

from pathlib import Path

from flags.model import Kind, ObjectKey
from tests.gateway.office import Office, by
from tests.gateway.test_cli import Shell, alone, shell

__all__ = ["alone", "shell"]
PROMPT = "support-bot.prompt"


class TestKeys:
    async def test_the_key_alone_is_on_stdout(self, office: Office, shell: Shell) -> None:
        told = await shell("keys", "create", "ci", "--routes", "support-bot", "--pin", "--expires", "3650d")

        assert told.code == 0
        assert office.keys.caller(told.out.strip().encode()).may_pin
        assert told.err.startswith("from now on every app needs a key")

    async def test_json_is_one_document(self, office: Office, shell: Shell) -> None:
        made = (await shell("keys", "create", "ci", "--json")).document
        rotated = (await shell("keys", "rotate", "ci", "--grace", "24h", "--json")).document

        assert made["name"] == rotated["name"] == "ci"
        assert office.keys.caller(made["key"].encode()) == office.keys.caller(rotated["key"].encode())

    async def test_a_key_for_flags_alone_is_listed_as_such(self, office: Office, shell: Shell) -> None:
        made = await shell("keys", "create", "page", "--flags-only")

        listed = await shell("keys", "list")

        assert office.keys.caller(made.out.strip().encode()).routes == frozenset()
        assert "flags only" in listed.out

    async def test_list_and_revoke(self, office: Office, shell: Shell) -> None:
        await shell("keys", "create", "ci")

        listed = await shell("keys", "list")
        revoked = await shell("keys", "revoke", "ci")

        assert [line.split()[:2] for line in listed.out.splitlines()] == [["NAME", "WHAT"], ["ci", "app"]]
        assert revoked.out.startswith("ci is revoked (revision ")
        assert (await shell("keys", "list")).out == "no keys were made here: pointsman keys create NAME\n"

    async def test_a_rule_that_refuses_is_exit_3_and_a_role_that_is_missing_exit_1(
        self, office: Office, shell: Shell, served: str, tmp_path: Path
    ) -> None:
        refused = await shell("keys", "create", "vera", "--role", "viewer")
        root = (await shell("keys", "create", "root", "--role", "admin")).out.strip()
        admin = Shell(tmp_path, POINTSMAN_URL=served, POINTSMAN_TOKEN=root)
        vera = (await admin("keys", "create", "vera", "--role", "viewer")).out.strip()

        viewer = Shell(tmp_path, POINTSMAN_URL=served, POINTSMAN_TOKEN=vera, POINTSMAN_ACTOR="root")
        forbidden = await viewer("switch", PROMPT, "v7", "--json")

        assert (refused.code, forbidden.code) == (3, 1)
        assert forbidden.error["message"] == "vera is a viewer and may not do this: it takes an operator"
        assert (await viewer("status")).code == 0
        assert (await office.flag()).serve == "v6"

    async def test_a_wrong_duration_is_usage(self, alone: Shell) -> None:
        assert (await alone("keys", "create", "ci", "--expires", "soon")).code == 2


class TestPolicies:
    async def test_those_about_what_happens_elsewhere_are_listed_too(
        self, office: Office, shell: Shell
    ) -> None:
        spec = {"metric": "signal", "action": "rollback", "routes": ["support-bot"]}
        await office.put(ObjectKey(Kind.POLICY, "stop"), {"spec": spec, "declared": "x"})

        words, told = await shell("policies"), await shell("policies", "--json")

        named = {policy["name"]: policy for policy in told.document["policies"]}
        assert (named["stop"]["metric"], named["complaints"]["shipped"]) == ("signal", True)
        assert any("3 people in 3600 s" in line for line in words.out.splitlines())


class TestQuarantine:
    async def test_a_version_goes_in_and_comes_out_without_being_served(
        self, office: Office, shell: Shell
    ) -> None:
        await office.operations.switch(by(), PROMPT, "v7")

        put = await shell("quarantine", "add", PROMPT, "v7", "--reason", "leaks names")
        during = await office.flag()
        out = await shell("quarantine", "release", PROMPT, "v7", "--reason", "a false alarm")
        after = await office.flag()

        assert (put.code, out.code) == (0, 0)
        assert put.out.startswith(f"{PROMPT}: v7 is in quarantine, v6 answers for it, all 2 workers")
        assert (during.served, len(during.quarantined)) == ("v6", 1)
        assert "stays withdrawn; back into service: pointsman restore support-bot.prompt v7" in out.out
        assert (after.quarantined, after.withdrawn, after.served) == (frozenset(), {"v7"}, "v6")
        assert [each.action for each in await office.store.read_log(0, 100)][-2:] == [
            "quarantine",
            "quarantine.release",
        ]

    async def test_the_only_safe_version_is_refused_with_the_mend(self, office: Office, shell: Shell) -> None:
        told = await shell("quarantine", "add", PROMPT, "v6", "--reason", "leaks names", "--json")

        assert (told.code, told.error["rule"]) == (3, "variant_is_safe")
        assert told.error["mend"].startswith("name another safe version first: pointsman rollback")

    async def test_a_reason_is_asked_for(self, alone: Shell) -> None:
        for verb in ("add", "release"):
            assert (await alone("quarantine", verb, PROMPT, "v7")).code == 2

"""Flags of no layer, of every type, by the verbs that all flags have: what an operator types, and what an app then gets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

import pytest
import yaml

from tests import plain
from tests.fleet import Fleet
from tests.journey.traffic import until


class Kind(NamedTuple):
    """A flag of one type: what it serves at first, and another variant of it."""

    flag: str
    safe: str
    other: str
    values: dict[str, Any]


KINDS = (
    Kind("new-greeting", "off", "on", {"off": False, "on": True}),
    Kind("banner", "plain", "none", {"plain": "Hello", "none": "", "loud": "HELLO “all”!"}),
    Kind("max-items", "few", "half", {"few": 10, "half": 0.5, "none": 0}),
    Kind("limits", "small", "big", {"small": {"of": [], "rpm": 1}, "big": {"of": [None, True], "rpm": 10.5}}),
)
each_kind = pytest.mark.parametrize("kind", KINDS, ids=[kind.flag for kind in KINDS])

DECLARED: dict[str, Any] = {
    "upstreams": {"mock": {"kind": "simulated"}},
    "flags": {
        **{kind.flag: {"serve": kind.safe, "variants": kind.values} for kind in KINDS},
        "support-bot.model": {
            "layer": "model", "serve": "m1", "variants": {"m1": {"upstream": "mock", "model": "m"}},
        },
        "beta": {
            "variants": {"on": True, "off": False},
            "serve": "off",
            "targeting": {"if": [{"==": [{"var": "plan"}, "gold"]}, "on", None]},
        },
        "ruled": {
            "variants": {"on": True, "off": False}, "serve": "off", "promotion": {"approvals": 1, "strict": True},
        },
    },
    "routes": {"support-bot": {}},
}  # fmt: skip


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A fleet of two workers that stands for all tests here."""
    with ExitStack() as stack:
        config = yaml.safe_dump(DECLARED, sort_keys=False)
        fleet = stack.enter_context(Fleet(tmp_path_factory.mktemp("general"), config))
        until(lambda: len(fleet.workers()) == 2, "both workers alive")
        yield fleet


@pytest.fixture
def fleet(running: Fleet) -> Fleet:
    """The fleet, with every flag as it was declared."""
    done = running.command("apply", "-f", str(running.config), "--reset-state", "--reason", "begin anew")
    assert done.returncode == 0, done.stderr
    return running


def value(fleet: Fleet, flag: str, key: str = "user-7", **context: Any) -> Any:
    """What an app gets that asks over HTTP."""
    url = f"{fleet.url}/ofrep/v1/evaluate/flags/{flag}"
    answer = plain.post(url, json={"context": {"targetingKey": key, **context}}, timeout=10)
    return answer.raise_for_status().json()["value"]


def refused(fleet: Fleet, *words: str, code: int = 3) -> dict[str, Any]:
    """What a command that is refused says."""
    done = fleet.command(*words, "--json")
    assert done.returncode == code, (done.stdout, done.stderr)
    found: dict[str, Any] = json.loads(done.stderr)["error"]
    return found


@each_kind
def test_switch_and_rollback_change_what_apps_get(fleet: Fleet, kind: Kind) -> None:
    fleet.json("switch", kind.flag, kind.other)
    switched = value(fleet, kind.flag)

    done = fleet.json("rollback", kind.flag, "--reason", "wrong")
    again = fleet.json("rollback", kind.flag, "--reason", "wrong")

    assert switched == kind.values[kind.other]
    assert value(fleet, kind.flag) == kind.values[kind.safe]
    assert (done["from"], done["to"], done["acknowledged"], done["routes"]) == (kind.other, kind.safe, 2, [])
    assert again["changed"] is False
    assert refused(fleet, "switch", kind.flag, kind.other)["rule"] == "variant_withdrawn"


@each_kind
def test_a_rollout_gives_a_share_of_the_users_another_value(fleet: Fleet, kind: Kind) -> None:
    fleet.json("rollout", kind.flag, kind.other, "--percent", "50")
    users = [f"user-{number}" for number in range(16)]
    shared = [value(fleet, kind.flag, user) for user in users]
    told = [fleet.json("explain", kind.flag, "--key", user)["value"] for user in users[:3]]

    fleet.json("rollout", "pause", kind.flag)
    paused = fleet.json("status", kind.flag)["rollout"]["state"]
    fleet.json("rollout", "resume", kind.flag)
    fleet.json("rollout", "promote", kind.flag)

    assert all(each in shared for each in (kind.values[kind.safe], kind.values[kind.other]))
    assert told == shared[:3]
    assert paused == "paused"
    assert all(value(fleet, kind.flag, user) == kind.values[kind.other] for user in users)


@each_kind
def test_an_aborted_rollout_leaves_everybody_with_what_they_had(fleet: Fleet, kind: Kind) -> None:
    fleet.json("rollout", kind.flag, kind.other, "--percent", "100")
    tried = value(fleet, kind.flag)

    fleet.json("rollout", "abort", kind.flag)

    assert tried == kind.values[kind.other]
    assert value(fleet, kind.flag) == kind.values[kind.safe]
    assert fleet.json("status", kind.flag)["withdrawn"] == []


@each_kind
def test_steps_go_on_by_their_hold_alone(fleet: Fleet, kind: Kind) -> None:
    """No route uses the flag, so nobody counts requests: a step that waited for them would wait for ever."""
    fleet.json("rollout", kind.flag, kind.other, "--steps", "10,60", "--hold", "0s")

    until(lambda: fleet.json("status", kind.flag)["served"] == kind.other, "the last step was promoted")

    entries = [entry for entry in log_of(fleet, kind.flag) if entry["actor"] == "automation/rollout"]
    assert [entry["action"] for entry in entries[-2:]] == ["rollout.step", "rollout.promote"]
    assert value(fleet, kind.flag) == kind.values[kind.other]
    assert fleet.json("status", kind.flag)["safe"] == kind.safe


def log_of(fleet: Fleet, flag: str) -> list[dict[str, Any]]:
    """The ledger's entries of a flag, oldest first."""
    done = fleet.command("log", "--flag", flag, "--json")
    return [json.loads(line) for line in done.stdout.splitlines()]


@each_kind
def test_withdraw_restore_and_quarantine_take_a_value_out_and_put_it_back(fleet: Fleet, kind: Kind) -> None:
    fleet.json("switch", kind.flag, kind.other)
    fleet.json("withdraw", kind.flag, kind.other, "--reason", "wrong")
    withdrawn = value(fleet, kind.flag)
    fleet.json("restore", kind.flag, kind.other, "--reason", "right")
    restored = value(fleet, kind.flag)

    fleet.json("quarantine", "add", kind.flag, kind.other, "--reason", "looked into")
    held = refused(fleet, "switch", kind.flag, kind.other)
    quarantined = value(fleet, kind.flag)
    freed = fleet.json("restore", kind.flag, kind.other, "--reason", "was nothing")

    assert (withdrawn, quarantined) == (kind.values[kind.safe],) * 2
    assert restored == value(fleet, kind.flag) == kind.values[kind.other]
    assert held["rule"] == "quarantined"
    assert freed["released"] is True


@each_kind
def test_the_safe_value_cannot_be_withdrawn(fleet: Fleet, kind: Kind) -> None:
    told = refused(fleet, "withdraw", kind.flag, kind.safe, "--reason", "x")

    assert told["rule"] == "variant_is_safe"
    assert kind.flag in told["mend"]
    assert value(fleet, kind.flag) == kind.values[kind.safe]


@each_kind
def test_revert_brings_an_earlier_state_back(fleet: Fleet, kind: Kind) -> None:
    before = fleet.json("status", kind.flag)["revision"]
    fleet.json("switch", kind.flag, kind.other, "--safe", kind.other)

    fleet.json("revert", f"flag/{kind.flag}", "--to-revision", str(before), "--reason", "as it was")

    found = fleet.json("status", kind.flag)
    assert (found["served"], found["safe"]) == (kind.safe, kind.safe)
    assert value(fleet, kind.flag) == kind.values[kind.safe]


@each_kind
def test_what_is_told_of_a_flag_names_its_values(fleet: Fleet, kind: Kind) -> None:
    fleet.json("switch", kind.flag, kind.other)
    status, text = fleet.json("status", kind.flag), fleet.command("status", kind.flag).stdout
    compared = fleet.command("diff", kind.flag, kind.safe, kind.other)
    versions = fleet.json("versions", kind.flag)
    changes = fleet.json("changelog", kind.flag)

    assert {name: each["value"] for name, each in status["variants"].items()} == kind.values
    assert json.dumps(kind.values[kind.other], ensure_ascii=False) in text
    assert compared.returncode == 0
    assert {each["name"] for each in versions["versions"]} == set(kind.values)
    assert any(
        change["field"] == "serve" and change["new_value"] == kind.other for change in changes[-1]["changes"]
    )


@each_kind
def test_what_is_exported_is_what_was_declared(fleet: Fleet, kind: Kind) -> None:
    exported = yaml.safe_load(fleet.command("export").stdout)["flags"][kind.flag]

    assert exported["variants"] == kind.values
    assert exported["serve"] == kind.safe
    assert json.dumps(exported["variants"], sort_keys=True) == json.dumps(kind.values, sort_keys=True)


@each_kind
def test_what_needs_requests_is_refused_and_says_what_to_do(fleet: Fleet, kind: Kind) -> None:
    suite = fleet.folder / "suite.yaml"
    suite.write_text("prompts: ['{{q}}']\ntests: [{vars: {q: hi}, assert: [{type: contains, value: a}]}]\n")

    shadowed = refused(fleet, "shadow", kind.flag, kind.other, "--percent", "5")
    evaluated = refused(fleet, "eval", "run", kind.flag, kind.other, "--suite", str(suite), code=1)
    counted = refused(
        fleet, "rollout", kind.flag, kind.other, "--steps", "5,50", "--min-requests", "9", code=1
    )

    assert shadowed["rule"] == evaluated["rule"] == "no_layer"
    assert "prompt, model, retriever, index or pipeline" in shadowed["mend"]
    assert "prompt, model, retriever, index or pipeline" in evaluated["mend"]
    assert counted["path"] == "min_requests"
    assert value(fleet, kind.flag) == kind.values[kind.safe]


def test_promotion_rules_hold_for_a_flag_without_a_layer(fleet: Fleet) -> None:
    held = refused(fleet, "switch", "ruled", "on")
    fleet.json("rollout", "ruled", "on", "--percent", "10")
    promoting = refused(fleet, "rollout", "promote", "ruled")

    assert "approved" in held["message"]
    assert "approved" in promoting["message"]
    assert fleet.json("status", "ruled")["served"] == "off"


def test_explain_tells_which_condition_held(fleet: Fleet) -> None:
    gold = fleet.json("explain", "beta", "--key", "user-7", "--context", "plan=gold")
    free = fleet.json("explain", "beta", "--key", "user-7", "--context", "plan=free")
    text = fleet.command("explain", "beta", "--context", "plan=gold").stdout

    assert (gold["value"], gold["variant"], gold["reason"]) == (True, "on", "TARGETING_MATCH")
    assert gold["condition"] == {"==": [{"var": "plan"}, "gold"]}
    assert (free["value"], free["reason"], free["condition"]) == (False, "DEFAULT", None)
    assert "condition 1 of 1 held" in text
    assert value(fleet, "beta", plan="gold") is True


def test_a_value_that_only_the_rule_serves_can_be_withdrawn(fleet: Fleet) -> None:
    told = refused(fleet, "rollback", "beta", "--reason", "x")

    fleet.json("withdraw", "beta", "on", "--reason", "wrong for gold")

    assert "pointsman withdraw beta on" in told["mend"]
    assert value(fleet, "beta", plan="gold") is False


def test_a_file_cannot_change_a_value_under_its_name(fleet: Fleet) -> None:
    """A new value is a new variant: what answered yesterday must be what the ledger says."""
    changed = fleet.folder / "changed.yaml"
    flags = {
        **DECLARED["flags"],
        "max-items": {"serve": "few", "variants": {"few": 11, "half": 0.5, "none": 0}},
    }
    changed.write_text(yaml.safe_dump({**DECLARED, "flags": flags}))

    done = fleet.command("apply", "-f", str(changed))

    assert done.returncode != 0
    assert "few" in done.stderr
    assert value(fleet, "max-items") == 10


def test_variants_of_two_types_are_refused(fleet: Fleet) -> None:
    mixed = fleet.folder / "mixed.yaml"
    flags = {**DECLARED["flags"], "mixed": {"serve": "a", "variants": {"a": 1, "b": "one"}}}
    mixed.write_text(yaml.safe_dump({**DECLARED, "flags": flags}))

    done = fleet.command("check", str(mixed))

    assert done.returncode == 1
    assert "flags.mixed" in done.stderr


def test_a_file_cannot_ask_for_requests_that_nobody_counts(fleet: Fleet) -> None:
    counted = fleet.folder / "counted.yaml"
    rollout = {"variant": "b", "steps": [5, 50], "min_requests": 9}
    flags = {**DECLARED["flags"], "counted": {"serve": "a", "variants": {"a": 1, "b": 2}, "rollout": rollout}}
    counted.write_text(yaml.safe_dump({**DECLARED, "flags": flags}))
    refused_file = fleet.command("check", str(counted))

    del rollout["min_requests"]
    counted.write_text(yaml.safe_dump({**DECLARED, "flags": flags}))
    taken = fleet.command("check", str(counted))

    assert refused_file.returncode == 1
    assert "flags.counted.rollout.min_requests" in refused_file.stderr
    assert taken.returncode == 0, taken.stderr


def test_status_lists_the_flags_that_no_route_uses(fleet: Fleet) -> None:
    fleet.json("rollout", "banner", "loud", "--percent", "10")

    found = fleet.json("status")["flags"]
    text = fleet.command("status").stdout

    assert found.keys() == {kind.flag for kind in KINDS} | {"beta", "ruled"}
    assert (found["banner"]["served"], found["banner"]["rollout"]["variant"]) == ("plain", "loud")
    assert "loud at 10 %" in text

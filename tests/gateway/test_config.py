"""A config file is taken whole, or refused with every problem's file, line, path and mend."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from flags.model import Kind, Layer, ObjectKey, Rollout, Soak
from gateway.config.declaration import ConfigInvalid, Known
from gateway.config.loading import declaration_from, load_file
from gateway.config.promoting import RECORD_FIELDS
from gateway.config.schema import config_schema
from gateway.content import SHAPES
from tests.gateway.config_files import EXAMPLE, problems, write

STARS = "{metrics: {stars: {type: number, better: higher, range: [1, 5]}}, "
LAYERED = "flags: {f: {layer: index, variants: {a: {store: x}, b: {store: y}}, "
PLAIN = "policies: {p: {method: threshold, "
UPSTREAM = "upstreams: {m: {kind: simulated}}\n"
MODEL = "  a.model: {layer: model, variants: {m1: {upstream: m, model: x}}}\n"


def test_the_contracts_example_loads(tmp_path: Path) -> None:
    declaration = load_file(write(tmp_path))

    prompt = declaration.flags["support-bot.prompt"]
    assert (prompt.layer, prompt.serve, prompt.safe) == (Layer.PROMPT, "v6", "v6")
    assert prompt.rollout == Rollout("v7", 10)
    assert prompt.variants["v7"]["messages"][0]["content"].startswith("Hello")
    assert declaration.flags["new-greeting"].variants == {"on": True, "off": False}
    assert declaration.others[ObjectKey(Kind.ROUTE, "support-bot")] == {}
    assert declaration.keys_file == "keys.yaml"
    assert declaration.warnings == ()


def test_a_declaration_is_one_document_that_declares_the_same(tmp_path: Path) -> None:
    declaration = load_file(write(tmp_path))
    again = declaration_from(declaration.document())

    assert again.flags == declaration.flags
    assert again.others == declaration.others


STEPPED = """\
flags:
  a.prompt:
    layer: prompt
    serve: v1
    rollout: {variant: v2, steps: [1, 5.5, 100], hold_seconds: 10m, min_requests: 7}
    soak: {seconds: 2h, requests: 50}
    variants:
      v1: {messages: [{role: system, content: w}]}
      v2: {messages: [{role: system, content: x}]}
"""


def test_a_rollout_in_steps_and_a_soak_are_declared_and_said_again(tmp_path: Path) -> None:
    declaration = load_file(write(tmp_path, STEPPED))

    flag = declaration.flags["a.prompt"]
    assert flag.rollout == Rollout("v2", 1, 0, steps=(1, 5.5, 100), hold_seconds=600, min_requests=7)
    assert flag.soak == Soak(7200, 50)
    assert declaration_from(declaration.document()).flags == declaration.flags


@pytest.mark.parametrize(
    ("rollout", "path"),
    [
        ("{variant: v2}", "flags.a.prompt.rollout"),
        ("{variant: v2, percent: 5, steps: [5]}", "flags.a.prompt.rollout"),
        ("{variant: v2, percent: 5, hold_seconds: 5}", "flags.a.prompt.rollout.hold_seconds"),
        ("{variant: v2, steps: [5, 5]}", "flags.a.prompt.rollout.steps[1]"),
    ],
)
def test_a_rollout_that_is_none_is_refused(tmp_path: Path, rollout: str, path: str) -> None:
    lines = STEPPED.splitlines()
    lines[4] = f"    rollout: {rollout}"

    assert [each.path for each in problems(tmp_path, "\n".join(lines))] == [path]


def test_all_problems_are_told_at_once_in_the_order_of_their_lines(tmp_path: Path) -> None:
    text = """\
upstreams:
  openai: {kind: openai, base_url: https://x/v1, api_key: sk-very-secret, bas_url: x}
flags:
  a.model:
    layer: model
    serve: m2
    variants:
      m1: {upstream: nope, model: x}
routes:
  a: {prompt: none-such}
  b: {}
rotues: {}
"""
    found = problems(tmp_path, text)

    assert [(each.line, each.path) for each in found] == [
        (2, "upstreams.openai.api_key"),
        (2, "upstreams.openai.bas_url"),
        (6, "flags.a.model.serve"),
        (8, "flags.a.model.variants.m1.upstream"),
        (10, "routes.a.prompt"),
        (11, "routes.b"),
        (12, "rotues"),
    ]
    assert all(each.file == str(tmp_path / "config.yaml") for each in found)
    assert "very-secret" not in "".join(map(str, found))
    assert found[1].mend == "did you mean `base_url`?"
    assert found[6].mend == "did you mean `routes`?"


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ("", "", "nothing in this file"),
        ("# only a comment\n", "", "nothing in this file"),
        ("- a\n", "", "no mapping"),
        ("text\n", "", "no mapping"),
        ("flags: [a]\n", "flags", "expected `object"),
        ("upstreams: {m: {kind: simulatd}}\n", "upstreams.m.kind", "invalid enum value 'simulatd'"),
        ("upstreams: {m: {}}\n", "upstreams.m", "`kind` is missing"),
        ("upstreams: {'a b': {kind: simulated}}\n", "upstreams.a b", "a name of letters"),
        ('upstreams: {"a\\n": {kind: simulated}}\n', "upstreams.a\n", "a name of letters"),
        ('routes: {a: {decisions: {openfeature: "m:f\\n"}}}\n', "routes.a.decisions.openfeature", "matching regex"),
        ("upstreams: {m: {kind: openai}}\n", "upstreams.m", "`base_url` is missing"),
        ("upstreams: {m: {kind: openai, base_url: api.x}}\n", "upstreams.m.base_url", "begins with http"),
        ("upstreams: {m: {kind: openai, base_url: 'https://u:p@x/v1'}}\n", "upstreams.m.base_url", "secret"),
        ("upstreams: {m: {kind: litellm}}\n", "upstreams.m", "`provider` is missing"),
        ("upstreams: {m: {kind: simulated, base_url: 'http://x'}}\n", "upstreams.m.base_url", "has no `base_url`"),
        ("upstreams: {m: {kind: simulated, rules: [{reply: {}}, {reply: {stauts: 1}}]}}\n",
         "upstreams.m.rules[1].reply.stauts", "unknown field"),
        ("upstreams: {m: {kind: simulated, headers: {X-Api-Key: abc}}}\n", "upstreams.m.headers.X-Api-Key", "plain text"),
        ("upstreams: {m: {kind: litellm, provider: b, params: {aws_secret_access_key: abc}}}\n",
         "upstreams.m.params.aws_secret_access_key", "plain text"),
        ("upstreams: {m: {kind: simulated, connect_seconds: 10x}}\n", "upstreams.m.connect_seconds", "expected `float`"),
        ("flags: {f: {}}\n", "flags.f", "`variants` is missing"),
        ("flags: {f: {variants: {}}}\n", "flags.f.variants", "length >= 1"),
        ("flags: {f: {variants: {a: 1, b: 2}}}\n", "flags.f", "`serve` is missing"),
        ("flags: {f: {variants: {a: 1, b: 2}, serve: c}}\n", "flags.f.serve", "variant 'c' is not defined (variants: a, b)"),
        ("flags: {f: {variants: {a: 1}, safe: c}}\n", "flags.f.safe", "not defined"),
        ("flags: {f: {variants: {a: 1}, withdrawn: [z]}}\n", "flags.f.withdrawn[0]", "not defined"),
        ("flags: {f: {variants: {a: 1}, withdrawn: [a]}}\n", "flags.f.safe", "withdrawn"),
        ("flags: {f: {variants: {a: 1, b: 2}, serve: a, rollout: {variant: a, percent: 1}}}\n",
         "flags.f.rollout.variant", "served already"),
        ("flags: {f: {variants: {a: 1, b: 2}, serve: a, rollout: {variant: b, percent: 101}}}\n",
         "flags.f.rollout.percent", "<= 100"),
        ("flags: {f: {variants: {a: 1, b: 2}, serve: a, rollout: {variant: b, percent: 0.001}}}\n",
         "flags.f.rollout.percent", "two decimals"),
        ("flags: {f: {variants: {a: 1, b: 2}, serve: null, rollout: {variant: b, percent: 1}}}\n", "flags.f.rollout", "null"),
        ("flags: {f: {variants: {a: 1, b: text}, serve: a}}\n", "flags.f.variants.b", "type string"),
        ("{routes: {}, flags: {f: {variants: {a: 1}, defaultVariant: a}}}\n", "flags.f.defaultVariant", "unknown field"),
        ("flags: {f: {variants: {a: 1}, state: off_}}\n", "flags.f.state", "invalid enum"),
        ("flags: {f: {variants: {a: 1}, targeting: {nope: [1]}}}\n", "flags.f.targeting.nope", "no operator"),
        ("flags: {f: {variants: {a: 1}, targeting: {$ref: none}}}\n", "flags.f.targeting", "none"),
        (
            "flags: {f: {variants: {a: 1}, promotion: {approvals: 1, roles: [operator]}}}\n",
            "flags.f.promotion.roles[0]",
            "may not approve",
        ),
        (
            "flags: {f: {variants: {a: 1}, promotion: {min_score: 0.5}}}\n",
            "flags.f.promotion.min_score",
            "no evals",
        ),
        (
            "flags: {f: {layer: index, variants: {a: {store: x, semver: one}}}}\n",
            "flags.f.variants.a.semver",
            "expected a version",
        ),
        (
            "flags: {f: {layer: index, variants: {a: {store: x, eval_status: good}}}}\n",
            "flags.f.variants.a.eval_status",
            "enum",
        ),
        (
            "flags: {f: {layer: index, variants: {a: {store: x, quarantined: true}}}}\n",
            "flags.f.variants.a.quarantined",
            "operated, not declared",
        ),
        (
            "flags: {f: {layer: index, variants: {a: {store: x, notes: n}}, records: {a: {notes: m}}}}\n",
            "flags.f.variants.a",
            "here and under `records`",
        ),
        (
            "flags: {f: {variants: {a: 1}, records: {b: {semver: 1.0.0}}}}\n",
            "flags.f.records.b",
            "not defined",
        ),
        (
            "flags: {f: {variants: {a: 1}, records: {a: {semver: v1}}}}\n",
            "flags.f.records.a.semver",
            "1.2.0",
        ),
        ("flags: {f: {layer: prompt, serve: null, variants: {a: {messages: [{role: user, content: x}]}}}}\n",
         "flags.f.serve", "must serve"),
        ("flags: {f: {layer: prompt, variants: {a: {messages: [{role: user, content: '{% for'}]}}}}\n",
         "flags.f.variants.a.messages[0].content", "unexpected"),
        ("flags: {f: {layer: prompt, variants: {a: {messages: []}}}}\n", "flags.f.variants.a.messages", "no messages"),
        ("flags: {f: {layer: prompt, variants: {a: {messages: [{role: boss, content: x}]}}}}\n",
         "flags.f.variants.a.messages[0].role", "invalid enum"),
        ("flags: {f: {layer: index, variants: {a: {store: 7}}}}\n", "flags.f.variants.a.store", "expected `str`"),
        ("flags: {f: {layer: pipeline, variants: {a: {pins: {promt: x}}}}}\n", "flags.f.variants.a.pins.promt", "invalid enum"),
        ("flags: {f: {variants: {a: {file: none.yaml}}}}\n", "flags.f.variants.a.file", "no file"),
        (LAYERED + "serve: a, shadow: {variant: c, percent: 5}}}\n",
         "flags.f.shadow.variant", "'c' is not defined"),
        (LAYERED + "serve: a, shadow: {variant: a, percent: 5}}}\n",
         "flags.f.shadow.variant", "served already"),
        (LAYERED + "serve: a, withdrawn: [b], shadow: {variant: b, percent: 5}}}\n",
         "flags.f.shadow.variant", "is withdrawn"),
        (LAYERED + "serve: a, shadow: {variant: b, percent: 1.005}}}\n",
         "flags.f.shadow.percent", "two decimals"),
        ("flags: {f: {variants: {a: 1, b: 2}, serve: a, shadow: {variant: b, percent: 1}}}\n",
         "flags.f.shadow", "without a layer"),
        ("routes: {'*': {}}\n", 'routes.*', "no model layer"),
        ("routes: {* : {}}\n", "", 'quote it: "*"'),
        ("routes: {'a*': {}}\n", 'routes.a*', "or `*`"),
        ("routes: {r: {modle: x}}\n", "routes.r.modle", "unknown field"),
        ("routes: {r: {}}\n", "routes.r", "no model layer"),
        ("metrics: {latency: {type: number, better: lower}}\n", "metrics.latency", "measured"),
        ("metrics: {m: {type: number, better: lower, range: [5, 1]}}\n", "metrics.m.range", "found [5, 1]"),
        ("policies: {p: {metric: latency}}\n", "policies.p", "no bound"),
        ("policies: {p: {metric: nope, limit: 1}}\n", "policies.p.metric", "not defined"),
        ("policies: {p: {metric: error_rate, limit: 5}}\n", "policies.p.limit", "between 0 and 1"),
        ("policies: {p: {metric: cost, limit: 5, quantile: 0.9}}\n", "policies.p.quantile", "no quantile"),
        ("policies: {p: {metric: cost, limit: 5, routes: [x]}}\n", "policies.p.routes[0]", "not defined"),
        ("policies: {p: {metric: cost, limit: 5, layer: moon}}\n", "policies.p.layer", "moon"),
        ("policies: {p: {metric: cost, limit: 5, routes: []}}\n", "policies.p.routes", "no route"),
        ("policies: {p: {metric: error_rate, limit: 1}}\n", "policies.p.limit", "between 0 and 1"),
        ("policies: {p: {metric: latency, limit: 0}}\n", "policies.p.limit", "more than 0"),
        ("policies: {p: {metric: accuracy, limit: 1.1}}\n", "policies.p.limit", "0 to 1"),
        (STARS + "policies: {p: {metric: stars, limit: 0.9}}}\n", "policies.p.limit", "1 to 5"),
        ("policies: {p: {metric: cost, times_safe: 0.9}}\n", "policies.p.times_safe", "1 or more"),
        ("policies: {p: {metric: cost, limit: 1, min_count: 5}}\n", "policies.p.min_count", "no minimum"),
        ("policies: {p: {metric: cost, limit: 1, window_seconds: 5}}\n", "policies.p.window_seconds", "no window"),
        (PLAIN + "metric: cost, limit: 1, window_seconds: 3601}}\n", "policies.p.window_seconds", "3600 seconds"),
        (PLAIN + "metric: cost, limit: 1, alpha: 0.1}}\n", "policies.p.alpha", "no α"),
        (PLAIN + "metric: ttft, limit: 1, times_safe: 2}}\n", "policies.p", "not both"),
        ("metrics: {m: {type: boolean, better: lower, range: [0, 1]}}\n", "metrics.m.range", "no range"),
        ("notify: {n: {kind: slack, url: 'https://hooks.example/T/B/x'}}\n", "notify.n.url", "secret"),
        ("notify: {n: {kind: cloudevents, url: nowhere}}\n", "notify.n.url", "http"),
        ("notify: {n: {kind: cloudevents, url: 'https://x', secret: abc}}\n", "notify.n.secret", "never the secret"),
        ("keys: {}\n", "keys", "`file` is missing"),
    ],
)  # fmt: skip
def test_each_mistake_has_its_path(tmp_path: Path, text: str, path: str, message: str) -> None:
    (found,) = problems(tmp_path, text)

    assert found.path == path
    assert found.line == 1
    assert message.lower() in str(found).lower()


def test_a_route_finds_its_layers_by_name_and_refuses_those_of_another(tmp_path: Path) -> None:
    good = UPSTREAM + "flags:\n" + MODEL + "routes: {a: {}, b: {model: a.model}}\n"
    bad = (
        UPSTREAM
        + "flags:\n"
        + MODEL
        + "  a.prompt: {variants: {x: true}}\nroutes: {a: {}, b: {prompt: a.model}}\n"
    )

    assert problems(tmp_path, good) == []
    assert {(each.path, each.message) for each in problems(tmp_path, bad)} == {
        ("routes.a", "flag 'a.prompt' has no layer; expected prompt"),
        ("routes.b", "the route has no model layer"),
        ("routes.b.prompt", "flag 'a.model' has layer model; expected prompt"),
    }


def test_a_flag_whose_shape_is_wrong_is_not_told_again_by_its_route(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, "flags: {a.model: {layer: modle, variants: {m: {}}}}\nroutes: {a: {}}\n")

    assert found.path == "flags.a.model.layer"


def test_what_the_store_has_may_be_referred_to(tmp_path: Path) -> None:
    judged = "{percent: 5, route: judge, metrics: [accuracy]}"
    text = (
        "flags:\n" + MODEL + f"routes: {{a: {{judge: {judged}}}, b: {{model: other}}}}\n"
        "policies: {p: {metric: cost, limit: 1, routes: [judge]}}\n"
    )
    known = Known(frozenset({"m"}), {"other": Layer.MODEL}, routes=frozenset({"judge"}))

    assert len(problems(tmp_path, text)) == 4
    assert problems(tmp_path, text, known) == []


def test_serve_may_be_left_out_for_one_variant_and_be_null_for_a_plain_flag(tmp_path: Path) -> None:
    path = write(
        tmp_path, "flags:\n  one: {variants: {a: 1}}\n  none: {variants: {a: 1, b: 2}, serve: null}\n"
    )
    flags = load_file(path).flags

    assert (flags["one"].serve, flags["one"].safe) == ("a", "a")
    assert (flags["none"].serve, flags["none"].safe) == (None, None)


def test_durations_become_seconds(tmp_path: Path) -> None:
    text = """\
upstreams: {m: {kind: simulated, connect_seconds: 500ms}}
flags: {a.model: {layer: model, variants: {m: {upstream: m, model: x, total_seconds: 10m, params: {x_seconds: 1m}}}}}
policies: {p: {metric: cost, limit: 1, cooldown_seconds: 1h}}
"""
    declaration = load_file(write(tmp_path, text))

    assert declaration.others[ObjectKey(Kind.UPSTREAM, "m")]["connect_seconds"] == 0.5
    assert declaration.others[ObjectKey(Kind.POLICY, "p")]["cooldown_seconds"] == 3600
    content = declaration.flags["a.model"].variants["m"]
    assert (content["total_seconds"], content["params"]) == (600, {"x_seconds": "1m"})


def test_a_plain_flags_content_is_taken_as_it_is(tmp_path: Path) -> None:
    text = "flags: {f: {variants: {a: {wait_seconds: 10m}}, metadata: {ttl_seconds: 1h}}}\n"
    flag = load_file(write(tmp_path, text)).flags["f"]

    assert (flag.variants["a"], flag.metadata) == ({"wait_seconds": "10m"}, {"ttl_seconds": "1h"})


def test_more_problems_than_are_told_at_once_are_still_a_refusal(tmp_path: Path) -> None:
    text = "flags:\n" + "".join(f"  f{number}: {{}}\n" for number in range(100))

    assert len(problems(tmp_path, text)) == 20


def test_an_integer_that_came_without_a_file_is_bounded_too() -> None:
    with pytest.raises(ConfigInvalid):
        declaration_from(
            {"upstreams": {"m": {"kind": "litellm", "provider": "x", "params": {"seed": 2**60}}}}
        )


def test_evaluators_are_expanded_into_the_rules_that_name_them(tmp_path: Path) -> None:
    text = """\
evaluators: {staff: {ends_with: [{var: email}, "@acme.example"]}}
flags: {f: {variants: {a: 1, b: 2}, serve: a, targeting: {if: [{$ref: staff}, b]}}}
"""
    flag = load_file(write(tmp_path, text)).flags["f"]

    assert flag.targeting == {"if": [{"ends_with": [{"var": "email"}, "@acme.example"]}, "b"]}


def test_a_variants_file_is_blamed_in_its_own_name_and_line(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("messages:\n  - role: system\n    content: '{{ x'\n", encoding="utf-8")
    (found,) = problems(tmp_path, "flags: {f: {layer: prompt, variants: {v: {file: p.yaml}}}}\n")

    assert (found.file, found.line, found.path) == (str(tmp_path / "p.yaml"), 3, "messages[0].content")


def test_a_text_file_is_a_system_message(tmp_path: Path) -> None:
    (tmp_path / "p.md").write_text("You are {{ name }}.\n", encoding="utf-8")
    path = write(
        tmp_path,
        "flags:\n  f: {layer: prompt, variants: {v: {file: p.md}}}\n  g: {variants: {v: {file: p.md}}}\n",
    )
    flags = load_file(path).flags

    assert flags["f"].variants["v"] == {"messages": [{"role": "system", "content": "You are {{ name }}.\n"}]}
    assert flags["g"].variants["v"] == "You are {{ name }}.\n"


@pytest.mark.parametrize(
    "name",
    [
        "../outside.yaml",
        "/etc/hostname.yaml",
        "sub/../../outside.yaml",
        "link.yaml",
        "up/outside.yaml",
        "\\0.yaml",
    ],
)
def test_no_file_outside_the_configs_folder_is_read(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "inside"
    folder.mkdir()
    (tmp_path / "outside.yaml").write_text("secret: 1\n", encoding="utf-8")
    (folder / "link.yaml").symlink_to(tmp_path / "outside.yaml")
    (folder / "up").symlink_to(tmp_path)
    (found,) = problems(folder, f'flags: {{f: {{variants: {{v: {{file: "{name}"}}}}}}}}\n')

    assert found.path == "flags.f.variants.v.file"
    assert "config's folder" in found.message


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("v.yaml", b"", "nothing in this file"),
        ("v.yaml", b"a: \xff\n", "not UTF-8"),
        ("v.json", b'{"a": }', "not JSON"),
        ("v.json", b'{"a": 9007199254740993}', "2^53"),
        ("v.json", b'{"a": 1, "a": 2}', "given twice"),
        ("v.json", b"[" * 100_000, "nested"),
        ("v.bin", b"a", "unknown suffix"),
        ("v.yaml", b"x" * ((16 << 20) + 1), "larger than 16 MiB"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    found = problems(tmp_path, f"flags: {{f: {{variants: {{v: {{file: {name}}}}}}}}}\n")

    assert any(message in str(each) for each in found)


def test_json_with_tabs_is_json(tmp_path: Path) -> None:
    (tmp_path / "v.json").write_text('{\n\t"a": [1, true, "on"]\n}', encoding="utf-8")
    flags = load_file(write(tmp_path, "flags: {f: {variants: {v: {file: v.json}}}}\n")).flags

    assert flags["f"].variants["v"] == {"a": [1, True, "on"]}


def test_a_pipe_in_place_of_a_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.yaml")
    with pytest.raises(ConfigInvalid, match="no file"):
        load_file(tmp_path / "config.yaml")


def test_a_missing_config_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"absent\.yaml: cannot be read: No such file"):
        load_file(tmp_path / "absent.yaml")


def test_a_document_without_a_folder_reads_no_files() -> None:
    with pytest.raises(ConfigInvalid, match="no folder"):
        declaration_from({"flags": {"f": {"variants": {"v": {"file": "x.yaml"}}}}})


def test_empty_sections_are_empty(tmp_path: Path) -> None:
    declaration = load_file(write(tmp_path, UPSTREAM + "flags:\nroutes:\nkeys:\n"))

    assert declaration.flags == {}
    assert declaration.keys_file is None


def valid(text: str) -> bool:
    return bool(Draft202012Validator(config_schema()).is_valid(yaml.safe_load(text)))


def test_the_schema_is_one_and_takes_the_contracts_example() -> None:
    Draft202012Validator.check_schema(config_schema())

    assert valid(EXAMPLE)


@pytest.mark.parametrize(
    "text",
    [
        "rotues: {}",
        "upstreams: {m: {kind: nope}}",
        "upstreams: {m: {kind: openai, base_url: 'https://x/v1', api_key: sk-1}}",
        "upstreams: {'a b': {kind: simulated}}",
        "flags: {f: {variants: {}}}",
        "flags: {f: {variants: {a: 1}, defaultVariant: a}}",
        "flags: {f: {variants: {a: 1, b: x}, serve: a}}",
        "flags: {f: {variants: {a: 1, b: 2}, serve: a, rollout: {variant: b, percent: 101}}}",
        "flags: {f: {layer: prompt, variants: {a: {messages: []}}}}",
        "flags: {f: {layer: prompt, variants: {a: {mesages: [{role: user, content: x}]}}}}",
        "flags: {f: {layer: model, variants: {a: {upstream: m}}}}",
        "flags: {f: {layer: model, variants: {a: {upstream: m, model: x, params: {stream: true}}}}}",
        "flags: {f: {layer: index, variants: {a: {store: 7}}}}",
        "flags: {f: {layer: pipeline, variants: {a: {pins: {promt: x}}}}}",
        "flags: {f: {layer: pipeline, variants: {a: {pins: {}, params: {stream: true}}}}}",
        "flags: {f: {variants: {a: 1, b: 2}, serve: a, shadow: {variant: b, percent: 101}}}",
        "routes: {'**': {model: m}}",
        "flags: {f: {layer: prompt, serve: null, variants: {a: {messages: [{role: user, content: x}]}}}}",
        "flags: {f: {variants: {a: 1}, promotion: {approvals: -1}}}",
        "policies: {p: {metric: cost, limit: 1, window_seconds: 10x}}",
        "keys: {}",
        "[]",
        "{}",
    ],
)
def test_what_the_schema_refuses_the_loader_refuses(tmp_path: Path, text: str) -> None:
    assert not valid(text)
    assert problems(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    [
        UPSTREAM + "flags:\n" + MODEL + "routes:\n  a:\n",
        "policies: {p: {metric: cost, limit: 1, method: threshold, window_seconds: 10m}}",
        "flags: {f: {variants: {a: {file: prompts/support-v7.yaml}, b: {x: 1}}, serve: null}}",
        "flags: {f: {layer: index, variants: {a: {store: x, semver: 1.2.0, tags: [de]}}}}",
        "flags: {f: {layer: prompt, variants: {a: {file: prompts/support-v7.yaml, created_by: carol, deprecated: true}}}}",
        UPSTREAM + "flags:\nroutes:\n",
    ],
)
def test_what_the_loader_takes_the_schema_takes(tmp_path: Path, text: str) -> None:
    assert problems(tmp_path, text) == []
    assert valid(text)


def test_a_record_beside_a_version_is_none_of_its_content(tmp_path: Path) -> None:
    """CONTRACT §4. A plain flag's value may have any fields, so nothing of it is taken for a record."""
    (tmp_path / "p.md").write_text("Hello\n", encoding="utf-8")
    text = """
flags:
  f: {layer: index, serve: a, variants: {a: {store: x, semver: 1.2.0, approved_by: [bob]}, b: {store: y}}}
  g: {layer: prompt, variants: {a: {file: p.md, created_by: carol, deprecated: false}}}
  h: {variants: {a: {notes: plain, tags: []}}}
"""
    declared = load_file(write(tmp_path, text))
    flags = declared.flags

    assert flags["f"].variants == {"a": {"store": "x"}, "b": {"store": "y"}}
    assert flags["f"].records == {"a": {"semver": "1.2.0", "approved_by": ["bob"]}}
    assert flags["g"].variants["a"] == {"messages": [{"role": "system", "content": "Hello\n"}]}
    assert flags["g"].records == {"a": {"created_by": "carol"}}
    assert (flags["h"].variants, flags["h"].records) == ({"a": {"notes": "plain", "tags": []}}, {})
    assert declaration_from(declared.document()) == declared


def test_no_layers_content_has_a_field_of_a_record() -> None:
    for shape in SHAPES.values():
        assert RECORD_FIELDS.isdisjoint(shape.__struct_fields__)

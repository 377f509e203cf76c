"""`pointsman import`: YAML to stdout, the report to stderr, and no file that ends in a traceback."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from gateway.cli import run
from gateway.cli.client import Client

CONFIG = """\
model_list:
  - model_name: gpt-4o
    litellm_params: {model: openai/gpt-4o, api_key: sk-plain-text-secret, rpm: 5}
  - model_name: gpt-4o
    litellm_params: {model: azure/prod, api_base: https://r.openai.azure.com, api_key: os.environ/AZURE}
litellm_settings: {drop_params: True}
"""
BOMB = "model_list: &l0 [1]\n" + "".join(
    f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]\n" for n in range(1, 12)
)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return written(tmp_path, CONFIG)


def written(folder: Path, text: str, name: str = "config.yaml") -> Path:
    file = folder / name
    file.write_text(text)
    return file


class TestImport:
    def test_prints_a_config_that_check_takes_and_reports_beside_it(
        self, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        code = run(["import", str(config)])
        out, err = capsys.readouterr()

        assert (code, run(["check", str(written(tmp_path, out, "ours.yaml"))])) == (0, 0)
        assert "model_list[0].litellm_params.rpm: its weight" in err
        assert "litellm_settings.drop_params" in err
        assert "plain-text-secret" not in out + err

    def test_json_is_one_document_with_config_and_report(
        self, config: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        code = run(["import", str(config), "--format", "litellm", "--json"])
        out, err = capsys.readouterr()
        found = json.loads(out)

        assert (code, err, found.keys()) == (0, "", {"config", "report"})
        assert found["report"].keys() == {"taken", "changed", "not_taken"}
        assert {"path", "what"} <= found["report"]["not_taken"][0].keys()

    def test_writes_a_file_and_never_over_one(
        self, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "ours.yaml"
        first, again = (run(["import", str(config), "--out", str(out)]) for _ in range(2))
        told = capsys.readouterr()

        assert (first, again, told.out) == (0, 1, "")
        assert "is not overwritten" in told.err
        assert run(["check", str(out)]) == 0

    def test_applies_it_as_apply_does(
        self, config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        sent = []

        def post(self: Client, path: str, body: object, **more: object) -> dict[str, object]:
            sent.append((path, body))
            return {"changed": False, "revision": 7, "missing": [], "warnings": [], "notes": []}

        monkeypatch.setattr(Client, "post", post)
        monkeypatch.setattr(Client, "get", lambda *_: {"objects": {}})

        code = run(["import", str(config), "--apply", "--json"])

        ((path, body),) = sent
        assert (code, path, body["reason"]) == (0, "/apply", f"import {config}")  # type: ignore[index]
        assert json.loads(capsys.readouterr().out)["applied"]["revision"] == 7


class TestRefused:
    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("", "there is nothing in this file"),
            ("model_list: [", "not YAML"),
            (BOMB, "aliases unfold to more than"),
            ("[" * 400, "nested deeper than"),
            ("- 1", "no LiteLLM config"),
            ("flags: {}", "no LiteLLM config"),
            ("model_list: 3", "config.yaml:1: model_list: expected a list of models, found a number"),
            ("model_list:\n  - 3", "config.yaml:2: model_list[0]: expected a mapping, found a number"),
            ("model_list: []", "no model of it can be taken"),
            (
                '{"$schema": "https://flagd.dev/schema/v0/flags.json", "flags": {}}',
                "there is no flag that can be taken",
            ),
            (
                '{"$evaluators": {}, "flags": {"f": {}}}',
                "config.yaml:1: flags.f.variants: expected an object",
            ),
            ("model_list: !!python/object:os.system [x]", "tag"),
            ("# " + "x" * (17 << 20), "larger than 16 MiB"),
            (
                "model_list: [{model_name: m, litellm_params: {model: a/b, seed: 99999999999999999999}}]",
                "2^53",
            ),
        ],
    )
    def test_tells_what_was_found_where(
        self, text: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        code = run(["import", str(written(tmp_path, text))])
        out, err = capsys.readouterr()

        assert (code, out) == (1, "")
        assert says in err

    def test_ten_megabytes_of_models_are_told_to_be_too_many(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        line = "  - {model_name: m, litellm_params: {model: openai/gpt-4o, api_key: os.environ/OPENAI_API_KEY}}\n"
        file = written(tmp_path, "model_list:\n" + line * 2_001)

        assert run(["import", str(file)]) == 1
        assert "expected 2000 models at most, found 2001" in capsys.readouterr().err

    @pytest.mark.parametrize(
        "arguments", [["import"], ["import", "x", "--format", "helm"], ["import", "x", "--reason", " "]]
    )
    def test_wrong_usage_is_told(self, arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
        assert run(arguments) == 2

    def test_a_file_that_is_not_there_is_told(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        code = run(["import", str(tmp_path / "absent.yaml"), "--json"])
        error = json.loads(capsys.readouterr().err)["error"]

        assert (code, error["code"]) == (1, "invalid")
        assert "No such file" in error["message"]


FLAGD = """{
  "$schema": "https://flagd.dev/schema/v0/flags.json",
  "metadata": {"team": "core"},
  "$evaluators": {"staff": {"ends_with": [{"var": "email"}, "@example.com"]}},
  "flags": {
    "banner": {
      "state": "ENABLED",
      "variants": {"on": true, "off": false},
      "defaultVariant": "off",
      "targeting": {"if": [{"$ref": "staff"}, "on"]}
    },
    "not ours": {"state": "ENABLED", "variants": {"a": 1}},
    "limit": {"state": "DISABLED", "variants": {"low": 1}}
  }
}
"""


class TestFlagd:
    @pytest.mark.parametrize("more", [[], ["--format", "flagd"]])
    def test_a_file_becomes_a_config_that_check_takes(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str]
    ) -> None:
        code = run(["import", str(written(tmp_path, FLAGD, "flags.json")), *more])
        out, err = capsys.readouterr()

        assert (code, run(["check", str(written(tmp_path, out, "ours.yaml"))])) == (0, 0)
        assert "not taken (1):\n  flags.not ours: 'not ours' is no name for a flag" in err
        assert "banner" in out
        assert "$ref" in out

    def test_check_says_what_it_is_and_who_takes_it(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        file = written(tmp_path, FLAGD, "flags.json")

        code = run(["check", str(file)])
        err = capsys.readouterr().err

        assert code == 1
        assert err.startswith(f"pointsman: {file}: this looks like a flagd file")
        assert f"(pointsman import {file}; or follow it: pointsman serve --flagd {file})" in err
        assert "unknown field" in err

    def test_yaml_is_read_as_well(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        text = 'flags: {f: {state: ENABLED, variants: {"on": true, "off": false}, defaultVariant: "on"}}'

        assert run(["import", str(written(tmp_path, text, "flags.yaml")), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["config"]["flags"]["f"]["serve"] == "on"

    def test_what_is_wrong_is_told_with_its_line(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        file = written(tmp_path, FLAGD.replace('"off",', '"of",'), "flags.json")

        assert run(["import", str(file)]) == 1
        assert (
            f"{file}:9: flags.banner.defaultVariant: variant 'of' is not defined" in capsys.readouterr().err
        )

    def test_a_config_of_ours_is_not_taken_for_one(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        text = "flags: {f: {serve: a, state: ENABLED, variants: {a: 1}}}"

        assert run(["import", str(written(tmp_path, text))]) == 1
        assert "pointsman apply" in capsys.readouterr().err

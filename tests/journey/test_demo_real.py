"""`pointsman demo --real`, run for real where its model is installed: what it shows, and that it leaves nothing."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

import pytest

from gateway.demo.real import model_file
from gateway.demo.real_show import QUESTIONS
from gateway.demo.stage import StageFailed
from tests.fleet import COMMAND
from tests.journey.leftovers import left
from tests.journey.test_demo import demo_environment

# Forty seconds on a quiet machine; each of nine answers is bounded by the demo itself.
DEMO_SECONDS = 280.0
VERSIONS = r"by prompt=(v\d);retriever=words;index=i1;model=smollm2; found file-[0-9a-f]{24}$"


def missing() -> str:
    """What is not installed, in the demo's own words; nothing where all is there."""
    try:
        model_file()
    except StageFailed as failure:
        return str(failure)
    return ""


@pytest.mark.full
@pytest.mark.timeout(300)
@pytest.mark.skipif(bool(missing()), reason=missing())
def test_the_demo_on_a_real_model_answers_from_the_texts_until_a_prompt_forgets_them() -> None:
    """Exit 0: three questions to each of v1, v2 and v1 again, by stream, each with its versions and its text."""
    with tempfile.TemporaryDirectory(prefix="real-") as folder:
        done = subprocess.run(
            [*COMMAND, "demo", "--real"],
            env=demo_environment(Path(folder)), capture_output=True, text=True, timeout=DEMO_SECONDS, check=False,
        )  # fmt: skip

        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stderr == ""
        assert list(Path(folder).iterdir()) == []
        assert left(folder) == []
    served = re.findall(VERSIONS, done.stdout, re.MULTILINE)
    assert served == ["v1"] * len(QUESTIONS) + ["v2"] * len(QUESTIONS) + ["v1"] * len(QUESTIONS)
    assert "v1: 3 of 3 answers say what the texts say" in done.stdout
    assert "v2: 0 of 3 answers say what the texts say" in done.stdout
    assert "v1 again: 3 of 3 answers say what the texts say" in done.stdout
    assert "support-bot.prompt: v2 → v1, all 2 workers switched" in done.stdout
